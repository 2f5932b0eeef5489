"""Small entries of a soft-target store, and processes that ask for the same entry at once, step by step."""

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
"""Bytes of one entry, without its manifest."""
ROOM = 2 * SIZE + 1024
"""Bytes for two entries."""


def numbers(start: float, passes: list[float] | None = None) -> Compute:
    """The outputs of a teacher in two blocks; appends `start` to `passes` when they are computed."""

    def blocks() -> Iterator[Outputs]:
        if passes is not None:
            passes.append(start)
        for part in torch.split(NUMBERS + start, 700):
            yield {"label": part}

    return blocks


def fetched(store: SoftTargetStore, key: str, start: float, passes: list[float] | None = None) -> StoredTargets:
    """The entry of `key`, checked against its numbers."""
    found = store.get({key: {"label": Packing(3)}}, 1000, numbers(start, passes))
    label = found.outputs["label"]
    assert isinstance(label, torch.Tensor)
    assert torch.equal(label, NUMBERS + start)
    return found


def entries(folder: Path) -> set[str]:
    """The names of all entries, temporary ones included."""
    return {path.name for path in folder.iterdir() if path.is_dir()}


ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys, torch
from pathlib import Path
from workers.engine.teachers.target_store import Packing, SoftTargetStore

def wait(message):
    print(message, flush=True)
    sys.stdin.readline()

def blocks():
    yield {"label": torch.full((700, 3), 7.0)}
    wait("computing")
    yield {"label": torch.full((300, 3), 7.0)}

wait("ready")
found = SoftTargetStore(Path(sys.argv[1]), 1 << 20).get({"k": {"label": Packing(3)}}, 1000, blocks)
wait(f"{'hit' if found.hit else 'computed'} {found.outputs['label'].unique().tolist()}")
"""


class StoreProcess:
    """A process that prints a message at each step and waits until `go_on` is called."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._messages: queue.Queue[str] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._messages.put(line.strip())

    def go_on(self) -> None:
        """Let the process continue."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def next_message(self) -> str:
        """The next message of the process."""
        return self._messages.get(timeout=60.0)

    def sends_nothing(self) -> bool:
        """Whether the process sends no message for half a second: it waits."""
        try:
            self._messages.get(timeout=0.5)
        except queue.Empty:
            return True
        return False

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self.process.kill()
        self._listener.join()
        self.process.communicate()


@contextmanager
def processes(folder: Path, number: int) -> Iterator[list[StoreProcess]]:
    """Processes that are ready to ask the store for the entry `k`."""
    started = [StoreProcess(folder) for _ in range(number)]
    try:
        assert [process.next_message() for process in started] == ["ready"] * number
        yield started
    finally:
        for process in started:
            if process.process.poll() is None:
                process.kill()
