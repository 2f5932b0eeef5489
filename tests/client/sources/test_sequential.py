"""A Sequential is read as an mlp only where it computes the same."""

from collections import OrderedDict
from typing import Any

import pytest
import torch
from stillhouse import Unreadable
from stillhouse.sources.networks import upload_of_model
from torch import nn

WANTED: dict[str, Any] = {"name": None, "format": None, "architecture": None, "outputs": None, "fields": {}}


def linear(inputs: int = 4, outputs: int = 4, *, bias: bool = True) -> nn.Linear:
    return nn.Linear(inputs, outputs, bias=bias)


shared = linear()


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([linear()], {"hidden": [], "activation": "relu"}),
        (
            [nn.Flatten(), linear(4, 8), nn.GELU(), nn.Dropout(0.2), linear(8, 3), nn.Identity()],
            {"hidden": [8], "activation": "gelu", "outputs": {"output": 3}, "dropout": 0.2},
        ),
        ([linear(), nn.Tanh(), linear(), nn.Tanh(), linear()], {"hidden": [4, 4], "activation": "tanh"}),
    ],
    ids=["linear", "everything", "twice"],
)
def test_what_an_mlp_computes_is_read_as_one(layers: list[nn.Module], expected: dict[str, Any]) -> None:
    manifest = upload_of_model(nn.Sequential(*layers), **WANTED).manifest
    assert expected.items() <= manifest["architecture"].items()


def test_an_activation_in_two_places_is_there_twice() -> None:
    act = nn.SiLU()
    manifest = upload_of_model(nn.Sequential(linear(), act, linear(), act, linear()), **WANTED).manifest
    assert manifest["architecture"]["activation"] == "silu"
    assert manifest["rename"] == {"0": "layers.0", "2": "layers.1", "4": "layers.2"}


@pytest.mark.parametrize(
    "layers",
    [
        [linear(), linear()],
        [nn.ReLU(), linear()],
        [linear(), nn.ReLU(), linear(), nn.ReLU()],
        [linear(), nn.ReLU(), linear(), linear()],
        [linear(), nn.ReLU(), nn.ReLU(), linear()],
        [linear(), nn.ReLU(), linear(), nn.Tanh(), linear()],
        [linear(), nn.ReLU(), nn.Dropout(0.1), linear(), nn.ReLU(), linear()],
        [linear(), nn.GELU(approximate="tanh"), linear()],
        [nn.Flatten(0), linear()],
        [linear(), nn.ReLU(), nn.Flatten(), linear()],
        [shared, nn.ReLU(), shared],
        [linear(bias=False), nn.ReLU(), linear()],
        [linear(), nn.BatchNorm1d(4), nn.ReLU(), linear()],
        [type("ReLU", (nn.Module,), {})(), linear()],
        [nn.ReLU()],
    ],
    ids=[
        "no activation", "before the first", "after the last", "none between two", "two in a row", "two kinds",
        "dropout here and there", "approximate", "flat rows", "flatten inside", "shared", "no bias", "a norm",
        "a class of one's own", "no layers",
    ],
)  # fmt: skip
def test_another_network_is_not_taken_for_an_mlp(layers: list[nn.Module]) -> None:
    with pytest.raises(Unreadable, match=r"say which family it is.*export it to ONNX"):
        upload_of_model(nn.Sequential(*layers), **WANTED)


def test_a_checkpoint_says_that_its_entry_is_wanted() -> None:
    weights = linear().state_dict()
    for given in ({"state_dict": weights, "epoch": 3}, {"epoch": 3}, {0: torch.zeros(2)}):
        with pytest.raises(Unreadable, match=r"state_dict|leave out what is no tensor"):
            upload_of_model(given, **WANTED | {"architecture": {"family": "mlp"}})
    module = nn.Sequential(OrderedDict(first=linear()))
    assert upload_of_model(module, **WANTED).manifest["rename"] == {"first": "layers.0"}
