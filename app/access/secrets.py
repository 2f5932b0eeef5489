"""The format of API keys, and what is stored of them."""

import hashlib
import secrets
from typing import Final

_MARK: Final = "sth_"
_RANDOM_BYTES: Final = 32
_SHOWN: Final = 8
_SHOWN_OF_A_SHORT_KEY: Final = 4


def new_key() -> str:
    """A new key: `sth_` and 256 random bits."""
    return _MARK + secrets.token_urlsafe(_RANDOM_BYTES)


def digest(key: str) -> str:
    """The stored digest: SHA-256. Keys have 256 random bits, so a slow hash is not needed."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def visible_prefix(key: str) -> str:
    """The prefix by which people recognise a key; shorter for a key that was chosen by a person."""
    return key[: len(_MARK) + _SHOWN] if key.startswith(_MARK) else key[:_SHOWN_OF_A_SHORT_KEY]
