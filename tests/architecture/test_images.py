"""The images: what goes in is there, the API's holds no torch, and the project installs without the checkout."""

import re
import tomllib
from importlib.metadata import requires
from typing import Final

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from app.contracts.base import members
from app.contracts.specs.balancing import Balancing
from tests.architecture.compose import ROOT, Image, build_context, image

API: Final = image("app/cli/Dockerfile")
WORKER: Final = image("workers/Dockerfile")
PROJECT: Final = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
HEAVY: Final = {"torch", "numpy", "onnx", "onnxruntime", "pyarrow", "safetensors", "torchjd"}
both = pytest.mark.parametrize("built", [API, WORKER], ids=lambda built: built.path)


def _closure(requirements: list[str]) -> set[str]:
    """The names of all that pip would install for these requirements, here."""
    found: set[tuple[str, str]] = set()
    todo = [(Requirement(text), "") for text in requirements]
    while todo:
        requirement, extra = todo.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
            continue
        name = canonicalize_name(requirement.name)
        for wanted in ("", *requirement.extras):
            if (name, wanted) not in found:
                found.add((name, wanted))
                todo += [(Requirement(text), wanted) for text in requires(name) or ()]
    return {name for name, _ in found}


def _installs(built: Image) -> list[str]:
    return [line for line in built.all("RUN") if "pip install" in line]


@both
def test_whatever_an_image_copies_is_in_the_build_context(built: Image) -> None:
    context = build_context()
    for source in built.sources:
        assert any(path.is_relative_to(source) for path in context), source


def test_nothing_but_the_packages_and_what_builds_them_is_in_the_build_context() -> None:
    top = {path.parts[0] for path in build_context()}
    assert top == {"LICENSE", "README.md", "app", "constraints.txt", "migrations", "pyproject.toml", "workers"}


def test_the_api_image_takes_neither_the_workers_nor_their_libraries() -> None:
    assert "workers" not in API.sources
    assert any("'.[server]'" in line for line in _installs(API))
    installed = _closure([*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["server"]])
    assert "fastapi" in installed
    assert not installed & HEAVY


def test_the_client_is_installed_without_the_service() -> None:
    """The exact list: what a user of a service elsewhere gets by `pip install stillhouse`."""
    installed = _closure(PROJECT["dependencies"])
    assert not installed & {*HEAVY, "fastapi", "starlette", "sqlalchemy", "pydantic", "uvicorn", "alembic"}
    assert {Requirement(text).name for text in PROJECT["dependencies"]} == {
        "httpx",
        "httpx-sse",
        "typer",
        "tqdm",
        "pyyaml",
    }


def test_the_worker_image_has_what_the_engine_needs() -> None:
    assert any("'.[worker,vision]'" in line for line in _installs(WORKER))
    extra = PROJECT["optional-dependencies"]["worker"]
    assert "stillhouse[server]" in extra
    assert {canonicalize_name(Requirement(text).name) for text in extra} >= HEAVY


@both
def test_dependencies_are_installed_under_the_constraints_before_the_code_comes(built: Image) -> None:
    first, second = _installs(built)
    assert "--constraint constraints.txt" in first
    assert "--no-deps" in second
    order = [f"{word} {rest}" for word, rest in built.instructions]
    assert order.index(f"RUN {first}") < order.index("COPY app app") < order.index(f"RUN {second}")


@both
def test_an_image_runs_as_a_user_without_privileges_who_owns_the_data_directory(built: Image) -> None:
    (user,) = built.all("USER")
    assert int(user) > 0
    (made,) = (line for line in built.all("RUN") if "useradd" in line)
    assert f"--uid {user} " in made
    assert made.endswith(f" {built.environment['STILLHOUSE_DATA_DIR']}")


def test_both_images_have_the_same_user_since_they_share_a_volume() -> None:
    assert API.all("USER") == WORKER.all("USER")
    assert API.environment["STILLHOUSE_DATA_DIR"] == WORKER.environment["STILLHOUSE_DATA_DIR"]


@both
def test_the_images_python_is_one_that_the_project_allows(built: Image) -> None:
    bases = {line.split()[0] for line in built.all("FROM")}
    assert len(bases) == 1
    found = re.fullmatch(r"python:(3\.\d+)-slim", bases.pop())
    assert found is not None
    assert found[1] in SpecifierSet(PROJECT["requires-python"])


def test_every_dependency_has_an_exact_version_in_the_constraints() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if not line.startswith("#")]
    pinned = {canonicalize_name(name) for name, version in (line.split("==") for line in lines) if version}
    extras = PROJECT["optional-dependencies"]
    wanted = _closure([*PROJECT["dependencies"], *extras["worker"], *extras["vision"], *extras["dev"]]) - {"stillhouse"}
    of_cuda = {name for name in wanted if name.startswith(("nvidia-", "cuda-", "triton"))} - {"nvidia-ml-py"}
    assert wanted - of_cuda <= pinned, "torch itself pins what a CUDA build brings, and only that"


def test_no_package_under_the_gpl_is_installed_unless_it_is_asked_for() -> None:
    extras = PROJECT["optional-dependencies"]
    unasked = _closure([*PROJECT["dependencies"], *extras["worker"], *extras["vision"], *extras["dev"]])
    asked = {canonicalize_name(Requirement(text).name) for text in extras["gpl"]}
    needed = {package for balancing in members(Balancing) for package in balancing.needs_packages}
    assert asked == needed - unasked == {"ecos", "qpsolvers", "quadprog"}


def test_the_licence_is_the_one_that_the_project_names() -> None:
    assert PROJECT["license"] == "Apache-2.0"
    text = (ROOT / "LICENSE").read_text()
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
