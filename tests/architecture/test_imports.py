"""Who may import whom. The rules themselves stand in pyproject.toml."""

import subprocess
import sys
from functools import cache
from pathlib import Path

from workers.runtime.child.pool import DEFAULT_ENTRY

ROOT = Path(__file__).parents[2]
CHILD = f"import {DEFAULT_ENTRY.partition(':')[0]}; assert 'workers.engine.run' in sys.modules"
HEAVY = ("torch", "numpy", "onnx", "onnxruntime", "pyarrow", "safetensors", "workers")


@cache
def _loaded_after(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint('\\n'.join(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


def test_the_api_imports_neither_torch_nor_the_workers() -> None:
    loaded = _loaded_after(
        "import app.main, app.cli.local.actions, app.contracts.resolving.resolve, app.contracts.layouts.summary"
    )
    assert not loaded & set(HEAVY)


def test_the_client_imports_nothing_of_the_service_and_no_arrays() -> None:
    loaded = _loaded_after("import stillhouse")
    assert "httpx" in loaded
    assert not loaded & {*HEAVY, "app", "fastapi", "starlette", "sqlalchemy", "pydantic", "pandas", "tqdm", "typer"}


def test_the_command_imports_neither_service_nor_client_before_it_needs_them() -> None:
    loaded = _loaded_after(
        "import contextlib, io\nfrom app.cli import cli\nwith contextlib.redirect_stdout(io.StringIO()) as shown:\n"
        "    cli(['--help'], standalone_mode=False)\nassert 'submit' in shown.getvalue()"
    )
    assert "typer" in loaded
    service = {"fastapi", "starlette", "sqlalchemy", "pydantic"}
    assert not loaded & {*HEAVY, *service, "stillhouse", "httpx", "yaml", "rich"}


def test_the_runtime_imports_neither_torch_nor_the_engine() -> None:
    loaded = _loaded_after(
        "import workers.__main__, workers.runtime.retention.policy, sys; assert 'workers.engine' not in sys.modules"
    )
    assert not loaded & {"torch", "onnx", "onnxruntime", "fastapi"}


def test_the_engine_imports_neither_database_nor_network() -> None:
    """Nor does the child around it."""
    loaded = _loaded_after(CHILD)
    assert not loaded & {"sqlalchemy", "fastapi", "httpx", "obstore", "psycopg", "aiosqlite"}


def test_the_fork_server_imports_no_scipy_and_no_cvxpy() -> None:
    """They take seconds: the functions that use them import them."""
    assert not _loaded_after(CHILD) & {"scipy", "cvxpy", "torchjd"}


def test_the_import_rules_hold() -> None:
    linter = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([linter, "--no-cache"], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout
