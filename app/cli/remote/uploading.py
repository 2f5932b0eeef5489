"""`stillhouse upload dataset | model`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.errors import AsJson
from app.cli.output import show
from app.cli.remote.documents import read_document
from app.cli.remote.running import MANY_RETRIES, connected

upload = typer.Typer(no_args_is_help=True, help="Upload a dataset or a model, and wait until it is ready.")
Manifest = Annotated[Path | None, typer.Option(help="The manifest, in JSON, YAML or TOML; `-` is stdin.")]
Name = Annotated[str | None, typer.Option(help="Name for people.")]
Format = Annotated[str | None, typer.Option(help="Format of the file, where its name does not say it.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the inspection has ended.")]


def _manifest(path: Path | None) -> dict[str, Any]:
    return {} if path is None else read_document(path)


@upload.command("dataset")
def upload_dataset(
    files: Annotated[list[Path], typer.Argument(help="One file or folder, or several files of one format.")],
    manifest: Manifest = None,
    name: Name = None,
    format: Format = None,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Upload a dataset. Tables need `inputs` and `targets` in a manifest; folders of images say theirs."""
    said = _manifest(manifest)
    with connected(retries=MANY_RETRIES) as client:
        made = client.datasets.upload(files, name=name, format=format, manifest=said, wait=wait)
        rows = f", {made.rows:,} rows" if made.rows else ""
        show(made.json, f"{made.id} {made.state}{rows}", as_json=as_json)


@upload.command("model")
def upload_model(
    file: Annotated[Path, typer.Argument(help="A safetensors, state_dict or ONNX file, or a folder of transformers.")],
    manifest: Manifest = None,
    name: Name = None,
    format: Format = None,
    wait: Wait = True,
    as_json: AsJson = False,
) -> None:
    """Upload a model. All but ONNX files and folders of transformers need `architecture` in a manifest."""
    said = _manifest(manifest)
    architecture, outputs = said.pop("architecture", None), said.pop("outputs", None)
    with connected(retries=MANY_RETRIES) as client:
        made = client.models.upload(
            file, name=name, format=format, architecture=architecture, outputs=outputs, manifest=said, wait=wait
        )
        count = f", {made.parameters:,} parameters" if made.parameters else ""
        show(made.json, f"{made.id} {made.state}{count}", as_json=as_json)
