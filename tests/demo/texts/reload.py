"""A student outside the service: transformers loads it from a folder of its bundle, and answers for texts.

    python -m tests.demo.texts.reload FOLDER texts.json answers.json

`answers.json`: what the service answers for the texts. Prints JSON: texts compared, texts whose class agrees, the
largest difference of a probability.
"""

import json
import sys
from pathlib import Path

import torch

from workers.engine.models.families.library.packages import package


def main(folder: Path, texts: Path, answers: Path) -> None:
    """Compare the reloaded student with the service's own answers for the same texts."""
    transformers = package("transformers")
    network = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    rows = tokenizer(json.loads(texts.read_text()), padding=True, truncation=True, return_tensors="pt")
    with torch.no_grad():
        ours = network(input_ids=rows["input_ids"], attention_mask=rows["attention_mask"]).logits.softmax(1)
    task = json.loads(answers.read_text())["outputs"]["few"]
    classes = [network.config.id2label[i] for i in ours.argmax(1).tolist()]
    agreeing = sum(mine == theirs for mine, theirs in zip(classes, task["class"], strict=True))
    largest = float((ours - torch.tensor(task["probabilities"])).abs().max())
    print(json.dumps({"rows": len(ours), "agreeing": agreeing, "largest_difference": largest}))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:4]))
