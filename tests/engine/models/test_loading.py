"""Weights into an architecture: renamed by whole components, complete, of the right shapes, or refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from app.contracts.resources.manifests import ModelManifest
from app.contracts.wire.orders import InspectionOutcome, ModelInput
from tests.engine.jobs.inspection.uploads import (
    MLP,
    bounded_memory,
    forward,
    ignore_event,
    inspection,
    model_manifest,
    refused,
    weights,
)
from workers.engine.common.files import sha256_of
from workers.engine.jobs.inspection.family_models import inspect_family_model
from workers.engine.jobs.inspection.inspect import inspect
from workers.engine.models import build
from workers.engine.models.loading import load_weights
from workers.engine.models.parameter_names import renamed


def loaded(tensors: dict[str, Tensor], folder: Path, **changes: Any) -> dict[str, Tensor]:
    save_file(tensors, folder / "model.safetensors")
    manifest = model_manifest(**changes)
    assert manifest.architecture is not None
    return load_weights(folder / "model.safetensors", manifest, manifest.architecture)


def inspected(tensors: dict[str, Tensor], folder: Path, **changes: Any) -> object:
    save_file(tensors, folder / "model.safetensors")
    return inspect_family_model(folder / "model.safetensors", model_manifest(**changes))


def under(tensors: dict[str, Tensor], **prefixes: str) -> dict[str, Tensor]:
    """The tensors under other prefixes: `fc1="layers.0"` calls `layers.0.weight` `fc1.weight`."""
    theirs = {ours: name for name, ours in prefixes.items()}
    return {f"{theirs[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}": value for name, value in tensors.items()}


@pytest.mark.parametrize(
    ("name", "rename", "found"),
    [
        ("fc1.weight", {"fc1": "layers.0"}, "layers.0.weight"),
        ("fc10.weight", {"fc1": "layers.0"}, "fc10.weight"),
        ("fc1", {"fc1": "layers.0"}, "layers.0"),
        ("a.fc1.weight", {"fc1": "layers.0"}, "a.fc1.weight"),
        ("net.fc1.weight", {"net": "x", "net.fc1": "layers.0"}, "layers.0.weight"),
        ("net.fc2.weight", {"net": "x", "net.fc1": "layers.0"}, "x.fc2.weight"),
        ("net.0.weight", {"net.0.weight": "layers.0.weight", "net.0": "y"}, "layers.0.weight"),
        ("weight", {}, "weight"),
        ("module.fc1.weight", {"module": ""}, "fc1.weight"),
        ("module.fc1.weight", {"module": "", "fc1": "layers.0"}, "layers.0.weight"),
        ("module.fc1.weight", {"module": "", "module.fc1": "x"}, "x.weight"),
        ("module", {"module": ""}, "module"),
    ],
)
def test_a_prefix_renames_whole_components_and_the_longest_one_wins(
    name: str, rename: dict[str, str], found: str
) -> None:
    assert renamed(name, rename) == found


def test_fc1_does_not_catch_fc10(tmp_path: Path) -> None:
    """Trap: by plain prefixes `fc10` would become `layers.00`."""
    given = under(weights(), fc1="layers.0", fc10="layers.1")
    found = loaded(given, tmp_path, rename={"fc1": "layers.0", "fc10": "layers.1"})
    assert found.keys() == weights().keys()
    assert all(torch.equal(found[name], value) for name, value in weights().items())


def test_a_file_under_other_names_answers_as_its_own_network(tmp_path: Path) -> None:
    given = under(weights(), **{"net.fc.1": "layers.0", "net.fc.2": "layers.1"})
    rename = {"net.fc.1": "layers.0", "net.fc.2": "layers.1"}
    manifest = model_manifest(rename=rename)
    assert manifest.architecture is not None
    network = build(manifest.architecture)
    network.load_state_dict(loaded(given, tmp_path, rename=rename))
    rows = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(rows)["y"], forward(weights(), rows), rtol=0, atol=1e-6)


def test_missing_and_unexpected_parameters_are_named_with_the_way_out(tmp_path: Path) -> None:
    given = under(weights(), fc1="layers.0", fc2="layers.1")
    message = refused("missing_parameters", lambda: loaded(given, tmp_path, rename={"fc1": "layers.0"}))
    assert "missing: `layers.1.weight`, `layers.1.bias`" in message
    assert "unexpected: `fc2.bias`, `fc2.weight`" in message
    assert "`rename`" in message


def test_a_file_that_holds_more_is_refused_as_unexpected(tmp_path: Path) -> None:
    given = weights() | {"layers.2.weight": torch.zeros(2, 2)}
    message = refused("unexpected_parameters", lambda: loaded(given, tmp_path))
    assert "unexpected: `layers.2.weight`" in message
    assert "`architecture`" in message


def test_shapes_that_do_not_fit_are_named_with_what_was_expected_and_found(tmp_path: Path) -> None:
    given = weights() | {"layers.0.weight": torch.zeros(4, 3), "layers.1.bias": torch.zeros(2, 1)}
    message = refused("wrong_shape", lambda: loaded(given, tmp_path))
    assert "`layers.0.weight` expected [3, 4], found [4, 3]" in message
    assert "`layers.1.bias` expected [2], found [2, 1]" in message


def test_two_parameters_renamed_to_one_are_refused_by_its_name(tmp_path: Path) -> None:
    given = weights() | {"fc1.weight": torch.zeros(3, 4)}
    message = refused("bad_rename", lambda: loaded(given, tmp_path, rename={"fc1": "layers.0"}))
    assert "`layers.0.weight`" in message


def test_a_misfit_of_thousands_of_parameters_is_reported_in_ten(tmp_path: Path) -> None:
    given = {f"block{i}.weight": torch.zeros(1) for i in range(15_000)}
    message = refused(
        "missing_parameters", lambda: loaded(given, tmp_path, rename={f"b{i}": f"c{i}" for i in range(4096)})
    )
    assert "and 14990 more" in message


BATCH: dict[str, Any] = MLP | {"normalization": "batch"}


def test_batchnorms_statistics_are_needed_and_its_counter_is_not(tmp_path: Path) -> None:
    statistics = {"weight": 2.0, "bias": 1.0, "running_mean": 0.5, "running_var": 4.0}
    given = weights() | {f"norms.0.{name}": torch.full((3,), value) for name, value in statistics.items()}
    found = loaded(given, tmp_path, architecture=BATCH)
    assert found["norms.0.num_batches_tracked"].dtype == torch.int64
    manifest = model_manifest(architecture=BATCH)
    assert manifest.architecture is not None
    network = build(manifest.architecture).eval()
    network.load_state_dict(found)
    rows = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    p = weights()
    h = rows @ p["layers.0.weight"].T + p["layers.0.bias"]
    h = torch.relu((h - 0.5) / (4.0 + 1e-5) ** 0.5 * 2.0 + 1.0)
    expected = h @ p["layers.1.weight"].T + p["layers.1.bias"]
    torch.testing.assert_close(network(rows)["y"], expected, rtol=0, atol=1e-5)
    del given["norms.0.running_var"]
    message = refused("missing_parameters", lambda: loaded(given, tmp_path, architecture=BATCH))
    assert "missing: `norms.0.running_var`" in message
    assert "num_batches_tracked" not in message


def convnet(**changes: Any) -> dict[str, Any]:
    return {"family": "convnet", "input_shape": [1, 8, 8], "channels": [2], "outputs": {"y": 2}} | changes


IMPOSSIBLE: dict[str, tuple[dict[str, Any], str, str]] = {
    "a convnet of flat rows": (convnet(input_shape=[64]), "shape_mismatch", "[channels, length], found [64]"),
    "stages that halve to nothing": (convnet(channels=[2] * 4), "too_many_stages", "at most 3 stages"),
    "a narrow image": (convnet(input_shape=[1, 8, 1]), "too_many_stages", "8x1 to nothing"),
    "rows beyond all bounds": (MLP | {"input_shape": [65_536, 65_536]}, "shape_mismatch", "4294967296 numbers"),
    "a resnet of depth 9": (
        {"family": "resnet", "input_shape": [1, 8, 8], "depth": 9, "outputs": {"y": 2}},
        "bad_depth",
        "6n+2",
    ),
}


@pytest.mark.parametrize("what", IMPOSSIBLE)
def test_an_architecture_that_cannot_be_is_refused_before_its_weights(what: str, tmp_path: Path) -> None:
    architecture, code, fragment = IMPOSSIBLE[what]
    assert fragment in refused(code, lambda: inspected(weights(), tmp_path, architecture=architecture))


OUTPUTS: dict[str, tuple[dict[str, Any], int, str, str]] = {
    "a class of one score": ({"kind": "class"}, 1, "wrong_output", "at least 2 scores, found 1"),
    "three names for two scores": ({"kind": "class", "classes": ["a", "b", "c"]}, 2, "wrong_output", "names 3 classes"),
    "two numbers for a value": ({"kind": "value"}, 2, "wrong_output", "one number a row, found 2"),
}


@pytest.mark.parametrize("what", OUTPUTS)
def test_an_output_that_does_not_fit_its_kind_is_refused_by_name(what: str, tmp_path: Path) -> None:
    spec, size, code, fragment = OUTPUTS[what]
    architecture = MLP | {"outputs": {"y": size}}
    message = refused(code, lambda: inspected(weights(), tmp_path, architecture=architecture, outputs={"y": spec}))
    assert fragment in message
    assert "`y`" in message


def test_statistics_must_fit_the_first_dimension_of_a_row(tmp_path: Path) -> None:
    good = {"x": {"mean": [0.0] * 4, "std": 2.0}}
    inspected(weights(), tmp_path, inputs=good)
    bad = {"x": {"mean": [0.0] * 3}}
    message = refused("shape_mismatch", lambda: inspected(weights(), tmp_path, inputs=bad))
    assert "`inputs.x`: `mean` has 3 numbers, expected 1 or 4" in message


def test_an_uploaded_model_must_say_its_input_and_outputs() -> None:
    incomplete = {name: value for name, value in MLP.items() if name != "input_shape"}
    text = json.dumps(
        {"name": "m", "format": "safetensors", "architecture": incomplete, "outputs": {"y": {"kind": "class"}}}
    )
    with pytest.raises(ValueError, match="needs `input_shape` and `outputs`"):
        ModelManifest.model_validate_json(text)


def uploaded(tensors: dict[str, Tensor], folder: Path, **changes: Any) -> InspectionOutcome:
    path = folder / "upload"
    torch.save(tensors, path) if changes.get("format") == "state_dict" else save_file(tensors, path)
    upload = ModelInput(id="mdl", manifest=model_manifest(**changes), path=str(path), sha256="0" * 64)
    with bounded_memory(1 << 30):
        return inspect(inspection(folder, upload), ignore_event)


def test_an_inspection_tells_the_facts_of_a_sound_model(tmp_path: Path) -> None:
    outcome = uploaded(weights(), tmp_path)
    assert outcome.rejection is None
    assert outcome.model is not None
    assert outcome.model.parameters == sum(value.numel() for value in weights().values())
    assert [layer.name for layer in outcome.model.layers] == ["layers.0", "penultimate", "layers.1"]
    assert outcome.files == ()


def test_an_inspected_state_dict_leaves_a_file_that_is_what_it_says(tmp_path: Path) -> None:
    outcome = uploaded(weights(), tmp_path, format="state_dict")
    (file,) = outcome.files
    path = tmp_path / "attempt" / "outputs" / file.path
    assert (file.role, file.bytes, file.sha256) == ("converted", path.stat().st_size, sha256_of(path))
    assert all(torch.equal(value, weights()[name]) for name, value in load_file(path).items())


def test_a_network_whose_activations_need_too_much_memory_is_refused_as_too_large(tmp_path: Path) -> None:
    """Trap: torch says so in a RuntimeError. Here 40 kB of weights make activations of 8 GiB."""
    architecture = convnet(input_shape=[1, 2048, 2048], channels=[512], normalization="none")
    given = {
        "stages.0.0.conv.weight": torch.zeros(512, 1, 3, 3),
        "stages.0.0.conv.bias": torch.zeros(512),
        "layers.0.weight": torch.zeros(2, 512),
        "layers.0.bias": torch.zeros(2),
    }
    outcome = uploaded(given, tmp_path, architecture=architecture)
    assert outcome.rejection is not None
    assert outcome.rejection.code == "too_large"
