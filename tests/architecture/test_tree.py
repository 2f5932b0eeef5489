"""The top level is fixed, so that a newcomer finds every room from the folder names alone."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
HOUSE = {"app", "workers", "migrations", "tests", "pyproject.toml", "README.md", "docker-compose.yml"}
ECOSYSTEM = {
    ".ci", ".dockerignore", ".gitignore", "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "constraints.txt",
    "docker-compose.gpu.yml",
}  # fmt: skip
MOST_LINES = 500


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True, cwd=ROOT).stdout
    return [Path(line) for line in listed.splitlines()]


def test_nothing_stands_at_the_top_level_but_the_house_and_what_the_ecosystem_expects() -> None:
    top = {path.parts[0] for path in _tracked()}
    assert top >= HOUSE
    assert top <= HOUSE | ECOSYSTEM


def test_no_module_is_so_long_that_one_loses_ones_way() -> None:
    long = {str(path): n for path in _tracked() if path.suffix == ".py" and (n := _lines(path)) > MOST_LINES}
    assert not long


def _lines(path: Path) -> int:
    return len((ROOT / path).read_text().splitlines()) if (ROOT / path).exists() else 0
