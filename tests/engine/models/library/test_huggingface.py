"""Folders of transformers: read with equal outputs, refused by name, and written so that transformers loads them."""

import json
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from app.contracts.problems import UserError
from app.contracts.resources.facts import ModelFacts
from app.contracts.resources.inputs.images import ImageForm
from app.contracts.resources.manifests import ClassOutput, ModelManifest
from app.contracts.specs.families.library import HuggingFace
from tests.engine.models.library.folders import CONFIGS, PROCESSOR, SIDE, network, packed, saved
from tests.exhaustive import sample
from workers.engine.jobs.inspection.family_models import inspect_family_model
from workers.engine.jobs.inspection.huggingface.convert import convert_folder
from workers.engine.jobs.inspection.library_trunks import measured_manifest
from workers.engine.models.build import build
from workers.engine.models.families.library.measure import measure
from workers.engine.models.loading import load_weights

MANIFEST = ModelManifest.model_validate({"name": "m", "format": "huggingface", "outputs": {"label": {"kind": "class"}}})


def read(path: Path) -> tuple[ModelFacts, Path]:
    """The facts that an inspection finds, and the converted weights."""
    target = path.parent / "converted.safetensors"
    found = convert_folder(path, target, MANIFEST)
    return inspect_family_model(target, measured_manifest(found.manifest)), target


@pytest.mark.parametrize("name", sample(CONFIGS, ["vit", "convnext", "resnet", "swin"]))
def test_a_folder_of_each_type_gives_the_outputs_of_transformers(name: str, tmp_path: Path) -> None:
    side = 64 if name in ("swin", "swinv2", "efficientnet", "mobilevit", "mobilevitv2") else SIDE
    theirs = network(name, side)
    facts, weights = read(packed(saved(theirs, tmp_path / "model"), tmp_path / "m.zip"))
    assert facts.architecture is not None
    ours = build(facts.architecture)
    ours.load_state_dict(load_weights(weights, MANIFEST, facts.architecture))
    rows = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected, found = theirs(rows).logits, ours.eval()(rows)["label"]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert facts.parameters == sum(each.numel() for each in theirs.parameters())
    spec = facts.outputs["label"].spec
    assert isinstance(spec, ClassOutput)
    assert spec.classes == ("cat", "dog", "owl")
    assert facts.inputs["image"].resize == "bicubic"
    assert facts.inputs["image"].mean == tuple(PROCESSOR["image_mean"])  # type: ignore[arg-type]
    assert any(layer.name.startswith("trunk.") for layer in facts.layers)


def test_shards_are_joined_and_a_plain_class_has_no_name(tmp_path: Path) -> None:
    theirs = network("vit", classes=("LABEL_0", "LABEL_1"))
    folder = saved(theirs, tmp_path / "model", max_shard_size="40KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    facts, weights = read(packed(folder, tmp_path / "m.zip"))
    spec = facts.outputs["label"].spec
    assert isinstance(spec, ClassOutput)
    assert spec.classes is None
    assert load_file(weights).keys() == theirs.state_dict().keys()


HUGE = "x" * 200
CHANGED: dict[str, tuple[dict[str, Any], str]] = {
    "a type that is not read": ({"model_type": "timm_wrapper", "architecture": "hf-hub:a/b"}, "unsupported_config"),
    "no type": ({"model_type": None}, "unsupported_config"),
    "code of a stranger": ({"auto_map": {"AutoModel": "a--b.C"}}, "unsupported_config"),
    "quantised weights": ({"quantization_config": {"quant_method": "awq"}}, "unsupported_config"),
    "a key that the type has not": ({"get_text_config": "x"}, "unsupported_config"),
    "too many layers": ({"num_hidden_layers": 3000}, "unsupported_config"),
    "layers below nought": ({"num_hidden_layers": -3}, "unsupported_config"),
    "a width that is a text": ({"hidden_size": "32"}, "unsupported_config"),
    "a width beyond all bounds": ({"hidden_size": 1 << 40}, "unsupported_config"),
    "an unknown activation": ({"hidden_act": "os.system"}, "unsupported_config"),
    "heads that do not divide the width": ({"num_attention_heads": 5}, "wrong_shape"),
    "another width": ({"hidden_size": 64}, "wrong_shape"),
    "fewer layers": ({"num_hidden_layers": 1}, "unexpected_parameters"),
    "more layers": ({"num_hidden_layers": 3}, "missing_parameters"),
    "three million classes": ({"id2label": None, "num_labels": 3_000_000}, "wrong_output"),
    "classes with a gap": ({"id2label": {"0": "a", "2": "b"}}, "wrong_output"),
    "two classes of one name": ({"id2label": {"0": "a", "1": "b", "2": "a"}}, "wrong_output"),
    "one class more": ({"id2label": {str(i): f"c{i}" for i in range(4)}}, "wrong_shape"),
    "images of no size": ({"image_size": 0}, "unsupported_config"),
    "images of 60000 pixels": ({"image_size": 60_000}, "shape_mismatch"),
    "no channels": ({"num_channels": 0}, "unsupported_config"),
}


@pytest.mark.parametrize("fault", CHANGED)
def test_a_configuration_that_is_not_sound_is_refused_by_name(fault: str, tmp_path: Path) -> None:
    changed, code = CHANGED[fault]
    assert refusal(packed(saved(network("vit"), tmp_path / "model"), tmp_path / "m.zip", **changed)) == code


def refusal(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(path)
    assert str(path.parent) not in caught.value.message
    return caught.value.code


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def with_index(place: str) -> Any:
    def write(folder: Path) -> None:
        index = {"weight_map": {"vit.embeddings.cls_token": place}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    return write


def with_nan(folder: Path) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.bias"] = torch.full((3,), torch.nan)
    save_file(tensors, folder / "model.safetensors")


def cut(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-100])


FILES: dict[str, tuple[Any, str]] = {
    "pickled weights": (without_weights, "unreadable"),
    "a shard above the folder": (with_index("../../etc/passwd"), "unreadable"),
    "a shard at an absolute path": (with_index("/etc/passwd"), "unreadable"),
    "weights with NaN": (with_nan, "not_finite"),
    "weights that end early": (cut, "unreadable"),
    "no configuration": (lambda folder: (folder / "config.json").unlink(), "unreadable"),
    "a configuration that is no JSON": (lambda folder: (folder / "config.json").write_text("{"), "unreadable"),
    "a configuration that is a list": (lambda folder: (folder / "config.json").write_text("[]"), "unreadable"),
    "two configurations": (lambda folder: shutil.copytree(folder, folder / "again"), "unreadable"),
    "a mean of text": (
        lambda folder: (folder / "preprocessor_config.json").write_text(
            '{"do_normalize": true, "image_mean": ["a"], "image_std": [1]}'
        ),
        "unreadable",
    ),
}


@pytest.mark.parametrize("fault", FILES)
def test_a_folder_that_is_not_sound_is_refused_by_name(fault: str, tmp_path: Path) -> None:
    change, code = FILES[fault]
    folder = saved(network("vit"), tmp_path / "model")
    change(folder)
    path = tmp_path / "m.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(each for each in folder.rglob("*") if each.is_file()):
            archive.write(file, f"model/{file.relative_to(folder)}")
    assert refusal(path) == code


def test_a_zip_that_claims_too_much_is_not_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for i in range(201):
            archive.writestr(f"m/{i}", b"")
        archive.writestr("m/config.json", "{}")
    assert refusal(path) == "unreadable"


def test_a_zip_with_a_file_of_no_name_is_read_without_it(tmp_path: Path) -> None:
    path = packed(saved(network("vit"), tmp_path / "model"), tmp_path / "m.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("model/_", b"")
    content = path.read_bytes()
    begin, end = content.index(b"model/_"), content.rindex(b"model/_")
    assert begin != end
    zeros = bytes(len(b"model/_"))  # zipfile takes a name to end at its first zero
    path.write_bytes(content[:begin] + zeros + content[begin + 7 : end] + zeros + content[end + 7 :])
    facts, _ = read(path)
    assert facts.architecture is not None


def before_its_begin(content: bytearray) -> None:
    """The central directory is said to be a thousand bytes further on: the first file begins before the archive."""
    place = content.rindex(b"PK\5\6") + 16
    (offset,) = struct.unpack_from("<L", content, place)
    struct.pack_into("<L", content, place, offset + 1000)


def name_of_no_text(content: bytearray) -> None:
    """The name is said to be UTF-8, and is none where the file begins."""
    struct.pack_into("<H", content, 6, 0x800)
    content[30] = 0xFF


@pytest.mark.parametrize("damage", [before_its_begin, name_of_no_text])
def test_a_zip_whose_files_do_not_begin_as_its_directory_says_is_refused(
    damage: Callable[[bytearray], None], tmp_path: Path
) -> None:
    path = packed(saved(network("vit"), tmp_path / "model"), tmp_path / "m.zip")
    content = bytearray(path.read_bytes())
    damage(content)
    path.write_bytes(content)
    assert refusal(path) == "unreadable"


@pytest.mark.parametrize(
    "config", [{"hidden_size": True}, {"layer_norm_eps": "x"}, {"nothing": 1}, {"num_hidden_layers": 65}]
)
def test_a_student_with_a_key_that_the_type_has_not_is_refused(config: dict[str, Any]) -> None:
    fields = {"family": "huggingface", "name": "vit", "config": config}
    with pytest.raises(UserError) as caught:
        measure(HuggingFace.model_validate(fields), (3, SIDE, SIDE))
    assert caught.value.code == "unsupported_config"
    assert f"`{next(iter(config))}`" in caught.value.message


PROCESSORS: dict[str, tuple[dict[str, Any], str]] = {
    "channels in another order": ({"do_flip_channel_order": True}, "do_flip_channel_order"),
    "an offset after scaling": ({"rescale_offset": True}, "rescale_offset"),
    "a second normalisation": ({"include_top": True}, "include_top"),
    "images as they come": ({"do_resize": False}, "do_resize"),
    "a filter that is not applied": ({"resample": 1}, "resample"),
    "a normalisation by nothing": ({"image_mean": []}, "do_normalize"),
    "a second normalisation by default": (
        {"image_processor_type": "EfficientNetImageProcessor", "include_top": None},
        "include_top",
    ),
    "images of any proportions": ({"size": {"shortest_edge": 32}}, "crop_size"),
    "a crop that has to be filled up": (
        {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": 30}, "crop_size": 32},
        "crop_size",
    ),
    "a size that is none": ({"size": {"height": "32", "width": 32}}, "size"),
    "another kind of size": ({"size": {"longest_edge": 32}}, "size"),
    "a share beyond all bounds": (
        {"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 32}, "crop_pct": 1e-9},
        "crop_pct",
    ),
    "a processor that is not known": ({"image_processor_type": "TimmWrapperImageProcessor"}, "image_processor_type"),
}


@pytest.mark.parametrize("fault", PROCESSORS)
def test_what_an_image_processor_does_and_the_service_does_not_is_refused(fault: str, tmp_path: Path) -> None:
    changed, named = PROCESSORS[fault]
    folder = saved(network("vit"), tmp_path / "model")
    (folder / "preprocessor_config.json").write_text(json.dumps({**PROCESSOR, **changed}))
    with pytest.raises(UserError) as caught:
        read(packed(folder, tmp_path / "m.zip"))
    assert caught.value.code == "unsupported_config"
    assert f"`{named}`" in caught.value.message


def test_no_normalisation_and_a_crop_are_read_as_they_are(tmp_path: Path) -> None:
    folder = saved(network("vit"), tmp_path / "model")
    size = {"image_processor_type": "ConvNextFeatureExtractor", "size": SIDE, "crop_pct": 0.875}
    crops = {**PROCESSOR, "do_normalize": False, **size}
    (folder / "preprocessor_config.json").write_text(json.dumps(crops))
    found = convert_folder(packed(folder, tmp_path / "m.zip"), tmp_path / "w.safetensors", MANIFEST)
    transform = found.manifest.inputs["image"]
    assert (transform.scale, transform.mean, transform.std) == (1 / 255, 0.0, 1.0)
    assert isinstance(transform.form, ImageForm)
    assert (transform.form.size, transform.form.scaled, transform.form.filter) == ((32, 32), (36, 36), "bicubic")
    assert found.notes == ()


def test_an_image_processor_of_another_size_than_the_model_is_no_form(tmp_path: Path) -> None:
    folder = saved(network("vit"), tmp_path / "model")
    (folder / "preprocessor_config.json").write_text(json.dumps({**PROCESSOR, "size": 2 * SIDE}))
    found = convert_folder(packed(folder, tmp_path / "m.zip"), tmp_path / "w.safetensors", MANIFEST)
    assert (found.manifest.inputs["image"].form, found.manifest.inputs["image"].resize) == (None, "bicubic")
    assert [note["code"] for note in found.notes] == ["image_processor_differs"]


def test_a_model_of_several_labels_is_no_model_of_classes(tmp_path: Path) -> None:
    folder = saved(network("vit"), tmp_path / "model")
    changed = packed(folder, tmp_path / "m.zip", problem_type="multi_label_classification")
    assert refusal(changed) == "wrong_output"


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("vit", {"hidden_act": "foo"}),
        ("vit", {"num_attention_heads": 0}),
        ("vit", {"patch_size": 0}),
        ("swin", {"depths": (1, 1), "num_heads": (2,)}),
        ("convnext", {"hidden_sizes": (8, 16), "depths": (1, 1, 1, 1)}),
        ("resnet", {"hidden_act": "zzz"}),
    ],
)
def test_values_that_do_not_go_together_are_refused_by_name(name: str, config: dict[str, Any]) -> None:
    fields = {"family": "huggingface", "name": name, "config": config}
    with pytest.raises(UserError) as caught:
        measure(HuggingFace.model_validate(fields), (3, 64, 64))
    assert caught.value.code in ("unsupported_config", "network_misfit")
    assert f"`{name}`" in caught.value.message
