"""Files, streams, encodings and answers as no manual describes them: words and exit codes, never a traceback."""

import json
import os
import pty
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.client.scripted import Answer, problem, scripted
from tests.integration.cli.conftest import COMMAND, Shell

MODEL = Answer(200, {"id": "mdl_1", "format": "safetensors"})


def at(shell: Shell, url: str) -> Shell:
    shell.environment |= {"STILLHOUSE_URL": url, "STILLHOUSE_KEY": "key"}
    return shell


DEEP = "[" * 100_000
SPECS: Mapping[str, bytes] = {
    "deep.json": DEEP.encode(),
    "deep.yaml": DEEP.encode(),
    "cycle.yaml": b"labels: &a\n  again: *a\n",
    "levels.json": b'{"a": ' + b"[" * 200 + b"]" * 200 + b"}",
    "half.json": b'{"name": "\\ud800"}',
    "bytes.json": b'{"name": "\xff"}',
}


@pytest.mark.parametrize("name", SPECS)
def test_a_spec_that_no_request_can_hold_is_a_usage_error(stranger: Shell, name: str) -> None:
    (stranger.folder / name).write_bytes(SPECS[name])
    with scripted([MODEL]) as server:
        assert "stillhouse: expected" in at(stranger, server.url)("submit", name, code=2).err
        assert not server.asked


def test_a_spec_with_a_byte_order_mark_in_any_locale_is_read(stranger: Shell) -> None:
    (stranger.folder / "spec.json").write_bytes(b"\xef\xbb\xbf" + '{"name": "Größe"}'.encode())
    stranger.environment |= {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    with scripted([Answer(202, {"id": "job_1", "state": "queued"})]) as server:
        at(stranger, server.url)("submit", "spec.json")
        assert json.loads(server.asked[0].body) == {"name": "Größe"}


def test_an_answer_that_stdout_cannot_hold_is_printed_with_escapes_and_is_json(stranger: Shell) -> None:
    stranger.environment |= {"PYTHONIOENCODING": "latin-1"}
    page = Answer(200, {"data": [{"id": "job_1", "kind": "train", "state": "queued", "name": "猫"}]})
    with scripted([page]) as server:
        assert "\\u732b" in at(stranger, server.url)("jobs").out
        assert json.loads(stranger("jobs", "--json").out)["name"] == "猫"


def test_a_report_is_written_as_a_whole_or_not_at_all(stranger: Shell) -> None:
    report = Answer(200, "Größe".encode(), kind="text/plain; charset=utf-8")
    stranger.environment |= {"PYTHONUTF8": "0", "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    job = Answer(200, {"id": "job_1"})
    with scripted([job, report, job, report]) as server:
        at(stranger, server.url)("report", "job_1", "-o", "report.txt")
        assert (stranger.folder / "report.txt").read_bytes() == "Größe".encode()
        stranger("report", "job_1", "-o", "-")
    assert sorted(path.name for path in stranger.folder.iterdir()) == ["report.txt"]


def test_a_download_to_stdout_or_a_device_is_refused_before_any_request(stranger: Shell) -> None:
    with scripted([MODEL]) as server:
        for target in ("-", "/dev/null"):
            assert "name a file" in at(stranger, server.url)("download", "mdl_1", "-o", target, code=2).err
        assert not server.asked


def test_a_download_makes_its_folder(stranger: Shell) -> None:
    (stranger.folder / "model").mkdir()
    with scripted([MODEL, Answer(200, b"weights")] * 2) as server:
        at(stranger, server.url)("download", "mdl_1", "-o", "out/")
        stranger("download", "mdl_1", "-o", ".")
    assert (stranger.folder / "out/mdl_1.safetensors").read_bytes() == b"weights"


def test_teachers_answer_in_columns_of_their_own(stranger: Shell) -> None:
    teacher: dict[str, Any] = {"task": "digit", "model": "mdl_2", "answer": {"class": [1, 7]}}
    silent: dict[str, Any] = {"task": "digit", "model": None, "answer": None, "not_answered": {"code": "columns_only"}}
    answer = {"model": "mdl_1", "rows": 2, "outputs": {"digit": {"class": [1, 2]}}, "teachers": [teacher, silent]}
    with scripted([MODEL, Answer(200, answer)]) as server:
        lines = at(stranger, server.url)("predict", "mdl_1", "-", "--compare", given="{}").out.splitlines()
    assert lines[0].split() == ["row", "digit", "digit", "of", "mdl_2", "digit", "of", "a", "teacher"]
    assert [line.split() for line in lines[1:]] == [["0", "1", "1", "columns_only"], ["1", "2", "7", "columns_only"]]


def test_with_json_an_error_is_json_on_stderr(stranger: Shell) -> None:
    invalid = Answer(422, {"code": "invalid", "detail": "expected a", "errors": [{"pointer": "/a", "code": "b"}]})
    with scripted([Answer(invalid.status, invalid.body, kind="application/problem+json")]) as server:
        done = at(stranger, server.url)("jobs", "--json", code=1)
    assert not done.out
    assert json.loads(done.err) == {
        "error": {
            "code": "invalid",
            "detail": "expected a",
            "status": 422,
            "errors": [{"pointer": "/a", "code": "b", "detail": ""}],
        }
    }
    stranger.environment.pop("STILLHOUSE_URL")
    assert json.loads(stranger("jobs", "--json", code=4).err)["error"]["code"] == "not_signed_in"
    assert json.loads(stranger("submit", "none.json", "--json", code=2).err)["error"]["code"] == "usage"


def test_full_storage_is_a_refusal_of_a_service_that_is_there(stranger: Shell) -> None:
    with scripted([problem(507, "storage_full")]) as server:
        assert "storage_full" in at(stranger, server.url)("jobs", code=1).err


def test_the_end_of_stdin_at_a_prompt_is_a_usage_error(stranger: Shell) -> None:
    assert "found the end of stdin: give it by --url" in stranger("login", given="", code=2).err
    assert "by --key-file" in stranger("login", "--url", "http://127.0.0.1:1", given="", code=2).err


def test_a_key_file_of_other_bytes_is_a_usage_error(stranger: Shell) -> None:
    (stranger.folder / "key").write_bytes(b"\xffkey")
    said = stranger("login", "--url", "http://127.0.0.1:1", "--key-file", "key", code=2)
    assert "expected a key of printable characters" in said.err


def test_an_interrupt_at_a_prompt_ends_as_everywhere(stranger: Shell) -> None:
    own, theirs = pty.openpty()
    with subprocess.Popen(
        [COMMAND, "login", "--url", "http://127.0.0.1:1"],
        env=stranger.environment, cwd=stranger.folder, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True,
    ) as asking:  # fmt: skip
        shown = b""
        while b"Key" not in shown:
            shown += os.read(own, 4096)
        asking.send_signal(signal.SIGINT)
        assert asking.wait() == 130
    os.close(theirs)
    os.close(own)


def test_a_login_that_cannot_be_deleted_is_said(stranger: Shell) -> None:
    (stranger.folder / "config/stillhouse/login.json").mkdir(parents=True)
    assert "delete it by hand" in stranger("logout", code=1).err


@pytest.mark.parametrize("closed", ["2>&-", "<&-", ">&-", ">&- 2>&- <&-"])
def test_a_closed_stream_is_no_reason_for_a_traceback(stranger: Shell, closed: str) -> None:
    (stranger.folder / "out").mkdir()
    with scripted([Answer(200, {"data": []})]) as server:
        at(stranger, server.url)
        for words, code in (("jobs", 0), ("submit - --wait", 2)):
            command = ["sh", "-c", f'exec "$0" {words} {closed}', str(COMMAND)]
            done = subprocess.run(
                command, env=stranger.environment, cwd=stranger.folder, capture_output=True, check=False, input=b""
            )
            assert (done.returncode, b"Traceback" in done.stderr) == (code, False)


def test_without_a_home_a_command_says_that_nobody_is_signed_in(stranger: Shell, tmp_path: Path) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME"):
        stranger.environment.pop(name, None)
    program = "import pwd; pwd.getpwuid = lambda _: {}['no entry']; from app.cli import main; main()"
    python = COMMAND.with_name("python")
    done = subprocess.run(
        [python, "-c", program, "jobs"], env=stranger.environment, cwd=tmp_path, capture_output=True, check=False
    )
    assert (done.returncode, b"Traceback" in done.stderr) == (4, False), done.stderr
