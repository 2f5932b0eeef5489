"""The family `transformer`: its names, counts, mathematics and files."""

import json
from math import prod
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import TypeAdapter
from safetensors.torch import save_file
from torch import Tensor, nn

from app.contracts.layouts.summary import buffer_shapes, flops, layers, parameter_count, parameter_shapes
from app.contracts.problems import UserError
from app.contracts.resources.manifests import ModelManifest
from app.contracts.specs.architectures import Architecture
from workers.engine.evaluation.cost.flops import count_flops
from workers.engine.jobs.inspection.family_models import inspect_family_model
from workers.engine.models import Network, build, initialise
from workers.engine.models.loading import load_weights
from workers.engine.models.taps import Taps

Json = dict[str, Any]
ARCHITECTURE: TypeAdapter[Architecture] = TypeAdapter(Architecture)
PLAIN: Json = {"family": "transformer", "input_shape": [5, 3], "outputs": {"digit": 4}, "width": 12, "heads": 3}
SHAPES: dict[str, Json] = {
    "plain": {},
    "one token": {"input_shape": [1, 7]},
    "one feature": {"input_shape": [9, 1]},
    "one head": {"heads": 1},
    "heads of one number": {"heads": 12},
    "one number inside": {"width": 1, "heads": 1, "feedforward": 1},
    "deep": {"depth": 5, "feedforward": 17},
    "many tokens": {"input_shape": [65, 4], "width": 32, "heads": 8},
    "several outputs": {"outputs": {"digit": 10, "size.cm": 1, "type": 2}},
}
PICTURED = [pytest.param(PLAIN | change, id=name) for name, change in SHAPES.items()]


def architecture(spec: Json) -> Architecture:
    return ARCHITECTURE.validate_json(json.dumps(spec))


def network(spec: Json, seed: int = 5) -> Network:
    built = build(architecture(spec))
    initialise(built, seed=seed)
    return built


def rows_for(built: Network, count: int) -> Tensor:
    return torch.randn(count, *built.input_shape, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("spec", PICTURED)
def test_parameters_layers_and_flops_are_those_that_the_api_tells(spec: Json) -> None:
    described, built = architecture(spec), network(spec)
    assert {name: tuple(p.shape) for name, p in built.named_parameters()} == parameter_shapes(described)
    assert set(built.state_dict()) == set(parameter_shapes(described))
    assert not buffer_shapes(described)
    assert sum(p.numel() for p in built.parameters()) == parameter_count(described)
    assert count_flops(built, built.example()) == flops(described)


@pytest.mark.parametrize("spec", PICTURED)
def test_every_layer_can_be_tapped_has_the_stated_shape_and_is_passed_in_the_stated_order(spec: Json) -> None:
    described, built = layers(architecture(spec)), network(spec)
    taps = Taps(built, [layer.name for layer in described if not layer.name.startswith("heads.")])
    built(rows_for(built, 2))
    found = {name: tuple(values.shape[1:]) for name, values in taps.take().items()}
    assert list(found.items()) == [
        (layer.name, layer.shape) for layer in described if not layer.name.startswith("heads.")
    ]
    assert sum(layer.parameters for layer in described) == parameter_count(architecture(spec))


def test_a_network_has_the_public_names() -> None:
    names = {name.rpartition(".")[0] for name in network(PLAIN | {"depth": 1}).state_dict()}
    block = {f"blocks.0.{part}" for part in ("norm1", "query", "key", "value", "out", "norm2", "up", "down")}
    assert names == {"embed", "positions", "norm", "layers.0"} | block


def reference(built: Network, x: Tensor) -> Tensor:
    """The same network in torch's own encoder layers."""
    state, described = built.state_dict(), built.architecture
    assert described.family == "transformer"
    h = x @ state["embed.weight"].T + state["embed.bias"] + state["positions.weight"]
    for i in range(described.depth):
        sizes = (described.width, described.heads, described.feedforward_width)
        layer = nn.TransformerEncoderLayer(*sizes, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        own = {name: state[f"blocks.{i}.{name}"] for name in layer.state_dict() if f"blocks.{i}.{name}" in state}
        for end in ("weight", "bias"):
            parts = [state[f"blocks.{i}.{part}.{end}"] for part in ("query", "key", "value")]
            own[f"self_attn.in_proj_{end}"] = torch.cat(parts)
            own[f"self_attn.out_proj.{end}"] = state[f"blocks.{i}.out.{end}"]
            own[f"linear1.{end}"] = state[f"blocks.{i}.up.{end}"]
            own[f"linear2.{end}"] = state[f"blocks.{i}.down.{end}"]
        layer.load_state_dict(own)
        h = layer(h)
    norm = nn.LayerNorm(described.width)
    norm.load_state_dict({end: state[f"norm.{end}"] for end in ("weight", "bias")})
    answer: Tensor = norm(h).mean(1) @ state["layers.0.weight"].T + state["layers.0.bias"]
    return answer


def test_it_computes_what_torchs_own_encoder_layers_compute() -> None:
    built = network(PLAIN | {"depth": 3, "feedforward": 20})
    with torch.no_grad():
        for name, parameter in built.named_parameters():  # so that no normalisation is the identity
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))))
    x = rows_for(built, 6)
    torch.testing.assert_close(built(x)["digit"], reference(built, x), rtol=1e-5, atol=1e-5)


def test_positions_alone_make_the_order_of_tokens_matter() -> None:
    built = network(PLAIN)
    x = rows_for(built, 4)
    turned = x.flip(1)
    assert (built(x)["digit"] - built(turned)["digit"]).abs().max() > 1e-4
    with torch.no_grad():
        built.get_parameter("positions.weight").zero_()
    torch.testing.assert_close(built(x)["digit"], built(turned)["digit"], rtol=1e-5, atol=1e-6)


def test_dropout_acts_in_training_alone() -> None:
    built = network(PLAIN | {"dropout": 0.4})
    x = rows_for(built, 4)
    assert not torch.equal(built(x)["digit"], built(x)["digit"])
    built.eval()
    torch.testing.assert_close(built(x)["digit"], network(PLAIN)(x)["digit"])


def test_dropout_acts_on_the_embedding_and_on_all_that_blocks_add() -> None:
    """Where everything is dropped, the heads see zeros; what escaped it would be seen."""
    built = network(PLAIN | {"dropout": 1 - 1e-12})
    bias = built.head("digit").bias
    torch.testing.assert_close(built(rows_for(built, 2))["digit"], bias.expand(2, -1), rtol=0.0, atol=0.0)


# Initial weights.


def test_every_parameter_is_drawn_anew() -> None:
    built = build(architecture(PLAIN))
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.fill_(torch.nan)
    initialise(built, seed=1)
    assert all(bool(parameter.isfinite().all()) for parameter in built.parameters())
    assert built.get_parameter("positions.weight").std() > 0.05


def test_initial_weights_depend_on_seed_and_name_and_on_nothing_else() -> None:
    small, other = network(PLAIN), network(PLAIN, seed=6)
    large = network(PLAIN | {"depth": 4, "outputs": {"digit": 4, "size": 1}})
    common = set(small.state_dict()) & set(large.state_dict())
    assert {name for name in small.state_dict() if name not in common} == {"layers.0.weight", "layers.0.bias"}
    drawn = [name for name in common if ".norm" not in name and not name.startswith("norm")]
    for name in common:
        assert torch.equal(small.state_dict()[name], large.state_dict()[name]), name
    for name in drawn:
        assert not torch.equal(small.state_dict()[name], other.state_dict()[name]), name
    first = [small.state_dict()[f"blocks.0.{part}.weight"] for part in ("query", "key", "value", "out")]
    assert not any(torch.equal(first[i], first[j]) for i in range(4) for j in range(i))


# Files.


MANIFEST: Json = {
    "name": "own",
    "format": "safetensors",
    "architecture": PLAIN,
    "outputs": {"digit": {"kind": "class"}},
    "rename": {
        "encoder.layer": "blocks",
        "encoder.layer.0.attention.q": "blocks.0.query",
        "encoder.layer.1.attention.q": "blocks.1.query",
        "embeddings.word": "embed",
        "pos_embed": "positions.weight",
        "classifier": "layers.0",
    },
}
THEIRS = {new: old for old, new in MANIFEST["rename"].items()}


def uploaded(path: Path, changes: Json) -> ModelManifest:
    """A file with names of its owner's, and its manifest."""
    tensors = {}
    for name, value in network(PLAIN).state_dict().items():
        place = max((ours for ours in THEIRS if name == ours or name.startswith(f"{ours}.")), key=len, default="")
        tensors[THEIRS.get(place, "") + name[len(place) :]] = value.clone()
    assert {"pos_embed", "encoder.layer.1.attention.q.bias", "encoder.layer.0.norm2.weight"} <= set(tensors)
    save_file(tensors, path)
    return ModelManifest.model_validate_json(
        json.dumps(MANIFEST | {"architecture": MANIFEST["architecture"] | changes})
    )


def test_an_uploaded_transformer_is_taken_under_its_owners_names(tmp_path: Path) -> None:
    manifest = uploaded(tmp_path / "own.safetensors", {})
    facts = inspect_family_model(tmp_path / "own.safetensors", manifest)
    assert facts.architecture is not None
    assert facts.parameters == parameter_count(architecture(PLAIN))
    assert {"blocks.1", "blocks.1.query"} <= {layer.name for layer in facts.layers}
    loaded = build(facts.architecture)
    loaded.load_state_dict(load_weights(tmp_path / "own.safetensors", manifest, facts.architecture))
    x = rows_for(loaded, 3)
    assert torch.equal(loaded(x)["digit"], network(PLAIN)(x)["digit"])


@pytest.mark.parametrize(
    ("changes", "code", "expected"),
    [
        ({"heads": 5}, "heads_do_not_divide", "use 2, 3, 4 or 6 heads"),
        ({"input_shape": [15]}, "shape_mismatch", r"\[tokens, features\], found \[15\]"),
        ({"input_shape": [1, 5, 3]}, "shape_mismatch", r"\[tokens, features\], found \[1, 5, 3\]"),
        ({"input_shape": [65536, 3]}, "too_many_tokens", "attention scores"),
        ({"input_shape": [4, 3]}, "wrong_shape", r"`positions.weight` expected \[4, 12\], found \[5, 12\]"),
        ({"depth": 3}, "missing_parameters", "blocks.2"),
    ],
)
def test_an_upload_that_does_not_fit_its_manifest_is_refused_by_name(
    tmp_path: Path, changes: Json, code: str, expected: str
) -> None:
    manifest = uploaded(tmp_path / "own.safetensors", changes)
    with pytest.raises(UserError, match=expected) as caught:
        inspect_family_model(tmp_path / "own.safetensors", manifest)
    assert caught.value.code == code


# Jobs.


def test_flops_grow_with_the_square_of_the_tokens_in_attention_alone() -> None:
    """4 · T² · width in each block, beside what is linear in T."""
    counts = [flops(architecture(PLAIN | {"input_shape": [t, 3]})) for t in (1, 2, 3)]
    second = counts[2] - 2 * counts[1] + counts[0]
    assert second == 2 * prod((4, 12, 2))
