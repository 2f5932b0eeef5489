"""Jobs that are stopped before chosen steps and resumed, on data and teachers that all tests of a file share."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from app.contracts.resources.splits import SplitName
from app.contracts.wire.events import MetricsEvent
from app.contracts.wire.orders import TrainingOutcome
from tests.engine.harness import SECOND, STUDENT, TEACHER, EngineHarness, StopAtStep, made_once
from workers.engine.common.stop import Stopped, StopReason
from workers.engine.data.reading import read_dataset

PHASES = 3
"""Polls before the first step: on entering loading, teaching and training; and one for each pass of a teacher."""
TRAINING: dict[str, Any] = {"epochs": 2, "batch_size": 32, "learning_rate": 0.02}
BATCHES = 6
"""Steps of an epoch: 168 rows of the training split in batches of 32."""
TRAIN: dict[str, Any] = {
    "kind": "train",
    "target": "label",
    "model": {"family": "mlp", "hidden": [8]},
    "training": TRAINING,
}
DISTILL: dict[str, Any] = {
    "kind": "distill",
    "target": "label",
    "teachers": [{"model": TEACHER}],
    "student": STUDENT,
    "training": TRAINING,
}
MULTITASK: dict[str, Any] = {
    "kind": "multitask",
    "tasks": [{"name": "label"}, {"name": "side"}, {"name": "size"}],
    "student": {"family": "mlp", "hidden": [8]},
    "training": TRAINING,
}
PCGRAD: dict[str, Any] = {
    "balancing": {"method": "pcgrad"},
    "relation": {"matrix": [[2, 1, 1], [0, 1, 1], [1, 0, 3]]},
}
COMBINATION: dict[str, Any] = {
    **MULTITASK,
    **PCGRAD,
    "tasks": [
        {"name": "label", "teachers": [{"model": TEACHER}, {"model": SECOND}]},
        {"name": "side"},
        {"name": "size"},
    ],
    "student": {"family": "mlp", "hidden": [8], "dropout": 0.2},
}


def harness_with_teachers(folder: Path, manifest: str = "{}") -> EngineHarness:
    """A harness with data and two trained teachers. `manifest`: changes of the dataset's manifest, as JSON."""
    return _add_teachers(EngineHarness(folder), manifest)


@made_once
def _add_teachers(harness: EngineHarness, manifest: str) -> None:
    harness.dataset(**json.loads(manifest))
    for seed, model in enumerate((TEACHER, SECOND)):
        job = f"teacher-{seed}"
        outcome = harness.run(TRAIN | {"training": TRAINING | {"seed": seed}}, job)
        harness.teacher(outcome, harness.folder / job / "attempt-1", model)


def alone(harness: EngineHarness, job: str) -> dict[str, Any]:
    """Changes of an order that give the job a cache of its own, so that it trains its own control."""
    return {"cache_dir": str(harness.folder / job / "cache")}


def whole(harness: EngineHarness, spec: dict[str, Any], job: str) -> TrainingOutcome:
    """A job that is not interrupted."""
    return harness.run(spec, job, **alone(harness, job))


def stop(
    harness: EngineHarness,
    spec: dict[str, Any],
    job: str,
    *,
    before: int,
    attempt: int = 1,
    done: int = 0,
    reason: StopReason = "drain",
    cached: bool = False,
    blocks: int = 1,
    **changes: Any,
) -> None:
    """Run an attempt that resumes at step `done` and is asked to stop before step `before` (steps count from 0).

    `cached`: the teachers' outputs lie in the store, as they do after the first attempt. `blocks`: of a teacher's pass,
    at least one for each dataset.
    """
    teachers = {name for name in (TEACHER, SECOND) if name in json.dumps(spec)}
    passes = 0 if cached or attempt > 1 else len(teachers) * blocks
    polls = PHASES + passes + before - done
    with pytest.raises(Stopped) as stopped:
        harness.run(spec, job, attempt, StopAtStep(polls, reason), **{**alone(harness, job), **changes})
    assert stopped.value.reason == reason
    assert harness.log.checkpoints[-1].step == before


def interrupted(harness: EngineHarness, spec: dict[str, Any], job: str, *stops: int) -> TrainingOutcome:
    """A job that is stopped before each of these steps, each time goes on, and ends."""
    for attempt, before in enumerate(stops, start=1):
        stop(harness, spec, job, before=before, attempt=attempt, done=stops[attempt - 2] if attempt > 1 else 0)
    return harness.run(spec, job, len(stops) + 1, **alone(harness, job))


def split_rows(harness: EngineHarness, split: SplitName) -> NDArray[np.int64]:
    """The dataset rows of a split."""
    assert harness.data is not None
    found = read_dataset(Path(harness.data.path), harness.data.manifest).splits[split]
    return np.asarray(found.numpy())


def points(harness: EngineHarness) -> list[tuple[str, int, int, float | None]]:
    """Every metric point of the last run."""
    events = [event for event in harness.log.events if isinstance(event, MetricsEvent)]
    return [(point.series, point.step, point.epoch, point.value) for event in events for point in event.points]
