"""Uploads written byte by byte, and a check that they are refused: by a UserError, in bounded memory."""

import json
import random
import resource
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from app.contracts.problems import UserError
from app.contracts.resources.manifests import DatasetManifest, ModelManifest
from app.contracts.specs.jobs import InspectJob
from app.contracts.wire.events import ChildEvent
from app.contracts.wire.orders import DatasetInput, ModelInput, Order
from workers.engine.data.dataset import Dataset
from workers.engine.data.facts import facts_of
from workers.engine.data.reading import read_dataset

MEBIBYTE = 1 << 20
SHAPES = {"layers.0.weight": (3, 4), "layers.0.bias": (3,), "layers.1.weight": (2, 3), "layers.1.bias": (2,)}
MLP: dict[str, Any] = {"family": "mlp", "input_shape": [4], "hidden": [3], "outputs": {"y": 2}}
MODEL: dict[str, Any] = {
    "name": "m",
    "format": "safetensors",
    "architecture": MLP,
    "outputs": {"y": {"kind": "class"}},
}
TABLE: dict[str, Any] = {
    "name": "d",
    "format": "csv",
    "inputs": {"x": {"kind": "array", "columns": ["a", "b"]}},
    "targets": {"y": {"kind": "class", "classes": 2}},
    "splits": {"fractions": {"train": 1.0}},
}


def model_manifest(**changes: Any) -> ModelManifest:
    """The manifest of a 4-3-2 perceptron, changed."""
    return ModelManifest.model_validate_json(json.dumps(MODEL | changes))


def weights(seed: int = 0) -> dict[str, Tensor]:
    """Weights of that perceptron."""
    draw = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=draw) for name, shape in SHAPES.items()}


def forward(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
    """The outputs of that perceptron."""
    hidden = torch.relu(x @ parameters["layers.0.weight"].T + parameters["layers.0.bias"])
    return hidden @ parameters["layers.1.weight"].T + parameters["layers.1.bias"]


def framed(header: Any, data: bytes) -> bytes:
    """A safetensors file from a header (an object, or its bytes) and data."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + data


def read(path: Path, **changes: Any) -> Dataset:
    """Read a file by the manifest `TABLE` with changes; its facts can be stored as JSON."""
    manifest = DatasetManifest.model_validate_json(json.dumps(TABLE | changes))
    found = read_dataset(path, manifest)
    facts_of(found, manifest).model_dump_json()
    return found


def inspection(folder: Path, upload: ModelInput | DatasetInput) -> Order:
    """The order to inspect an upload."""
    is_model = isinstance(upload, ModelInput)
    identity = "01890a5d-ac96-774b-bcce-b302099a8057"
    return Order(
        job="job",
        attempt=1,
        spec=InspectJob(model=f"mdl_{identity}") if is_model else InspectJob(dataset=f"ds_{identity}"),
        models={upload.id: upload} if isinstance(upload, ModelInput) else {},
        datasets={upload.id: upload} if isinstance(upload, DatasetInput) else {},
        device="cpu",
        threads=1,
        attempt_dir=str(folder / "attempt"),
        checkpoints_dir=str(folder / "checkpoints"),
        cache_dir=str(folder / "cache"),
        cache_bytes=0,
    )


def ignore_event(event: ChildEvent) -> None:
    """Drop an event."""


@contextmanager
def bounded_memory(more: int) -> Iterator[None]:
    """Limit the address space of this process to `more` bytes above what it uses now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + more, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def refused(code: str, call: Callable[[], object], more: int = 512 * MEBIBYTE) -> str:
    """The message of the UserError of this code that `call` raises without taking much memory."""
    with bounded_memory(more), pytest.raises(UserError) as caught:
        call()
    assert caught.value.code == code, caught.value.message
    assert 10 < len(caught.value.message) < 2000
    return caught.value.message


def mutations(content: bytes, count: int) -> Iterator[bytes]:
    """The same content with a few bytes changed, dropped or put in, each time elsewhere; more often near the end,
    where zip and parquet files have their directories.
    """
    for seed in range(count):
        draw, changed = random.Random(seed), bytearray(content)
        for _ in range(draw.choice([1, 1, 2, 4])):
            last = len(changed) - 1
            place = draw.choice([draw.randint(0, last), draw.randint(max(0, last - 400), last)])
            what = draw.randrange(3)
            if what == 0:
                changed[place] = draw.randrange(256)
            elif what == 1:
                del changed[place : place + draw.randrange(1, 20)]
            else:
                changed[place:place] = draw.randbytes(draw.randrange(1, 8))
        yield bytes(changed)
