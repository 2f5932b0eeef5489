"""`--json` of commands for the service on this machine, and of arguments that are wrong."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli import cli
from tests.integration.cli.conftest import Shell


def test_keys_migrations_and_garbage_are_json(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("app.cli.errors._Form.as_json", False)  # and so again after the test: it is of a process

    def run(*words: str, code: int = 0) -> Result:
        done = CliRunner().invoke(cli, [*words, "--data", str(tmp_path / "data"), "--json"])
        assert done.exit_code == code, done.output
        return done

    assert json.loads(run("migrate").stdout) == {"is_up_to_date": True}
    made = json.loads(run("keys", "create", "me").stdout)
    assert "makes a new database" not in run("keys", "create", "again").stderr
    assert made.keys() == {"id", "name", "prefix", "key"}
    assert made["key"].startswith(made["prefix"])
    listed, other = map(json.loads, run("keys", "list").stdout.splitlines())
    assert other["name"] == "again"
    assert (listed["id"], listed["name"], listed["revoked_at"]) == (made["id"], "me", None)
    assert listed["created_at"].endswith("+00:00")
    assert json.loads(run("keys", "revoke", made["id"]).stdout) == {"revoked": 1}
    refused = json.loads(run("keys", "revoke", made["id"], code=1).stderr)
    assert refused["error"]["code"] == "refused"
    assert f"an active key, found {made['id']}" in refused["error"]["detail"]
    assert json.loads(run("gc", "--dry-run").stdout) == {"is_dry_run": True, "items": []}


def test_a_key_in_a_new_database_is_said_to_be_of_no_running_service(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("app.cli.errors._Form.as_json", False)
    done = CliRunner().invoke(cli, ["keys", "create", "me", "--data", str(tmp_path / "elsewhere"), "--json"])
    assert f"makes a new database in {tmp_path / 'elsewhere'}" in done.stderr
    assert json.loads(done.stdout)["name"] == "me"


@pytest.mark.parametrize(
    "words",
    [
        ["jobs", "--limit", "many", "--json"],
        ["--json", "jobs"],
        ["nonsense", "--json"],
        ["logs", "--json"],
        ["serve", "--json"],
        ["keys", "--json"],
        ["gc", "--dry", "--json"],
        ["login", "--json"],
        ["report", "job_1", "--format", "html", "--json"],
    ],
    ids=" ".join,
)
def test_wrong_arguments_are_a_json_error_too(stranger: Shell, words: list[str]) -> None:
    done = stranger(*words, code=2)
    assert not done.out
    error = json.loads(done.err)["error"]
    assert error["code"] == "usage"
    assert error["detail"]


def test_help_is_text_beside_json(stranger: Shell) -> None:
    assert "--json" in stranger("jobs", "--json", "--help").out
