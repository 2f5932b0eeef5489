"""Folders of encoders: read with the vectors of transformers and the modules beside them, or refused by name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from app.contracts.resources.facts import ModelFacts
from app.contracts.resources.manifests import ModelManifest
from app.contracts.specs.families.library import HuggingFace
from app.contracts.wire.orders import InspectionOutcome, ModelInput
from tests.engine.jobs.inspection.uploads import ignore_event, inspection
from tests.engine.models.library import folders
from tests.engine.models.library.encoders import (
    FIRST,
    IDENTITY,
    MEAN,
    encoder,
    mean_vectors,
    sentence_folder,
    with_dense,
    written,
    zipped,
)
from tests.engine.models.library.text_folders import CONFIGS, network, rows, saved
from tests.exhaustive import sample
from workers.engine.jobs.inspection.inspect import inspect
from workers.engine.models.build import build
from workers.engine.models.families.library.packages import package
from workers.engine.models.loading import load_weights
from workers.engine.models.network import Network

Json = dict[str, Any]
VECTOR: Json = {"name": "m", "format": "huggingface", "outputs": {"embedding": {"kind": "vector"}}}
BY_MEAN: Json = {**VECTOR, "embedding": {"pooling": "mean"}}
ENCODERS = sorted(set(CONFIGS) - {"squeezebert"})


def inspected(path: Path, manifest: Json = VECTOR) -> InspectionOutcome:
    parsed = ModelManifest.model_validate(manifest)
    upload = ModelInput(id="mdl_1", manifest=parsed, path=str(path), sha256="0" * 64)
    return inspect(inspection(path.parent, upload), ignore_event)


def read(path: Path, manifest: Json = VECTOR) -> tuple[ModelFacts, Network]:
    """The facts and the network with its weights, as jobs get them."""
    outcome = inspected(path, manifest)
    assert outcome.model is not None, outcome.rejection
    files = {file.role: path.parent / "attempt" / "outputs" / file.path for file in outcome.files}
    architecture = outcome.model.architecture
    assert architecture is not None
    ours = build(architecture)
    ours.load_state_dict(load_weights(files["converted"], ModelManifest.model_validate(manifest), architecture))
    return outcome.model, ours.eval()


@pytest.mark.parametrize("name", sample(ENCODERS, ["bert", "distilbert", "mpnet", "xlm-roberta", "modernbert"]))
def test_an_encoder_of_each_type_gives_the_mean_over_the_tokens_of_transformers(name: str, tmp_path: Path) -> None:
    theirs = encoder(name)
    facts, ours = read(zipped(saved(theirs, tmp_path / "model"), tmp_path / "m.zip"), BY_MEAN)
    padding = theirs.config.pad_token_id
    ids = rows(padding)[1:, : (facts.input_shape or (0,))[0]]
    with torch.no_grad():
        found, narrow = ours(ids.float())["embedding"], ours(ids[1:3, :8].float())["embedding"]
    torch.testing.assert_close(found, mean_vectors(theirs, ids, ids != padding, unit=False), rtol=0, atol=1e-5)
    torch.testing.assert_close(narrow[0], found[1], rtol=0, atol=1e-5)
    assert facts.outputs["embedding"].size == 32
    assert facts.outputs["embedding"].spec.kind == "vector"


@pytest.mark.parametrize("name", ["vit", "dinov2"])
def test_an_encoder_of_images_gives_the_mean_over_its_patches_or_its_class_token(name: str, tmp_path: Path) -> None:
    transformers = package("transformers")
    config = {**folders.CONFIGS[name], "image_size": folders.SIDE}
    theirs = transformers.AutoModel.from_config(transformers.CONFIG_MAPPING[name].from_dict(config)).eval()
    theirs.save_pretrained(tmp_path / "model")
    path, x = zipped(tmp_path / "model", tmp_path / "m.zip"), torch.randn(2, 3, folders.SIDE, folders.SIDE)
    with torch.no_grad():
        hidden = theirs(pixel_values=x).last_hidden_state
        for pooling, expected in (("mean", hidden.mean(1)), ("first", hidden[:, 0])):
            _, ours = read(path, {**VECTOR, "embedding": {"pooling": pooling}})
            torch.testing.assert_close(ours(x)["embedding"], expected, rtol=0, atol=1e-5)


def test_the_modules_of_a_folder_say_how_tokens_become_one_vector(tmp_path: Path) -> None:
    theirs, ids = encoder("mpnet"), rows(0)[:, :20]
    folder = sentence_folder(theirs, tmp_path / "model")
    written(folder / "sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": True})
    facts, ours = read(zipped(folder, tmp_path / "m.zip"))
    assert isinstance(facts.architecture, HuggingFace)
    assert facts.input_shape == (20,), "as long as the folder says"
    with torch.no_grad():
        found = ours(ids.float())["embedding"]
    torch.testing.assert_close(found, mean_vectors(theirs, ids, ids != 0, unit=True), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(len(ids)))


def test_the_first_token_and_a_linear_layer_are_read(tmp_path: Path) -> None:
    theirs, ids = encoder("bert"), rows(0)
    folder = sentence_folder(theirs, tmp_path / "model", ("Pooling", "Dense", "Normalize"), FIRST)
    dense = with_dense(folder, 12)
    facts, ours = read(zipped(folder, tmp_path / "m.zip"))
    assert facts.outputs["embedding"].size == 12
    with torch.no_grad():
        first = theirs(input_ids=ids, attention_mask=(ids != 0).long()).last_hidden_state[:, 0]
        expected = normalize(first @ dense["linear.weight"].T + dense["linear.bias"], dim=1)
        torch.testing.assert_close(ours(ids.float())["embedding"], expected, rtol=0, atol=1e-5)


def in_its_own_folder(made: Any, folder: Path) -> Path:
    """As earlier versions of sentence-transformers wrote it: the transformer in a folder beside its modules'."""
    whole = sentence_folder(made, folder)
    inner = folder / "0_Transformer"
    inner.mkdir()
    for file in [each for each in folder.iterdir() if each.is_file() and each.name != "modules.json"]:
        file.rename(inner / file.name)
    modules = json.loads((folder / "modules.json").read_text())
    written(folder / "modules.json", [{**modules[0], "path": "0_Transformer"}, *modules[1:]])
    return whole


@pytest.mark.parametrize("above", ["", "model"])
def test_a_transformer_in_a_folder_of_its_own_is_read(above: str, tmp_path: Path) -> None:
    theirs, ids = encoder("mpnet"), rows(0)[:, :20]
    folder = in_its_own_folder(theirs, tmp_path / "a" / above if above else tmp_path / "a")
    written(folder / "0_Transformer" / "sentence_bert_config.json", {"max_seq_length": 20})
    facts, ours = read(zipped(tmp_path / "a", tmp_path / "m.zip"))
    assert facts.input_shape == (20,), "as long as the transformer's folder says"
    with torch.no_grad():
        found = ours(ids.float())["embedding"]
    torch.testing.assert_close(found, mean_vectors(theirs, ids, ids != 0, unit=True), rtol=0, atol=1e-5)


def _moved(**first: str) -> Callable[[Path], Path]:
    """A folder whose modules.json says something else of the first module; `first` empty: without modules.json."""

    def make(folder: Path) -> Path:
        made = in_its_own_folder(encoder("bert"), folder)
        modules = json.loads((made / "modules.json").read_text())
        written(made / "modules.json", [{**modules[0], **first}, *modules[1:]])
        if not first:
            (made / "modules.json").unlink()
        return made

    return make


def _pooled(**pooling: Any) -> Callable[[Path], Path]:
    return lambda folder: sentence_folder(encoder("bert"), folder, pooling={**MEAN, **pooling})


def _dense(activation: str, size: int) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        made = sentence_folder(encoder("bert"), folder, ("Pooling", "Dense"))
        with_dense(made, size, activation)
        return made

    return make


def _prompted(folder: Path) -> Path:
    made = sentence_folder(encoder("bert"), folder)
    written(made / "config_sentence_transformers.json", {"default_prompt_name": "query"})
    return made


def _in_order(*kinds: str) -> Callable[[Path], Path]:
    return lambda folder: sentence_folder(encoder("bert"), folder, kinds)


@pytest.mark.parametrize(
    ("make", "manifest", "code", "said"),
    [
        (_pooled(pooling_mode_max_tokens=True), VECTOR, "unsupported_config", "pooling_mode_max_tokens"),
        (_pooled(pooling_mode_cls_token=True), VECTOR, "unsupported_config", "the mean or the first token alone"),
        (_pooled(pooling_mode_mean_tokens=False), VECTOR, "unsupported_config", "no mode"),
        (_pooled(include_prompt=False), VECTOR, "unsupported_config", "include_prompt"),
        (_pooled(word_embedding_dimension=48), VECTOR, "unsupported_config", "tokens have 32 numbers"),
        (_pooled(embedding_dimension=48), VECTOR, "unsupported_config", "tokens have 32 numbers"),
        (_moved(), VECTOR, "unreadable", "zip the folder of one model"),
        (_moved(path="0_Other"), VECTOR, "unreadable", "where no `config.json` is"),
        (_moved(path="../0_Transformer"), VECTOR, "unsupported_config", "export the model to ONNX"),
        (_moved(type="sentence_transformers.models.Pooling"), VECTOR, "unsupported_config", "each kind once"),
        (_dense("torch.nn.modules.activation.Tanh", 12), VECTOR, "unsupported_config", "Tanh"),
        (_dense(IDENTITY, 32), VECTOR, "wrong_shape", "another size than 32"),
        (_prompted, VECTOR, "unsupported_config", "prompt"),
        (_in_order("Normalize", "Pooling"), VECTOR, "unsupported_config", "in this order"),
        (_in_order("Normalize"), VECTOR, "unsupported_config", "in this order"),
        (_in_order("Pooling", "WordWeights"), VECTOR, "unsupported_config", "WordWeights"),
        (lambda folder: saved(encoder("bert"), folder), VECTOR, "unsupported_config", '"embedding": {"pooling"'),
        (_in_order("Pooling"), {**VECTOR, "embedding": {"pooling": "first"}}, "unsupported_config", "differs"),
        (_in_order("Pooling"), {**VECTOR, "outputs": {"y": {"kind": "class"}}}, "wrong_output", "kind `vector`"),
        (lambda folder: saved(network("bert"), folder), BY_MEAN, "unsupported_config", "or save the base model"),
        (lambda folder: saved(encoder("squeezebert"), folder), BY_MEAN, "network_misfit", "no embedding reads"),
    ],
)
def test_what_makes_other_vectors_is_refused_by_name(
    make: Callable[[Path], Path], manifest: Json, code: str, said: str, tmp_path: Path
) -> None:
    rejection = inspected(zipped(make(tmp_path / "model"), tmp_path / "m.zip"), manifest).rejection
    assert rejection is not None
    assert (rejection.code, said in rejection.message) == (code, True), rejection.message


def test_texts_that_are_to_be_made_lower_case_need_such_a_tokenizer(tmp_path: Path) -> None:
    from tests.engine.models.library.text_folders import tokenizer

    folder = sentence_folder(encoder("bert"), tmp_path / "model")
    saved(encoder("bert"), folder, tokenizer(lowercase=False))
    document = json.loads((folder / "tokenizer_config.json").read_text())
    document.pop("do_lower_case", None)
    written(folder / "tokenizer_config.json", document)
    written(folder / "sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": True})
    rejection = inspected(zipped(folder, tmp_path / "m.zip")).rejection
    assert rejection is not None
    assert "keeps capitals" in rejection.message
