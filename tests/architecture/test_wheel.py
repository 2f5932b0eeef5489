"""The wheel: built from what the images copy, and with every file that the API serves by itself."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.architecture.compose import ROOT, build_context

DOCS = Path("app/http/docs")
CLIENT = Path("app/client")
LICENCES = {"LICENSE", "NOTICE", "swagger-ui-bundle.js.LICENSE.txt"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The names in a wheel that was built from the images' build context alone."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for path in build_context():
        (source / path.parent).mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, source / path)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*command, "--wheel-dir", str(target), str(source)], check=True, capture_output=True)
    (built,) = target.glob("*.whl")
    return set(zipfile.ZipFile(built).namelist())


def test_every_file_of_the_packages_is_in_the_wheel(wheel: set[str]) -> None:
    context = {_installed(path) for path in build_context() if path.parts[0] in ("app", "migrations", "workers")}
    assert context - wheel == set()
    assert "stillhouse/py.typed" in wheel


def _installed(path: Path) -> str:
    """Where a file of the repository is in the wheel: the client's package is mapped to the top."""
    return str(path.relative_to(CLIENT) if path.is_relative_to(CLIENT) else path)


def test_the_page_of_the_documentation_comes_with_its_licences(wheel: set[str]) -> None:
    served = [Path(name) for name in wheel if Path(name).is_relative_to(DOCS)]
    assert {path.name for path in served if path.parent != DOCS} >= LICENCES | {
        "swagger-ui-bundle.js",
        "swagger-ui.css",
    }
