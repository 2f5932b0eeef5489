"""Where in a JSON document something stands (RFC 6901)."""

from collections.abc import Sequence

_LONGEST_TOKEN = 128


def pointer(place: Sequence[str | int]) -> str:
    """RFC 6901. It ends above a key too long to be shown."""
    tokens = []
    for token in place:
        text = str(token)
        if len(text) > _LONGEST_TOKEN:
            break
        tokens.append("/" + text.replace("~", "~0").replace("/", "~1"))
    return "".join(tokens)
