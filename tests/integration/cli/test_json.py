"""`--json` of commands for the service on this machine, and of arguments that are wrong."""

import json

import pytest

from tests.integration.cli.conftest import Shell


def test_keys_migrations_and_garbage_are_json(stranger: Shell) -> None:
    at = ("--data", "data", "--json")
    assert stranger("migrate", *at).json == {"is_up_to_date": True}
    made = stranger("keys", "create", "me", *at)
    assert made.json.keys() == {"id", "name", "prefix", "key"}
    assert made.json["key"].startswith(made.json["prefix"])
    (listed,) = stranger("keys", "list", *at).json
    assert (listed["id"], listed["name"], listed["revoked_at"]) == (made.json["id"], "me", None)
    assert listed["created_at"].endswith("+00:00")
    assert stranger("keys", "revoke", listed["id"], *at).json == {"revoked": 1}
    again = json.loads(stranger("keys", "revoke", listed["id"], *at, code=1).err)
    assert again["error"] == {"code": "refused", "detail": "no active key has this id or prefix"}
    assert stranger("gc", "--dry-run", *at).json == {"is_dry_run": True, "items": []}


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
