"""A machine with the client alone: commands that need the service's packages name the extra that has them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("fastapi", "sqlalchemy", "pydantic", "uvicorn", "alembic"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
from app.cli import main
sys.argv = ["stillhouse", *sys.argv[1:]]
main()
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT, *words]
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("STILLHOUSE_", "XDG_"))}
    environment = {**clean, "HOME": "/nonexistent"}
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, env=environment)


@pytest.mark.parametrize("words", [["serve"], ["api"], ["worker"], ["migrate"], ["gc"], ["keys", "list"]], ids=" ".join)
def test_a_command_of_the_service_names_the_extra(words: list[str]) -> None:
    done = run(*words)
    assert done.returncode == 1
    assert done.stderr.startswith("stillhouse: expected the packages of the service, found no ")
    assert "pip install 'stillhouse[server]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_commands_for_a_service_elsewhere_need_none_of_them() -> None:
    assert run("--help").returncode == 0
    assert run("serve", "--help").returncode == 0
    done = run("jobs")
    assert done.returncode == 4
    assert "expected the URL of a service" in done.stderr
