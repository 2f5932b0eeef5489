"""A teacher from elsewhere: a BERT, trained by transformers and torch alone on the labels of all training snippets.

    python -m tests.demo.texts.teacher snippets.jsonl teacher.zip

Its tokenizer is its own, of pieces of words; the zip has what `save_pretrained` writes.
"""

import json
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from tokenizers.processors import TemplateProcessing
from torch import Tensor, nn

from tests.demo.texts.snippets import LANGUAGES
from workers.engine.models.families.library.packages import package

LENGTH = 24
VOCABULARY, HIDDEN, LAYERS, HEADS = 1500, 96, 2, 4
STEPS, BATCH, RATE = 500, 48, 2e-3
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def tokenizer_of(texts: list[str]) -> Tokenizer:
    """Pieces of words in lower case."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=list(_SPECIAL), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return tokenizer


def trained(ids: Tensor, mask: Tensor, labels: Tensor, size: int) -> Any:
    """A BERT with random weights, trained on rows [N, tokens]."""
    torch.manual_seed(0)
    transformers = package("transformers")
    config = transformers.BertConfig(
        vocab_size=size,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=2 * HIDDEN,
        max_position_embeddings=LENGTH,
        id2label=dict(enumerate(LANGUAGES)),
        label2id={language: i for i, language in enumerate(LANGUAGES)},
    )
    network = transformers.BertForSequenceClassification(config)
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=STEPS)
    for _ in range(STEPS):
        picked = torch.randint(len(ids), (BATCH,))
        logits = network(input_ids=ids[picked], attention_mask=mask[picked]).logits
        loss = nn.functional.cross_entropy(logits, labels[picked])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return network.eval()


def main(snippets: Path, target: Path) -> None:
    """Train the teacher and write its folder as a zip."""
    torch.set_num_threads(1)  # two are slower wherever other work runs beside
    rows = [json.loads(line) for line in snippets.read_text("utf-8").splitlines()]
    rows = [row for row in rows if row["split"] == "train"]
    tokenizer = package("transformers").PreTrainedTokenizerFast(
        tokenizer_object=tokenizer_of([row["text"] for row in rows]),
        model_max_length=LENGTH,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
    made = tokenizer([row["text"] for row in rows], padding=True, truncation=True, return_tensors="pt")
    labels = torch.tensor([LANGUAGES.index(row["label"]) for row in rows])
    network = trained(made["input_ids"], made["attention_mask"], labels, len(tokenizer))
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(target, "w") as archive:
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        for path in sorted(Path(folder).iterdir()):
            archive.write(path, path.name)
    print(f"BERT of {LAYERS} layers, {network.num_parameters():,} parameters, {len(tokenizer):,} tokens")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
