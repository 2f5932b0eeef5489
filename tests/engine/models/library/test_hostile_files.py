"""Hostile files of networks of libraries: refused by name, in bounded memory, and nothing of them runs."""

import json
import os
import pickle
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save
from torch import Tensor, nn

from app.contracts.problems import Rejection
from app.contracts.resources.manifests import ModelManifest
from app.contracts.wire.orders import ModelInput
from tests.engine.jobs.inspection.torch_archives import Called, archive, claimed
from tests.engine.jobs.inspection.uploads import MEBIBYTE, bounded_memory, framed, ignore_event, inspection
from tests.engine.models.library.networks import own
from workers.engine.jobs.inspection.inspect import inspect

Tensors = dict[str, Tensor]
RESNET = {"family": "timm", "name": "test_resnet", "input_shape": [1, 32, 32], "outputs": {"y": 4}}
SHUFFLENET = {"family": "torchvision", "name": "shufflenet_v2_x0_5", "input_shape": [3, 32, 32], "outputs": {"y": 4}}
VARIANCE = "bn1.running_var"


@cache
def sound(name: str = "test_resnet") -> Mapping[str, Tensor]:
    """Weights of a network as its library draws them."""
    torch.manual_seed(0)
    return {key: value.contiguous() for key, value in own(name).state_dict().items()}


def rejection(folder: Path, content: bytes | Path, kind: str, network: Mapping[str, Any]) -> Rejection | None:
    """What an inspection answers, in bounded memory."""
    path = content if isinstance(content, Path) else folder / "upload"
    if isinstance(content, bytes):
        path.write_bytes(content)
    fields = {"name": "m", "format": kind, "architecture": network, "outputs": {"y": {"kind": "class"}}}
    manifest = ModelManifest.model_validate_json(json.dumps(fields))
    upload = ModelInput(id="mdl_1", manifest=manifest, path=str(path), sha256="0" * 64)
    with bounded_memory(1024 * MEBIBYTE):
        return inspect(inspection(folder, upload), ignore_event).rejection


def one(name: str, number: float) -> Tensors:
    """The sound weights with one other number."""
    changed = sound()[name].clone()
    changed.view(-1)[0] = number
    return {**sound(), name: changed}


def header(name: str, **fields: Any) -> bytes:
    """The sound file with another entry in its header."""
    entries, offset, data = {}, 0, b""
    for key, value in sound().items():
        content = value.numpy().tobytes()
        kind = "F32" if value.dtype == torch.float32 else "I64"
        entries[key] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [offset, offset + len(content)]}
        offset, data = offset + len(content), data + content
    entries[name] = {**entries.get(name, {}), **fields}
    return framed(entries, data)


FILES: dict[str, tuple[Callable[[], Tensors | bytes], str, str]] = {
    "names of another program": (
        lambda: {f"net/{key}".replace("/", "_"): value for key, value in sound().items()},
        "missing_parameters",
        "conv1.0.weight",
    ),
    "a name that is missing": (
        lambda: {key: value for key, value in sound().items() if key != "fc.bias"},
        "missing_parameters",
        "`fc.bias`",
    ),
    "an extra tensor": (lambda: {**sound(), "fc2.weight": torch.ones(4, 96)}, "unexpected_parameters", "fc2.weight"),
    "an extra tensor of no numbers": (
        lambda: {**sound(), "empty": torch.ones(0, 7)},
        "unexpected_parameters",
        "empty",
    ),
    "a transposed weight": (
        lambda: {**sound(), "fc.weight": sound()["fc.weight"].T.contiguous()},
        "wrong_shape",
        "expected [4, 96], found [96, 4]",
    ),
    "a weight of no numbers": (lambda: {**sound(), "fc.weight": torch.ones(0, 96)}, "wrong_shape", "found [0, 96]"),
    "a counter of two numbers": (
        lambda: {**sound(), "bn1.num_batches_tracked": torch.tensor([1, 2])},
        "wrong_shape",
        "num_batches_tracked",
    ),
    "whole numbers": (
        lambda: {**sound(), "fc.weight": torch.ones(4, 96, dtype=torch.int64)},
        "wrong_type",
        "torch.int64",
    ),
    "yes and no": (lambda: {**sound(), "fc.bias": torch.ones(4, dtype=torch.bool)}, "wrong_type", "torch.bool"),
    "a weight that is NaN": (lambda: one("fc.weight", float("nan")), "not_finite", "`fc.weight`"),
    "a weight beyond float32": (
        lambda: {**sound(), "fc.bias": torch.full((4,), 1e300, dtype=torch.float64)},
        "not_finite",
        "`fc.bias`",
    ),
    "weights whose products are infinite": (
        lambda: {**sound(), "fc.weight": torch.full((4, 96), 3e38)},
        "not_finite",
        "`y` is infinite",
    ),
    "a mean that is NaN": (lambda: one("bn1.running_mean", float("nan")), "not_finite", "`bn1.running_mean`"),
    "a variance that is NaN": (lambda: one(VARIANCE, float("nan")), "not_finite", f"`{VARIANCE}`"),
    "a negative variance": (lambda: one(VARIANCE, -1.0), "negative_variance", f"`{VARIANCE}` has a variance of -1"),
    "a variance just below 0": (lambda: one(VARIANCE, -1e-6), "negative_variance", f"`{VARIANCE}`"),
    "a path for a name": (lambda: {**sound(), "../../etc/passwd": torch.ones(1)}, "unreadable", "name"),
    "an absolute path for a name": (lambda: {**sound(), "/etc/passwd": torch.ones(1)}, "unreadable", "name"),
    "a huge declared tensor": (lambda: header("fc.weight", shape=[1 << 30, 1 << 30]), "unreadable", "`fc.weight`"),
    "a tensor outside the file": (lambda: header("fc.weight", data_offsets=[0, 1 << 50]), "unreadable", "outside"),
    "an unknown type": (lambda: header("fc.weight", dtype="F8_E4M3"), "unreadable", "F8_E4M3"),
    "a truncated file": (lambda: save(dict(sound()))[:-9], "unreadable", "layer4"),
    "the file of another network": (lambda: dict(sound("test_efficientnet")), "missing_parameters", "conv1.0.weight"),
    "the file of another library": (lambda: dict(sound("shufflenet_v2_x0_5")), "missing_parameters", "layer1"),
    "no tensor": (dict, "empty_model", "state_dict"),
}


def test_the_sound_files_are_ready(tmp_path: Path) -> None:
    assert rejection(tmp_path, save(dict(sound())), "safetensors", RESNET) is None
    assert rejection(tmp_path, header("fc.weight"), "safetensors", RESNET) is None
    assert rejection(tmp_path, save(dict(sound("shufflenet_v2_x0_5"))), "safetensors", SHUFFLENET) is None


@pytest.mark.parametrize("trap", FILES)
def test_a_hostile_file_is_refused_with_what_was_found(trap: str, tmp_path: Path) -> None:
    make, code, expected = FILES[trap]
    made = make()
    found = rejection(tmp_path, made if isinstance(made, bytes) else save(made), "safetensors", RESNET)
    assert found is not None
    assert found.code == code, found.message
    assert expected in found.message
    assert str(tmp_path) not in found.message


NETWORKS: dict[str, tuple[dict[str, Any], str, str]] = {
    "another number of classes": ({**RESNET, "outputs": {"y": 5}}, "wrong_shape", "`fc.bias` expected [5], found [4]"),
    "other channels": ({**RESNET, "input_shape": [3, 32, 32]}, "wrong_shape", "conv1.0.weight"),
    "rows of no height": ({**RESNET, "input_shape": [1, 32]}, "shape_mismatch", "[channels, height, width]"),
    "images of 4 pixels": ({**RESNET, "input_shape": [1, 4, 4]}, "shape_mismatch", "4 x 4 pixels"),
    "images of 65,536 pixels": (
        {**RESNET, "input_shape": [1, 65536, 65536]},
        "shape_mismatch",
        "rows of 4294967296 numbers",
    ),
    "a size that the network does not take": (
        {**RESNET, "name": "levit_128s", "input_shape": [3, 40, 40]},
        "network_misfit",
        "`levit_128s`",
    ),
    "one channel for torchvision": ({**SHUFFLENET, "input_shape": [1, 32, 32]}, "shape_mismatch", "3 channels"),
    "a network that no library lists": ({**RESNET, "name": "resnet_of_nobody"}, "unknown_network", "resnet_of_nobody"),
    "a network of 600 million numbers": (
        {**RESNET, "name": "vit_huge_patch14_224", "input_shape": [3, 224, 224]},
        "missing_parameters",
        "cls_token",
    ),
}


@pytest.mark.parametrize("trap", NETWORKS)
def test_an_architecture_that_does_not_fit_the_file_is_refused(trap: str, tmp_path: Path) -> None:
    network, code, expected = NETWORKS[trap]
    found = rejection(tmp_path, save(dict(sound())), "safetensors", network)
    assert found is not None
    assert found.code == code, found.message
    assert expected in found.message


def _two_of_unknown_names() -> dict[str, Any]:
    return {"first": dict(sound()), "second": one("fc.weight", 7.0)}


CHECKPOINTS: dict[str, tuple[Callable[[Path], Any], str, str]] = {
    "two below unknown keys": (lambda _: _two_of_unknown_names(), "several_state_dicts", "`first`, `second`"),
    "a whole network": (lambda _: own("test_resnet"), "code_carrying_format", "torch.save(model.state_dict(), path)"),
    "a network below a key": (lambda _: {"model": nn.Linear(2, 2)}, "code_carrying_format", "state_dict"),
    "complex numbers": (
        lambda _: {**sound(), "fc.bias": torch.ones(4, dtype=torch.complex64)},
        "unreadable",
        "`fc.bias`",
    ),
    "sparse numbers": (lambda _: {**sound(), "fc.bias": torch.ones(4).to_sparse()}, "unreadable", "`fc.bias`"),
    "a tensor without numbers": (
        lambda _: {**sound(), "fc.bias": torch.ones(4, device="meta")},
        "unreadable",
        "`fc.bias`",
    ),
    "a name that is a path": (lambda _: {**sound(), "../up": torch.ones(2)}, "unreadable", "name"),
    "a tensor that claims more than its record": (
        lambda folder: archive(folder, claimed(size=(1 << 20, 1 << 20), stride=(1, 0))),
        "unreadable",
        "",
    ),
    "a negative variance": (lambda _: one(VARIANCE, -1.0), "negative_variance", f"`{VARIANCE}`"),
}


@pytest.mark.parametrize("trap", CHECKPOINTS)
def test_a_hostile_checkpoint_is_refused_with_what_was_found(trap: str, tmp_path: Path) -> None:
    make, code, expected = CHECKPOINTS[trap]
    path = make(tmp_path)
    if not isinstance(path, Path):
        torch.save(path, tmp_path / "m.pt")
        path = tmp_path / "m.pt"
    found = rejection(tmp_path, path, "state_dict", RESNET)
    assert found is not None
    assert found.code == code, found.message
    assert expected in found.message


def test_a_pickle_that_calls_a_function_is_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    program = pickle.dumps({**sound(), "fc.bias": Called(os.system, f"touch {marker}")}, 2)
    for upload in (archive(tmp_path, program), program):
        found = rejection(tmp_path, upload, "state_dict", RESNET)
        assert found is not None
        assert found.code == "code_carrying_format"
        assert not marker.exists()
