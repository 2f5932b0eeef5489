"""Checkpoints as training scripts write them: which state_dict is the model, and what is said about it."""

import argparse
import datetime
import importlib
import os
import pickle
import shutil
import subprocess
import sys
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import prune

from app.contracts.problems import Rejection
from app.contracts.wire.orders import InspectionOutcome, ModelInput
from tests.engine.jobs.inspection.uploads import forward, ignore_event, inspection, model_manifest, weights
from workers.engine.common.files import sha256_of
from workers.engine.jobs.inspection.inspect import CONVERTED, inspect
from workers.engine.jobs.inspection.state_dict import convert_state_dict
from workers.engine.teachers.teacher import open_teacher

ROWS = torch.randn(9, 4, generator=torch.Generator().manual_seed(1))
SEQUENTIAL = {"0": "layers.0", "2": "layers.1"}
OTHER = {name: -value for name, value in weights().items()}
WEIGHT_NORM = "ignore:.*weight_norm.*deprecated:FutureWarning"


def outcome(content: Any, folder: Path, **changes: Any) -> InspectionOutcome:
    """The inspection of an object as torch.save writes it, or, for `format: safetensors`, of tensors."""
    manifest = model_manifest(**{"format": "state_dict", **changes})
    path = folder / "upload"
    if manifest.format == "safetensors":
        save_file({name: value.detach().clone() for name, value in content.items()}, path)
    else:
        torch.save(content, path)
    model = ModelInput(id="mdl", manifest=manifest, path=str(path), sha256=sha256_of(path))
    found = inspect(inspection(folder, model), ignore_event)
    if found.model is not None:
        converted = next(folder.rglob(CONVERTED), path)
        ready = model.model_copy(update={"facts": found.model, "path": str(converted)})
        (folder / "answers").write_bytes(pickle.dumps(open_teacher(ready, torch.device("cpu"), 1).predict(ROWS)["y"]))
    return found


def answers(folder: Path) -> Tensor:
    found: Tensor = pickle.loads((folder / "answers").read_bytes())
    return found


def said(found: InspectionOutcome) -> list[str]:
    assert found.model is not None, found.rejection
    return [warning["code"] for warning in found.model.warnings]


def rejected(found: InspectionOutcome) -> Rejection:
    assert found.rejection is not None
    return found.rejection


NUMBERS: dict[str, Any] = {
    "epoch": 3,
    "best": np.float64(0.93),
    "counts": np.int64(7),
    "half": np.float16(0.5),
    "lr": 1e-3,
    "arch": "mlp",
    "note": None,
    "history": [1.0, 2.0],
    "args": {"seed": 1},
}


@pytest.mark.parametrize("wrapper", ["net", "params", "state_dict_ema", "model", "generator"])
def test_any_single_key_may_hold_the_state_dict_with_numbers_and_texts_beside_it(wrapper: str, tmp_path: Path) -> None:
    found = outcome({wrapper: OrderedDict(weights()), **NUMBERS}, tmp_path)
    assert said(found) == []
    torch.testing.assert_close(answers(tmp_path), forward(weights(), ROWS), rtol=0, atol=1e-6)


def test_numbers_beside_the_weights_themselves_are_left_out(tmp_path: Path) -> None:
    assert said(outcome({**weights(), **NUMBERS}, tmp_path)) == []


def test_states_of_the_training_run_are_no_candidates(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    optimizer = torch.optim.Adam(network.parameters())
    network(ROWS).sum().backward()
    optimizer.step()
    content = {"net": network.state_dict(), "optimizer": optimizer.state_dict(), "rng_state": torch.get_rng_state()}
    content["loss"] = torch.tensor(0.5)
    del content["rng_state"]
    assert said(outcome(content, tmp_path, rename=SEQUENTIAL)) == []
    torch.testing.assert_close(answers(tmp_path), network(ROWS), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"ema": OTHER, "model": weights()}, "`model` was taken, not `ema`"),
        ({"state_dict_ema": OTHER, "state_dict": weights()}, "`state_dict` was taken, not `state_dict_ema`"),
        ({"model": weights(), "state_dict": OTHER}, "`state_dict` was taken"),
        ({"net": weights(), "head": {"w": torch.ones(2)}}, "`net` was taken, not `head`"),
        ({"model": weights(), "class_weights": torch.ones(2)}, "`model` was taken, not the tensors at the top"),
        ({"a": weights(), "b": weights()}, "`a` was taken, not `b`"),
    ],
    ids=["ema", "timm", "order", "fit", "top", "equal"],
)
def test_what_was_taken_among_several_is_said(content: Any, expected: str, tmp_path: Path) -> None:
    found = outcome(content, tmp_path)
    assert said(found) == ["state_dict_chosen"]
    assert found.model is not None
    assert expected in found.model.warnings[0]["message"]


def test_two_that_differ_and_have_no_usual_name_are_refused_with_the_key_to_say(tmp_path: Path) -> None:
    rejection = rejected(outcome({"student": weights(), "average": OTHER}, tmp_path))
    assert rejection.code == "several_state_dicts"
    assert '`"key": "student"`' in rejection.message


@pytest.mark.parametrize("key", ["ema", "nets.average", "ema.shadow"])
def test_a_key_chooses_by_its_path(key: str, tmp_path: Path) -> None:
    content = {"model": weights(), "ema": OTHER, "nets": {"average": OTHER}, "ema.shadow": OTHER}
    assert said(outcome(content, tmp_path, key=key)) == []
    torch.testing.assert_close(answers(tmp_path), forward(OTHER, ROWS), rtol=0, atol=1e-6)


def test_a_key_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path) -> None:
    rejection = rejected(outcome({"model": weights(), "epoch": 1}, tmp_path, key="ema"))
    assert (rejection.code, "the file has `model`" in rejection.message) == ("unknown_key", True)


@pytest.mark.parametrize("form", ["state_dict", "safetensors"])
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_a_prefix_of_every_name_is_dropped_and_said(prefix: str, form: str, tmp_path: Path) -> None:
    found = outcome({prefix + name: value for name, value in weights().items()}, tmp_path, format=form)
    assert said(found) == ["prefix_dropped"]
    torch.testing.assert_close(answers(tmp_path), forward(weights(), ROWS), rtol=0, atol=1e-6)


@pytest.mark.parametrize("rename", [{"net.": ""}, {"net": ""}])
def test_a_prefix_that_the_manifest_drops_is_dropped_as_a_whole(rename: dict[str, str], tmp_path: Path) -> None:
    given = {f"net.{name}": value for name, value in weights().items()}
    assert said(outcome(given, tmp_path, rename=rename)) == []


def test_a_dropped_prefix_and_renamed_layers_go_together(tmp_path: Path) -> None:
    network = nn.DataParallel(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)))
    assert said(outcome(network.state_dict(), tmp_path, rename={"module.": "", **SEQUENTIAL})) == []
    assert said(outcome(network.state_dict(), tmp_path, rename=SEQUENTIAL)) == ["prefix_dropped"]
    torch.testing.assert_close(answers(tmp_path), network.module(ROWS), rtol=0, atol=1e-6)


def test_an_average_of_weights_goes_without_its_counter(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    averaged = torch.optim.swa_utils.AveragedModel(network)
    assert "n_averaged" in averaged.state_dict()
    assert said(outcome({"ema": averaged.state_dict()}, tmp_path, rename=SEQUENTIAL)) == ["prefix_dropped"]
    torch.testing.assert_close(answers(tmp_path), network(ROWS), rtol=0, atol=1e-6)


def test_missing_biases_are_zero_only_where_the_manifest_says_so(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(4, 3, bias=False), nn.ReLU(), nn.Linear(3, 2))
    rejection = rejected(outcome(network.state_dict(), tmp_path, rename=SEQUENTIAL))
    assert rejection.code == "missing_parameters"
    assert '"missing_biases": "zero"' in rejection.message
    found = outcome(network.state_dict(), tmp_path, rename=SEQUENTIAL, missing_biases="zero")
    assert said(found) == ["zero_biases"]
    torch.testing.assert_close(answers(tmp_path), network(ROWS), rtol=0, atol=1e-6)


def test_a_missing_layer_is_no_missing_bias(tmp_path: Path) -> None:
    given = {name: value for name, value in weights().items() if not name.startswith("layers.1")}
    rejection = rejected(outcome(given, tmp_path, missing_biases="zero"))
    assert "missing: `layers.1.weight`, `layers.1.bias`" in rejection.message


@pytest.mark.filterwarnings(WEIGHT_NORM)
@pytest.mark.parametrize("form", ["state_dict", "safetensors"])
@pytest.mark.parametrize("dim", [0, 1, None])
@pytest.mark.parametrize("norm", [nn.utils.weight_norm, nn.utils.parametrizations.weight_norm], ids=["old", "new"])
def test_weight_norm_is_folded_exactly(norm: Callable[..., Any], dim: int | None, form: str, tmp_path: Path) -> None:
    network = nn.Sequential(norm(nn.Linear(4, 3), dim=dim), nn.ReLU(), nn.Linear(3, 2))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(1.5)  # so that the magnitude is not the norm that it starts as
    found = outcome(network.state_dict(), tmp_path, format=form, rename=SEQUENTIAL)
    assert said(found) == ["weight_norm_folded"]
    assert torch.equal(answers(tmp_path), network(ROWS))


@pytest.mark.parametrize(
    ("content", "names"),
    [
        ({"criterion.weight": torch.ones(3)}, ["criterion"]),
        (
            {"criterion.weight": torch.ones(3), "train_acc.tp": torch.zeros(3, dtype=torch.long)},
            ["criterion", "train_acc."],
        ),
        ({"position_ids": torch.arange(8)[None]}, ["position_ids"]),
        ({"model.aux.weight": torch.ones(3)}, ["model.aux"]),
    ],
    ids=["loss", "metric", "index", "inside"],
)
@pytest.mark.parametrize("form", ["state_dict", "safetensors"])
@pytest.mark.parametrize("prefix", ["", "model."])
def test_tensors_beside_the_layers_are_left_out_by_name(
    prefix: str, form: str, content: dict[str, Tensor], names: list[str], tmp_path: Path
) -> None:
    given = {prefix + name: value for name, value in weights().items()} | content
    rejection = rejected(outcome(given, tmp_path, format=form))
    assert rejection.code == "unexpected_parameters"
    first = next(iter(sorted(content)))
    assert f'"ignore": ["{first}"' in rejection.message
    found = outcome(given, tmp_path, format=form, ignore=names)
    assert sorted(said(found)) == (["prefix_dropped"] if prefix else []) + ["tensors_ignored"]
    assert found.model is not None
    assert all(f"`{name}`" in str(found.model.warnings) for name in content)
    torch.testing.assert_close(answers(tmp_path), forward(weights(), ROWS), rtol=0, atol=1e-6)


@pytest.mark.parametrize("form", ["state_dict", "safetensors"])
def test_what_is_ignored_must_be_there(form: str, tmp_path: Path) -> None:
    given = {**weights(), "loss.weight": torch.ones(3)}
    rejection = rejected(outcome(given, tmp_path, format=form, ignore=["loss", "los", "criterion."]))
    assert (rejection.code, "`los`, `criterion.`" in rejection.message) == ("bad_ignore", True)
    rejection = rejected(outcome(given, tmp_path, format=form, ignore=["loss", "layers"]))
    assert rejection.code == "bad_ignore"


def pruned(layer: nn.Module) -> nn.Module:
    prune.l1_unstructured(layer, "weight", 0.5)  # type: ignore[no-untyped-call]
    return layer


@pytest.mark.filterwarnings("ignore:.*spectral_norm.*deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("change", "call"),
    [
        (nn.utils.spectral_norm, "torch.nn.utils.remove_spectral_norm(layer)"),
        (nn.utils.parametrizations.spectral_norm, 'parametrize.remove_parametrizations(layer, "weight")'),
        (nn.utils.parametrizations.orthogonal, 'parametrize.remove_parametrizations(layer, "weight")'),
        (pruned, 'prune.remove(layer, "weight")'),
    ],
    ids=["spectral_norm", "spectral parametrization", "orthogonal parametrization", "pruning"],
)
def test_weights_that_are_computed_from_others_name_the_call_that_stores_them(
    change: Callable[..., Any], call: str, tmp_path: Path
) -> None:
    network = nn.Sequential(change(nn.Linear(4, 3)), nn.ReLU(), nn.Linear(3, 2))
    rejection = rejected(outcome(network.state_dict(), tmp_path, rename=SEQUENTIAL))
    assert call in rejection.message
    assert "`rename`" not in rejection.message


def test_a_layer_that_is_used_several_times_is_read(tmp_path: Path) -> None:
    shared = nn.Linear(64, 64)
    layers = [nn.Linear(4, 64), *[shared] * 6, nn.Linear(64, 2)]
    network = nn.Sequential(*[part for layer in layers for part in (layer, nn.ReLU())][:-1])
    mlp = {"family": "mlp", "input_shape": [4], "hidden": [64] * 7, "outputs": {"y": 2}}
    rename = {str(2 * place): f"layers.{place}" for place in range(8)}
    assert said(outcome(network.state_dict(), tmp_path, architecture=mlp, rename=rename)) == []
    torch.testing.assert_close(answers(tmp_path), network(ROWS), rtol=0, atol=1e-6)


class Level(Enum):
    LOW = 1


class Settings(dict[str, Any]):
    """As EasyDict and configuration libraries make them."""


class Values(list[Any]):
    """As configuration libraries make them."""


class Holder:
    """An object of a class of the training script."""

    def __init__(self, held: Any) -> None:
        self.held = held


BESIDE: dict[str, Any] = {
    "arguments": argparse.Namespace(lr=1, path=Path("a")),
    "path": Path("a"),
    "defaultdict": defaultdict(list, a=[1]),
    "OrderedDict": OrderedDict(a=1),
    "deque": deque([1, 2]),
    "time": datetime.datetime.now(datetime.UTC),
    "duration": datetime.timedelta(1),
    "array": np.arange(4.0),
    "text array": np.array(["a"], object),
    "generator": np.random.default_rng(0),
    "generator state": np.random.get_state(),
    "enum": Level.LOW,
    "subclass of dict": Settings(a=1, b=Settings(c=2)),
    "subclass of list": Values([1, 2]),
    "object": Holder({"a": 1}),
    "class": Holder,
    "set": {1, 2},
    "range": range(3),
    "random state of torch": torch.get_rng_state(),
}


@pytest.mark.parametrize("what", BESIDE)
def test_objects_beside_the_weights_are_ignored_as_numbers_are(what: str, tmp_path: Path) -> None:
    assert said(outcome({"model": weights(), what.replace(" ", "_"): BESIDE[what]}, tmp_path)) == []
    torch.testing.assert_close(answers(tmp_path), forward(weights(), ROWS), rtol=0, atol=1e-6)


def test_a_state_dict_in_a_subclass_of_dict_is_read(tmp_path: Path) -> None:
    assert said(outcome(Settings(model=defaultdict(None, weights())), tmp_path)) == []


def test_an_object_with_tensors_beside_the_weights_is_said(tmp_path: Path) -> None:
    found = outcome({"model": weights(), "best": Holder([torch.ones(3)])}, tmp_path)
    assert said(found) == ["objects_left_out"]
    assert found.model is not None
    assert "test_checkpoints.Holder`" in found.model.warnings[0]["message"]
    tensors = weights()
    assert said(outcome({"model": tensors, "same": Holder(tensors)}, tmp_path)) == []


NEEDED: dict[str, tuple[Any, dict[str, Any]]] = {
    "a model": (nn.Linear(2, 2), {}),
    "a model below a key": ({"model": nn.Linear(2, 2), "epoch": 1}, {}),
    "a model beside other tensors": ({"model": nn.Linear(2, 2), "class_weights": torch.ones(2)}, {}),
    "the model that the key names": ({"model": nn.Linear(2, 2), "ema": weights()}, {"key": "model"}),
    "weights in an object": ({"model": Holder(weights())}, {}),
}


@pytest.mark.parametrize("what", NEEDED)
def test_weights_in_an_object_are_refused_with_the_way_out(what: str, tmp_path: Path) -> None:
    content, changes = NEEDED[what]
    rejection = rejected(outcome(content, tmp_path, **changes))
    assert rejection.code == "code_carrying_format"
    assert "`torch.nn.modules.linear.Linear`" in rejection.message or "Holder`" in rejection.message
    assert "torch.save(model.state_dict(), path)" in rejection.message


@pytest.mark.parametrize(
    ("key", "others"),
    [
        ("optimal_model", {}),
        ("optimum", {}),
        ("optimized", {}),
        ("scheduled", {}),
        ("model", {"rng_state": torch.get_rng_state(), "mask": torch.ones(3, dtype=torch.bool)}),
    ],
)
def test_names_and_states_of_the_training_run_hide_no_model(key: str, others: Any, tmp_path: Path) -> None:
    assert said(outcome({key: weights(), **others}, tmp_path)) == []


class Runs:
    """Its pickle calls a function."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("function", [eval, __import__, getattr, subprocess.call, shutil.rmtree, os.system])
def test_a_function_is_refused_by_name_and_not_run(function: Callable[..., Any], tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    given = {"model": weights(), "bad": Runs(function, f"open({str(marker)!r}, 'w')")}
    rejection = rejected(outcome(given, tmp_path))
    assert rejection.code == "code_carrying_format"
    assert function.__name__ in rejection.message
    assert not marker.exists()


def test_a_class_of_the_file_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its module writes a marker when it is imported."""
    marker, module = tmp_path / "marker", tmp_path / "module_of_the_file.py"
    module.write_text(f"open({str(marker)!r}, 'w').close()\nclass Thing: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    made = importlib.import_module("module_of_the_file").Thing()
    torch.save({"model": weights(), "thing": made}, tmp_path / "given")
    marker.unlink()
    del sys.modules["module_of_the_file"]
    convert_state_dict(tmp_path / "given", tmp_path / "converted")
    assert not marker.exists()
    assert "module_of_the_file" not in sys.modules


def test_a_name_of_another_module_stands_for_no_object_of_ours(tmp_path: Path) -> None:
    """Trap: `subprocess.Popen` is a class, whose objects run a command when they are made."""
    marker = tmp_path / "marker"
    assert said(outcome({"model": weights(), "bad": Runs(subprocess.Popen, ["touch", str(marker)])}, tmp_path)) == []
    assert not marker.exists()
