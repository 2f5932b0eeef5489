"""The command `stillhouse`: its subcommands by name. Importing it imports neither the service nor the client.

`local` has those that run or look after a service on this machine, `remote` those that talk to one, wherever it is.
"""

import os
import sys
from collections.abc import Callable, Mapping
from typing import Final

import typer

from app.cli.errors import JSON_OPTION, wrong_arguments_as_json
from app.cli.local import commands as local
from app.cli.remote import acting, listing, login, results, submitting, uploading, watching
from app.cli.streams import prepare_streams

# Typer has `--show-completion SHELL` under this name alone; else it guesses the shell by the processes above it.
os.environ.setdefault("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")

_HELP: Final = """Distil big models into small ones: run the service on this machine, or talk to one.

Commands for a service take its URL and a key from STILLHOUSE_URL and STILLHOUSE_KEY, or else from `stillhouse login`.
With --json a command prints JSON on stdout and nothing else, a list as an object a line; progress goes to stderr, and
an error is its last line, as {"error": {"code": …, "detail": …}}. All commands have it but serve, api and worker.

Exit codes: 0 done; 1 refused by the service, or the upload or job failed; 2 wrong arguments or files; 3 the service
cannot be reached; 4 not signed in, or a key that is not valid; 130 interrupted.
"""

cli = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None, help=_HELP)

_COMMANDS: Final[Mapping[str, Callable[..., None]]] = {
    "serve": local.serve,
    "api": local.api,
    "worker": local.worker,
    "migrate": local.migrate,
    "gc": local.gc,
    "login": login.login,
    "logout": login.logout,
    "submit": submitting.submit,
    "jobs": listing.jobs,
    "models": listing.models,
    "datasets": listing.datasets,
    "watch": watching.watch,
    "logs": watching.logs,
    "report": results.report,
    "download": results.download,
    "predict": results.predict,
    "compare": results.compare,
    "cancel": acting.cancel,
    "pause": acting.pause,
    "resume": acting.resume,
    "retry": acting.retry,
    "delete": acting.delete,
}
for _name, _command in _COMMANDS.items():
    cli.command(_name)(_command)
cli.add_typer(local.keys, name="keys")
cli.add_typer(uploading.upload, name="upload")


def main() -> None:
    """The `stillhouse` command."""
    prepare_streams()
    if JSON_OPTION not in sys.argv:
        cli()
        return
    try:
        with wrong_arguments_as_json():
            code = cli(standalone_mode=False)
    except typer.Exit as ended:
        code = ended.exit_code
    sys.exit(code)
