"""Models that share otherwise than by one trunk, uploaded with nothing but their weights and a manifest."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from app.contracts.problems import UserError
from app.contracts.resources.manifests import ModelManifest
from tests.engine.models.sharing.networks import FAMILIES, OUTPUTS, SCHEMES, rows_for, shared, with_running_statistics
from workers.engine.jobs.inspection.family_models import inspect_family_model
from workers.engine.models import build
from workers.engine.models.loading import load_weights

KINDS = {name: {"kind": "value" if size == 1 else "class"} for name, size in OUTPUTS.items()}


def manifest(sharing: Any, family: str = "convnet", outputs: dict[str, int] | None = None) -> ModelManifest:
    architecture = {**FAMILIES[family], "outputs": outputs or OUTPUTS, "sharing": sharing}
    fields = {"name": "own", "format": "safetensors", "architecture": architecture, "outputs": KINDS}
    return ModelManifest.model_validate_json(json.dumps(fields))


def reversed_outputs() -> dict[str, int]:
    return dict(reversed(OUTPUTS.items()))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_weights_mean_the_same_whatever_the_order_in_which_json_names_the_outputs(scheme: str, tmp_path: Path) -> None:
    """Trap: a stitch's rows in the order of the outputs, which a database may change."""
    network = with_running_statistics(shared("convnet", scheme))
    save_file(network.state_dict(), tmp_path / "own.safetensors")
    described = manifest(SCHEMES[scheme], outputs=reversed_outputs())
    facts = inspect_family_model(tmp_path / "own.safetensors", described)
    assert facts.architecture is not None
    again = build(facts.architecture)
    again.load_state_dict(load_weights(tmp_path / "own.safetensors", described, facts.architecture))
    found, expected = again.eval()(rows_for(network)), network(rows_for(network))
    assert all(torch.equal(found[name], expected[name]) for name in OUTPUTS)


@pytest.mark.parametrize(
    ("sharing", "family", "code"),
    [
        ({"method": "trunks", "groups": [["left", "total"]]}, "convnet", "sharing_mismatch"),
        ({"method": "trunks", "groups": [["left", "total", "size.cm"], ["other"]]}, "convnet", "sharing_mismatch"),
        ({"method": "cross_stitch", "towers": ["left", "total"]}, "convnet", "sharing_mismatch"),
        ("mtan", "mlp", "sharing_undefined"),
        ("mmoe", "convnet", "missing_parameters"),
        ({"method": "cgc", "shared": 32, "own": 32}, "resnet", "missing_parameters"),
    ],
)
def test_a_manifest_that_its_file_does_not_hold_is_refused(
    sharing: Any, family: str, code: str, tmp_path: Path
) -> None:
    save_file(with_running_statistics(shared("convnet", "cgc")).state_dict(), tmp_path / "own.safetensors")
    with pytest.raises(UserError) as caught:
        inspect_family_model(tmp_path / "own.safetensors", manifest(sharing, family))
    assert caught.value.code == code
