"""The fixed jobs whose students must keep their bits: one for each way through the engine."""

from typing import Any

DATASETS: dict[str, dict[str, Any]] = {
    "digits": {
        "name": "digits",
        "format": "npz",
        "inputs": {"x": {"kind": "array", "shape": [1, 8, 8], "scale": 0.0625}},
        "targets": {"digit": {"kind": "class", "classes": 10}},
        "splits": {"fractions": {"train": 0.7, "validation": 0.15, "test": 0.15}, "seed": 0, "stratify": "digit"},
    },
    "tasks": {
        "name": "tasks",
        "format": "npz",
        "inputs": {"x": {"kind": "array", "shape": [1, 8, 8], "scale": 0.0625}},
        "targets": {
            "digit": {"kind": "class", "classes": 10},
            "even": {"kind": "class", "classes": 2},
            "ink": {"kind": "value"},
        },
    },
}

_MLP = {"family": "mlp", "hidden": [16]}
_CONVNET = {"family": "convnet", "channels": [4, 8], "normalization": "batch"}
_TRAINING = {"epochs": 4, "batch_size": 64, "learning_rate": 0.01, "seed": 3, "memory_format": "contiguous"}
_RELATION = {"matrix": [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.1, 0.7]], "apply": "rows"}
_TASKS: list[dict[str, Any]] = [{"name": "digit"}, {"name": "even"}, {"name": "ink"}]

TEACHER: dict[str, Any] = {
    "kind": "train",
    "target": "digit",
    "model": {"family": "mlp", "hidden": [64, 32]},
    "training": {**_TRAINING, "epochs": 6},
}
"""Trained first, on `digits`; every other spec may name its model as `$TEACHER`."""


def _distil(student: dict[str, Any], **distillation: Any) -> dict[str, Any]:
    return {
        "kind": "distill",
        "target": "digit",
        "teachers": [{"model": "$TEACHER"}],
        "student": student,
        "distillation": {"supervised": {"weight": 0.3}, **distillation},
        "training": _TRAINING,
    }


SPECS: dict[str, tuple[str, dict[str, Any]]] = {
    "train": ("digits", {"kind": "train", "target": "digit", "model": _CONVNET, "training": _TRAINING}),
    "distill-kd": ("digits", _distil(_MLP, soft_targets={"method": "kd", "temperature": 4.0})),
    "distill-dkd": ("digits", _distil(_CONVNET, soft_targets={"method": "dkd", "temperature": 2.0})),
    "distill-dist": ("digits", _distil(_MLP, soft_targets={"method": "dist", "standardize": True})),
    "distill-fitnets": (
        "digits",
        _distil(
            _MLP,
            soft_targets={"method": "kd", "temperature": {"schedule": "linear", "start": 8.0, "end": 1.0}},
            features=[{"method": "fitnets", "teacher_layer": "layers.0", "student_layer": "layers.0", "weight": 0.5}],
        ),
    ),
    "multitask-relation-pcgrad": (
        "tasks",
        {
            "kind": "multitask",
            "tasks": _TASKS,
            "student": {**_MLP, "hidden": [24, 16]},
            "relation": _RELATION,
            "balancing": {"method": "pcgrad"},
            "training": _TRAINING,
        },
    ),
    "combination": (
        "tasks",
        {
            "kind": "multitask",
            "tasks": [
                {"name": "digit", "teachers": [{"model": "$TEACHER"}], "distillation": {"anneal": "linear"}},
                {"name": "even"},
                {"name": "ink"},
            ],
            "student": {"family": "mlp", "hidden": [16], "sharing": "mmoe"},
            "balancing": {"method": "uncertainty"},
            "training": {**_TRAINING, "micro_batch_size": 32},
        },
    ),
    "search": (
        "digits",
        {
            **_distil(_MLP, soft_targets={"method": "kd", "temperature": {"search": [1.0, 4.0]}}),
            "repeats": 2,
        },
    ),
}
