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


def plain_distillation(distillation: dict[str, Any] | None) -> dict[str, Any]:
    """`distillation` of a task with its weights named, 0.9 and 0.1, and a temperature of 4 for each `kd` in it."""
    spec = distillation or {}
    given = spec.get("soft_targets") or []
    terms = [
        {"weight": 0.9, **({"temperature": 4.0} if term["method"] == "kd" else {}), **term}
        for term in ([given] if isinstance(given, dict) else given)
    ]
    supervised = {"weight": 0.1, **spec.get("supervised", {})}
    return {**spec, "supervised": supervised, **({"soft_targets": terms} if terms else {})}


def plain_spec(spec: dict[str, Any]) -> dict[str, Any]:
    """The spec with every setting of its training and distillation named, unless it names a recipe; one seed and no
    baselines unless it asks for them.
    """
    if "job" in spec:
        return {**spec, "job": plain_spec(spec["job"])}
    training = spec.get("training", {})
    if spec["kind"] in ("distill", "multitask"):
        spec = {"repeats": 1, **spec}
    if spec["kind"] == "multitask":
        spec = {"baselines": False, **spec}
    if "recipe" in training:
        return spec
    plain = {**spec, "training": plain_training(**training)}
    plain |= {name: _plain_network(spec[name]) for name in ("model", "student") if name in spec}
    if spec.get("mutual") is not None:
        plain["mutual"] = {**spec["mutual"], "peers": [_plain_network(peer) for peer in spec["mutual"]["peers"]]}
    if spec["kind"] == "distill":
        plain["distillation"] = plain_distillation(spec.get("distillation"))
    if spec["kind"] == "multitask":
        plain["tasks"] = [_plain_task(task) for task in spec["tasks"]]
    return plain


def _plain_network(network: dict[str, Any]) -> dict[str, Any]:
    return {"pooling": "average", **network} if network.get("family") == "convnet" else network


def _plain_task(task: dict[str, Any]) -> dict[str, Any]:
    if task.get("teachers") is None:
        return task
    return {**task, "distillation": plain_distillation(task.get("distillation"))}


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
