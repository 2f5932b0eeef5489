"""What every command for a service does: a client, errors as one message and an exit code, JSON or words."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

if TYPE_CHECKING:  # it is imported when a command runs, so that --help need not wait for it
    from stillhouse import Client
    from stillhouse.errors import StillhouseError


class Code(IntEnum):
    """Exit codes, as `stillhouse --help` lists them."""

    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_SIGNED_IN = 4
    INTERRUPTED = 130


_RETRIES: Final = 2
"""How often a command repeats a failed request: somebody waits for it. Waits for jobs are more patient."""
MANY_RETRIES: Final = 6
"""The same for what takes long anyway: uploads."""
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, and nothing else.")]


def fail(message: object, code: Code) -> NoReturn:
    """End with a message on stderr."""
    typer.echo(f"stillhouse: {message}", err=True)
    raise typer.Exit(code)


@contextmanager
def connected(url: str | None = None, key: str | None = None, retries: int = _RETRIES) -> Iterator["Client"]:
    """A client for the block; its errors become messages and exit codes."""
    from stillhouse import Client
    from stillhouse.errors import StillhouseError

    try:
        with Client(url, key, retries=retries) as client:
            yield client
    except StillhouseError as error:
        fail(error, _code(error))
    except BrokenPipeError:  # the reader of stdout, such as `head`, has enough: Typer ends quietly
        raise
    except OSError as error:
        fail(f"expected files that can be read and written, found: {error}: check their paths and the disk", Code.USAGE)


def _code(error: "StillhouseError") -> Code:
    from stillhouse.errors import (
        ConnectionFailed,
        NotSignedIn,
        NotStillhouse,
        ServiceUnavailable,
        Unauthorized,
        Unreadable,
    )

    if isinstance(error, Unauthorized | NotSignedIn):
        return Code.NOT_SIGNED_IN
    if isinstance(error, ConnectionFailed | NotStillhouse | ServiceUnavailable):
        return Code.UNREACHABLE
    return Code.USAGE if isinstance(error, Unreadable) else Code.REFUSED


def print_json(document: Any) -> None:
    """One JSON document, on one line."""
    typer.echo(json.dumps(document, ensure_ascii=False))


def show(document: Mapping[str, Any], words: str, *, as_json: bool) -> None:
    """A document as JSON, or in words."""
    if as_json:
        print_json(document)
    else:
        typer.echo(words)


def note(text: str) -> None:
    """A line on stderr, beside the result."""
    typer.echo(text, err=True)
