"""What every command checks first: the names of settings, and the folder of the data."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from app.db.urls import parse
from app.settings import Settings
from app.storage.errors import UnusableStore
from app.storage.opening import open_store
from app.storage.private import found_instead, require_access

_PREFIX: Final = "STILLHOUSE_"
_OF_CLIENTS: Final = frozenset(("STILLHOUSE_URL", "STILLHOUSE_KEY"))
"""What the Python client and the command line read in the same environment."""
_WRITABLE_BY_OTHERS: Final = 0o022


class Unusable(Exception):
    """What a setting names cannot be used."""


def warnings(settings: Settings, environment: Iterable[str]) -> Iterator[str]:
    """What is probably a mistake: variables of this environment that are no setting, and a data folder that others may
    write to.
    """
    known = [f"{_PREFIX}{name.upper()}" for name in Settings.model_fields]
    for name in sorted(environment):
        if name.upper().startswith(_PREFIX) and name.upper() not in {*known, *_OF_CLIENTS}:
            near = get_close_matches(name.upper(), known, 1)
            meant = f"did you mean {near[0]}?" if near else "leave it out"
            yield f"{name} is no setting of this version, and is ignored: {meant}"
    mode = settings.data_dir.stat().st_mode & 0o7777
    if mode & _WRITABLE_BY_OTHERS:
        yield f"others may replace files in {settings.data_dir} (mode {mode:04o}): chmod 700 {settings.data_dir}"


def prepare(settings: Settings) -> None:
    """Create the folders of the settings, and open the store once. Raises Unusable."""
    try:
        settings.prepared()
        for folder in (settings.data_dir, settings.staging_dir):
            require_access(folder)
    except OSError as error:
        raise Unusable(
            f"expected a folder for the data at {settings.data_dir}, found: {found_instead(error)}: choose another by "
            f"--data or {_PREFIX}DATA_DIR"
        ) from None
    try:
        open_store(settings.store_url or None, settings.data_dir)
    except UnusableStore as error:
        raise Unusable(f"{error} ({_PREFIX}STORE_URL)") from None


def require_database(settings: Settings) -> None:
    """Raises Unusable where the embedded database does not exist, and UnsupportedDatabase."""
    if not has_database(settings):
        raise Unusable(
            f"expected the database of a service, found none at {parse(settings.database)[1].database}: name the "
            f"folder of its data by --data or {_PREFIX}DATA_DIR"
        )


def has_database(settings: Settings) -> bool:
    """Whether the embedded database exists; True for another one. Raises UnsupportedDatabase."""
    dialect, url = parse(settings.database)
    return dialect != "sqlite" or Path(url.database or "").is_file()
