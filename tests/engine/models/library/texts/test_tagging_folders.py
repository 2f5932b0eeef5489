"""Folders of networks with a head for each token: read with the outputs of transformers, or refused by name."""

from pathlib import Path
from typing import Any

import pytest
import torch

from app.contracts.resources.facts import ModelFacts
from app.contracts.resources.inputs.texts import encoding_of_ids
from app.contracts.resources.manifests import ModelManifest, TokenClassOutput
from app.contracts.specs.families.huggingface_configs import TAGGING_TYPES
from app.contracts.wire.orders import InspectionOutcome, ModelInput
from tests.engine.jobs.inspection.uploads import ignore_event, inspection
from tests.engine.models.library.folders import packed
from tests.engine.models.library.text_folders import CLASSES, CONFIGS, VOCABULARY, network, rows, saved
from tests.exhaustive import sample
from workers.engine.jobs.inspection.inspect import inspect
from workers.engine.models.build import build
from workers.engine.models.families.library.packages import package
from workers.engine.models.loading import load_weights
from workers.engine.models.network import Network

MANIFEST = ModelManifest.model_validate(
    {"name": "m", "format": "huggingface", "outputs": {"tag": {"kind": "token_class"}}}
)


def tagger(name: str) -> Any:
    """A small random network of a type with a head for each token."""
    transformers = package("transformers")
    labels = {"id2label": dict(enumerate(CLASSES)), "label2id": {each: i for i, each in enumerate(CLASSES)}}
    config = transformers.CONFIG_MAPPING[name].from_dict({**CONFIGS[name], "num_labels": 3, **labels})
    torch.manual_seed(0)
    made = transformers.AutoModelForTokenClassification.from_config(config)
    with torch.no_grad():
        for each in made.parameters():  # outputs differ by more than rounding
            each.add_(torch.randn_like(each), alpha=0.1)
    return made.eval()


def inspected(path: Path) -> InspectionOutcome:
    upload = ModelInput(id="mdl_1", manifest=MANIFEST, path=str(path), sha256="0" * 64)
    return inspect(inspection(path.parent, upload), ignore_event)


def read(path: Path) -> tuple[ModelFacts, Network]:
    """The facts and the network with its weights, as jobs get them."""
    outcome = inspected(path)
    assert outcome.model is not None, outcome.rejection
    files = {file.role: path.parent / "attempt" / "outputs" / file.path for file in outcome.files}
    assert outcome.model.architecture is not None
    ours = build(outcome.model.architecture)
    ours.load_state_dict(load_weights(files["converted"], MANIFEST, outcome.model.architecture))
    return outcome.model, ours.eval()


@pytest.mark.parametrize("name", sample(sorted(TAGGING_TYPES), ["bert", "distilbert", "modernbert", "deberta-v2"]))
def test_a_folder_of_each_type_gives_the_outputs_of_transformers_for_each_token(name: str, tmp_path: Path) -> None:
    theirs = tagger(name)
    theirs.save_pretrained(tmp_path / "model")
    facts, ours = read(packed(tmp_path / "model", tmp_path / "m.zip"))
    padding, (length,) = theirs.config.pad_token_id, facts.input_shape or (0,)
    ids = rows(padding)[1:, : length - 1]
    with torch.no_grad():
        expected = theirs(input_ids=ids, attention_mask=(ids != padding).long()).logits
        found, narrow = ours(ids.float())["tag"], ours(ids[1:3, :10].float())["tag"]
    tokens = ids != padding
    last = tokens & (tokens.cumsum(1) == tokens.sum(1, keepdim=True))
    known = tokens & ~last if name == "mobilebert" else tokens  # which reads the token behind each
    torch.testing.assert_close(found[known], expected[known], rtol=0, atol=1e-5)
    torch.testing.assert_close(narrow[known[1:3, :10]], found[1:3, :10][known[1:3, :10]], rtol=0, atol=1e-5)
    spec = facts.outputs["tag"].spec
    assert isinstance(spec, TokenClassOutput)
    assert spec.classes == CLASSES
    assert facts.parameters == sum(each.numel() for each in theirs.parameters())


def test_a_folder_without_a_tokenizer_reads_ids(tmp_path: Path) -> None:
    tagger("bert").save_pretrained(tmp_path / "model")
    facts, _ = read(packed(tmp_path / "model", tmp_path / "m.zip"))
    (tokens,) = (each.tokens for each in facts.inputs.values())
    assert tokens == encoding_of_ids(VOCABULARY, 0, (facts.input_shape or (0,))[0])
    assert "reads_ids" in [each["code"] for each in facts.warnings]


def test_a_folder_with_a_tokenizer_reads_texts(tmp_path: Path) -> None:
    facts, _ = read(packed(saved(tagger("bert"), tmp_path / "model"), tmp_path / "m.zip"))
    (tokens,) = (each.tokens for each in facts.inputs.values())
    assert tokens is not None
    assert tokens.ids is None


def test_a_network_for_rows_has_no_output_of_tokens(tmp_path: Path) -> None:
    outcome = inspected(packed(saved(network("bert"), tmp_path / "model"), tmp_path / "m.zip"))
    assert outcome.rejection is not None
    assert outcome.rejection.code == "unsupported_config"
    assert "ForTokenClassification" in outcome.rejection.message


def test_a_decoder_is_refused(tmp_path: Path) -> None:
    tagger("gpt2").save_pretrained(tmp_path / "model")
    outcome = inspected(packed(tmp_path / "model", tmp_path / "m.zip"))
    assert outcome.rejection is not None
    assert outcome.rejection.code == "network_misfit"
