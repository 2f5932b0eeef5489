"""What is trained for the accuracy table: students, methods, seeds."""

import json
from dataclasses import dataclass
from typing import Any

from tests.engine.harness import TEACHER

Json = dict[str, Any]

TEACHER_MODEL: Json = {
    "family": "convnet",
    "channels": [32, 64],
    "hidden": [128],
    "pooling": "flatten",
    "dropout": 0.3,
}
TEACHER_TRAINING: Json = {"epochs": 10, "learning_rate": 0.002, "schedule": "one_cycle", "seed": 100}
TRAINING: Json = {"epochs": 20, "batch_size": 64, "learning_rate": 0.004, "schedule": "one_cycle"}
CONVNET, MLP = "convnet, 1,670 parameters", "mlp, 25,450 parameters"
WIDE = "convnet whose last layer is as wide as the teacher's (simkd), 11,518 parameters"
STUDENTS: dict[str, Json] = {
    CONVNET: {"family": "convnet", "channels": [4, 8, 8], "pooling": "flatten"},
    MLP: {"family": "mlp", "hidden": [32]},
}
WIDE_STUDENT: Json = {**STUDENTS[CONVNET], "hidden": [128]}
FEW_LABELS = "convnet, 1,670 parameters, 400 labelled rows of 4000"
DISTILLED = "kd on all 4000 rows"

KD: Json = {"method": "kd", "temperature": 4.0, "weight": 0.9}
LOGITS: dict[str, Json] = {
    "kd": KD,
    "kd, standardised": {**KD, "standardize": True, "temperature": 2.0},
    "kd, learned temperature": {**KD, "temperature": {"learned": True}},
    "kd, temperature 8 to 1": {**KD, "temperature": {"schedule": "linear", "start": 8.0, "end": 1.0}},
    "dkd": {"method": "dkd", "beta": 2.0},
    "dkd, standardised": {"method": "dkd", "beta": 2.0, "standardize": True, "temperature": 2.0},
    "dist": {"method": "dist"},
    "reverse_kl": {"method": "reverse_kl"},
    "jsd": {"method": "jsd"},
    "logit_mse": {"method": "logit_mse", "weight": 0.1},
    "kd, best of temperatures 1, 2, 4, 8": {**KD, "temperature": {"search": [1.0, 2.0, 4.0, 8.0]}},
}
_DEEP: Json = {"teacher_layer": "stages.1", "student_layer": "stages.1"}
_LAST: Json = {"teacher_layer": "penultimate", "student_layer": "penultimate"}
MAPS: dict[str, Json] = {
    "kd + fitnets": {"method": "fitnets", "weight": 1.0, **_DEEP},
    "kd + attention": {"method": "attention", "weight": 500.0, **_DEEP},
}
VECTORS: dict[str, Json] = {
    "kd + fitnets": {"method": "fitnets", "weight": 1.0, **_LAST},
}
RELATIONS: dict[str, Json] = {
    "kd + similarity": {"method": "similarity", "weight": 1000.0, **_LAST},
    "kd + rkd": {"method": "rkd", "weight": 0.05, **_LAST},
    "kd + crd": {"method": "crd", "weight": 0.3, **_LAST},
}


@dataclass(frozen=True)
class Run:
    """One training: which student, by which method, from which seed."""

    student: str
    method: str
    seed: int
    spec_json: str


def _distill(student: Json, term: Json, seed: int, feature: Json | None = None) -> Json:
    terms: Json = {"soft_targets": term, "supervised": {"weight": 0.1}}
    if feature is not None:
        terms["features"] = feature
    return {
        "kind": "distill",
        "target": "digit",
        "teachers": [{"model": TEACHER}],
        "student": student,
        "distillation": terms,
        "training": {**TRAINING, "seed": seed},
        "control": False,
    }


def _train(student: Json, training: Json) -> Json:
    return {"kind": "train", "target": "digit", "model": student, "training": training}


def methods(student: str, seed: int) -> dict[str, Json]:
    """Every method as a spec, the control first."""
    network = STUDENTS[student]
    plain = {**TRAINING, "seed": seed}
    found = {
        "control": _train(network, plain),
        "control, smoothed labels": _train(network, {**plain, "label_smoothing": 0.1}),
    }
    found |= {name: _distill(network, term, seed) for name, term in LOGITS.items()}
    features = {**(MAPS if student == CONVNET else VECTORS), **RELATIONS}
    return found | {name: _distill(network, KD, seed, feature) for name, feature in features.items()}


def few_labels(seed: int, steps: int) -> dict[str, Json]:
    """400 rows have a label: the control goes through those alone, the student through all, in as many steps."""
    training = {**{k: v for k, v in TRAINING.items() if k != "epochs"}, "steps": steps, "seed": seed}
    network = STUDENTS[CONVNET]
    return {
        "control": _train(network, training),
        DISTILLED: {**_distill(network, KD, seed), "training": training},
    }


def reused_head(seed: int) -> dict[str, Json]:
    """`simkd` beside kd on the student that it needs; in phases: hints first, then labels and soft targets."""
    simkd: Json = {"method": "simkd", "weight": 1.0}
    first, then = {"end": 0.5}, {"begin": 0.5}
    alone = _distill(WIDE_STUDENT, {**KD, "weight": 0.0}, seed, simkd)
    alone["distillation"]["supervised"] = {"weight": 0.0}
    phased = _distill(WIDE_STUDENT, {**KD, "phase": then}, seed, {**simkd, "phase": first})
    phased["distillation"]["supervised"]["phase"] = then
    return {
        "control": _train(WIDE_STUDENT, {**TRAINING, "seed": seed}),
        "kd": _distill(WIDE_STUDENT, KD, seed),
        "simkd": alone,
        "kd + simkd": _distill(WIDE_STUDENT, KD, seed, simkd),
        "simkd, then kd": phased,
    }


def runs(seeds: int) -> list[Run]:
    """Everything, method by method, so that a table can be read while it grows."""
    found = []
    for student in STUDENTS:
        for method in methods(student, 0):
            found += [Run(student, method, seed, json.dumps(methods(student, seed)[method])) for seed in range(seeds)]
    for method in reused_head(0):
        found += [Run(WIDE, method, seed, json.dumps(reused_head(seed)[method])) for seed in range(seeds)]
    steps = TRAINING["epochs"] * -(-4000 // TRAINING["batch_size"])
    for method in few_labels(0, steps):
        found += [Run(FEW_LABELS, method, seed, json.dumps(few_labels(seed, steps)[method])) for seed in range(seeds)]
    return found
