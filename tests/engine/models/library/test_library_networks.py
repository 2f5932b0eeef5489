"""Networks of timm and torchvision: measured without memory, built, and stored under the library's names."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.contracts.layouts.summary import flops, parameter_count
from app.contracts.problems import UserError
from app.contracts.resources.manifests import ModelManifest
from app.contracts.specs.families.library import LibraryArchitecture, Timm, Torchvision
from tests.engine.models.library.networks import OTHERS, SMALL, architecture, own
from tests.exhaustive import sample
from workers.engine.evaluation.cost.flops import count_flops
from workers.engine.export.safetensors import export_safetensors
from workers.engine.models.build import build, file_tensors
from workers.engine.models.families.library.measure import measure
from workers.engine.models.families.library.network import LibraryNetwork
from workers.engine.models.families.library.packages import package
from workers.engine.models.initialise import initialise
from workers.engine.models.loading import load_weights
from workers.engine.models.taps import Taps

KEPT = ["test_efficientnet", "test_resnet", "test_vit", "shufflenet_v2_x0_5", "squeezenet1_1", "lcnet_035"]
NAMES = sample([*SMALL, *OTHERS], KEPT)
OWN_CLASSIFIERS = {"squeezenet1_1", "dla34", "deit_tiny_distilled_patch16_224", "levit_128s"}
"""Networks whose classifier is no single linear layer: our head takes its place, under our name."""
WITH_LINEAR = [name for name in [*SMALL, *OTHERS] if name not in OWN_CLASSIFIERS]


def rows(network: LibraryArchitecture, count: int = 2) -> torch.Tensor:
    shape = network.input_shape or ()
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_measured_is_what_is_built(name: str) -> None:
    described = architecture(name, {"y": 4, "z": 2})
    network = build(described)
    assert parameter_count(described) == sum(each.numel() for each in network.parameters())
    on_meta = network.to("meta")  # attention is one operator on a CPU, which torch's counter leaves out
    assert flops(described) == count_flops(on_meta, on_meta.example())
    network = build(described)
    assert described.measured is not None
    taps = Taps(network, [layer.name for layer in described.measured.layers] + ["penultimate"])
    with torch.no_grad():
        outputs = network.eval()(rows(described))
    found = taps.take()
    assert {name: tuple(each.shape) for name, each in outputs.items()} == {"y": (2, 4), "z": (2, 2)}
    assert found["penultimate"].shape == (2, described.measured.features)
    for layer in described.measured.layers:
        assert tuple(found[layer.name].shape) == (2, *layer.shape), layer


@pytest.mark.parametrize("name", sample(WITH_LINEAR, [name for name in KEPT if name in WITH_LINEAR]))
def test_a_file_of_the_library_gives_its_outputs_and_is_written_as_it_was(name: str, tmp_path: Path) -> None:
    described = architecture(name)
    theirs = own(name)
    save_file({key: value.contiguous() for key, value in theirs.state_dict().items()}, tmp_path / "w.safetensors")
    network = build(described)
    network.load_state_dict(load_weights(tmp_path / "w.safetensors", manifest(described), described))
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(rows(described))["y"], theirs(rows(described)), rtol=0, atol=0)
    export_safetensors(network, tmp_path / "again.safetensors", {})
    written = load_file(tmp_path / "again.safetensors")
    assert written.keys() == theirs.state_dict().keys() == file_tensors(described).shapes.keys()
    assert all(torch.equal(written[key], value) for key, value in theirs.state_dict().items())


def test_whole_numbers_that_a_network_computes_are_its_own(tmp_path: Path) -> None:
    """Other places of relative positions would be read without a word, or end outside of their table."""
    described, state = architecture("swin_t"), own("swin_t").state_dict()
    index = "features.1.0.attn.relative_position_index"
    save_file({**state, index: state[index].flip(0).contiguous()}, tmp_path / "w.safetensors")
    weights = load_weights(tmp_path / "w.safetensors", manifest(described), described)
    with pytest.raises(UserError, match="other numbers than the network computes") as caught:
        build(described).load_state_dict(weights)
    assert caught.value.code == "unexpected_parameters"


def manifest(network: LibraryArchitecture) -> ModelManifest:
    bare = network.model_copy(update={"measured": None}).model_dump()
    fields = {"name": "m", "format": "safetensors", "architecture": bare, "outputs": {"y": {"kind": "class"}}}
    return ModelManifest.model_validate(fields)


@pytest.mark.parametrize("name", ["test_vit", "shufflenet_v2_x0_5"])
def test_initial_weights_are_a_function_of_the_seed_alone(name: str) -> None:
    described = architecture(name)

    def drawn(seed: int, noise: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(noise)
        network = build(described)
        initialise(network, seed)
        return network.state_dict()

    first, again, other = drawn(3, 0), drawn(3, 1), drawn(4, 0)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not all(torch.equal(first[key], other[key]) for key in first)


def test_measuring_a_large_network_takes_no_memory_for_its_weights() -> None:
    large = Timm(family="timm", name="vit_huge_patch14_224", input_shape=(3, 224, 224))
    before = torch.zeros(1).untyped_storage().nbytes()
    found = measure(large, (3, 224, 224))
    assert before > 0
    assert 600e6 < found.parameters < 700e6
    assert found.flops > 3e11


@pytest.mark.parametrize(
    ("network", "code"),
    [
        (Timm(family="timm", name="nothing_like_it"), "unknown_network"),
        (Torchvision(family="torchvision", name="nothing_like_it"), "unknown_network"),
        (Torchvision(family="torchvision", name="fcn_resnet50"), "unknown_network"),
        (Torchvision(family="torchvision", name="maxvit_t"), "network_misfit"),
        (Timm(family="timm", name="levit_128s"), "network_misfit"),
    ],
)
def test_networks_that_cannot_be_built_are_refused_by_name(network: LibraryArchitecture, code: str) -> None:
    with pytest.raises(UserError) as caught:
        measure(network, (3, 40, 40))
    assert caught.value.code == code
    assert f"`{network.name}`" in caught.value.message


@pytest.mark.parametrize("name", ["hf-hub:timm/resnet18", "local-dir:/etc", "../resnet18", "resnet18.a1_in1k", ""])
def test_names_that_lead_elsewhere_are_no_names(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        Timm(family="timm", name=name)


def test_another_network_than_the_measured_one_is_refused() -> None:
    described = architecture("test_vit")
    assert described.measured is not None
    changed = described.measured.model_copy(update={"parameters": 17, "library": "timm 0.1"})
    with pytest.raises(UserError) as caught:
        build(described.model_copy(update={"measured": changed}))
    assert caught.value.code == "library_changed"
    assert "timm 0.1" in caught.value.message


def test_networks_of_a_library_count_as_noisy_in_training() -> None:
    network = build(architecture("test_resnet"))
    assert isinstance(network, LibraryNetwork)
    assert network.draws_noise
    assert network.has_batch_norm


@pytest.mark.exhaustive
def test_every_name_that_torchvision_lists_is_measured() -> None:
    models = package("torchvision").models
    for name in models.list_models(module=models):
        assert measure(Torchvision(family="torchvision", name=name), (3, 224, 224)).features > 0, name


@pytest.mark.exhaustive
@pytest.mark.timeout(3600)
def test_nearly_every_name_that_timm_lists_is_measured_and_the_others_are_refused_by_name() -> None:
    timm = package("timm")
    refused = {}
    for name in timm.list_models():
        _, *size = timm.models.get_pretrained_cfg(name).input_size
        try:
            measure(Timm(family="timm", name=name), (3, *size))
        except UserError as error:
            refused[name] = error.code
    assert set(refused.values()) <= {"network_misfit", "network_too_large"}
    assert len(refused) < 0.03 * len(timm.list_models()), refused
