"""A command that cannot do its work says what it expected and the way out, before it changes anything."""

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli import cli

Run = Callable[..., Result]
COMMANDS = (["serve"], ["api"], ["worker"], ["migrate"], ["gc"], ["keys", "create", "me"], ["keys", "list"])


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Run]:
    """Runs a command with these settings in the environment, in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    mask = os.umask(0o022)
    monkeypatch.delattr("os.execve")  # a worker would replace this process

    def ended(command: list[str], **settings: object) -> Result:
        environment = {f"STILLHOUSE_{name.upper()}": str(value) for name, value in settings.items()}
        return CliRunner().invoke(cli, command, env=environment)

    yield ended
    os.umask(mask)


def assert_refused(result: Result, *found: str) -> None:
    """One line, no traceback, and all of these in it."""
    assert result.exit_code == 1
    assert isinstance(result.exception, SystemExit), result.exception
    line = result.stderr.strip()
    assert line.startswith("stillhouse: expected ")
    assert "\n" not in line
    assert all(each in line for each in found), line


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_data_folder_that_cannot_be_one_is_refused_by_every_command(
    run: Run, tmp_path: Path, command: list[str]
) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    for folder in (file, file / "below", Path("/proc/no-folder")):
        assert_refused(run([*command, "--data", str(folder)]), str(folder), "--data")
    assert file.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("url", ["file://blobs", "file:///proc/none/blobs", "s3://", "http://user:secret@host/blobs"])
def test_a_store_that_cannot_be_opened_is_refused_without_an_echo(run: Run, tmp_path: Path, url: str) -> None:
    for command in ("serve", "api", "worker"):
        refused = run([command, "--data", str(tmp_path / "data")], store_url=url)
        assert_refused(refused, "STILLHOUSE_STORE_URL")
        assert "secret" not in refused.stderr
    assert not (tmp_path / "data" / "stillhouse.db").exists()


def test_a_folder_of_another_mode_that_cannot_be_written_is_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)  # the superuser may write to any
    assert_refused(run(["migrate", "--data", str(tmp_path / "data")]), "cannot be written by this user")


@pytest.mark.parametrize("command", [["gc"], ["gc", "--dry-run"], ["keys", "list"], ["keys", "revoke", "key_1"]])
def test_a_command_on_what_is_there_creates_nothing_where_there_is_nothing(
    run: Run, tmp_path: Path, command: list[str]
) -> None:
    assert_refused(run([*command, "--data", str(tmp_path / "dtaa")]), "dtaa/stillhouse.db", "--data")
    assert list(tmp_path.iterdir()) == []


def test_a_port_in_use_is_refused_by_name_before_a_database_is_made(run: Run, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        for command in ("serve", "api"):
            refused = run([command, "--port", str(port), "--data", str(tmp_path / "data")])
            assert_refused(refused, f"127.0.0.1:{port}", "Address already in use", "--port")
    assert not (tmp_path / "data" / "stillhouse.db").exists()


def test_a_misspelt_setting_is_named_with_the_one_that_was_meant(run: Run, tmp_path: Path) -> None:
    result = run(
        ["migrate"],
        data_dir=tmp_path / "data",
        request_per_second=5,
        xyzzy=1,
        requests_per_second=5,
        url="http://a",
        key="k",
    )
    assert result.exit_code == 0
    warned = [line for line in result.stderr.splitlines() if "warning" in line]
    assert len(warned) == 2
    assert "STILLHOUSE_REQUEST_PER_SECOND is no setting" in warned[0]
    assert "did you mean STILLHOUSE_REQUESTS_PER_SECOND?" in warned[0]
    assert "STILLHOUSE_XYZZY is no setting" in warned[1]


@pytest.mark.parametrize(("mode", "warns"), [(0o777, True), (0o770, True), (0o755, False), (0o700, False)])
def test_a_data_folder_that_others_may_write_to_is_named(run: Run, tmp_path: Path, mode: int, warns: bool) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(mode)
    result = run(["migrate", "--data", str(folder)])
    assert result.exit_code == 0
    assert (f"others may replace files in {folder} (mode {mode:04o}): chmod 700" in result.stderr) == warns
