"""A process whose wall clock can be set, while it runs, without touching anybody else's."""

import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("clock_shim.c")
HOUR = 3600


def compiler() -> str | None:
    """What can build the shim; a test that needs it is skipped by this name."""
    return shutil.which("cc") or shutil.which("gcc")


@dataclass(frozen=True)
class Clock:
    """The wall clock of the processes that are started with `environment`."""

    environment: dict[str, str]
    file: Path

    def jump(self, seconds: int) -> None:
        """It is so many seconds wrong from now on."""
        with self.file.open("r+b") as file:
            file.write(struct.pack("=q", seconds))


def settable_clock(folder: Path) -> Clock:
    """A clock that is right until a test shifts it. Needs a compiler."""
    found = compiler()
    assert found is not None, "needs a C compiler"
    library, file = folder / "clock_shim.so", folder / "clock.bin"
    subprocess.run([found, "-shared", "-fPIC", "-O1", "-o", library, SOURCE, "-ldl"], check=True)
    file.write_bytes(struct.pack("=q", 0))
    return Clock({"LD_PRELOAD": str(library), "CLOCK_SHIM": str(file)}, file)
