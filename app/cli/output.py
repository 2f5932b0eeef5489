"""What commands print: a document as JSON or in words, and notes beside it."""

import json
import sys
from collections.abc import Mapping
from typing import Any

import typer


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
