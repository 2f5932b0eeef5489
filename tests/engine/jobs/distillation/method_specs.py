"""Every distillation method as a spec: the catalogue that tests are parametrised over."""

from typing import Any

from tests.engine.harness import SECOND, TEACHER, EngineHarness, blobs, made_once

Json = dict[str, Any]

TRAINING: Json = {"epochs": 3, "batch_size": 32, "learning_rate": 0.01}
TEACHER_SPEC: Json = {
    "kind": "train",
    "target": "label",
    "model": {"family": "mlp", "hidden": [32, 24]},
    "training": {"epochs": 6, "batch_size": 32, "learning_rate": 0.01},
}
LEARNED: Json = {"learned": True}
LOGITS: dict[str, Json] = {
    "kd": {"method": "kd"},
    "kd, linear temperature": {"method": "kd", "temperature": {"schedule": "linear", "start": 8, "end": 1}},
    "kd, cosine temperature": {"method": "kd", "temperature": {"schedule": "cosine", "start": 1, "end": 6}},
    "kd, learned temperature": {"method": "kd", "temperature": LEARNED},
    "kd, standardised": {"method": "kd", "standardize": True, "temperature": 2},
    "dkd": {"method": "dkd", "beta": 2},
    "dkd, standardised": {"method": "dkd", "standardize": True},
    "dist": {"method": "dist"},
    "dist, learned temperature": {"method": "dist", "temperature": LEARNED},
    "reverse_kl": {"method": "reverse_kl"},
    "jsd": {"method": "jsd", "beta": 0.3},
    "logit_mse": {"method": "logit_mse"},
    "ofa": {"method": "ofa", "student_layers": ["layers.0", "penultimate"], "width": 6, "gamma": 1.5},
    "ofa, standardised": {"method": "ofa", "student_layers": ["layers.0"], "width": 6, "standardize": True},
}
NUMBERS: dict[str, Json] = {
    "mse": {"method": "mse"},
    "huber": {"method": "huber", "delta": 0.5},
    "teacher_bounded": {"method": "teacher_bounded", "margin": 0.1},
}
FEATURES: dict[str, Json] = {
    "fitnets": {"method": "fitnets"},
    "fitnets, unit length": {"method": "fitnets", "normalize": True},
    "similarity": {"method": "similarity"},
    "rkd": {"method": "rkd"},
    "crd": {"method": "crd", "dimensions": 8},
    "review": {
        "method": "review",
        "layers": [
            {"teacher_layer": "layers.0", "student_layer": "layers.0"},
            {"teacher_layer": "penultimate", "student_layer": "penultimate"},
        ],
    },
}
MAPS: dict[str, Json] = {
    "fitnets": {"method": "fitnets"},
    "fitnets, pooled": {
        "method": "fitnets",
        "teacher_layer": "stages.0",
        "student_layer": "penultimate",
        "pool": "mean",
    },
    "attention": {"method": "attention"},
    "similarity": {"method": "similarity"},
    "review": {
        "method": "review",
        "layers": [
            {"teacher_layer": "stages.0", "student_layer": "stages.0"},
            {"teacher_layer": "penultimate", "student_layer": "penultimate"},
        ],
    },
}
TOKEN_STUDENT: Json = {"family": "transformer", "width": 8, "depth": 1, "heads": 2}
_BLOCKS: Json = {"teacher_layer": "blocks.1", "student_layer": "blocks.0"}
_QUERIES: Json = {"teacher_layer": "blocks.1.query", "student_layer": "blocks.0.query"}
_VALUES: Json = {"teacher_layer": "blocks.1.value", "student_layer": "blocks.0.value"}
TOKENS: dict[str, Json] = {
    "hidden_states": {"method": "hidden_states", **_BLOCKS},
    "hidden_states, embedded": {"method": "hidden_states", "teacher_layer": "positions", "student_layer": "positions"},
    "relations": {"method": "relations", "heads": 4, **_QUERIES},
    "relations, values": {"method": "relations", "heads": 1, **_VALUES},
    "fitnets": {"method": "fitnets", **_BLOCKS},
    "similarity": {"method": "similarity", **_BLOCKS},
}


def soft(term: Json, **changes: Any) -> Json:
    """A distill job with one term on the outputs."""
    return job({"soft_targets": {"weight": 0.9, **term}, "supervised": {"weight": 0.1}}, **changes)


def feature(term: Json, **changes: Any) -> Json:
    """A distill job with one term on layers, beside kd."""
    pair = {} if "layers" in term else {"teacher_layer": "penultimate", "student_layer": "penultimate"}
    return job({"soft_targets": {"method": "kd"}, "features": {**pair, "weight": 0.5, **term}}, **changes)


def job(distillation: Json, **changes: Any) -> Json:
    """A distill job of these terms."""
    spec = {
        "kind": "distill",
        "target": "label",
        "teachers": [{"model": TEACHER}],
        "student": {"family": "mlp", "hidden": [8]},
        "distillation": distillation,
        "training": TRAINING,
    }
    return {**spec, **changes}


def several(combine: str) -> Json:
    """Two teachers, averaged in another way than by weights."""
    return job({"soft_targets": {"method": "kd"}, "combine": combine}, teachers=[{"model": TEACHER}, {"model": SECOND}])


CLASS_JOBS: dict[str, Json] = {
    **{name: soft(term) for name, term in LOGITS.items()},
    **{name: feature(term) for name, term in FEATURES.items()},
    "simkd": feature({"method": "simkd"}, student={"family": "mlp", "hidden": [8, 24]}),
    "simkd, in phases": feature(
        {"method": "simkd", "phase": {"end": 0.6}}, student={"family": "mlp", "hidden": [8, 24]}
    ),
    "kd, in phases": job(
        {
            "soft_targets": {"method": "kd", "phase": {"begin": 0.2, "ramp": 0.5}},
            "supervised": {"weight": 1.0, "phase": {"end": 0.5}},
        }
    ),
    "kd, annealed": job({"soft_targets": {"method": "kd"}, "anneal": "linear", "supervised": {"weight": 0.0}}),
    "several terms": job({"soft_targets": [{"method": "kd"}, {"method": "dist"}, {"method": "kd", "temperature": 1}]}),
    "confidence": several("confidence"),
    "learned shares": several("learned"),
}
KEPT = (
    "kd", "kd, learned temperature", "dkd", "dist", "ofa", "fitnets", "crd", "review", "simkd, in phases",
    "several terms",
)  # fmt: skip
"""Of each sort of term one: plain, learned, with labels, comparing rows, predicting from layers, on layers,
contrastive, on several layers, in phases, several.
"""


@made_once
def add_teachers(harness: EngineHarness) -> None:
    """Rows with labels of three classes, and two teachers of them."""
    harness.dataset()
    for model, seed in ((TEACHER, 0), (SECOND, 7)):
        spec = TEACHER_SPEC | {"training": TEACHER_SPEC["training"] | {"seed": seed}}
        harness.teacher(harness.run(spec, f"teacher{seed}"), harness.folder / f"teacher{seed}" / "attempt-1", model)


@made_once
def pictures(harness: EngineHarness) -> None:
    """Small images of three classes, and a convnet that was trained on them."""
    arrays = blobs(rows=180, features=36)
    arrays["x"] = arrays["x"].reshape(-1, 1, 6, 6)
    harness.dataset(arrays)
    spec = TEACHER_SPEC | {"model": {"family": "convnet", "channels": [6, 8]}}
    harness.teacher(harness.run(spec, "teacher"), harness.folder / "teacher" / "attempt-1")


@made_once
def tokens(harness: EngineHarness) -> None:
    """Short sequences of three classes, and a transformer that was trained on them."""
    arrays = blobs(rows=180, features=15)
    arrays["x"] = arrays["x"].reshape(-1, 5, 3)
    harness.dataset(arrays)
    spec = TEACHER_SPEC | {"model": {"family": "transformer", "width": 12, "depth": 2, "heads": 3}}
    harness.teacher(harness.run(spec, "teacher"), harness.folder / "teacher" / "attempt-1")


@made_once
def values(harness: EngineHarness) -> None:
    """A value target, and a teacher that was trained on it."""
    harness.dataset()
    spec = TEACHER_SPEC | {"target": "size"}
    harness.teacher(harness.run(spec, "teacher"), harness.folder / "teacher" / "attempt-1")
