"""Specs and manifests from files in JSON, YAML or TOML, or from stdin."""

import json
import os
import shutil
import sys
import tomllib
from pathlib import Path
from typing import Any

from app.cli.errors import Code, fail


def read_document(path: Path) -> dict[str, Any]:
    """An object from a file, by its suffix; `-` is stdin, in JSON or YAML. Ends the command where it is none."""
    try:
        content = sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
        found = _parsed(content.decode("utf-8-sig"), path.suffix.lower())
    except RecursionError:
        fail(f"expected JSON, YAML or TOML in {path}, found it nested too deep: write fewer levels", Code.USAGE)
    except OSError as error:
        fail(f"expected a file that can be read, found: {error}: check its path", Code.USAGE)
    except UnicodeDecodeError as error:
        wrong = f"the byte {error.object[error.start]:#04x} at {error.start}"
        fail(f"expected JSON, YAML or TOML as UTF-8 in {path}, found {wrong}: name another file", Code.USAGE)
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


def write_text(path: Path, text: str) -> None:
    """Write a file as a whole, or leave the one that is there. Raises OSError."""
    content = text.encode("utf-8", "backslashreplace")
    target = path.resolve()
    if target.exists() and not target.is_file():  # such as /dev/stdout
        target.write_bytes(content)
        return
    with target.open("ab"):  # one that must not be written is not replaced either
        pass
    fresh = target.with_name(f".stillhouse-{os.getpid()}")
    try:
        fresh.write_bytes(content)
        shutil.copymode(target, fresh)
        fresh.replace(target)
    finally:
        fresh.unlink(missing_ok=True)
