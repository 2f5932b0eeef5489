"""The network families: public names, counts without building, draws, shapes of rows."""

import copy
import json
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn
from torch.nn import functional

from app.contracts.layouts.summary import buffer_shapes, flops, layers, parameter_count, parameter_shapes
from app.contracts.specs.architectures import FAMILIES, Architecture, LibraryFamily, Student
from workers.engine.evaluation.cost.flops import count_flops
from workers.engine.models import Network, build, initialise
from workers.engine.models.build import NETWORKS
from workers.engine.models.families.family import ConvolutionalNetwork

ARCHITECTURE: TypeAdapter[Architecture] = TypeAdapter(Architecture)
ONE, TWO = {"digit": 10}, {"digit": 10, "size": 1}


def parsed(**spec: Any) -> Architecture:
    return ARCHITECTURE.validate_json(json.dumps(spec))


def made(seed: int = 0, **spec: Any) -> Network:
    network = build(parsed(**spec))
    initialise(network, seed)
    return network


MLP: dict[str, Any] = {"family": "mlp", "input_shape": [6]}
CONVNET: dict[str, Any] = {"family": "convnet", "input_shape": [2, 8, 8], "channels": [3, 5]}
SERIES: dict[str, Any] = {"family": "convnet", "input_shape": [2, 13], "channels": [3, 5, 4]}
RESNET: dict[str, Any] = {"family": "resnet", "input_shape": [3, 8, 8], "depth": 8}
MANY: list[dict[str, Any]] = [
    {**MLP, "hidden": [], "outputs": ONE},
    {**MLP, "hidden": [], "outputs": TWO},
    {**MLP, "hidden": [7], "outputs": ONE},
    {**MLP, "hidden": [7, 4, 3], "outputs": TWO, "normalization": "batch"},
    {**MLP, "hidden": [7, 4], "outputs": ONE, "normalization": "layer", "dropout": 0.5, "activation": "gelu"},
    {**MLP, "input_shape": [2, 3, 4], "hidden": [5], "outputs": TWO, "activation": "tanh"},
    {**CONVNET, "outputs": ONE},
    {**CONVNET, "outputs": TWO, "blocks": 3},
    {**CONVNET, "outputs": ONE, "hidden": [6, 4], "dropout": 0.2},
    {**CONVNET, "outputs": ONE, "pooling": "flatten", "normalization": "none", "activation": "silu"},
    {**CONVNET, "outputs": TWO, "pooling": "flatten", "hidden": [6], "input_shape": [1, 9, 13]},
    {**CONVNET, "outputs": ONE, "input_shape": [1, 5, 2], "channels": [4]},
    {**CONVNET, "outputs": {"map": 3}, "maps": {"map": [7, 9]}, "blocks": 2},
    {**CONVNET, "outputs": {"digit": 3, "map": 4}, "maps": {"map": [16, 12]}, "hidden": [6], "pooling": "flatten"},
    {**SERIES, "outputs": ONE},
    {**SERIES, "outputs": TWO, "blocks": 2, "hidden": [6], "dropout": 0.2},
    {**SERIES, "outputs": ONE, "pooling": "flatten", "normalization": "none", "activation": "tanh"},
    {**RESNET, "outputs": ONE},
    {**RESNET, "outputs": TWO, "depth": 14, "width": 2, "stem": 8},
    {**RESNET, "outputs": ONE, "input_shape": [1, 7, 9], "width": 3, "stem": 48},
    {**RESNET, "outputs": ONE, "input_shape": [1, 1, 1]},
]


@pytest.mark.parametrize("spec", MANY, ids=lambda spec: json.dumps(spec))
def test_the_layout_says_without_building_what_torch_has(spec: dict[str, Any]) -> None:
    architecture, network = parsed(**spec), made(**spec)
    parameters = {name: tuple(value.shape) for name, value in network.named_parameters()}
    assert parameter_shapes(architecture) == parameters
    assert buffer_shapes(architecture) == {name: tuple(value.shape) for name, value in network.named_buffers()}
    assert {**parameters, **buffer_shapes(architecture)}.keys() == network.state_dict().keys()
    assert parameter_count(architecture) == sum(value.numel() for value in network.parameters())
    assert flops(architecture) == count_flops(network, network.example())


def test_every_family_has_a_student_and_a_network() -> None:
    students = {get_args(each.model_fields["family"].annotation)[0]: each for each in get_args(get_args(Student)[0])}
    of_libraries = {name for name, family in FAMILIES.items() if issubclass(family, LibraryFamily)}
    assert of_libraries == {"timm", "torchvision", "huggingface"}, "their trunks are built by `build_trunk`"
    assert FAMILIES.keys() == {*NETWORKS, *of_libraries} == students.keys()
    assert all(issubclass(student, FAMILIES[name]) for name, student in students.items())


@pytest.mark.parametrize("spec", MANY, ids=lambda spec: json.dumps(spec))
def test_families_with_feature_maps_have_the_networks_that_sharing_by_mtan_needs(spec: dict[str, Any]) -> None:
    architecture = parsed(**spec)
    assert (architecture.trunk().maps is not None) == architecture.has_feature_maps
    assert issubclass(NETWORKS[architecture.family], ConvolutionalNetwork) == architecture.has_feature_maps


@pytest.mark.parametrize(
    ("spec", "places"),
    [
        ({**MLP, "hidden": [5], "normalization": "batch"}, ["layers.0", "norms.0", "heads.digit", "heads.size"]),
        (
            {**CONVNET, "channels": [3], "hidden": [5]},
            ["layers.0", "stages.0.0.conv", "stages.0.0.norm", "heads.digit", "heads.size"],
        ),
    ],
    ids=["mlp", "convnet"],
)
def test_fully_connected_layers_come_first_and_heads_last_in_the_order_of_parameters(
    spec: dict[str, Any], places: list[str]
) -> None:
    """Checkpoints of the optimizer's state depend on it."""
    names = [name.rpartition(".")[0] for name, _ in made(**spec, outputs=TWO).named_parameters()]
    assert list(dict.fromkeys(names)) == places


@pytest.mark.parametrize("spec", MANY, ids=lambda spec: json.dumps(spec))
def test_layers_are_listed_in_the_order_and_shapes_in_which_data_pass_them(spec: dict[str, Any]) -> None:
    network, seen = made(**spec).eval(), []
    kinds = {
        nn.Linear: "linear",
        nn.Conv1d: "conv",
        nn.Conv2d: "conv",
        nn.BatchNorm1d: "norm",
        nn.BatchNorm2d: "norm",
        nn.LayerNorm: "norm",
        nn.Identity: "features",
    }
    places = ("block", "stage")  # what they consist of is listed by itself
    modules = dict(network.named_modules())
    for layer in layers(parsed(**spec)):
        module = modules[layer.name]
        assert kinds.get(type(module), layer.kind) == layer.kind
        assert layer.kind in (*kinds.values(), *places)
        own = 0 if layer.kind in places else sum(value.numel() for value in module.parameters())
        assert own == layer.parameters
        layer_shape = (layer.name, layer.shape)
        module.register_forward_hook(
            lambda _, __, out, layer_shape=layer_shape: seen.append((layer_shape, tuple(out.shape[1:])))
        )
    network(network.example())
    assert all(layer_shape[1] == shape for layer_shape, shape in seen)
    assert [layer_shape[0] for layer_shape, _ in seen] == [layer.name for layer in layers(parsed(**spec))]


@pytest.mark.parametrize(
    ("depth", "width", "stem", "classes", "count"),
    [
        # The CIFAR-100 students and teachers of Tian et al. 2020 (CRD), with 1x1 shortcuts, as all its successors.
        (20, 1, 16, 100, 278_324),
        (8, 4, 32, 100, 1_233_540),
        (32, 4, 32, 100, 7_433_860),
    ],
)
def test_the_resnets_of_the_literature_have_their_published_sizes(
    depth: int, width: int, stem: int, classes: int, count: int
) -> None:
    spec = {"family": "resnet", "input_shape": [3, 32, 32], "outputs": {"y": classes}}
    assert parameter_count(parsed(**spec, depth=depth, width=width, stem=stem)) == count


@pytest.mark.parametrize(("depth", "million"), [(20, 0.27), (32, 0.46), (44, 0.66), (56, 0.85), (110, 1.7)])
def test_resnets_of_all_depths_have_the_sizes_of_he_2016(depth: int, million: float) -> None:
    """Table 6 there; its shortcuts have no weights, ours have 2.7 thousand."""
    architecture = parsed(family="resnet", input_shape=[3, 32, 32], outputs={"y": 10}, depth=depth)
    assert parameter_count(architecture) / 1e6 == pytest.approx(million, abs=0.01 if depth < 110 else 0.05)


def test_an_mlp_is_linear_layers_under_their_public_names() -> None:
    network = made(**MLP, hidden=[5, 4], outputs=ONE)
    assert list(network.state_dict()) == [f"layers.{i}.{part}" for i in range(3) for part in ("weight", "bias")]
    x, p = torch.randn(3, 6, generator=torch.Generator().manual_seed(0)), network.state_dict()
    h = torch.relu(x @ p["layers.0.weight"].T + p["layers.0.bias"])
    h = torch.relu(h @ p["layers.1.weight"].T + p["layers.1.bias"])
    expected = h @ p["layers.2.weight"].T + p["layers.2.bias"]
    torch.testing.assert_close(network(x), {"digit": expected}, rtol=0, atol=1e-6)


def normalised(x: Tensor, p: dict[str, Tensor], name: str) -> Tensor:
    statistics = (p[f"{name}.running_mean"], p[f"{name}.running_var"], p[f"{name}.weight"], p[f"{name}.bias"])
    mean, variance, scale, shift = (value.reshape(1, -1, 1, 1) for value in statistics)
    return (x - mean) / (variance + 1e-5).sqrt() * scale + shift


def trained(**spec: Any) -> tuple[Network, Tensor, dict[str, Tensor]]:
    """A network whose running statistics are no longer those of a new one, rows for it, and its state."""
    network, draw = made(**spec), torch.Generator().manual_seed(0)
    rows = torch.randn(9, *network.input_shape, generator=draw)
    with torch.no_grad():
        network(rows * 2 + 1)
    return network.eval(), rows, network.state_dict()


def test_a_convnet_is_what_its_names_say() -> None:
    network, rows, p = trained(**CONVNET, outputs=ONE, blocks=2, hidden=[6])
    h = rows
    for stage in range(2):
        for block in range(2):
            name = f"stages.{stage}.{block}"
            h = torch.relu(normalised(functional.conv2d(h, p[f"{name}.conv.weight"], padding=1), p, f"{name}.norm"))
        h = functional.max_pool2d(h, 2)
    h = torch.relu(functional.linear(h.mean((2, 3)), p["layers.0.weight"], p["layers.0.bias"]))
    expected = functional.linear(h, p["layers.1.weight"], p["layers.1.bias"])
    torch.testing.assert_close(network(rows), {"digit": expected}, rtol=0, atol=1e-5)


def test_a_convnet_over_series_is_what_its_names_say() -> None:
    network, rows, p = trained(**SERIES, outputs=ONE, blocks=2, hidden=[6])
    h = rows
    for stage in range(3):
        for block in range(2):
            name = f"stages.{stage}.{block}"
            convolved = functional.conv1d(h, p[f"{name}.conv.weight"], padding=1)
            h = torch.relu(normalised(convolved[..., None], p, f"{name}.norm")[..., 0])
        h = functional.max_pool1d(h, 2)
    h = torch.relu(functional.linear(h.mean(2), p["layers.0.weight"], p["layers.0.bias"]))
    expected = functional.linear(h, p["layers.1.weight"], p["layers.1.bias"])
    torch.testing.assert_close(network(rows), {"digit": expected}, rtol=0, atol=1e-5)


def test_a_resnet_is_what_its_names_say() -> None:
    network, rows, p = trained(**RESNET, outputs=ONE, stem=8)
    h = torch.relu(normalised(functional.conv2d(rows, p["stem.conv.weight"], padding=1), p, "stem.norm"))
    for stage in range(3):
        name, stride = f"stages.{stage}.0", 1 if stage == 0 else 2
        short = normalised(
            functional.conv2d(h, p[f"{name}.shortcut.conv.weight"], stride=stride), p, f"{name}.shortcut.norm"
        )
        h = functional.conv2d(h, p[f"{name}.conv1.weight"], stride=stride, padding=1)
        h = functional.conv2d(torch.relu(normalised(h, p, f"{name}.norm1")), p[f"{name}.conv2.weight"], padding=1)
        h = torch.relu(normalised(h, p, f"{name}.norm2") + short)
    expected = functional.linear(h.mean((2, 3)), p["layers.0.weight"], p["layers.0.bias"])
    torch.testing.assert_close(network(rows), {"digit": expected}, rtol=0, atol=1e-5)


@pytest.mark.parametrize("spec", [{**MLP, "hidden": [5]}, CONVNET, RESNET], ids=["mlp", "convnet", "resnet"])
def test_one_head_is_the_last_layer_and_several_have_their_names(spec: dict[str, Any]) -> None:
    one, two = made(**spec, outputs=ONE), made(**spec, outputs=TWO)
    last = f"layers.{len(spec.get('hidden', []))}"
    heads = {name.rpartition(".")[0] for name in two.state_dict() if name.startswith("heads.")}
    assert heads == {"heads.digit", "heads.size"}
    assert set(one.state_dict()) - set(two.state_dict()) == {f"{last}.weight", f"{last}.bias"}
    assert one.head("digit") is one.get_submodule(last)
    assert [id(p) for p in two.trunk_parameters()] == [
        id(p) for name, p in two.named_parameters() if not name.startswith("heads.")
    ]
    with pytest.raises(KeyError):
        two.head("other")


def test_an_output_may_have_any_name() -> None:
    """Traps: torch splits names at dots, and looks modules up beside its own attributes."""
    names = ["size.cm", "values", "training", "type", "forward", "weight", "0", "a", "a.b", "a.weight", "x..y", "z."]
    outputs = {name: size for size, name in enumerate(names, start=1)}
    network = made(**MLP, hidden=[5], outputs=outputs)
    assert {f"heads.{name}.weight" for name in names} <= set(network.state_dict())
    rows = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    copied = copy.deepcopy(made(seed=1, **MLP, hidden=[5], outputs=outputs))
    copied.load_state_dict(network.state_dict())
    found = copied.eval()(rows)
    assert {name: tuple(values.shape) for name, values in found.items()} == {n: (4, s) for n, s in outputs.items()}
    torch.testing.assert_close(found, network(rows), rtol=0, atol=0)
    assert not any(module.training for module in copied.modules())


def test_loading_a_state_is_strict() -> None:
    network = made(**MLP, hidden=[5], outputs={"size.cm": 1, "values": 2})
    state = network.state_dict()
    for broken in (
        {name: value for name, value in state.items() if name != "heads.size.cm.bias"},
        state | {"heads.size.mm.bias": torch.zeros(1)},
        state | {"heads.values.bias": torch.zeros(3)},
    ):
        with pytest.raises(RuntimeError, match=r"heads\.(size\.cm|size\.mm|values)\.bias"):
            network.load_state_dict(broken)


@pytest.mark.parametrize("spec", [{**MLP, "hidden": [5, 4]}, CONVNET, SERIES, RESNET], ids=["m", "c", "series", "r"])
def test_a_draw_depends_on_seed_and_name_alone(spec: dict[str, Any]) -> None:
    """Trap: a head, a layer or a draw more elsewhere shifts every later weight."""
    torch.manual_seed(1)
    first = made(seed=7, **spec, outputs=TWO).state_dict()
    torch.manual_seed(2)
    second = made(seed=7, **spec, outputs={"extra": 3, **TWO}).state_dict()
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    other = made(seed=8, **spec, outputs=TWO).state_dict()
    drawn = [name for name, value in first.items() if bool((value != value.flatten()[0]).any())]
    assert len(drawn) > 3
    assert not any(torch.equal(first[name], other[name]) for name in drawn)


def test_layers_of_one_shape_are_drawn_apart() -> None:
    """Trap: a key without the whole name gives equal weights to equal shapes."""
    state = made(**MLP, hidden=[6, 6, 6], outputs={"aa": 6, "ab": 6}).state_dict()
    drawn = [value for name, value in state.items() if name.endswith("weight")]
    assert len(drawn) == 5
    assert not any(torch.equal(one, other) for i, one in enumerate(drawn) for other in drawn[:i])


def test_weights_fill_torchs_own_bounds_and_normalisations_begin_as_the_identity() -> None:
    network = made(**CONVNET, outputs=ONE, hidden=[400], blocks=2)
    state: dict[str, Tensor] = network.state_dict()
    for name, fan_in in (("stages.1.1.conv", 5 * 9), ("layers.0", 5), ("layers.1", 400)):
        bound = fan_in**-0.5
        largest = state[f"{name}.weight"].abs().max().item()
        assert 0.9 * bound < largest <= bound
        assert state[f"{name}.weight"].std().item() == pytest.approx(bound / 3**0.5, rel=0.1)
    norms = [name for name in state if ".norm." in name]
    assert all(bool((state[name] == (1 if name.endswith(("weight", "var")) else 0)).all()) for name in norms)


@pytest.mark.parametrize(
    "spec", [{**MLP, "input_shape": [2, 3], "hidden": [5]}, CONVNET, RESNET], ids=["mlp", "c", "r"]
)
def test_rows_may_be_flat_or_shaped(spec: dict[str, Any]) -> None:
    network = made(**spec, outputs=TWO).eval()
    rows = torch.randn(3, *network.input_shape, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(network(rows.flatten(1)), network(rows), rtol=0, atol=0)
    with pytest.raises(RuntimeError):
        network(rows.flatten(1)[:, 1:])


@pytest.mark.parametrize("missing", ["input_shape", "outputs"])
def test_an_architecture_that_is_not_resolved_has_no_size(missing: str) -> None:
    spec = {name: value for name, value in {**MLP, "outputs": ONE}.items() if name != missing}
    with pytest.raises(ValueError, match="resolved"):
        build(parsed(**spec))
    with pytest.raises(ValueError, match="input_shape"):
        parameter_count(parsed(**spec))
