"""What a key looks like, and what is kept of it."""

import hashlib
import secrets
from typing import Final

_MARK: Final = "sth_"
_RANDOM_BYTES: Final = 32
_SHOWN: Final = 8
_SHOWN_OF_A_SHORT_KEY: Final = 4


def new_key() -> str:
    """A fresh key: `sth_` and 256 random bits."""
    return _MARK + secrets.token_urlsafe(_RANDOM_BYTES)


def digest(key: str) -> str:
    """What is kept: SHA-256. A key has 256 random bits, so nothing slower is needed."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def visible_prefix(key: str) -> str:
    """The start by which people tell keys apart; of a key that somebody chose it shows less."""
    return key[: len(_MARK) + _SHOWN] if key.startswith(_MARK) else key[:_SHOWN_OF_A_SHORT_KEY]
