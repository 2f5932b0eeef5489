"""What a 2 GB upload costs the API: its memory at the peak, and its speed beside a copy that hashes.

The bar: under 150 MB resident. The file is a real model, which becomes ready; curl sends it, as users do.
"""

import hashlib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.figures import ratio, say
from tests.demo.service import Service

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]
INPUTS, WIDTH = 32_768, 16_384
MANIFEST: dict[str, Any] = {
    "name": "big",
    "format": "safetensors",
    "architecture": {"family": "mlp", "input_shape": [INPUTS], "hidden": [WIDTH], "outputs": {"y": 2}},
    "outputs": {"y": {"kind": "class"}},
}


def _big_model(path: Path) -> int:
    """An mlp of 0.5 G parameters, all zero; its size in bytes. Holes in the file cost no disk."""
    shapes = {
        "layers.0.weight": [WIDTH, INPUTS],
        "layers.0.bias": [WIDTH],
        "layers.1.weight": [2, WIDTH],
        "layers.1.bias": [2],
    }
    header: dict[str, Any] = {}
    offset = 0
    for name, shape in shapes.items():
        size = 4
        for each in shape:
            size *= each
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + offset)
    return 8 + len(text) + offset


def _memory(pid: int, what: str) -> float:
    """MB of VmHWM (the peak since the process began) or VmRSS (now)."""
    for row in Path(f"/proc/{pid}/status").read_text().splitlines():
        if row.startswith(f"{what}:"):
            return int(row.split()[1]) * 1024 / 1e6
    raise AssertionError(what)


def _copied(source: Path, target: Path) -> float:
    """Seconds to copy and hash the file in one process, made durable: the least that an upload must do."""
    began, digest = time.monotonic(), hashlib.sha256()
    with source.open("rb") as read, target.open("wb") as write:
        while block := read.read(1 << 20):
            digest.update(block)
            write.write(block)
        os.fsync(write.fileno())
    return time.monotonic() - began


def _curl(service: Service, *words: str) -> tuple[bytes, float]:
    began = time.monotonic()
    command = ["curl", "-sS", "--fail-with-body", "-H", f"Authorization: Bearer {service.key}", *words]
    return subprocess.run(command, check=True, capture_output=True).stdout, time.monotonic() - began


def test_the_memory_and_the_speed_of_a_2_gb_upload(tmp_path: Path) -> None:
    file = tmp_path / "big.safetensors"
    size = _big_model(file)
    copied = _copied(file, tmp_path / "copy")
    (tmp_path / "copy").unlink()
    with Service(tmp_path / "data") as service:
        pid = service.pid
        idle = _memory(pid, "VmRSS")
        words = ["-F", f"manifest={json.dumps(MANIFEST)}", "-F", f"file=@{file}", f"{service.url}/v1/models"]
        answer, uploaded = _curl(service, *words)
        peak = _memory(pid, "VmHWM")
        model = json.loads(answer)
        ready, _ = _curl(service, f"{service.url}/v1/models/{model['id']}?wait=60")
        assert json.loads(ready)["state"] == "ready", ready
        _, downloaded = _curl(service, "-o", "/dev/null", f"{service.url}/v1/models/{model['id']}/weights")
        after = _memory(pid, "VmHWM")
    say(f"Upload of {size / 1e9:.2f} GB to POST /v1/models, by curl, to local disk")
    print(f"  API resident: {idle:.0f} MB idle, {peak:.0f} MB at the upload's peak, {after:.0f} MB with the download's")
    print(f"  upload {size / 1e6 / uploaded:.0f} MB/s, download {size / 1e6 / downloaded:.0f} MB/s, ", end="")
    print(f"copy with SHA-256 and fsync {size / 1e6 / copied:.0f} MB/s")
    ratio("upload over copy, seconds", uploaded, copied)
