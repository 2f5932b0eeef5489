"""A job that goes on with other threads is not called bit-exact, whatever an earlier attempt kept of it."""

import shutil
from typing import Any

import pytest
import torch

from tests.engine.harness import EngineHarness, StopAtStep, report_of
from tests.engine.jobs.interrupted_jobs import DISTILL, alone, harness_with_teachers, whole
from workers.engine.common.environment import environment_fingerprint
from workers.engine.common.files import write_document
from workers.engine.common.stop import Stopped

STEPS = 12
SEARCHED: dict[str, Any] = DISTILL | {
    "distillation": {"soft_targets": {"method": "kd", "temperature": {"search": [1.0, 2.0, 8.0]}}},
    "control": False,
}
REPEATED: dict[str, Any] = DISTILL | {"control": False, "repeats": 2}


pytestmark = pytest.mark.usefixtures("one_thread_again")


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> EngineHarness:
    return harness_with_teachers(tmp_path_factory.mktemp("shared"))


def stopped_after(harness: EngineHarness, spec: dict[str, Any], job: str, steps: int, **changes: Any) -> None:
    """An attempt that is asked to stop after a number of polls of its loops."""
    polls = 4 + steps  # on entering three phases, and a teacher's pass
    with pytest.raises(Stopped):
        harness.run(spec, job, 1, StopAtStep(polls), **{**alone(harness, job), **changes})
    assert harness.log.checkpoints


@pytest.mark.parametrize("steps", [5, STEPS], ids=["while candidates train as one", "when they have been trained"])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_search_of_two_attempts_says_so(shared: EngineHarness, steps: int, threads: int) -> None:
    job = f"searched-{steps}-{threads}"
    stopped_after(shared, SEARCHED, job, steps)
    for first in (shared.folder / job / "checkpoints").glob("step-*"):  # as if it was killed and not asked to stop
        shutil.rmtree(first)
    report = report_of(shared.run(SEARCHED, job, 2, **alone(shared, job), threads=threads))
    assert report.bit_exact is (threads == 1)
    assert shared.log.warnings.count("not_bit_exact") == (threads != 1)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_repeat_on_other_threads_than_the_first_seed_s_says_so(shared: EngineHarness, threads: int) -> None:
    job = f"repeated-{threads}"
    stopped_after(shared, REPEATED, job, STEPS)
    report = report_of(shared.run(REPEATED, job, 2, **alone(shared, job), threads=threads))
    assert report.bit_exact is (threads == 1)


def test_a_job_that_found_its_control_goes_on_from_its_checkpoint_when_memory_runs_out(shared: EngineHarness) -> None:
    whole(shared, DISTILL, "offers")
    cache = alone(shared, "offers")
    with pytest.raises(Stopped):
        shared.run(DISTILL, "takes", 1, StopAtStep(3 + 7), **cache)
    kept = shared.log.checkpoints[-1].step
    write_document(shared.folder / "takes" / "checkpoints" / "memory.json", {"micro_batch_size": 16, "together": True})
    report = report_of(shared.run(DISTILL, "takes", 2, **cache, checkpoint_seconds=0.0))
    assert [event.step for event in shared.log.checkpoints] == list(range(kept, STEPS))
    assert report.micro_batch_size == 16
    assert report.control is not None
    assert report.control.cached


def test_checkpoints_that_are_of_no_use_take_no_new_one_s_place(shared: EngineHarness) -> None:
    """The control is found, then its copy and the cache are lost: the job begins anew."""
    whole(shared, DISTILL, "gives")
    with pytest.raises(Stopped):
        shared.run(DISTILL, "loses", 1, StopAtStep(3 + 7), **alone(shared, "gives"))
    for file in (shared.folder / "loses" / "checkpoints" / "controls").rglob("*.safetensors"):
        file.write_bytes(b"")
    with pytest.raises(Stopped):
        shared.run(DISTILL, "loses", 2, StopAtStep(4 + 3), **alone(shared, "loses"), checkpoint_seconds=0.0)
    kept = sorted(path.name for path in (shared.folder / "loses" / "checkpoints").glob("step-*"))
    assert kept == [f"step-{event.step:08d}-a2" for event in shared.log.checkpoints[-2:]]


def test_a_variable_that_chooses_kernels_is_another_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    here = environment_fingerprint(torch.device("cpu"), 1)
    monkeypatch.setenv("MKL_NUM_THREADS", "4")  # overruled by `threads`
    assert environment_fingerprint(torch.device("cpu"), 1) == here
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
    assert environment_fingerprint(torch.device("cpu"), 1) != here
