"""Short texts in a pandas frame: a small network of transformers learns their topic from a larger one."""

import random

import pandas
from stillhouse import Client

TOPICS = {
    "weather": ["rain", "wind", "snow", "storm", "cloud", "sun", "frost", "thunder", "fog", "heat"],
    "kitchen": ["salt", "bread", "oven", "soup", "knife", "butter", "flour", "plate", "pepper", "onion"],
    "travel": ["train", "ticket", "harbour", "map", "hotel", "airport", "road", "border", "suitcase", "bridge"],
}
FILLERS = ["the", "a", "my", "this", "old", "new", "again", "today", "near", "before"]


def text(topic: str, draw: random.Random) -> str:
    """Eight words, three of them of the topic."""
    words = draw.sample(TOPICS[topic], 3) + draw.sample(FILLERS, 5)
    draw.shuffle(words)
    return " ".join(words)


def main() -> None:
    """Upload, train a teacher, distil, ask. The worker needs the extra `text`."""
    draw = random.Random(0)
    topics = [draw.choice(list(TOPICS)) for _ in range(320)]
    frame = pandas.DataFrame({"text": [text(topic, draw) for topic in topics], "topic": topics})
    with Client() as client:
        dataset = client.datasets.upload(frame, name="topics", targets="topic")
        print(dataset.inputs["text"]["kind"], dataset.targets["topic"]["classes"])
        config = {"num_hidden_layers": 1, "num_attention_heads": 2}
        large = {"family": "huggingface", "name": "bert", "config": {**config, "hidden_size": 64}}
        small = {"family": "huggingface", "name": "bert", "config": {**config, "hidden_size": 16}}
        short = {"epochs": 10, "batch_size": 16, "learning_rate": 0.003}
        teacher = client.jobs.train(dataset, large, training=short)
        job = client.jobs.distill(dataset, small, teacher=teacher, repeats=1, training=short).wait()
        print(job.report.text)
        print(job.student.predict({"text": ["the old oven near my bread and salt"]})["topic"]["class"])


if __name__ == "__main__":
    main()
