"""A table: a student of a teacher beats the same student on few labels alone.

STILLHOUSE_URL=http://127.0.0.1:8000 STILLHOUSE_KEY=… python tests/demo/examples/tabular.py
"""

import pandas
from sklearn.datasets import load_digits
from stillhouse import Client


def main() -> None:
    """1797 handwritten digits as rows of 64 numbers; one training row in twenty has a label in `few`."""
    frame: pandas.DataFrame = load_digits(as_frame=True).frame.rename(columns={"target": "digit"})
    frame = frame.sample(frac=1.0, random_state=0, ignore_index=True)
    frame["split"] = ["train" if i < 1000 else "validation" if i < 1200 else "test" for i in frame.index]
    frame["few"] = frame["digit"].where((frame["split"] != "train") | (frame.index % 20 == 0), -1)

    with Client() as client:
        dataset = client.datasets.upload(frame, name="digits", targets=["digit", "few"])
        print(dataset, dataset.splits, "reads", *dataset.inputs)
        teacher = client.jobs.train(dataset, {"family": "mlp", "hidden": [256]}, target="digit").wait()
        student = {"family": "mlp", "hidden": [16]}
        job = client.jobs.distill(dataset, student, teacher=teacher, target="few", training={"recipe": "fast"}).wait()
        print(job.report.text)
        print("the verdict is", job.report.verdict)

        losses = pandas.DataFrame(job.metrics(points=20, series="train/loss"))
        print(losses[["step", "value"]].to_string(index=False))
        answers = job.student.predict([{name: float(frame[name][0]) for name in frame.columns if "pixel" in name}])
        print("the first row is a", answers["few"]["class"][0])


if __name__ == "__main__":
    main()
