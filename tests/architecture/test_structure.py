"""The bounds of the structure: entries, levels, circles."""

from pathlib import Path

import pytest

from tests.architecture.structure import ROOT, Modules, all_circles, circles, levels


@pytest.fixture(scope="module")
def modules() -> Modules:
    return Modules.of(ROOT)


@pytest.mark.parametrize(
    ("package", "most_entries", "most_levels"), [("workers.engine", 13, 8), ("app.contracts", 10, 6)]
)
def test_a_package_has_few_entries_on_few_levels(
    modules: Modules, package: str, most_entries: int, most_levels: int
) -> None:
    siblings = modules.siblings(package)
    assert len(siblings) <= most_entries
    assert levels(siblings) <= most_levels


def test_no_modules_import_each_other_in_a_circle(modules: Modules) -> None:
    assert all_circles(modules) == []


def test_circles_under_type_checking_and_inside_functions_are_found(tmp_path: Path) -> None:
    sources = {
        "a.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from app.b import B\n",
        "b.py": "def f():\n    from app.c import d\n",
        "c/__init__.py": "",
        "c/d.py": "import app.a\n",
    }
    for name, source in sources.items():
        path = tmp_path / "app" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    found = Modules.of(tmp_path)
    assert circles(found.siblings("app")) == [("a", "b", "c")]
    assert all_circles(found) == ["app: a <-> b <-> c"]


def test_levels_are_the_longest_chain_with_a_circle_as_one() -> None:
    chain = {"a": frozenset("b"), "b": frozenset("cd"), "c": frozenset("b"), "d": frozenset[str]()}
    assert levels(chain) == 3
