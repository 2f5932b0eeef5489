"""Generated calls against a running service, by its own OpenAPI document."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from app.db.urls import Dialect
from tests.databases import migrated_postgresql, running_postgresql
from tests.demo.service import Service
from tests.mutants.fuzz.filled import fill
from tests.mutants.fuzz.hooks import KNOWN_IDS

ROOT: Final = Path(__file__).parents[3]
_OPTIONS: Final = (
    "--generation-database=none",
    "--continue-on-failure",
    "--exclude-checks=positive_data_acceptance",  # hooks.py has a stricter one, which knows our codes
    "--output-sanitize=false",  # a curl command can be repeated; its key is of this service alone
    "--request-timeout=120",  # a slow machine is no fault
    "--warnings=off",
    "--no-color",
)
_SETTINGS: Final = {
    "STILLHOUSE_SPARE_DISK_BYTES": "0",
    "STILLHOUSE_PREDICTION_SECONDS": "100",
    "STILLHOUSE_REQUESTS_PER_SECOND": "1000000",
    "STILLHOUSE_REQUEST_BURST": "1000000",
    "STILLHOUSE_WRONG_KEYS_PER_MINUTE": "1000000",
}
"""Neither a full disk nor a slow machine is a fault of the service, and its limits would answer most calls with 429."""


@contextmanager
def _database(dialect: Dialect) -> Iterator[Mapping[str, str]]:
    """Settings of a service on an empty database of this kind."""
    if dialect == "sqlite":
        yield {}
        return
    with running_postgresql() as server, migrated_postgresql(server) as url:
        yield {"STILLHOUSE_DATABASE_URL": url}


def send(folder: Path, dialect: Dialect, seed: int, seconds: int) -> bool:
    """Send calls for so long, and print what was found. Whether there was no fault.

    The service trains nothing meanwhile, so that its jobs stay queued and the calls have the machine.
    """
    with _database(dialect) as settings:
        ids = fill(folder / "data", settings)
        with Service(folder / "data", workers=0, settings={**settings, **_SETTINGS}) as service:
            sound = _run(folder, service, ids, seed, seconds)
        if not sound:
            print(f"the end of the service's log:\n{(folder / 'data' / 'service.log').read_text()[-4000:]}")
    return sound


def _run(folder: Path, service: Service, ids: Mapping[str, list[str]], seed: int, seconds: int) -> bool:
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{service.url}/openapi.json"]
    command += [
        "--header",
        f"Authorization: Bearer {service.key}",
        f"--seed={seed}",
        f"--max-time={seconds}",
        *_OPTIONS,
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "SCHEMATHESIS_HOOKS": "tests.mutants.fuzz.hooks",
        KNOWN_IDS: json.dumps(ids),
    }
    # In a folder of its own: it leaves a cache in the working directory.
    return subprocess.run(command, env=environment, cwd=folder, check=False).returncode == 0
