"""Examples of request bodies, by the name of their schema and a summary. A test validates each."""

from collections.abc import Mapping
from typing import Any, Final

_DATASET: Final = "ds_01890a5d-ac96-774b-bcce-b302099a8057"
_TEACHER: Final = "mdl_01890a5d-ac96-774b-bcce-b302099a8058"
_DISTILLATION: Final = {
    "soft_targets": {"method": "kd", "temperature": 4.0, "weight": 0.9},
    "supervised": {"weight": 0.1},
}

EXAMPLES: Final[Mapping[str, Mapping[str, Any]]] = {
    "ModelManifest": {
        "An mlp in safetensors": {
            "name": "digits teacher",
            "format": "safetensors",
            "architecture": {
                "family": "mlp",
                "input_shape": [1, 28, 28],
                "hidden": [256, 256],
                "outputs": {"digit": 10},
            },
            "rename": {"fc1": "layers.0", "fc2": "layers.1", "fc3": "layers.2"},
            "inputs": {"x": {"scale": 0.00392156862745098}},
            "outputs": {"digit": {"kind": "class", "output": "logits"}},
            "metadata": {"team": "vision"},
        },
        "An ONNX graph": {
            "name": "digits teacher",
            "format": "onnx",
            "outputs": {"digit": {"kind": "class", "output": "probabilities"}},
        },
    },
    "ModelManifestChanges": {
        "Other parameter names": {"rename": {"dense1": "layers.0", "dense2": "layers.1", "dense3": "layers.2"}},
    },
    "PredictRequest": {
        "Two rows of four numbers": {"inputs": {"x": [[5.1, 3.5, 1.4, 0.2], [6.7, 3.1, 4.7, 1.5]]}},
        "Rows of a table": {"rows": [{"colour": "red", "price": 4.5}, {"colour": "blue", "price": None}]},
    },
    "DatasetManifest": {
        "Images in an npz file": {
            "name": "digits",
            "format": "npz",
            "inputs": {"x": {"kind": "array", "shape": [1, 28, 28], "scale": 0.00392156862745098}},
            "targets": {"digit": {"kind": "class", "classes": 10}},
            "splits": {"fractions": {"train": 0.7, "validation": 0.15, "test": 0.15}, "stratify": "digit"},
        },
        "A table": {
            "name": "houses",
            "format": "csv",
            "inputs": {"x": {"kind": "array", "columns": ["rooms", "area", "age"], "standardize": True}},
            "targets": {"price": {"kind": "value"}},
            "splits": {"column": "split"},
        },
        "Categories in a table of a spreadsheet": {
            "name": "sales",
            "format": "csv",
            "csv": {"delimiter": ";", "decimal": ",", "encoding": "windows-1252", "null_values": ["?"]},
            "inputs": {"x": {"kind": "category", "columns": ["colour", "size"]}},
            "targets": {"price": {"kind": "value"}},
            "splits": {"fractions": {"train": 0.7, "validation": 0.15, "test": 0.15}, "group": "customer"},
        },
    },
    "PredictionsManifest": {
        "Probabilities by row id": {
            "name": "a teacher elsewhere",
            "format": "predictions",
            "file_format": "parquet",
            "of": _DATASET,
            "id": "uid",
            "outputs": {"digit": {"columns": ["p0", "p1"], "predicts": {"kind": "class", "output": "probabilities"}}},
        },
        "The likeliest answers of a language model": {
            "name": "a language model",
            "format": "predictions",
            "file_format": "jsonl",
            "of": _DATASET,
            "id": "row",
            "row_numbers": True,
            "outputs": {
                "mood": {
                    "top_k": {"classes": ["first", "second"], "scores": ["first_p", "second_p"]},
                    "predicts": {"kind": "class", "output": "log_probabilities", "classes": ["good", "bad", "mixed"]},
                }
            },
        },
    },
    "PredictionsManifestChanges": {
        "Another column of ids": {"of_column": "row_id"},
    },
    "DatasetManifestChanges": {
        "Another column of labels": {"targets": {"digit": {"kind": "class", "column": "label", "classes": 10}}},
    },
    "JobSpec": {
        "Train a model from labels": {
            "kind": "train",
            "dataset": _DATASET,
            "target": "digit",
            "model": {"family": "mlp", "hidden": [256, 256]},
            "training": {"epochs": 5, "learning_rate": 0.001},
        },
        "Distil a student from a teacher": {
            "kind": "distill",
            "dataset": _DATASET,
            "target": "digit",
            "teachers": [{"model": _TEACHER}],
            "student": {"family": "mlp", "hidden": [16]},
            "distillation": _DISTILLATION,
            "training": {"epochs": 20, "schedule": "cosine"},
            "exports": ["onnx"],
        },
        "Train a student on several tasks": {
            "kind": "multitask",
            "dataset": _DATASET,
            "tasks": [{"name": "left"}, {"name": "right", "weight": 0.5}],
            "student": {"family": "convnet", "channels": [8, 16]},
            "balancing": {"method": "pcgrad"},
        },
        "Distil several tasks that help each other": {
            "kind": "multitask",
            "dataset": _DATASET,
            "tasks": [
                {"name": "left", "teachers": [{"model": _TEACHER, "output": "digit"}], "distillation": _DISTILLATION},
                {"name": "right", "teachers": [{"model": _TEACHER, "output": "digit"}], "distillation": _DISTILLATION},
            ],
            "student": {"family": "convnet", "channels": [8, 16]},
            "relation": {"matrix": [[0.8, 0.2], [0.2, 0.8]], "apply": "rows"},
        },
        "Estimate what a job needs": {
            "kind": "preflight",
            "job": {
                "kind": "distill",
                "dataset": _DATASET,
                "teachers": [{"model": _TEACHER}],
                "student": {"family": "mlp", "hidden": [16]},
            },
        },
    },
    "ExportRequest": {"As ONNX": {"format": "onnx"}},
    "RetryRequest": {"From the newest checkpoint": {"from_checkpoint": True}},
}
