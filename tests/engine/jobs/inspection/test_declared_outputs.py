"""A model that puts out something else than its manifest declares is rejected: of a family, or as a graph."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from safetensors.torch import save_file

from tests.engine.jobs.inspection.onnx_graphs import graph, inspected, value
from tests.engine.jobs.inspection.uploads import model_manifest, refused, weights
from workers.engine.jobs.inspection.family_models import inspect_family_model


def family(folder: Path, output: dict[str, Any]) -> None:
    """A perceptron of two numbers, which have any sign."""
    save_file(weights(), folder / "model.safetensors")
    inspect_family_model(folder / "model.safetensors", model_manifest(outputs={"y": output}))


def linear(folder: Path, output: dict[str, Any]) -> None:
    """The same as a graph."""
    w = np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32)
    inspected(graph(weights={"w": w, "b": np.zeros(2, np.float32)}), folder, outputs={"y": output})


def softmax(folder: Path, output: dict[str, Any]) -> None:
    """A graph that ends in softmax."""
    nodes = [helper.make_node("Softmax", ["x"], ["y"], axis=1)]
    inspected(
        graph(*nodes, inputs=[value("x", ["n", 4])], outputs=[value("y", ["n", 4])]), folder, outputs={"y": output}
    )


WRONG: list[tuple[Callable[[Path, dict[str, Any]], None], dict[str, Any]]] = [
    *(
        (add, {"kind": "class", "output": each})
        for add in (family, linear)
        for each in ("probabilities", "log_probabilities")
    ),
    *((add, {"kind": "multilabel", "output": "probabilities"}) for add in (family, linear)),
    *((softmax, {"kind": "class", "output": each}) for each in ("logits", "energies", "log_probabilities")),
]


@pytest.mark.parametrize(("add", "output"), WRONG)
def test_a_model_with_other_outputs_than_declared_is_rejected(
    add: Callable[[Path, dict[str, Any]], None], output: dict[str, Any], tmp_path: Path
) -> None:
    assert f"declared as {output['output']}" in refused("wrong_output", lambda: add(tmp_path, output), more=1 << 31)


@pytest.mark.parametrize(
    ("add", "output"),
    [
        *((add, {"kind": "class", "output": each}) for add in (family, linear) for each in ("logits", "energies")),
        *((add, {"kind": "multilabel"}) for add in (family, linear)),
        (family, {"kind": "vector"}),
        (softmax, {"kind": "class", "output": "probabilities"}),
        (softmax, {"kind": "multilabel", "output": "probabilities"}),
    ],
)
def test_a_model_with_the_outputs_that_it_declares_is_ready(
    add: Callable[[Path, dict[str, Any]], None], output: dict[str, Any], tmp_path: Path
) -> None:
    add(tmp_path, output)
