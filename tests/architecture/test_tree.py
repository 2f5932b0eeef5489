"""The top level is fixed, so that a newcomer finds every room from the folder names alone."""

import subprocess
from collections import defaultdict
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

ROOT = Path(__file__).parents[2]
PROJECT = {"app", "workers", "migrations", "tests", "pyproject.toml", "README.md", "docker-compose.yml"}
ECOSYSTEM = {
    ".ci", ".dockerignore", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "constraints.txt",
    "constraints-torch-2.11.txt", "docker-compose.gpu.yml",
}  # fmt: skip
MOST_LINES = 500
MOST_ENTRIES = 16


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return [Path(line) for line in listed.splitlines()]


def test_nothing_is_at_the_top_level_but_the_source_and_what_the_ecosystem_expects() -> None:
    top = {path.parts[0] for path in _tracked()}
    assert top >= PROJECT
    assert top <= PROJECT | ECOSYSTEM


def test_no_module_is_too_long() -> None:
    long = {str(path): n for path in _tracked() if path.suffix == ".py" and (n := _lines(path)) > MOST_LINES}
    assert not long


def test_no_folder_has_too_many_entries() -> None:
    folders = _entries([path for path in _tracked() if path.parts[0] in ("app", "workers", "tests")])
    crowded = [
        f"{folder} has {len(entries)} entries: {', '.join(sorted(entries))}"
        for folder, entries in sorted(folders.items())
        if len(entries) > MOST_ENTRIES
    ]
    assert not crowded, f"more than {MOST_ENTRIES} entries; group them into folders:\n" + "\n".join(crowded)


def _entries(paths: Iterable[Path]) -> dict[Path, set[str]]:
    """Files and folders directly in each folder, without `__init__.py`."""
    entries: dict[Path, set[str]] = defaultdict(set)
    for path in paths:
        for entry, folder in pairwise((path, *path.parents[:-1])):
            if entry.name != "__init__.py":
                entries[folder].add(entry.name)
    return entries


def _lines(path: Path) -> int:
    return len((ROOT / path).read_text().splitlines()) if (ROOT / path).exists() else 0
