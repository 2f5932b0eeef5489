"""What every command for a service does: a client, errors as one message and an exit code, JSON or words."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import typer

from app.cli.remote.errors import AsJson, Code, fail, fail_by

if TYPE_CHECKING:  # it is imported when a command runs, so that --help need not wait for it
    from stillhouse import Client

__all__ = ["MANY_RETRIES", "AsJson", "Code", "connected", "fail", "note", "print_json", "show"]

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


def print_json(document: Any) -> None:
    """One JSON document, on one line."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    typer.echo(json.dumps(document, ensure_ascii=not unicode))


def show(document: Mapping[str, Any], words: str, *, as_json: bool) -> None:
    """A document as JSON, or in words."""
    if as_json:
        print_json(document)
    else:
        typer.echo(words)


def note(text: str) -> None:
    """A line on stderr, beside the result."""
    typer.echo(text, err=True)
