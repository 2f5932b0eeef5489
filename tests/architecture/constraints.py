"""The sets of exact versions: constraints.txt, and the same with an older torch.

python -m tests.architecture.constraints            writes constraints-torch-2.11.txt
python -m tests.architecture.constraints --resolve  resolves both sets by pip, which installs nothing
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
SOURCE: Final = ROOT / "constraints.txt"
WANTED: Final = ".[worker,vision,dev]"


@dataclass(frozen=True)
class OlderTorch:
    """A set of constraints that differs from constraints.txt in `versions`, for a version of Python."""

    file: Path
    python: str
    versions: Mapping[str, str]


OLDER: Final = OlderTorch(
    ROOT / "constraints-torch-2.11.txt",
    python="3.12",
    versions={"setuptools": "81.0.0", "torch": "2.11.0", "torchvision": "0.26.0"},  # torch 2.11 needs setuptools<82
)
_HEAD: Final = """\
# constraints.txt with torch {torch}: written by `python -m tests.architecture.constraints`, not by hand.
"""


def pinned(text: str) -> dict[str, str]:
    """Package -> exact version of a file of constraints."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("==") for line in lines)


def text_of(older: OlderTorch, source: str) -> str:
    """The file of an older torch. Raises KeyError for a package that constraints.txt does not have."""
    versions = pinned(source)
    unknown = older.versions.keys() - versions.keys()
    if unknown:
        raise KeyError(f"constraints.txt has no {sorted(unknown)}")
    lines = [f"{name}=={version}\n" for name, version in {**versions, **older.versions}.items()]
    return _HEAD.format(torch=older.versions["torch"]) + "".join(lines)


def resolved(file: Path, python: str) -> dict[str, str]:
    """What pip would install under these constraints for a version of Python. Raises CalledProcessError."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        options = ["--python-version", python, "--only-binary", ":all:", "--target", f"{folder}/target"]
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", *options]
        subprocess.run([*command, "--constraint", file, "--report", report, WANTED], check=True, cwd=ROOT)
        found = json.loads(report.read_bytes())["install"]
    return {each["metadata"]["name"].lower(): each["metadata"]["version"] for each in found}


def _resolve() -> None:
    for file, python in ((SOURCE, f"{sys.version_info[0]}.{sys.version_info[1]}"), (OLDER.file, OLDER.python)):
        found = resolved(file, python)
        versions = ", ".join(f"{name} {found[name]}" for name in ("torch", "torchvision", "timm"))
        print(f"{file.name}, Python {python}: {len(found)} packages, {versions}")


def main() -> None:
    """Write the file, or resolve both."""
    parser = argparse.ArgumentParser(prog="python -m tests.architecture.constraints", description=__doc__)
    parser.add_argument("--resolve", action="store_true", help="ask pip what it would install; needs an index")
    if parser.parse_args().resolve:
        _resolve()
    else:
        OLDER.file.write_text(text_of(OLDER, SOURCE.read_text()))


if __name__ == "__main__":
    main()
