"""Errors of commands: one message on stderr, and an exit code."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

if TYPE_CHECKING:  # it is imported when a command runs, so that --help need not wait for it
    from stillhouse.errors import StillhouseError


class Code(IntEnum):
    """Exit codes, as `stillhouse --help` lists them."""

    REFUSED = 1
    USAGE = 2
    UNREACHABLE = 3
    NOT_SIGNED_IN = 4
    INTERRUPTED = 130


_FULL: Final = 507
"""HTTP status of a service that is there, and whose storage is full."""


JSON_OPTION: Final = "--json"


class _Form:
    """How this process prints errors: `--json` says it, before the command runs."""

    as_json = False


def _remember(as_json: bool) -> bool:
    _Form.as_json = as_json
    return as_json


AsJson = Annotated[
    bool,
    typer.Option(
        JSON_OPTION,
        help="Print JSON on stdout and nothing else (of a list an object a line).",
        callback=_remember,
    ),
]


@contextmanager
def wrong_arguments_as_json() -> Iterator[None]:
    """Around the reading of arguments, of which `--json` may come after the wrong one: its errors as JSON."""
    _Form.as_json = True
    try:
        yield
    except typer.Abort:
        fail("the command was ended at a prompt", Code.USAGE)
    except Exception as error:
        described = getattr(error, "format_message", None)
        if described is None:  # Typer's class of errors about arguments has no public name
            raise
        fail(described(), Code.USAGE)


def fail(message: object, code: Code) -> NoReturn:
    """End with a message on stderr."""
    _fail({"code": code.name.lower(), "detail": str(message)}, message, code)


def fail_by(error: "StillhouseError") -> NoReturn:
    """End as an error of the client says."""
    document: dict[str, Any] = {"code": error.code, "detail": error.detail}
    for name in ("status", "request_id"):
        if (found := getattr(error, name, None)) is not None:
            document[name] = found
    if places := getattr(error, "errors", None):
        document["errors"] = [vars(each) for each in places]
    _fail(document, error, _code(error))


def _fail(document: dict[str, Any], message: object, code: Code) -> NoReturn:
    typer.echo(json.dumps({"error": document}) if _Form.as_json else f"stillhouse: {message}", err=True)
    raise typer.Exit(code)


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
    if isinstance(error, ServiceUnavailable) and error.status == _FULL:
        return Code.REFUSED
    if isinstance(error, ConnectionFailed | NotStillhouse | ServiceUnavailable):
        return Code.UNREACHABLE
    return Code.USAGE if isinstance(error, Unreadable) else Code.REFUSED
