"""Students that are some blocks of a network of transformers, and students from models of libraries."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from app.contracts.layouts.starting_tensors import Blocks, blocks_of, source_names
from app.contracts.resolving.students.starts import evenly_spaced
from app.contracts.specs.families.family import Cut
from app.contracts.specs.families.huggingface_configs import NAMED_BY_LAYERS, TEXT_TYPES, WIDTH_KEYS, layers_key
from app.contracts.specs.families.library import HuggingFace
from tests.engine.harness import SECOND, TEACHER, EngineHarness, made_once
from tests.engine.jobs.texts import teachers
from tests.engine.jobs.texts.sentences import BERT, with_sentences
from tests.engine.models.begun import assert_same, begun, tensors_of, whole
from tests.engine.models.library import folders, text_folders
from tests.engine.models.library.networks import with_images
from tests.exhaustive import sample
from workers.engine.models.build import build
from workers.engine.models.families.library.measure import measure
from workers.engine.models.families.library.packages import package

Json = dict[str, Any]
STILL: Json = {"steps": 2, "batch_size": 16, "learning_rate": 1e-9}
CUTTABLE = [name for name in (*text_folders.CONFIGS, *folders.CONFIGS) if layers_key(name) is not None]
LAYER = "trunk.bert.encoder.layer"


def distill(student: Json, **more: Any) -> Json:
    spec = {"kind": "distill", "target": "label", "teachers": [{"model": TEACHER}], "control": False}
    untrained = {"allow_chance_teacher": True}
    return {**spec, "student": student, "training": STILL, "distillation": untrained, **more}


def part(**fields: Any) -> Json:
    return {"from_teacher": fields}


def problems(harness: EngineHarness, spec: Json) -> list[tuple[str, str]]:
    return [(each.pointer, each.code) for each in harness.dry_run(spec).problems]


def described(name: str, depth: int) -> HuggingFace:
    """A network of a type with so many blocks, measured."""
    is_text = name in TEXT_TYPES
    given = {**(text_folders if is_text else folders).CONFIGS[name], layers_key(name): depth}
    shape = (text_folders.LENGTH,) if is_text else (3, folders.SIDE, folders.SIDE)
    config = {key: value for key, value in given.items() if key not in NAMED_BY_LAYERS}
    fields = {"family": "huggingface", "name": name, "config": config, "input_shape": shape, "outputs": {"label": 2}}
    made = HuggingFace.model_validate_json(json.dumps(fields))
    return made.model_copy(update={"measured": measure(made, shape)})


@pytest.mark.parametrize("name", sample(CUTTABLE, ["bert", "distilbert", "gpt2", "vit", "dinov2", "roberta"]))
def test_each_tensor_of_a_cut_network_is_one_of_the_whole(name: str) -> None:
    model, student = described(name, 3), described(name, 2).model_copy(update={"cut": Cut(layers=(0, 2))})
    blocks = blocks_of(model)
    assert isinstance(blocks, Blocks)
    assert blocks.count == 3
    theirs, ours = build(model).state_dict(), build(student).state_dict()
    sources = source_names(student, model, ours, ["label"])
    assert sources.keys() == ours.keys()
    assert all(ours[name].shape == theirs[source].shape for name, source in sources.items())
    left_out = theirs.keys() - set(sources.values())
    assert left_out
    assert all(each.startswith(f"{blocks.prefix}.1.") for each in left_out)


@pytest.mark.parametrize("name", WIDTH_KEYS)
def test_each_tensor_of_a_narrower_network_is_a_slice_of_the_whole(name: str) -> None:
    model, keys = described(name, 2), WIDTH_KEYS[name]
    narrow = {**model.config, keys.hidden: 16, keys.intermediate: 24, keys.heads: 1}
    student = model.model_copy(update={"config": narrow, "cut": Cut(layers=(0, 1), sliced=True)})
    student = student.model_copy(update={"measured": measure(student, student.input_shape or ())})
    theirs, ours = build(model).state_dict(), build(student).state_dict()
    for own, source in source_names(student, model, ours, ["label"]).items():
        assert ours[own].dim() == theirs[source].dim()
        pairs = zip(ours[own].shape, theirs[source].shape, strict=True)
        assert all(mine == whole or (mine, whole) in ((16, 32), (24, 48), (24, 64)) for mine, whole in pairs), own


@pytest.mark.parametrize(
    ("count", "expected"), [(12, (0, 2, 4, 7, 9, 11)), (6, (0, 2, 5)), (3, (0, 2)), (2, (0,)), (1, (0,))]
)
def test_half_of_the_blocks_are_evenly_spaced(count: int, expected: tuple[int, ...]) -> None:
    assert evenly_spaced(count) == expected
    assert all(a < b for n in range(1, 200) for a, b in zip(evenly_spaced(n), evenly_spaced(n)[1:], strict=False))


@made_once
def of_texts(harness: EngineHarness) -> None:
    """Sentences, and a BERT of four blocks with a tokenizer of its own."""
    made = with_sentences(harness.folder)
    harness.data, harness.tokenizers = made.data, made.tokenizers
    transformers = package("transformers")
    torch.manual_seed(2)
    config = transformers.BertConfig(
        **{**BERT["config"], "num_hidden_layers": 4},
        vocab_size=len(teachers.WORDS),
        max_position_embeddings=teachers.LENGTH,
        id2label=dict(enumerate(teachers.CLASSES)),
        label2id={name: i for i, name in enumerate(teachers.CLASSES)},
    )
    network = transformers.BertForSequenceClassification(config).eval()
    teachers.as_teacher(harness, teachers.packed(harness.folder, network))


@pytest.fixture
def texts(harness: EngineHarness) -> EngineHarness:
    """Sentences and a teacher of four blocks."""
    harness.data = None
    found = of_texts(harness)
    found.tokenizers = {path.name.partition(".")[0]: str(path) for path in found.folder.glob("*.tokenizer.json")}
    return found


def test_a_student_of_texts_with_all_blocks_answers_as_its_teacher(texts: EngineHarness) -> None:
    spec = distill(part(layers=[0, 1, 2, 3]))
    student, teacher = begun(texts, spec), whole(texts.models[TEACHER])
    ids = torch.randint(4, len(teachers.WORDS), (5, 9), generator=torch.Generator().manual_seed(1))
    assert torch.equal(student(ids)["label"], teacher(ids)["label"])


def test_a_student_of_texts_has_the_named_blocks_and_the_teacher_s_tokenizer(texts: EngineHarness) -> None:
    outcome = texts.run(distill(part(layers=[0, 2]), control=True))
    theirs = whole(texts.models[TEACHER])
    head = theirs.state_dict()["layers.0.weight"]
    for role in ("student", "control"):
        found = texts.weights(role=role)
        for ours, source in ((0, 0), (1, 2)):
            own = {n: v for n, v in found.items() if n.startswith(f"bert.encoder.layer.{ours}.")}
            for name, value in tensors_of(theirs, f"{LAYER}.{source}.").items():
                torch.testing.assert_close(own[f"bert.encoder.layer.{ours}.{name}"], value, atol=1e-6, rtol=0)
        torch.testing.assert_close(found["classifier.weight"], head, atol=1e-6, rtol=0)
    (ours_read,) = outcome.student.inputs.values()
    facts = texts.models[TEACHER].facts
    assert facts is not None
    (theirs_read,) = facts.inputs.values()
    assert ours_read.tokens is not None
    assert theirs_read.tokens is not None
    assert ours_read.tokens.tokenizer == theirs_read.tokens.tokenizer
    architecture = outcome.student.architecture
    assert isinstance(architecture, HuggingFace)
    assert architecture.config["num_hidden_layers"] == 2


def test_a_narrower_student_of_texts_has_leading_heads(texts: EngineHarness) -> None:
    spec = distill(part(layers=[3], width={"heads": 1, "intermediate": 20}))
    ours, theirs = begun(texts, spec).state_dict(), whole(texts.models[TEACHER]).state_dict()
    name, source = f"{LAYER}.0.attention.self.query.weight", f"{LAYER}.3.attention.self.query.weight"
    assert torch.equal(ours[name], theirs[source][:8, :8])
    assert torch.equal(ours[f"{LAYER}.0.output.dense.weight"], theirs[f"{LAYER}.3.output.dense.weight"][:8, :20])
    assert torch.equal(ours["layers.0.weight"], theirs["layers.0.weight"][:, :8])
    texts.run(spec)


def test_a_model_of_texts_is_a_student_with_its_tokenizer(texts: EngineHarness) -> None:
    texts.models[SECOND] = texts.models[TEACHER].model_copy(update={"id": SECOND})
    for spec in (distill({"model": SECOND}), {"kind": "train", "target": "label", "model": {"model": SECOND}}):
        spec["training"] = STILL
        assert_same(dict(begun(texts, spec).state_dict()), dict(whole(texts.models[SECOND]).state_dict()))
    texts.run({"kind": "train", "target": "label", "model": {"model": SECOND}, "training": STILL})


@pytest.fixture
def images(harness: EngineHarness, tmp_path: Path) -> EngineHarness:
    """Images, and a ViT of three blocks with its own mean and deviation."""
    made = with_images(harness, 60)
    network = described("vit", 3).model_copy(update={"outputs": {"label": 3}})
    torch.manual_seed(4)
    built = build(network)
    tensors = {built.file_name(name): each for name, each in built.state_dict().items()}
    manifest = {
        "architecture": network.model_dump(mode="json", exclude={"measured"}),
        "outputs": {"label": {"kind": "class"}},
        "inputs": {"x": {"scale": 1 / 255, "mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2]}},
    }
    made.uploaded(tensors, manifest)
    return made


def test_a_student_of_images_has_its_teacher_s_blocks_and_reads_as_it_does(images: EngineHarness) -> None:
    spec = distill(part(layers=[0, 1, 2]))
    student, teacher = begun(images, spec), whole(images.models[TEACHER])
    rows = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    assert torch.equal(student(rows)["label"], teacher(rows)["label"])
    outcome = images.run(distill(part(layers=[0, 2])))
    (transform,) = outcome.student.inputs.values()
    assert (transform.mean, transform.std) == ((0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    made = package("transformers").ViTConfig(**{**folders.CONFIGS["vit"], "image_size": 32, "num_labels": 3})
    theirs = package("transformers").ViTForImageClassification(made)
    theirs.load_state_dict(images.weights())


def test_types_whose_blocks_differ_and_networks_of_timm_are_not_cut(images: EngineHarness) -> None:
    place = "/student/from_teacher/teacher"
    swin = HuggingFace(family="huggingface", name="swin", outputs={"label": 3}, input_shape=(3, 32, 32))
    facts = images.models[TEACHER].facts
    assert facts is not None
    other = facts.model_copy(update={"architecture": swin})
    images.models[TEACHER] = images.models[TEACHER].model_copy(update={"facts": other})
    assert problems(images, distill(part())) == [(place, "cut_undefined")]
    assert "share" not in str(blocks_of(swin))
    torch.manual_seed(0)
    network = package("timm").create_model("test_vit", num_classes=3, img_size=(32, 32))
    timm = {"family": "timm", "name": "test_vit", "input_shape": [3, 32, 32], "outputs": {"label": 3}}
    tensors = {key: value.contiguous() for key, value in network.state_dict().items()}
    manifest = {"architecture": timm, "outputs": {"label": {"kind": "class"}}, "inputs": {"x": {"scale": 1 / 255}}}
    images.uploaded(tensors, manifest)
    assert problems(images, distill(part())) == [(place, "cut_undefined")]
    assert not problems(images, distill({"model": TEACHER}))
    assert_same(
        dict(begun(images, distill({"model": TEACHER})).state_dict()), dict(whole(images.models[TEACHER]).state_dict())
    )


def test_images_of_another_size_do_not_fit_the_positions_of_a_part(images: EngineHarness) -> None:
    facts = images.models[TEACHER].facts
    assert facts is not None
    assert facts.architecture is not None
    larger = facts.architecture.model_copy(update={"input_shape": (3, 64, 64)})
    images.models[TEACHER] = images.models[TEACHER].model_copy(
        update={"facts": facts.model_copy(update={"architecture": larger})}
    )
    assert ("/student/from_teacher", "pretrained_misfit") in problems(images, distill(part(layers=[0])))


def test_widths_are_sliced_for_known_types_alone(images: EngineHarness) -> None:
    deit = described("deit", 3).model_copy(update={"outputs": {"label": 3}})
    facts = images.models[TEACHER].facts
    assert facts is not None
    images.models[TEACHER] = images.models[TEACHER].model_copy(
        update={"facts": facts.model_copy(update={"architecture": deit})}
    )
    width = {"hidden": 16}
    assert problems(images, distill(part(width=width))) == [("/student/from_teacher/width", "cut_undefined")]
    assert not problems(images, distill(part(layers=[0, 1])))
