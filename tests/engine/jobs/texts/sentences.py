"""Small sentences whose words determine their class."""

import json
import random
from pathlib import Path
from typing import Any

from tests.engine.harness import EngineHarness

GOOD = ("lovely", "bright", "kind", "warm")
BAD = ("gloomy", "broken", "rude", "cold")
PLACES = ("river", "station", "garden", "market", "harbour")
TARGET: dict[str, Any] = {"kind": "class", "classes": ["bad", "good"]}
MANIFEST: dict[str, Any] = {
    "name": "sentences",
    "format": "jsonl",
    "inputs": {"text": {"kind": "text", "tokenizer": {"size": 400}}},
    "targets": {"label": TARGET},
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


def sentences(count: int = 200, seed: int = 0) -> list[dict[str, Any]]:
    """Rows {text, label} of different lengths."""
    draw = random.Random(seed)
    rows = []
    for _ in range(count):
        good = draw.random() < 0.5
        words = draw.sample(GOOD if good else BAD, draw.randint(1, 3))
        text = f"The {' and '.join(words)} {draw.choice(PLACES)} number {draw.randint(0, 99)}"
        rows.append({"text": text, "label": "good" if good else "bad"})
    return rows


def written(folder: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> Path:
    """Rows as JSON lines."""
    path = folder / name
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def with_sentences(folder: Path, **manifest: Any) -> EngineHarness:
    """A harness whose dataset has sentences."""
    harness = EngineHarness(folder)
    harness.file(written(folder, sentences()), **{**MANIFEST, **manifest})
    return harness
