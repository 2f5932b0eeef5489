"""Small entries of a soft-target store, and real processes that race for one of them, step by step."""

import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from workers.engine.teachers.target_store import Compute, Outputs, Packing, SoftTargetStore, StoredTargets

NUMBERS = torch.arange(3000.0).reshape(1000, 3)
SIZE = 1000 * 3 * 4
"""Bytes of the entries below, beside their manifests."""
ROOM = 2 * SIZE + 1024
"""For two of them."""


def numbers(start: float, passes: list[float] | None = None) -> Compute:
    """A teacher's pass in two blocks, noted in `passes`."""

    def blocks() -> Iterator[Outputs]:
        if passes is not None:
            passes.append(start)
        for part in torch.split(NUMBERS + start, 700):
            yield {"label": part}

    return blocks


def fetched(store: SoftTargetStore, key: str, start: float, passes: list[float] | None = None) -> StoredTargets:
    """The entry of `key`, which holds what it should."""
    found = store.get({key: {"label": Packing(3)}}, 1000, numbers(start, passes))
    label = found.outputs["label"]
    assert isinstance(label, torch.Tensor)
    assert torch.equal(label, NUMBERS + start)
    return found


def entries(folder: Path) -> set[str]:
    """What lies in the store, drafts included."""
    return {path.name for path in folder.iterdir() if path.is_dir()}


ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, torch
from pathlib import Path
from workers.engine.teachers.target_store import Packing, SoftTargetStore

def told(word):
    print(word, flush=True)
    sys.stdin.readline()

def blocks():
    yield {"label": torch.full((700, 3), 7.0)}
    told("computing")
    yield {"label": torch.full((300, 3), 7.0)}

told("ready")
found = SoftTargetStore(Path(sys.argv[1]), 1 << 20).get({"k": {"label": Packing(3)}}, 1000, blocks)
told(f"{'hit' if found.hit else 'computed'} {found.outputs['label'].unique().tolist()}")
"""


class Racer:
    """A process that stops at every word it says until it is told to go on."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._words: queue.Queue[str] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._words.put(line.strip())

    def go_on(self) -> None:
        """From where it stopped."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def says(self) -> str:
        """Its next word."""
        return self._words.get(timeout=60.0)

    def is_silent(self) -> bool:
        """It says nothing for a while: it waits."""
        try:
            self._words.get(timeout=0.5)
        except queue.Empty:
            return True
        return False

    def kill(self) -> None:
        """Without a chance to tidy up."""
        self.process.kill()
        self._listener.join()
        self.process.communicate()


@contextmanager
def racers(folder: Path, number: int) -> Iterator[list[Racer]]:
    """Processes that are ready to ask for the entry `k`."""
    started = [Racer(folder) for _ in range(number)]
    try:
        assert [racer.says() for racer in started] == ["ready"] * number
        yield started
    finally:
        for racer in started:
            if racer.process.poll() is None:
                racer.kill()
