"""System calls of one process that fail, or that it dies at, one after the other: strace's fault injection."""

import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.faults.campaign.outcome import Needs

FAULTS = ("error=ENOSPC", "error=EIO", "signal=KILL")
CALLS = (
    "openat,mkdir,mkdirat,write,pwrite64,writev,ftruncate,fallocate,fsync,fdatasync,rename,renameat,renameat2,"
    "unlink,unlinkat,rmdir,chmod,fchmod,fchmodat,link,linkat,getdents64,copy_file_range,sendfile,msync"
)
"""Whatever changes a file system, or looks into folders."""
_CALL = re.compile(r"^(?:\d+ +)?(\w+)\(")


@dataclass(frozen=True)
class Place:
    """The `number`th call (from 1) of that name."""

    call: str
    number: int


def needs_strace() -> None:
    """Raises Needs where the machine has no strace."""
    if shutil.which("strace") is None:
        raise Needs("needs strace")


class Publishers:
    """The process that starts publishing children; see `publications`."""

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.faults.disk.publications"]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)
        self._process.stdout.close()

    def _say(self, line: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{line}\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().strip()

    def publish(self, name: str, folder: Path, version: int, options: Sequence[str], log: Path) -> int:
        """Publish under strace with these options; the exit status."""
        pid = self._say(f"{name}\t{folder}\t{version}")
        command = ["strace", "-f", "-p", pid, "-o", str(log), *options]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr is not None
            answer = tracer.stderr.readline()
            attached = "attached" in answer
            status = int(self._say("go"))
            tracer.wait(timeout=30)
        if not attached:
            raise Needs(f"needs strace to trace other processes: {answer.strip()}")
        return status

    def places(self, name: str, folder: Path, version: int, log: Path) -> list[Place]:
        """Every call of an undisturbed publication, in order."""
        assert self.publish(name, folder, version, ["-e", f"trace=?{CALLS.replace(',', ',?')}"], log) == 0
        counts: Counter[str] = Counter()
        found = []
        for line in log.read_text().splitlines():
            call = _CALL.match(line)
            if call is not None:
                counts[call[1]] += 1
                found.append(Place(call[1], counts[call[1]]))
        return found

    def fail_at(self, place: Place, fault: str, name: str, folder: Path, version: int, log: Path) -> int:
        """Publish, with that call failing; the exit status."""
        inject = ["-e", f"trace={place.call}", "-e", f"inject={place.call}:{fault}:when={place.number}"]
        return self.publish(name, folder, version, inject, log)
