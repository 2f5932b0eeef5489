"""A service whose data directory is a small tmpfs of its own, in a mount namespace that this process looks into."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.faults.campaign.outcome import Needs
from tests.faults.services.serve import FaultyService, eventually

MIB = 1 << 20


def needs_small_disk() -> None:
    """Raises Needs where no tmpfs can be mounted."""
    if shutil.which("unshare") is None:
        raise Needs("needs unshare")
    tried = subprocess.run(
        ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "none", "/tmp"],
        capture_output=True,
        check=False,
    )
    if tried.returncode != 0:
        raise Needs("needs a namespace in which a tmpfs can be mounted")


class SmallDisk(FaultyService):
    """The service on `bytes` of disk, of which uploads leave 8 MiB and jobs 2."""

    def __init__(self, data: Path, size: int) -> None:
        super().__init__(data)
        self._place, self._size = data, size

    def start(self) -> None:
        """Mount, and start it."""
        stillhouse = Path(sys.executable).with_name("stillhouse")
        serve = f"exec {stillhouse} serve --port {self.port} --data {self._place} --workers 1"
        script = f"mount -t tmpfs -o size={self._size} none {self._place} && {serve}"
        clean = {name: value for name, value in os.environ.items() if not name.startswith("STILLHOUSE_")}
        short = {
            "STILLHOUSE_LEASE_SECONDS": "6",
            "STILLHOUSE_CHECKPOINT_SECONDS": "0.2",
            "STILLHOUSE_SPARE_DISK_BYTES": str(8 * MIB),
        }
        with self._place.with_suffix(".log").open("ab") as log:
            self._process = subprocess.Popen(
                ["unshare", "--map-root-user", "--mount", "sh", "-c", script], stdout=log, stderr=log, env=clean | short
            )
        self.data = Path(f"/proc/{self._process.pid}/root{self._place}")
        eventually(lambda: (self.data / "admin.key").exists() and self._is_ready())

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._place.with_suffix(".log").read_text()[-3000:]
        return self._answers()

    def _answers(self) -> bool:
        try:
            return self.http.get("/readyz").status_code == 200
        except OSError:
            return False
        except Exception as error:
            if type(error).__module__.startswith("httpx"):
                return False
            raise

    def free(self) -> int:
        """Bytes."""
        return shutil.disk_usage(self.data).free

    def fill(self, leave: int = 0) -> None:
        """Write until so many bytes are free; what others free meanwhile is taken too."""
        with (self.data / "filler").open("ab", buffering=0) as filler:
            while (room := self.free() - leave) > 0:
                try:
                    filler.write(bytes(min(room, MIB)))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    return

    def empty(self) -> None:
        """The space returns."""
        (self.data / "filler").unlink()
