"""What every command for a service does: a client, whose errors become one message and an exit code."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from app.cli.errors import Code, fail, fail_by

if TYPE_CHECKING:  # it is imported when a command runs, so that --help need not wait for it
    from stillhouse import Client

_RETRIES: Final = 2
"""How often a command repeats a failed request: a person waits for it. Waits for jobs go on for longer."""
MANY_RETRIES: Final = 6
"""The same for what takes long anyway: uploads."""


@contextmanager
def connected(url: str | None = None, key: str | None = None, retries: int = _RETRIES) -> Iterator["Client"]:
    """A client for the block; its errors become messages and exit codes."""
    from stillhouse import Client
    from stillhouse.errors import StillhouseError

    try:
        with Client(url, key, retries=retries) as client:
            yield client
    except StillhouseError as error:
        fail_by(error)
    except BrokenPipeError:  # the reader of stdout, such as `head`, has enough: Typer ends quietly
        raise
    except OSError as error:
        fail(f"expected files that can be read and written, found: {error}: check their paths and the disk", Code.USAGE)
