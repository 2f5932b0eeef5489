"""Specs and manifests from files in JSON, YAML or TOML, or from stdin."""

import json
import sys
import tomllib
from pathlib import Path
from typing import Any

from app.cli.remote.running import Code, fail


def read_document(path: Path) -> dict[str, Any]:
    """An object from a file, by its suffix; `-` is stdin, in JSON or YAML. Ends the command where it is none."""
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text()
        found = _parsed(text, path.suffix.lower())
    except (OSError, UnicodeDecodeError) as error:
        fail(f"expected a file that can be read, found: {error}: check its path", Code.USAGE)
    except ValueError as error:
        fail(f"expected JSON, YAML or TOML in {path}, found: {error}: correct the file", Code.USAGE)
    if not isinstance(found, dict):
        fail(f"expected an object in {path}, found {type(found).__name__}: write `name: value` pairs", Code.USAGE)
    return found


def _parsed(text: str, suffix: str) -> Any:
    """Raises ValueError."""
    if suffix == ".json":
        return json.loads(text)
    if suffix == ".toml":
        return tomllib.loads(text)
    import yaml

    try:
        return yaml.safe_load(text)  # JSON is YAML, too
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
