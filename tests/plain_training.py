"""Settings that neither recipe nor inspection chooses: short and plain runs of tests that are about something else."""

import json
from collections.abc import Iterable
from typing import Any

from app.contracts.specs.training import TrainingSettings, TrainingSpec

PLAIN: dict[str, Any] = {
    "batch_size": 64,
    "learning_rate": 0.001,
    "weight_decay": 0.0,
    "schedule": "constant",
    "warmup": 0,
    "clip_norm": 0.0,
    "evaluate_every": 1,
}


OF_SHORT_RUNS = frozenset(
    {
        "few_steps",
        "no_better_than_constant",
        "overfitting",
        "still_improving",
        "student_larger_than_teacher",
        "teacher_weaker_than_control",
        "unscaled_inputs",
        "validation_too_small",
    }
)
"""Warnings that short runs on few raw rows deserve, whatever they are about; `tests/engine/jobs/test_warnings.py`."""


def others(codes: Iterable[str]) -> list[str]:
    """The codes without OF_SHORT_RUNS."""
    return [code for code in codes if code not in OF_SHORT_RUNS]


def plain_training(**changes: Any) -> dict[str, Any]:
    """`training` of a spec with every setting named; 20 epochs where neither `epochs` nor `steps` is given."""
    length = {} if {"epochs", "steps"} & changes.keys() else {"epochs": 20}
    return {**PLAIN, **length, **changes}


def plain_spec(spec: dict[str, Any]) -> dict[str, Any]:
    """The spec with every setting of its training named, unless it names a recipe; one seed and no
    baselines unless it asks for them.
    """
    if "job" in spec:
        return {**spec, "job": plain_spec(spec["job"])}
    training = spec.get("training", {})
    if spec.get("kind") in ("distill", "multitask"):
        spec = {"repeats": 1, **spec}
    if spec.get("kind") == "multitask":
        spec = {"baselines": False, **spec}
    return spec if "recipe" in training else {**spec, "training": plain_training(**training)}


def plain_settings(**changes: Any) -> TrainingSettings:
    """The same, resolved."""
    return TrainingSettings.of(TrainingSpec.model_validate_json(json.dumps(plain_training(**changes))))


def plain_manifest(manifest: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a dataset whose arrays are standardised only where it says so."""
    inputs = {
        name: {"standardize": False, **spec} if spec.get("kind") == "array" else spec
        for name, spec in manifest["inputs"].items()
    }
    return {**manifest, "inputs": inputs}
