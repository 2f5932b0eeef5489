"""Both sets of exact versions are one set but for torch, and inside the ranges of the project."""

import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.architecture.constraints import OLDER, ROOT, SOURCE, OlderTorch, pinned, text_of

SETS = {"constraints.txt": SOURCE, OLDER.file.name: OLDER.file}


def test_the_file_of_the_older_torch_is_made_of_the_other() -> None:
    assert OLDER.file.read_text() == text_of(OLDER, SOURCE.read_text()), "run python -m tests.architecture.constraints"


def test_they_differ_in_torch_and_what_depends_on_it_alone() -> None:
    newer, older = pinned(SOURCE.read_text()), pinned(OLDER.file.read_text())
    assert newer.keys() == older.keys()
    assert {name for name in newer if newer[name] != older[name]} == {"torch", "torchvision", "setuptools"}
    assert (older["torch"], newer["torch"]) == ("2.11.0", "2.13.0")


@pytest.mark.parametrize("name", SETS)
def test_every_version_is_in_the_ranges_of_the_project(name: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(each for group in ("server", "worker", "vision", "dev") for each in
              project["optional-dependencies"][group])]  # fmt: skip
    versions = {canonicalize_name(each): version for each, version in pinned(SETS[name].read_text()).items()}
    outside = []
    for text in wanted:
        requirement = Requirement(text)
        if requirement.name == "stillhouse":  # an extra that includes another
            continue
        version = versions[canonicalize_name(requirement.name)]
        if version not in requirement.specifier:
            outside.append(f"{text}: {version}")
    assert not outside


def test_a_package_that_the_source_does_not_have_is_named() -> None:
    with pytest.raises(KeyError, match="nothing"):
        text_of(OlderTorch(OLDER.file, "3.12", {"nothing": "1"}), SOURCE.read_text())
