"""Exported weights: equal bytes for equal networks, and a file that lives without the service."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from pydantic import TypeAdapter
from safetensors import safe_open
from safetensors.torch import load_file

from app.contracts.resources.manifests import ClassOutput, InputTransform, OutputSpec, ValueOutput
from app.contracts.specs.architectures import Architecture
from tests.engine.export.raw_students import raw_student
from workers.engine.common.files import sha256_of
from workers.engine.export.model_card import Provenance, metadata
from workers.engine.export.onnx import export_onnx
from workers.engine.export.safetensors import export_safetensors
from workers.engine.models import Network, build, initialise

ROOT = Path(__file__).parents[3]
ARCHITECTURE: TypeAdapter[Architecture] = TypeAdapter(Architecture)
OUTPUTS: dict[str, OutputSpec] = {"digit": ClassOutput(kind="class"), "size": ValueOutput(kind="value", std=2.0)}
FROM = Provenance(
    kind="distill",
    datasets=("d" * 64,),
    teachers=("e" * 64,),
    steps=120,
    seed=3,
    metrics={"digit": {"accuracy": 0.953, "auroc": None, "rows": 200.0}},
    not_measured={"size": "none of the 200 rows of the test split has a label for `size`"},
)


def network(spec: dict[str, object]) -> Network:
    built = build(ARCHITECTURE.validate_json(json.dumps(spec)))
    initialise(built, seed=5)
    return built


def mlp() -> Network:
    return network({"family": "mlp", "input_shape": [6], "hidden": [8, 5], "outputs": {"digit": 4, "size": 1}})


def convnet() -> Network:
    return network(
        {"family": "convnet", "input_shape": [1, 8, 8], "channels": [4, 6], "hidden": [7], "outputs": {"digit": 10}}
    )


def resnet() -> Network:
    return network({"family": "resnet", "input_shape": [3, 8, 8], "depth": 8, "outputs": {"digit": 10}})


def exported(path: Path, built: Network) -> str:
    inputs = {"x": InputTransform(scale=0.5, mean=(0.1,) * built.input_shape[0])}
    card = metadata(built.architecture, inputs, {name: OUTPUTS[name] for name in built.output_sizes}, FROM)
    export_safetensors(built, path, card)
    return sha256_of(path)


@pytest.mark.parametrize("build_one", [mlp, convnet, resnet])
def test_a_file_holds_every_tensor_bit_for_bit(build_one: Callable[[], Network], tmp_path: Path) -> None:
    built = build_one()
    exported(tmp_path / "s.safetensors", built)
    found, state = load_file(tmp_path / "s.safetensors"), built.state_dict()
    assert set(found) == set(state)
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_one_metadata_key_holds_canonical_json(tmp_path: Path) -> None:
    built = mlp()
    exported(tmp_path / "s.safetensors", built)
    with safe_open(tmp_path / "s.safetensors", framework="pt") as file:
        found = file.metadata()
    assert list(found) == ["stillhouse"]
    document = json.loads(found["stillhouse"])
    assert ARCHITECTURE.validate_json(json.dumps(document["architecture"])) == built.architecture
    assert document["inputs"]["x"]["scale"] == 0.5
    assert document["outputs"]["size"]["std"] == 2.0
    assert found["stillhouse"] == json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_the_card_says_what_it_is_and_what_it_does_not_show(tmp_path: Path) -> None:
    card = str(metadata(mlp().architecture, {}, OUTPUTS, FROM)["card"])
    for part in ("mlp", "by distillation", "120 optimiser steps", "d" * 64, "e" * 64, "accuracy 0.953", "not measured"):
        assert part in card
    assert "auroc" not in card
    assert "its teachers get wrong" in card


def test_the_card_of_a_control_names_no_teacher() -> None:
    alone = Provenance(kind="distill", datasets=("d" * 64,), teachers=("e" * 64,), control=True)
    card = str(metadata(mlp().architecture, {}, OUTPUTS, alone)["card"])
    assert "as a control" in card
    assert "teacher" not in card


_EXPORT = """
import sys
from pathlib import Path
from tests.engine.export import test_safetensors as exports
print(*exports.digests(Path(sys.argv[1])))
"""


def digests(folder: Path) -> list[str]:
    """SHA-256 of exports in both formats."""
    found = [exported(folder / f"{i}.safetensors", build()) for i, build in enumerate((mlp, convnet, resnet))]
    export_onnx(raw_student(mlp()), folder / "mlp.onnx", {"card": "c", "inputs": {}})
    return [*found, sha256_of(folder / "mlp.onnx")]


def test_processes_with_other_hash_seeds_write_the_same_bytes(tmp_path: Path) -> None:
    """A new process and the one of the tests."""
    seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
    for folder in ("here", "there"):
        (tmp_path / folder).mkdir()
    command = [sys.executable, "-c", _EXPORT, str(tmp_path / "there")]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    here = digests(tmp_path / "here")
    assert done.stdout.split() == here
    assert len(set(here)) == 4


_RELOAD = """
import json, sys
import torch
from safetensors import safe_open
with safe_open(sys.argv[1], framework="pt") as file:
    card = json.loads(file.metadata()["stillhouse"])
    weights = {name: file.get_tensor(name) for name in file.keys()}
transform, x = card["inputs"]["x"], torch.load(sys.argv[2], weights_only=True)
x = (x * transform["scale"] - torch.tensor(transform["mean"])) / transform["std"]
for i in range(len(card["architecture"]["hidden"])):
    x = torch.relu(x @ weights[f"layers.{i}.weight"].T + weights[f"layers.{i}.bias"])
heads = {name: x @ weights[f"heads.{name}.weight"].T + weights[f"heads.{name}.bias"]
         for name in card["architecture"]["outputs"]}
assert not any(name.startswith(("app", "workers")) for name in sys.modules)
torch.save(heads, sys.argv[3])
"""


def test_a_file_reloads_with_safetensors_and_torch_alone(tmp_path: Path) -> None:
    built = mlp()
    exported(tmp_path / "s.safetensors", built)
    rows = torch.randn(50, 6, generator=torch.Generator().manual_seed(0))
    torch.save(rows, tmp_path / "x.pt")
    paths = [str(tmp_path / name) for name in ("s.safetensors", "x.pt", "y.pt")]
    subprocess.run([sys.executable, "-c", _RELOAD, *paths], cwd=tmp_path, check=True)
    found = torch.load(tmp_path / "y.pt", weights_only=True)
    with torch.no_grad():
        expected = built(rows * 0.5 - 0.1)
    assert set(found) == set(expected)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], atol=1e-5, rtol=0.0)
    assert torch.equal(found["digit"].argmax(1), expected["digit"].argmax(1))
