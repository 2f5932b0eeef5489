"""Ctrl+C while a job is waited for."""

import signal
import subprocess
from typing import Any

from tests.integration.cli.conftest import COMMAND, Shell


def test_an_interrupted_wait_leaves_the_job_running_and_says_how_to_go_on(shell: Shell, spec: dict[str, Any]) -> None:
    name = shell.write("long.json", {**spec, "training": {"epochs": 100_000, "batch_size": 16}})
    with subprocess.Popen(
        [COMMAND, "submit", name, "--wait"], env=shell.environment, cwd=shell.folder, stderr=subprocess.PIPE, text=True
    ) as waiting:
        assert waiting.stderr is not None
        job = waiting.stderr.readline().split()[0]
        assert job.startswith("job_")
        assert waiting.stderr.readline()  # the first event: the wait has begun
        waiting.send_signal(signal.SIGINT)
        said = waiting.stderr.read()
        assert waiting.wait() == 130
    assert f"the job goes on: `stillhouse watch {job}`" in said
    assert "Traceback" not in said
    assert shell("cancel", job, "--json").json["state"] in ("cancelling", "cancelled")
