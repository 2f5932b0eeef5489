"""`stillhouse submit`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.errors import AsJson
from app.cli.output import note, show
from app.cli.remote.documents import read_document
from app.cli.remote.running import connected
from app.cli.remote.watching import wait as wait_for

if TYPE_CHECKING:  # it is imported when a command runs
    from stillhouse import DryRun


def submit(
    spec: Annotated[Path, typer.Argument(help="The job spec, in JSON, YAML or TOML; `-` is stdin.", allow_dash=True)],
    wait: Annotated[bool, typer.Option("--wait", help="Show its progress until it has ended.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and resolve the spec; submit nothing.")] = False,
    priority: Annotated[
        int | None, typer.Option(min=-100, max=100, help="Of your waiting jobs the highest goes first.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Submit a job by its spec. Ctrl+C during --wait leaves the job running."""
    document = read_document(spec)
    with connected() as client:
        if dry_run:
            checked = client.jobs.dry_run(document)
            show(checked.json, _checked(checked), as_json=as_json)
            return
        job = client.jobs.submit(document, priority=priority)
        if wait:
            note(f"{job.id} {job.state}")
            wait_for(job, as_json=as_json)
        else:
            show(job.json, f"{job.id} {job.state}: `stillhouse watch {job.id}` shows its progress", as_json=as_json)


def _checked(checked: "DryRun") -> str:
    count = "unknown" if checked.parameters is None else f"{checked.parameters:,}"
    lines = [f"the spec is valid; parameters of the student: {count}"]
    if not checked.complete:
        lines.append("an input is not ready yet: the rest is checked once it is")
    lines += [f"warning {each.get('code')}: {each.get('message')}" for each in checked.warnings or ()]
    lines += [
        f"chosen {place}: {each.get('value')} ({each.get('because')})" for place, each in (checked.chosen or {}).items()
    ]
    return "\n".join(lines)
