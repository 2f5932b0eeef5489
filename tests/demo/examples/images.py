"""A folder of images, a folder for each class: a small convnet learns from a larger one, and goes home as a bundle."""

import tempfile
from pathlib import Path

import numpy
from PIL import Image
from sklearn.datasets import load_digits
from stillhouse import Client


def write_images(folder: Path, count: int) -> None:
    """PNG files of handwritten digits, 0 to 3, in folders by their class."""
    images, digits = load_digits(n_class=4, return_X_y=True)
    for number, (pixels, digit) in enumerate(zip(images[:count], digits[:count], strict=True)):
        path = folder / str(digit) / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray((pixels.reshape(8, 8) * 15).astype(numpy.uint8)).save(path)


def main() -> None:
    """Upload, train a teacher, distil, download."""
    with tempfile.TemporaryDirectory() as name, Client() as client:
        folder = Path(name) / "digits"
        folder.mkdir()
        write_images(folder, 400)
        dataset = client.datasets.upload(folder, inputs={"image": {"size": [8, 8], "channels": 1}})
        print(dataset, dataset.targets)
        short = {"epochs": 15, "batch_size": 32}
        teacher = client.jobs.train(dataset, {"family": "convnet", "channels": [16, 32]}, training=short)
        student = {"family": "convnet", "channels": [4, 8]}
        job = client.jobs.distill(dataset, student, teacher=teacher, repeats=1, training=short, exports=["onnx"]).wait()
        print(job.report.text)
        print(job.student.predict(folder / "0" / "0.png")["label"]["class"])
        print(job.student.download(name, format="bundle").stat().st_size, "bytes")


if __name__ == "__main__":
    main()
