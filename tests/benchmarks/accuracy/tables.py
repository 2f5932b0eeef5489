"""Reading an existing table file, so that one section can be trained alone."""


def sections(text: str) -> dict[str, str]:
    """The sections of a table by their titles."""
    parts = text.split("\n## ")[1:]
    return {part.partition("\n")[0]: part.partition("\n")[2].strip() for part in parts}
