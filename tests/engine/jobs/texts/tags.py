"""Rows of ids whose tags follow a rule: of each token whether it is odd."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from app.contracts.resources.manifests import ModelManifest
from app.contracts.wire.orders import ModelInput
from tests.engine.harness import TEACHER, EngineHarness
from workers.engine.common.files import sha256_of
from workers.engine.jobs.inspection.family_models import inspect_family_model
from workers.engine.jobs.inspection.huggingface.convert import convert_folder
from workers.engine.jobs.inspection.library_trunks import measured_manifest
from workers.engine.models.families.library.packages import package

VOCABULARY = 12
TAGS = ("even", "odd")
MANIFEST: dict[str, Any] = {
    "name": "tags",
    "format": "jsonl",
    "inputs": {"ids": {"kind": "tokens", "vocabulary": VOCABULARY}},
    "targets": {"tag": {"kind": "token_class", "classes": list(TAGS)}},
    "splits": {"fractions": {"train": 0.6, "validation": 0.2, "test": 0.2}},
}
BERT: dict[str, Any] = {
    "family": "huggingface",
    "name": "bert",
    "config": {
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
    },
}
TRAINING: dict[str, Any] = {"steps": 60, "batch_size": 32, "learning_rate": 0.01}


def tagged(count: int = 200, seed: int = 0, longest: int = 8) -> list[dict[str, Any]]:
    """Rows {ids, tag} of 1 to `longest` ids from 1 on; the tag of an id is the parity of the id itself."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        ids = [draw.randrange(1, VOCABULARY) for _ in range(draw.randint(1, longest))]
        rows.append({"ids": ids, "tag": [TAGS[each % 2] for each in ids]})
    return rows


def written(folder: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> Path:
    """Rows as JSON lines."""
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def with_tags(folder: Path, rows: list[dict[str, Any]] | None = None, **manifest: Any) -> EngineHarness:
    """A harness whose dataset has tagged rows."""
    folder.mkdir(exist_ok=True)
    harness = EngineHarness(folder)
    harness.file(written(folder, tagged() if rows is None else rows), **{**MANIFEST, **manifest})
    return harness


def worded(count: int = 200, seed: int = 0) -> list[dict[str, Any]]:
    """Rows {words, tag} of 2 to 6 words, of which some are names."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        words = [draw.choice(("Ada", "Grace", "wrote", "counted", "slowly")) for _ in range(draw.randint(2, 6))]
        rows.append({"words": words, "tag": ["B-PER" if each in ("Ada", "Grace") else "O" for each in words]})
    return rows


def words_manifest() -> dict[str, Any]:
    """The manifest of such rows."""
    targets = {"tag": {"kind": "token_class", "classes": ["O", "B-PER"]}}
    inputs = {"words": {"kind": "text", "tokenizer": {"size": 300}}}
    return {**MANIFEST, "inputs": inputs, "targets": targets}


def with_words(folder: Path) -> EngineHarness:
    """A harness whose dataset has words of which some are names."""
    return with_tags(folder, worded(), **words_manifest())


def tagger(folder: Path, vocabulary: int, classes: Sequence[str], length: int = 32) -> Any:
    """A folder of transformers with a small random network for each token, and no tokenizer."""
    transformers = package("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=vocabulary,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=length,
        id2label=dict(enumerate(classes)),
        label2id={name: i for i, name in enumerate(classes)},
    )
    made = transformers.BertForTokenClassification(config)
    with torch.no_grad():
        made.bert.embeddings.word_embeddings.weight.mul_(50.0)  # the answers are those of the ids
        made.classifier.weight.mul_(20.0)
    made.save_pretrained(folder)
    return made.eval()


def as_teacher(harness: EngineHarness, archive: Path, output: str) -> None:
    """A folder as a teacher of the harness, as an inspection reads it."""
    path = harness.folder / "teacher.safetensors"
    outputs = {output: {"kind": "token_class"}}
    manifest = ModelManifest.model_validate({"name": "teacher", "format": "huggingface", "outputs": outputs})
    found = convert_folder(archive, path, manifest)
    if found.tokenizer is not None:
        harness.keep_tokenizer(found.tokenizer)
    facts = inspect_family_model(path, measured_manifest(found.manifest))
    model = ModelInput(id=TEACHER, manifest=found.manifest, facts=facts, path=str(path), sha256=sha256_of(path))
    harness.models[TEACHER] = model
