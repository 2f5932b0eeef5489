"""What the service writes is its owner's alone, also what an earlier version left open, and no key is in its log."""

import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app.access.first_key import announcement
from app.db.migrate import upgrade
from app.settings import Settings
from app.storage.private import private_folder
from tests.integration.api.harness import MODEL, safetensors
from tests.integration.processes.api_process import ApiProcess

OPEN = 0o022


def open_to_others(folder: Path) -> list[str]:
    """Files and folders below that group or others may read, write or enter."""
    return [str(path.relative_to(folder)) for path in folder.rglob("*") if path.lstat().st_mode & 0o077]


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiProcess]:
    """The API on a data directory of an earlier version, started as most shells do: files are open to others."""
    data = tmp_path_factory.mktemp("private") / "data"
    before = os.umask(OPEN)
    try:
        (data / "blobs" / "ab").mkdir(parents=True)
        (data / "staging").mkdir()
        (data / "blobs" / "ab" / ("c" * 62)).touch(0o444)
        upgrade(Settings(data_dir=data).database)
        for path in data.glob("stillhouse.db*"):
            path.chmod(0o644)
        assert len(open_to_others(data)) >= 6
        with ApiProcess(data, 1024) as running:
            yield running
    finally:
        os.umask(before)


def test_no_file_of_the_service_can_be_read_by_others(api: ApiProcess) -> None:
    made = httpx.post(
        f"{api.url}/v1/models",
        data={"manifest": json.dumps(MODEL)},
        files={"file": ("m.safetensors", safetensors())},
        headers={"Authorization": f"Bearer {api.key}"},
    )
    assert made.status_code == 201
    assert {path.name for path in api.data.glob("stillhouse.db*")} >= {"stillhouse.db", "stillhouse.db-wal"}
    assert len([path for path in (api.data / "blobs").rglob("*") if path.is_file()]) == 2
    assert open_to_others(api.data) == []


def test_the_first_key_is_not_in_the_log_but_in_a_file_that_the_log_names(api: ApiProcess) -> None:
    log = api.log_file.read_text()
    assert api.key not in log
    named = re.findall(r"The admin key is in (\S+),", log)
    assert named == [str(api.data / "admin.key")]
    assert stat.S_IMODE(Path(named[0]).stat().st_mode) == 0o600


def test_a_terminal_is_shown_the_key() -> None:
    assert "secret" in announcement("secret", Path("admin.key"), to_terminal=True)
    assert "secret" not in announcement("secret", Path("admin.key"), to_terminal=False)


def test_a_link_out_of_a_folder_is_not_followed(tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.touch(0o644)
    folder.mkdir(0o755)
    (folder / "link").symlink_to(outside)
    private_folder(folder)
    assert stat.S_IMODE(outside.stat().st_mode) == 0o644
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_worker_creates_its_files_for_its_owner_alone(tmp_path: Path) -> None:
    (tmp_path / "cache" / "inputs").mkdir(parents=True, mode=0o755)
    (tmp_path / "cache").chmod(0o755)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STILLHOUSE_")}
    settings = {"STILLHOUSE_DATA_DIR": str(tmp_path), "STILLHOUSE_DATABASE_URL": "mysql://refused/at-once"}
    command = [sys.executable, "-m", "workers", "--slots", "1", "--lanes", "train"]
    ended = subprocess.run(command, env=clean | settings, capture_output=True, text=True, check=False, umask=OPEN)
    assert "UnsupportedDatabase" in ended.stderr
    assert {path.name for path in tmp_path.iterdir()} >= {"cache", "jobs", "locks", "logs", "sessions"}
    assert open_to_others(tmp_path) == []
