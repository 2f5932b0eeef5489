"""`stillhouse report | download | predict | compare`."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.errors import AsJson, Code, fail
from app.cli.output import print_json, show
from app.cli.remote.completion import complete_model
from app.cli.remote.documents import write_text
from app.cli.remote.running import connected
from app.cli.remote.tables import size, table
from app.cli.remote.watching import JobId

if TYPE_CHECKING:  # they are imported when a command runs
    from stillhouse import Client, Comparison, Model

Output = Annotated[Path | None, typer.Option("--output", "-o", help="File to write; stdout when left out.")]

ModelId = Annotated[
    str, typer.Argument(help="Id of a model, or of the job that made it.", autocompletion=complete_model)
]


class ReportFormat(StrEnum):
    """Formats of a report."""

    TEXT = "text"
    MARKDOWN = "markdown"
    HTML = "html"
    JSON = "json"


class FileFormat(StrEnum):
    """Formats of a model."""

    SAFETENSORS = "safetensors"
    ONNX = "onnx"
    INT8 = "int8"
    FP16 = "fp16"
    BUNDLE = "bundle"


def report(
    job: JobId,
    form: Annotated[ReportFormat, typer.Option("--format", help="Format of the report.")] = ReportFormat.TEXT,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Print the report of a job that has succeeded, or write it to a file."""
    if output is not None and str(output) == "-":
        output = None
    if as_json and form in (ReportFormat.HTML, ReportFormat.MARKDOWN):
        fail(f"expected --format or --json, found both: leave out --json for {form.value}", Code.USAGE)
    with connected() as client:
        found = client.jobs.get(job)
        if as_json or form is ReportFormat.JSON:
            _write_json(found.report.json, output)
            return
        text = found.report_as(form.value)
        if output is None:
            typer.echo(text)
        else:
            write_text(output, text)


def _write_json(document: dict[str, Any], output: Path | None) -> None:
    import json

    if output is None:
        print_json(document)
    else:
        write_text(output, json.dumps(document, ensure_ascii=False))


def download(
    model: ModelId,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="File or folder (`out/` is made); this one when left out.", metavar="PATH"),
    ] = None,
    form: Annotated[FileFormat | None, typer.Option("--format", help="The model's own when left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """Download a model, or the student of a job. One that broke off goes on where it stopped."""
    if output == "-":
        fail(
            "expected a file or a folder, found `-`: a download is checked once it is complete, so name a file",
            Code.USAGE,
        )
    with connected() as client:
        if output is not None:
            _check(output)
        found = _model(client, model)
        path = found.download(output, format=form.value if form else None)
        count = path.stat().st_size
        show({"model": found.id, "file": str(path), "bytes": count}, f"{path} ({size(count)})", as_json=as_json)


def _check(output: str) -> None:
    """Raises Unreadable before anything is asked, where this is no file to write."""
    from stillhouse.flows.parts import real_target
    from stillhouse.sources.converting import expanded

    target = expanded(output)
    if not target.is_dir():
        real_target(target)


def _model(client: "Client", identity: str) -> "Model":
    return client.jobs.get(identity).student if identity.startswith("job_") else client.models.get(identity)


def predict(
    model: Annotated[
        str, typer.Argument(help="Id of a model, or of the job that made it.", autocompletion=complete_model)
    ],
    rows: Annotated[
        Path,
        typer.Argument(
            help="Rows as json, csv, jsonl, npz, an image or a sound; `-` is JSON on stdin.", allow_dash=True
        ),
    ],
    compare: Annotated[bool, typer.Option("--compare", help="The teachers of a student answer beside it.")] = False,
    as_json: AsJson = False,
) -> None:
    """Have a model answer up to 256 rows. Without --json: a line for each row."""
    source: Any = sys.stdin.buffer.read() if str(rows) == "-" else rows
    with connected() as client:
        found = _model(client, model).predict(source, compare=compare)
    if as_json:
        print_json(found.json)
        return
    outputs = found.json["outputs"]
    head, answers = list(outputs), [_answers(each) for each in outputs.values()]
    for each in found.teachers or ():
        head.append(f"{each['task']} of {each['model'] or 'a teacher'}")
        answers.append(_of_teacher(each, found.rows))
    typer.echo(table(["row", *head], [[i, *row] for i, row in enumerate(zip(*answers, strict=True))]))


def _answers(output: dict[str, Any]) -> list[str]:
    """The answer of each row in short: its class, value, labels or vector."""
    for key in ("class", "value", "labels", "vector", "map"):
        if output.get(key) is not None:
            return [str(each) for each in output[key]]
    return []


def _of_teacher(teacher: dict[str, Any], rows: int) -> list[str]:
    """The same of a teacher; the code of why it has none in each row."""
    if teacher.get("answer"):
        return _answers(teacher["answer"])
    return [str((teacher.get("not_answered") or {}).get("code", ""))] * rows


def compare(
    jobs: Annotated[list[str], typer.Argument(help="Ids of succeeded jobs on one test split.")], as_json: AsJson = False
) -> None:
    """Compare jobs: ranked, each against the control."""
    with connected() as client:
        found = client.jobs.compare(jobs)
        show(found.json, _compared(found), as_json=as_json)


def _compared(found: "Comparison") -> str:
    parts = []
    for name, task in found.tasks.items():
        rows = [
            (
                each["rank"],
                each["job"],
                f"{each['student']:.4g}",
                f"{each['difference']:+.4g}",
                each["verdict"],
                each["method"],
            )
            for each in task["jobs"]
        ]
        parts.append(
            f"{name}: {task['metric']}\n" + table(("rank", "job", "student", "to control", "verdict", "method"), rows)
        )
    return "\n\n".join(parts)
