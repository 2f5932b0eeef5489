"""PostgreSQL crashes and comes back while jobs run and clients submit: nothing that was acknowledged is lost."""

import os
from pathlib import Path

from tests.faults.database.restarts import restarts

SEED = int(os.environ.get("STILLHOUSE_FAULT_SEED", "0"))


def test_immediate_restarts_lose_nothing_and_are_answered_with_503(tmp_path: Path) -> None:
    found = restarts(tmp_path, SEED, rounds=3, pause=0.8)
    responses = found.responses
    assert not responses.errors, f"seed {SEED}: {responses.errors}"
    assert not found.traceback, f"seed {SEED}:\n{found.traceback}"
    assert responses.statuses[503] > 0
    assert set(responses.statuses) <= {200, 202, 503}
    # Every acknowledged job is there, ended well and once; and none that was not acknowledged: a 503 was no job.
    assert set(found.jobs) == set(responses.accepted), f"seed {SEED}"
    assert {job["state"] for job in found.jobs.values()} == {"succeeded"}, f"seed {SEED}"
    assert set(found.ends.values()) == {1}
    # The training continued, and its client received every event on its one stream.
    assert (found.trained["attempt"], found.trained["crashes"]) == (1, 0), f"seed {SEED}"
    assert found.events == found.written == list(range(1, len(found.written) + 1))
