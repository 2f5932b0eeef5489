"""A teacher of texts from elsewhere, as a folder of transformers with a tokenizer of words of its own."""

import zipfile
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from tokenizers.processors import TemplateProcessing

from app.contracts.resources.manifests import ModelManifest
from app.contracts.wire.orders import ModelInput
from tests.engine.harness import TEACHER, EngineHarness
from tests.engine.jobs.texts.sentences import BAD, GOOD, PLACES
from workers.engine.common.files import sha256_of
from workers.engine.jobs.inspection.family_models import inspect_family_model
from workers.engine.jobs.inspection.huggingface.convert import convert_folder
from workers.engine.jobs.inspection.library_trunks import measured_manifest
from workers.engine.models.families.library.packages import package

LENGTH = 20
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "and", "number", *GOOD, *BAD, *PLACES)
CLASSES = ("bad", "good")
MANIFEST: dict[str, Any] = {"name": "teacher", "format": "huggingface", "outputs": {"label": {"kind": "class"}}}


def words_alone() -> Any:
    """A tokenizer of whole words, as transformers wraps it."""
    made = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)], pair="[CLS] $A [SEP] $B:1 [SEP]:1"
    )
    return package("transformers").PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", model_max_length=LENGTH
    )


def network(seed: int = 0, head: str = "Sequence") -> Any:
    """A small random BERT for two classes, of a text or (`Token`) of each of its tokens, in evaluation mode."""
    transformers = package("transformers")
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=LENGTH,
        id2label=dict(enumerate(CLASSES)),
        label2id={name: i for i, name in enumerate(CLASSES)},
    )
    made = getattr(transformers, f"BertFor{head}Classification")(config)
    with torch.no_grad():
        for each in made.parameters():
            each += 0.2 * torch.randn_like(each)
    return made.eval()


def packed(folder: Path, made: Any) -> Path:
    """The zip of what `save_pretrained` writes."""
    (folder / "model").mkdir()
    made.save_pretrained(folder / "model")
    words_alone().save_pretrained(folder / "model")
    with zipfile.ZipFile(folder / "model.zip", "w") as archive:
        for path in sorted((folder / "model").iterdir()):
            archive.write(path, path.name)
    return folder / "model.zip"


def as_teacher(harness: EngineHarness, archive: Path, kind: str = "class") -> ModelInput:
    """The folder as a teacher of the harness, as an inspection reads it. `kind`: of its output."""
    path = harness.folder / "teacher.safetensors"
    found = convert_folder(
        archive, path, ModelManifest.model_validate({**MANIFEST, "outputs": {"label": {"kind": kind}}})
    )
    assert found.tokenizer is not None
    harness.keep_tokenizer(found.tokenizer)
    facts = inspect_family_model(path, measured_manifest(found.manifest))
    model = ModelInput(id=TEACHER, manifest=found.manifest, facts=facts, path=str(path), sha256=sha256_of(path))
    harness.models[TEACHER] = model
    return model
