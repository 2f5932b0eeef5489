"""Mutants by number: made from a seed, inspected by children of a fork server."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from pydantic import ValidationError

from app.contracts.resolving.footprint import footprint_of_uploads
from app.contracts.resources.manifests import DatasetManifest, ModelManifest
from app.contracts.specs.jobs import InspectJob
from app.contracts.wire.orders import DataFile, DatasetInput, ModelInput, Order, digest_of_files
from tests.mutants.manifests import changed_json
from tests.mutants.plain_bytes import changed_bytes
from tests.mutants.sound import Sound
from tests.mutants.structures import CHANGES
from tests.mutants.verdict import MANIFEST_REFUSED, Verdict, judge
from workers.runtime.child.pool import ChildPool
from workers.runtime.clock import host_clock
from workers.runtime.machine import machine_memory
from workers.runtime.supervisor.order import write_order

SECONDS = 60.0
"""Time for one inspection; a worker gives it three minutes."""
ENTRY = "tests.mutants.child:main"
_PRELOADED = "workers.engine.models.families.library.preloaded"
_IDENTITY = "01890a5d-ac96-774b-bcce-b302099a8057"


@dataclass(frozen=True)
class Mutant:
    """A changed upload, of one or two files. `changes`: the names of what was done to the sound one."""

    number: int
    sound: Sound
    files: tuple[bytes, ...]
    manifest: Any
    changes: tuple[str, ...]


def mutant(number: int, seed: int, sounds: Sequence[Sound]) -> Mutant:
    """The mutant of this number: the same for the same seed. Formats take turns."""
    draw, sound = Random(f"{seed}/{number}"), sounds[number % len(sounds)]
    manifest, changes = json.loads(json.dumps(sound.manifest)), []
    is_second = sound.further is not None and draw.random() < 0.5
    before = content = sound.files[is_second]
    if draw.random() < 0.15:
        manifest = changed_json(manifest, draw)
        changes.append("manifest")
    for _ in range(draw.choice((1, 1, 1, 2, 3)) if not changes or draw.random() < 0.3 else 0):
        own = draw.random() < 0.6 and content == before
        change = draw.choice(CHANGES[sound.structure]) if own else changed_bytes
        content = change(content, draw)
        changes.append(change.__name__)
    content = sound.upload(content)
    if sound.packed and draw.random() < 0.3:
        content = changed_bytes(content, draw)
        changes.append("packed")
    files = tuple(content if i == is_second else sound.upload(each) for i, each in enumerate(sound.files))
    return Mutant(number, sound, files, manifest, tuple(changes))


def order_of(folder: Path, paths: Sequence[Path], manifest: ModelManifest | DatasetManifest) -> Order:
    """The order of an inspection of a file, or of the several of a dataset, as a supervisor makes it."""
    identity = f"mdl_{_IDENTITY}" if isinstance(manifest, ModelManifest) else f"ds_{_IDENTITY}"
    digest = digest_of_files([sha256(path.read_bytes()).hexdigest() for path in paths])
    size = sum(path.stat().st_size for path in paths)
    given: dict[str, Any] = {"id": identity, "path": str(paths[0]), "sha256": digest}
    files = tuple(DataFile(name=path.name, path=str(path)) for path in paths) if len(paths) > 1 else ()
    is_model = isinstance(manifest, ModelManifest)
    return Order(
        job="job",
        attempt=1,
        spec=InspectJob(model=identity) if is_model else InspectJob(dataset=identity),
        models={identity: ModelInput(manifest=manifest, **given)} if isinstance(manifest, ModelManifest) else {},
        datasets={identity: DatasetInput(manifest=manifest, files=files, **given)}
        if isinstance(manifest, DatasetManifest)
        else {},
        device="cpu",
        threads=1,
        attempt_dir=str(folder),
        checkpoints_dir=str(folder / "checkpoints"),
        cache_dir=str(folder / "cache"),
        cache_bytes=0,
        memory_bytes=footprint_of_uploads(size).limit(1.0, machine_memory()),
    )


async def inspected(made: Mutant, folder: Path, pool: ChildPool) -> Verdict:
    """Inspect one mutant in a child of its own, and judge what came of it."""
    contract = ModelManifest if made.sound.is_model else DatasetManifest
    try:
        manifest = contract.model_validate_json(json.dumps(made.manifest))
    except ValidationError:
        return Verdict("refused", MANIFEST_REFUSED)
    attempt = folder / "attempt"
    attempt.mkdir(parents=True)
    paths = [folder / f"upload-{i}" for i in range(len(made.files))]
    for path, content in zip(paths, made.files, strict=True):
        path.write_bytes(content)
    order = order_of(attempt, paths, manifest)
    write_order(order)
    child = await pool.spawn(attempt, None, "", host_clock() + SECONDS)
    status = await child.exit
    return judge(status, attempt)


async def _inspected_and_removed(made: Mutant, place: Path, pool: ChildPool) -> tuple[Mutant, Verdict]:
    verdict = await inspected(made, place, pool)
    if verdict.outcome != "failed":
        shutil.rmtree(place, ignore_errors=True)
    return made, verdict


@contextmanager
def running_pools() -> Iterator[Mapping[bool, ChildPool]]:
    """A pool of children without libraries of networks, and one with them; for one event loop."""
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[2])  # where fork servers find the entry
    pools = {False: ChildPool(ENTRY), True: ChildPool(ENTRY, [_PRELOADED])}
    for pool in pools.values():
        pool.reply_seconds = SECONDS
    try:
        yield pools
    finally:
        for pool in pools.values():
            pool.close()


async def campaign(
    numbers: Iterable[int],
    seed: int,
    sounds: Sequence[Sound],
    folder: Path,
    pools: Mapping[bool, ChildPool],
    parallel: int = 1,
) -> AsyncIterator[tuple[Mutant, Verdict]]:
    """Inspect the mutants of these numbers, some at a time. Folders of failures are kept, the others removed."""
    waiting, running = iter(numbers), set[asyncio.Task[tuple[Mutant, Verdict]]]()
    while True:
        for number in islice(waiting, parallel - len(running)):
            made = mutant(number, seed, sounds)
            pool = pools[made.sound.by_library]
            running.add(asyncio.create_task(_inspected_and_removed(made, folder / str(number), pool)))
        if not running:
            return
        ended, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            yield task.result()
