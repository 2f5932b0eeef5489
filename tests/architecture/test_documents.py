"""README.md and CONTRIBUTING.md name files that exist, and README.md every endpoint."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRACKED = [
    Path(line)
    for line in subprocess.run(
        ["git", "ls-files"], capture_output=True, text=True, check=True, cwd=ROOT
    ).stdout.splitlines()
]
TOP = {path.parts[0] for path in TRACKED}
FOLDERS_AND_FILES = {*TRACKED, *(folder for path in TRACKED for folder in path.parents)}
FILE_NAMES = {path.name for path in TRACKED}
_SUFFIXES = (".py", ".md", ".toml")


def paths(text: str) -> Iterator[str]:
    """The repository paths between backticks, also within a command. Of a placeholder (`a/b/<c>.py`) its folder."""
    for quoted in re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL)):
        for word in quoted.split():
            fixed, placeholder, _ = word.partition("<")
            path = fixed.rpartition("/")[0] if placeholder else word
            if re.fullmatch(r"[\w./-]+", path) and (path.split("/")[0] in TOP or path.endswith(_SUFFIXES)):
                yield path


def missing(text: str) -> list[str]:
    """The paths that do not exist; a name without a folder may be that of any file."""
    return [
        path
        for path in paths(text)
        if Path(path) not in FOLDERS_AND_FILES and not ("/" not in path and path in FILE_NAMES)
    ]


@pytest.mark.parametrize(("name", "least"), [("README.md", 20), ("CONTRIBUTING.md", 40)])
def test_every_path_in_a_document_exists(name: str, least: int) -> None:
    text = (ROOT / name).read_text()
    assert missing(text) == []
    assert len(list(paths(text))) >= least


def test_a_path_that_does_not_exist_is_found() -> None:
    text = (
        "`app/nowhere.py`, `nowhere.py`, `app`, `main.py`, `app/queue/`, `pytest tests/nowhere/test_a.py -x`, "
        "`app/contracts/<name>.py`, `app/nowhere/<name>.py`, `/docs`, `app/*.py`, `GET /v1/jobs`, `losses/nowhere.py`"
    )
    expected = ["app/nowhere.py", "nowhere.py", "tests/nowhere/test_a.py", "app/nowhere", "losses/nowhere.py"]
    assert missing(text) == expected


def endpoints(table: str) -> Iterator[str]:
    """`METHOD path` of each endpoint of a table; the paths of a row have one parent, up to the id in the first one."""
    for row in re.findall(r"^\| ((?:`[^`]+` ?)+)\|", table, re.MULTILINE):
        first, *more = re.findall(r"`([^`]+)`", row)
        *methods, path = first.split()
        parent = path[: path.rfind("}") + 1]
        for each in (path, *(each if each.startswith("/v1") else parent + each for each in more)):
            yield from (f"{method} {each}" for method in methods)


def test_every_endpoint_of_the_document_is_in_the_readme_and_no_other() -> None:
    table = (ROOT / "README.md").read_text().partition("## Endpoints\n")[2].partition("\n## ")[0]
    paths = json.loads((ROOT / "tests/golden/openapi.json").read_text())["paths"].items()
    assert sorted(endpoints(table)) == sorted(f"{method.upper()} {path}" for path, of in paths for method in of)
