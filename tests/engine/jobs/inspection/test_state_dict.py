"""PyTorch state_dicts: the same weights come out, and nothing of the file runs."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import nn

from app.contracts.wire.orders import ModelInput
from tests.engine.jobs.inspection.torch_archives import Called, archive, converted, same
from tests.engine.jobs.inspection.uploads import forward, model_manifest, refused, weights
from workers.engine.jobs.inspection.family_models import inspect_family_model
from workers.engine.models.loading import load_weights
from workers.engine.teachers.teacher import open_teacher

WAY_OUT = "torch.save(model.state_dict(), path)"


def test_a_plain_state_dict_converts_to_the_same_weights(tmp_path: Path) -> None:
    assert same(converted(weights(), tmp_path), weights())


@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", "model"])
def test_a_checkpoint_with_the_state_dict_inside_is_unwrapped(wrapper: str, tmp_path: Path) -> None:
    assert same(converted({"epoch": 3, wrapper: OrderedDict(weights())}, tmp_path), weights())


def test_parameters_views_and_transposes_become_their_own_numbers(tmp_path: Path) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    given = {"view": base[1:3], "transposed": base.T, "parameter": nn.Parameter(base[0]), "scalar": torch.tensor(7.0)}
    found = converted(given, tmp_path)
    assert same(found, {name: value.detach().contiguous() for name, value in given.items()})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    given = {name: value.to(dtype) for name, value in weights().items()}
    converted(given, tmp_path)
    manifest = model_manifest(format="state_dict")
    assert manifest.architecture is not None
    loaded = load_weights(tmp_path / "converted.safetensors", manifest, manifest.architecture)
    assert same(loaded, {name: value.to(torch.float32) for name, value in given.items()})


def test_a_converted_teacher_answers_as_the_network_that_was_saved(tmp_path: Path) -> None:
    manifest, path = model_manifest(format="state_dict"), tmp_path / "converted.safetensors"
    converted(weights(), tmp_path)
    facts = inspect_family_model(path, manifest)
    model = ModelInput(id="mdl", manifest=manifest, facts=facts, path=str(path), sha256="0" * 64)
    rows = torch.randn(9, 4, generator=torch.Generator().manual_seed(1))
    found = open_teacher(model, torch.device("cpu"), threads=1).predict(rows)["y"]
    torch.testing.assert_close(found, forward(weights(), rows), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("bare", "protocol", "code"),
    [
        (True, 0, "code_carrying_format"),
        (True, 4, "code_carrying_format"),
        (False, 0, "code_carrying_format"),
        (False, 2, "code_carrying_format"),
        (False, 4, "unreadable"),  # torch.save does not write this protocol, and its reader does not know it
    ],
)
def test_a_pickle_that_calls_os_system_is_refused_and_not_run(
    bare: bool, protocol: int, code: str, tmp_path: Path
) -> None:
    marker = tmp_path / "marker"
    program = pickle.dumps({"a": Called(os.system, f"touch {marker}")}, protocol)
    upload = program if bare else archive(tmp_path, program)
    assert WAY_OUT in refused(code, lambda: converted(upload, tmp_path))
    assert not marker.exists()
    pickle.loads(program)
    assert marker.exists(), "the program would have run"


def test_a_whole_pickled_model_is_refused_with_the_way_out(tmp_path: Path) -> None:
    assert WAY_OUT in refused("code_carrying_format", lambda: converted(nn.Linear(2, 2), tmp_path))


def test_the_format_before_torch_1_6_is_refused_with_the_way_out(tmp_path: Path) -> None:
    torch.save(weights(), tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert WAY_OUT in refused("code_carrying_format", lambda: converted(tmp_path / "old.pt", tmp_path))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
def test_torchscript_is_refused_by_name_with_the_way_out(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), tmp_path / "script.pt")  # type: ignore[no-untyped-call]
    message = refused("code_carrying_format", lambda: converted(tmp_path / "script.pt", tmp_path))
    assert "TorchScript" in message
    assert WAY_OUT in message


def test_torch_export_is_refused_by_name_with_the_way_out(tmp_path: Path) -> None:
    torch.export.save(torch.export.export(nn.Linear(2, 2), (torch.zeros(1, 2),)), tmp_path / "program.pt2")
    message = refused("code_carrying_format", lambda: converted(tmp_path / "program.pt2", tmp_path))
    assert "torch.export" in message
    assert WAY_OUT in message
