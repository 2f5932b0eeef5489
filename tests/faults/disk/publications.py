"""Everything that is published whole or not at all, as one can be killed at it: make it, and see what is there.

Run as `python -m tests.faults.disk.publications`, it is the process whose children publish: it imports what they need
once, and starts one for each line that it reads (`<name> <folder>`), which waits for a second line to begin.
"""

import asyncio
import ctypes
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from app.contracts.specs.architectures import Mlp
from app.contracts.wire.orders import FailureOutcome
from app.storage.errors import StorageError
from app.storage.local import LocalStore
from app.storage.store import DigestMismatch
from workers.engine.common.files import read_document, write_document
from workers.engine.jobs.runs.control_cache import ControlCache, StoredControl
from workers.engine.jobs.runs.results import FinishedRuns, RunResult, TrainedModel
from workers.engine.models import build
from workers.engine.teachers.target_store import Packing, SoftTargetStore
from workers.engine.training.checkpoints.folder import CheckpointFolder
from workers.runtime.child.supervisor_link import failure, write_outcome
from workers.runtime.disk.checkpoint_handover import take_over_checkpoints
from workers.runtime.paths import Paths
from workers.runtime.supervisor.publishing import read_outcome

OLD, NEW = 1, 2
REFUSED, BROKEN = 3, 4
_ANY_TRACER, _SET_TRACER = -1, 0x59616D61
ARCHITECTURE = Mlp(family="mlp", input_shape=(4,), hidden=(3,), outputs={"label": 2})


@dataclass(frozen=True)
class Publication:
    """`publish(folder, version)` puts it there; `found(folder)` is the version that is there whole, 0 for none."""

    publish: Callable[[Path, int], None]
    found: Callable[[Path], int]
    first_stays: bool = False
    """Whether a version that is there, whole, is never replaced: versions have the same bits."""
    one_place: bool = False
    """Whether versions have the same files."""
    flips_are_found: bool = True
    """Whether it lasts, so that damage by the disk must be found. What lives for a moment is trusted."""


def _numbers(version: int) -> dict[str, torch.Tensor]:
    return {"a": torch.full((300,), float(version)), "b": torch.tensor(version)}


def _version(tensors: dict[str, torch.Tensor]) -> int:
    assert tensors["a"].tolist() == [float(tensors["b"])] * 300, "halves of two versions"
    return int(tensors["b"])


def _save_checkpoint(folder: Path, version: int) -> None:
    CheckpointFolder(folder / "checkpoints", version).save(version, _numbers(version), json.dumps({"v": version}))


def _checkpoint(folder: Path) -> int:
    found = CheckpointFolder(folder / "checkpoints", 9).load()
    if found is None:
        return 0
    assert found.step == found.state["v"] == _version(found.tensors)
    return found.step


def _keep_control(folder: Path, version: int) -> None:
    ControlCache(folder / "controls").store("key", StoredControl(_numbers(version), version, version, 0.5))


def _control(folder: Path) -> int:
    found = ControlCache(folder / "controls").find("key")
    if found is None:
        return 0
    assert found.epoch == found.steps == _version(found.weights)
    return found.epoch


def _finish_stage(folder: Path, version: int) -> None:
    network = build(ARCHITECTURE)
    for parameter in network.parameters():
        parameter.data.fill_(float(version))
    model = TrainedModel(network, version, version, 0.5)
    FinishedRuns(folder / "finished", torch.device("cpu")).save("first", RunResult({"student": model}))


def _run_of(folder: Path) -> int:
    run: Any = SimpleNamespace(name="first", run_spec=SimpleNamespace(architecture_of=lambda name: ARCHITECTURE))
    found = FinishedRuns(folder / "finished", torch.device("cpu")).find(run)
    if found is None:
        return 0
    model = found.models["student"]
    assert all((p == float(model.epoch)).all() for p in model.network.parameters())
    return model.epoch


def _write(folder: Path, version: int) -> None:
    write_document(folder / "facts" / "targets.json", {"version": version, "again": [version] * 50})


def _document(folder: Path) -> int:
    found = read_document(folder / "facts" / "targets.json")
    if found is None:
        return 0
    assert found["again"] == [found["version"]] * 50
    return int(found["version"])


_ROWS = 64


def _blocks(version: int) -> Callable[[], Iterator[dict[str, torch.Tensor]]]:
    def blocks() -> Iterator[dict[str, torch.Tensor]]:
        for _ in range(2):
            yield {"out": torch.full((_ROWS // 2, 3), float(version))}

    return blocks


def _store_targets(folder: Path, version: int) -> None:
    store = SoftTargetStore(folder / "targets", 1 << 20)
    store.get({f"key-{version}": {"out": Packing(3)}}, _ROWS, _blocks(version))
    store.close()


def _targets(folder: Path) -> int:
    """The entry of NEW if it is found, else that of OLD: asked for, each has its own numbers."""
    hits = 0
    for version in (OLD, NEW):
        store = SoftTargetStore(folder / "targets", 1 << 20)
        found = store.get({f"key-{version}": {"out": Packing(3)}}, _ROWS, _blocks(version))
        outputs = found.outputs["out"]
        assert isinstance(outputs, torch.Tensor)
        assert bool((outputs == float(version)).all())
        hits = version if found.hit else hits
        store.close()
    return hits


def _blob(version: int) -> tuple[bytes, str]:
    content = f"blob {version} ".encode() * 500
    return content, hashlib.sha256(content).hexdigest()


def _put(folder: Path, version: int) -> None:
    content, sha256 = _blob(version)
    folder.mkdir(parents=True, exist_ok=True)
    staged = folder / f"staged-{version}"
    staged.write_bytes(content)
    LocalStore(folder / "blobs").put_now(staged, sha256)


def _blobs(folder: Path) -> int:
    """As a job fetches them: what is damaged is refused."""
    best = 0
    for version in (OLD, NEW):
        content, sha256 = _blob(version)
        target = folder / "fetched"
        try:
            asyncio.run(LocalStore(folder / "blobs").fetch(sha256, target))
        except (StorageError, DigestMismatch):
            continue
        assert target.read_bytes() == content
        best = version
    return best


def _end(folder: Path, version: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    write_outcome(folder, failure("some_code", "user", f"{version} " * 50))


def _outcome(folder: Path) -> int:
    found = read_outcome(folder)
    if found is None:
        return 0
    assert isinstance(found, FailureOutcome)
    versions = set(found.error.message.split())
    assert len(versions) == 1, "halves of two versions"
    return int(versions.pop())


def _adopt(folder: Path, version: int) -> None:
    """A retry takes the checkpoints of a job, which is made first."""
    paths = Paths(folder / "data")
    source = CheckpointFolder(paths.checkpoints("job_source"), 1)
    source.save(version, _numbers(version), json.dumps({"v": version}))
    take_over_checkpoints(paths, "job_source", "job_retry", version)


def _adopted(folder: Path) -> int:
    place = Paths(folder / "data").checkpoints("job_retry")
    found = CheckpointFolder(place, 9).load() if place.exists() else None
    return 0 if found is None else _version(found.tensors)


PUBLICATIONS = {
    "checkpoint": Publication(_save_checkpoint, _checkpoint),
    "control": Publication(_keep_control, _control, first_stays=True, one_place=True),
    "finished run": Publication(_finish_stage, _run_of, first_stays=True, one_place=True),
    "document": Publication(_write, _document, one_place=True),
    "soft targets": Publication(_store_targets, _targets),
    "blob": Publication(_put, _blobs),
    "outcome": Publication(_end, _outcome, one_place=True, flips_are_found=False),
    "adopted checkpoints": Publication(_adopt, _adopted, first_stays=True, flips_are_found=False),
}


def _child(name: str, folder: Path, version: int, begin: int) -> int:
    ctypes.CDLL(None).prctl(_SET_TRACER, _ANY_TRACER, 0, 0, 0)
    os.read(begin, 1)
    try:
        PUBLICATIONS[name].publish(folder, version)
    except (OSError, StorageError):
        return REFUSED
    except BaseException:
        return BROKEN
    return 0


def main() -> None:
    """Name, folder and version with tabs between, answered by a pid; then any line, answered by a status."""
    for line in sys.stdin:
        name, folder, version = line.rstrip("\n").split("\t")
        begin, go = os.pipe()
        pid = os.fork()
        if pid == 0:
            os._exit(_child(name, Path(folder), int(version), begin))
        print(pid, flush=True)
        sys.stdin.readline()
        os.write(go, b"x")
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
        os.close(begin)
        os.close(go)


if __name__ == "__main__":
    main()
