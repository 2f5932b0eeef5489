"""The commands for a service: what they print, where, and how they end."""

import json
import re
import stat
from pathlib import Path
from typing import Any

from tests.demo.service import Service, free_port
from tests.integration.cli.conftest import MANIFEST, Shell


def test_a_job_from_its_spec_to_its_results(shell: Shell, spec: dict[str, Any]) -> None:
    done = shell("submit", shell.write("spec.json", spec), "--wait", "--json")
    job = done.json["id"]
    assert done.json["state"] == "succeeded"
    assert re.search(r"phase +training\n", done.err)
    assert re.search(r"state +succeeded\n", done.err)

    table = shell("jobs", "--kind", "train", "--state", "succeeded", "--limit", "100").out
    assert re.search(rf"^{job} +train +succeeded +100 % .*teacher$", table, re.MULTILINE)
    lines = shell("logs", job).out.splitlines()
    assert lines[0].endswith("state      queued")
    events = [json.loads(line) for line in shell("logs", job, "--follow", "--json").out.splitlines()]
    assert [event["seq"] for event in events] == list(range(1, len(lines) + 1))
    assert shell("watch", job).out == f"{job} succeeded, its student is {done.json['student']}\n"

    assert shell("report", job).out.startswith("Trained a student")
    assert shell("report", job, "--json").json["kind"] == "train"
    shell("report", job, "--format", "html", "-o", "report.html")
    assert (shell.folder / "report.html").read_text().startswith("<!doctype html>")
    assert "stillhouse: expected files" in shell("report", job, "-o", "none/report.txt", code=2).err

    model = shell("download", job, "--json").json
    assert (shell.folder / model["file"]).stat().st_size == model["bytes"]
    shell("download", model["model"], "--format", "bundle", "-o", "bundle.zip")
    assert (shell.folder / "bundle.zip").read_bytes().startswith(b"PK")
    rows = json.dumps({"inputs": {"x": [[1, 0, 0], [0, 0, 1]]}})
    assert [line.split() for line in shell("predict", job, "-", given=rows).out.splitlines()] == [
        ["row", "kind"], ["0", "0"], ["1", "2"],
    ]  # fmt: skip
    (shell.folder / "rows.csv").write_text("x\n1\n")
    assert "rows" in shell("predict", model["model"], "rows.csv", code=1).err
    listed = [json.loads(line)["id"] for line in shell("models", "--json", "--limit", "100").out.splitlines()]
    assert model["model"] in listed


def test_specs_are_read_as_json_yaml_toml_and_from_stdin(shell: Shell, spec: dict[str, Any]) -> None:
    yaml = f"kind: train\ndataset: {spec['dataset']}\nmodel: {{family: mlp, hidden: [4]}}\n"
    toml = f'kind = "train"\ndataset = "{spec["dataset"]}"\nmodel = {{ family = "mlp", hidden = [4] }}\n'
    (shell.folder / "spec.yaml").write_text(yaml)
    (shell.folder / "spec.toml").write_text(toml)
    shell.write("spec.json", spec)
    files = [(f"spec.{suffix}", "") for suffix in ("json", "yaml", "toml")]
    for name, given in (*files, ("-", yaml), ("-", json.dumps(spec))):
        assert shell("submit", name, "--dry-run", "--json", given=given).json["parameters"] == 31
    shown = shell("submit", "spec.yaml", "--dry-run").out
    assert "parameters of the student: 31" in shown
    assert "chosen /training" in shown


def test_a_wrong_spec_says_where_and_a_wrong_file_is_a_usage_error(shell: Shell, spec: dict[str, Any]) -> None:
    wrong = shell("submit", shell.write("wrong.json", {**spec, "modle": 1, "labels": {"a b": ""}}), code=1)
    assert "/modle: " in wrong.err
    assert "/labels" in wrong.err
    assert not wrong.out
    (shell.folder / "bad.json").write_text("{")
    (shell.folder / "nan.json").write_text('{"kind": "train", "dataset": NaN}')
    for name in ("bad.json", "none.json", "nan.json", shell.write("list.json", [1])):
        assert "stillhouse: expected" in shell("submit", name, code=2).err
    assert "Usage" in shell("submit", code=2).err


def test_jobs_are_cancelled_paused_resumed_retried_compared_and_deleted(shell: Shell, spec: dict[str, Any]) -> None:
    long = {**spec, "training": {"epochs": 100_000, "batch_size": 16}}
    job = shell("submit", shell.write("long.json", long), "--json").json["id"]
    assert shell("pause", job, "--json").json["state"] in ("pausing", "paused")
    assert "not_finished, HTTP 409" in shell("retry", job, code=1).err
    assert shell("resume", job, "--json").json["state"] in ("queued", "starting", "running", "pausing")
    assert job in shell("cancel", job).out
    assert f"{job} cancelled" in shell("watch", job, code=1).out
    again = shell("retry", job, "--json").json
    assert again["retry_of"] == job
    shell("cancel", again["id"])
    shell("watch", again["id"], code=1)
    assert shell("delete", job).out == f"deleted {job}\n"
    assert "unknown_job" in shell("watch", job, code=1).err
    assert "begins with job_" in shell("delete", "something", code=2).err


def test_students_are_compared_in_a_table(shell: Shell, spec: dict[str, Any]) -> None:
    teacher = shell("submit", shell.write("spec.json", spec), "--json").json["id"]
    student = {key: spec[key] for key in ("dataset", "training")} | {
        "kind": "distill",
        "student": spec["model"],
        "repeats": 1,
    }
    student["teachers"] = [{"job": teacher}]
    name = shell.write("student.json", student)
    jobs = [shell("submit", name, "--wait", "--json").json["id"] for _ in range(2)]
    table = shell("compare", *jobs).out
    assert table.startswith("kind: accuracy\nrank")
    assert all(job in table for job in jobs)
    assert shell("compare", *jobs, "--json").json["compared"] == 2


def test_an_upload_that_is_rejected_says_why(shell: Shell) -> None:
    (shell.folder / "rows.csv").write_text("a,y\n1,0\n2,7\n" * 20)
    manifest = {**MANIFEST, "format": "csv", "inputs": {"x": {"kind": "array", "columns": ["a"]}}}
    manifest["targets"] = {"y": {"kind": "class", "classes": 2}}
    refused = shell("upload", "dataset", "rows.csv", "--manifest", shell.write("manifest.json", manifest), code=1)
    assert "was rejected (" in refused.err
    assert "expected `inputs`" in shell("upload", "dataset", "rows.csv", code=2).err


def test_signing_in_checks_and_stores_url_and_key_for_oneself(stranger: Shell, service: Service) -> None:
    assert "stillhouse login" in stranger("jobs", code=4).err
    wrong = stranger("login", "--url", service.url, "--key-file", "-", given="wrong-key-of-nobody\n", code=4)
    assert "wrong-key" not in wrong.err + wrong.out
    done = stranger("login", "--url", f"{service.url}/", "--key-file", "-", "--json", given=f"{service.key}\n")
    file = Path(done.json["file"])
    assert done.json["url"] == service.url
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert service.key not in done.out + done.err
    stranger("datasets")
    assert stranger("logout").out == f"deleted {file}\n"
    assert stranger("logout").out == "nothing was stored\n"
    assert not file.exists()
    stranger("models", code=4)


def test_the_prompts_of_login_do_not_echo_the_key(stranger: Shell, service: Service) -> None:
    done = stranger("login", "--url", service.url, given=f"{service.key}\n")
    assert service.key not in done.out + done.err
    assert done.out.startswith(f"signed in at {service.url}")


def test_a_service_that_is_not_there_and_a_wrong_key_have_codes_of_their_own(stranger: Shell, service: Service) -> None:
    stranger.environment |= {"STILLHOUSE_URL": service.url, "STILLHOUSE_KEY": "wrong-key-of-nobody"}
    assert "HTTP 401" in stranger("jobs", code=4).err
    stranger.environment["STILLHOUSE_URL"] = f"http://127.0.0.1:{free_port()}"
    assert "found none" in stranger("jobs", code=3).err


def test_completion_has_commands_and_the_ids_of_jobs(shell: Shell, spec: dict[str, Any]) -> None:
    job = shell("submit", shell.write("spec.json", spec), "--json").json["id"]
    assert "complete -o default -F _stillhouse_completion stillhouse" in shell("--show-completion", "bash").out
    shell.environment |= {"_STILLHOUSE_COMPLETE": "complete_bash", "COMP_CWORD": "1", "COMP_WORDS": "stillhouse sub"}
    assert shell().out.split() == ["submit"]
    shell.environment |= {"COMP_CWORD": "2", "COMP_WORDS": "stillhouse watch job_"}
    assert job in shell().out.split()
    shell.environment["STILLHOUSE_URL"] = f"http://127.0.0.1:{free_port()}"
    assert shell().out.split() == []
