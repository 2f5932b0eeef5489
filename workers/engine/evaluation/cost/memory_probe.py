"""Peak memory of ONNX Runtime with one file: `python memory_probe.py FILE ROWS.npz`, in a process of its own.

Prints the peak of the resident memory above that before the file was loaded, in bytes. Imports nothing of this
project.
"""

import sys
from pathlib import Path

import numpy as np
import onnxruntime


def peak_bytes() -> int:
    """Peak of the resident memory of this process (VmHWM of proc(5), in KiB there)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


def main(file: str, rows: str) -> None:
    """Load the file with one thread and run each batch: arrays `<size>/<input>`."""
    with np.load(rows) as archive:
        arrays = dict(archive)
    before = peak_bytes()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    for size in dict.fromkeys(name.partition("/")[0] for name in arrays):
        feeds = {name.partition("/")[2]: each for name, each in arrays.items() if name.startswith(f"{size}/")}
        session.run(None, feeds)
    print(peak_bytes() - before)  # noqa: T201


if __name__ == "__main__":
    main(*sys.argv[1:])
