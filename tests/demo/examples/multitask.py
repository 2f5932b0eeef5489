"""Three tasks in one network from numpy arrays: what each task teaches the others is measured while it trains."""

import numpy
from sklearn.datasets import load_digits
from stillhouse import Client


def main() -> None:
    """Of each image its digit, whether it is even, and how much of it is ink."""
    images, digits = load_digits(return_X_y=True)
    arrays = {
        "x": images.astype(numpy.float32),
        "digit": digits,
        "even": digits % 2 == 0,
        "ink": images.mean(axis=1),
    }
    with Client() as client:
        dataset = client.datasets.upload(arrays, name="digits")
        print({name: target["kind"] for name, target in dataset.targets.items()})
        spec = {
            "kind": "multitask",
            "dataset": dataset,
            "tasks": [{"name": "digit"}, {"name": "even"}, {"name": "ink"}],
            "student": {"family": "mlp", "hidden": [32]},
            "relation": {"estimate": "gradient_cosine", "apply": "rows"},
            "balancing": {"method": "pcgrad"},
            "training": {"epochs": 10},
            "repeats": 1,
        }
        for warning in client.jobs.dry_run(spec).warnings:
            print("note:", warning["message"])
        job = client.jobs.submit(spec).wait()
        print(job.report.text)
        print(numpy.round(job.relation()["matrix"], 2))


if __name__ == "__main__":
    main()
