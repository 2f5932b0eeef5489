"""`stillhouse login | logout`."""

import os
from typing import Annotated, Any

import typer

from app.cli.errors import AsJson, Code, fail
from app.cli.output import print_json
from app.cli.remote.running import connected


def login(
    url: Annotated[str | None, typer.Option(help="URL of the service; asked for when left out.")] = None,
    key_file: Annotated[
        typer.FileText | None,
        typer.Option(
            help="File with the key, `-` for stdin; asked for when left out.", encoding="utf-8-sig", errors="replace"
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check URL and key, and store them for the commands and the Python client, readable by you alone."""
    from stillhouse.errors import NotSignedIn
    from stillhouse.settings import KEY_VARIABLE, Login, checked_key, checked_url, store_login

    if as_json and not (url and key_file):
        fail("expected --url and --key-file beside --json, found one of them or none: prompts are no JSON", Code.USAGE)
    try:
        chosen = checked_url(url or _asked("URL", "--url", default="http://127.0.0.1:8000"))
        key = key_file.read() if key_file is not None else _asked("Key", "--key-file", hide_input=True)
        key = checked_key(key)
    except NotSignedIn as error:
        fail(error, Code.USAGE)
    with connected(chosen, key) as client:
        client.check()
        stored = store_login(Login(chosen, key))
    if os.environ.get(KEY_VARIABLE):
        typer.echo(f"stillhouse: warning: {KEY_VARIABLE} is set, and goes before what was stored", err=True)
    if as_json:
        print_json({"url": chosen, "file": str(stored)})
    else:
        typer.echo(f"signed in at {chosen}; URL and key are in {stored}")


def _asked(what: str, option: str, **how: Any) -> str:
    """What is typed at the prompt. Ctrl+C ends the command as everywhere, the end of stdin is a usage error."""
    try:
        return str(typer.prompt(what, err=True, **how))
    except typer.Abort as error:
        if isinstance(error.__context__, KeyboardInterrupt):
            raise typer.Exit(Code.INTERRUPTED) from None
        fail(f"expected the {what} at the prompt, found the end of stdin: give it by {option}", Code.USAGE)


def logout(as_json: AsJson = False) -> None:
    """Delete what `login` stored. The key stays valid."""
    from stillhouse.settings import forget_login, login_file

    try:
        found = forget_login()
    except OSError as error:
        fail(f"expected a file that can be deleted, found: {error}: delete it by hand", Code.REFUSED)
    if as_json:
        print_json({"deleted": found})
    else:
        typer.echo(f"deleted {login_file()}" if found else "nothing was stored")
