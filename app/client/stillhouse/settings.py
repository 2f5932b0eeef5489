"""Which service, and by which key: arguments, then the environment, then what `stillhouse login` stored.

A key goes only to the URL that it was given for: one from the environment or the file of `stillhouse login` is not sent
to a URL from elsewhere unless both name the same service. STILLHOUSE_KEY alone is for the URL that `stillhouse login`
stored, and for none without that.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from stillhouse.errors import NotSignedIn

URL_VARIABLE: Final = "STILLHOUSE_URL"
KEY_VARIABLE: Final = "STILLHOUSE_KEY"


@dataclass(frozen=True)
class Login:
    """A service and a key for it. The key is no part of its repr."""

    url: str
    key: str = field(repr=False)


def login_file(environment: Mapping[str, str] = os.environ) -> Path:
    """Where `stillhouse login` stores URL and key: in the user's configuration folder (XDG). Raises NotSignedIn."""
    folder = environment.get("XDG_CONFIG_HOME") or ""
    try:
        base = Path(folder) if Path(folder).is_absolute() else Path.home() / ".config"
    except RuntimeError:
        raise NotSignedIn(
            "expected a home folder for what `stillhouse login` stores, found none: set HOME or XDG_CONFIG_HOME"
        ) from None
    return base / "stillhouse" / "login.json"


def stored_login(path: Path | None = None) -> Login | None:
    """What `stillhouse login` stored; None without it, without a home, and where it is damaged."""
    try:
        found = json.loads((path or login_file()).read_text(encoding="utf-8"))
        return Login(str(found["url"]), str(found["key"]))
    except (OSError, ValueError, LookupError, TypeError, RecursionError, NotSignedIn):
        return None


def store_login(login: Login, path: Path | None = None) -> Path:
    """Store URL and key in a file that only its owner can read; where."""
    target = path or login_file()
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    fresh = target.with_name(f".{target.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump({"url": login.url, "key": login.key}, file)
    fresh.replace(target)
    return target


def forget_login(path: Path | None = None) -> bool:
    """Delete what `stillhouse login` stored; False where there was nothing."""
    with suppress(FileNotFoundError, NotSignedIn):
        (path or login_file()).unlink()
        return True
    return False


def login(url: str | None, key: str | None) -> Login:
    """The service to talk to. Raises NotSignedIn."""
    stored = stored_login()
    from_environment = os.environ.get(URL_VARIABLE)
    chosen = url or from_environment or (stored.url if stored else None)
    if not chosen:
        raise NotSignedIn("expected the URL of a service, found none: pass `url`, set STILLHOUSE_URL, or run "
                          "`stillhouse login`")  # fmt: skip
    chosen = checked_url(chosen)
    found = key or _key_for(chosen, from_environment, stored)
    if not found:
        raise NotSignedIn(
            f"expected a key for {chosen}, found none: pass `key`, set STILLHOUSE_KEY together with STILLHOUSE_URL, or "
            "run `stillhouse login`"
        )
    return Login(chosen, checked_key(found))


def _key_for(url: str, from_environment: str | None, stored: Login | None) -> str | None:
    """The key of the environment or the file, where it is for this URL. One without a URL is for the stored one."""
    key = os.environ.get(KEY_VARIABLE)
    if key and _same(from_environment or (stored.url if stored else None), url):
        return key
    return stored.key if stored and _same(stored.url, url) else None


def _same(one: str | None, other: str) -> bool:
    """Whether two URLs are those of one service, however they are written."""
    with suppress(NotSignedIn):
        return bool(one) and _place(checked_url(one or "")) == _place(other)
    return False


def _place(url: str) -> tuple[str, str | None, int, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80}.get(parts.scheme, 443), parts.path


def checked_url(url: str) -> str:
    """The URL of a service without a final slash. Raises NotSignedIn."""
    if not isinstance(url, str):
        raise NotSignedIn(f"expected a URL as a text, found {type(url).__name__}: begin it with https:// or http://")
    try:
        parts = urlsplit(url.strip())
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        raise NotSignedIn("expected a URL such as https://stillhouse.example.org or http://127.0.0.1:8000, found "
                          "something else: begin it with https:// or http://")  # fmt: skip
    if parts.username or parts.password or parts.query or parts.fragment:
        raise NotSignedIn(
            "expected a URL without a name, password, query or fragment: leave them out, and give the key as `key`"
        )
    return url.strip().rstrip("/").removesuffix("/v1").rstrip("/")


def checked_key(key: str) -> str:
    """The key without spaces around it. Raises NotSignedIn, without the key in its message."""
    stripped = key.strip() if isinstance(key, str) else ""
    if not stripped or not stripped.isascii() or not stripped.isprintable() or " " in stripped:
        raise NotSignedIn(
            "expected a key of printable characters without spaces, found others: copy it again from where it was made"
        )
    return stripped
