"""A resume on another device, version, instruction set or thread count: allowed, with a warning, and reported."""

from typing import Any

import pytest
import torch

from app.contracts.wire.events import WarningEvent
from tests.engine.harness import EngineHarness, report_of
from tests.engine.jobs.interrupted_jobs import TRAIN, alone, harness_with_teachers, stop
from tests.engine.plain_training import others
from workers.engine.common.environment import environment_fingerprint
from workers.engine.jobs.runs import runner


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> EngineHarness:
    return harness_with_teachers(tmp_path_factory.mktemp("shared"))


OTHERS: dict[str, Any] = {
    "device": "another card",
    "versions": {"torch": "9.9"},
    "instructions": "NEON",
    "variables": {"ATEN_CPU_CAPABILITY": "avx2"},
    "threads": 7,
}


def test_these_are_all_that_bits_depend_on() -> None:
    assert set(environment_fingerprint(torch.device("cpu"), 1)) == set(OTHERS)


@pytest.mark.parametrize("what", OTHERS)
def test_a_resume_in_another_environment_is_allowed_warned_of_and_marked(
    shared: EngineHarness, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    stop(shared, TRAIN, what, before=3)
    here = environment_fingerprint(torch.device("cpu"), 1)
    monkeypatch.setattr(runner, "environment_fingerprint", lambda device, threads: {**here, what: OTHERS[what]})
    report = report_of(shared.run(TRAIN, what, 2, **alone(shared, what)))
    warned = [event for event in shared.log.events if isinstance(event, WarningEvent)]
    assert others(event.code for event in warned) == ["not_bit_exact"]
    assert f"other {what}:" in next(event.message for event in warned if event.code == "not_bit_exact")
    assert not report.bit_exact
    assert report.attempts == 2
