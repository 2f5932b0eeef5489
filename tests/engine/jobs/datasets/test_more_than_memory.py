"""Images that take more memory than a process may have are inspected, and trained on."""

import json
import os
import subprocess
import sys
from pathlib import Path

from app.contracts.wire.orders import NO_THREAD_CACHE, TUNABLES
from tests.engine.jobs.datasets.bounded_child import BOUND, PIXELS

ROOT = Path(__file__).parents[4]
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    # Freed memory goes back to the system, so that the bound is one of what is in use.
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_MMAP_THRESHOLD_": str(2 << 20),
    TUNABLES: NO_THREAD_CACHE,  # as the children of a worker have it: what is freed is used again
}


def test_images_larger_than_the_memory_of_the_process_are_inspected_and_trained_on(tmp_path: Path) -> None:
    """Rows as float32, which a copy for the training would have, are eight times as large as the bound."""
    assert PIXELS > 2 * BOUND
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.jobs.datasets.bounded_child", str(tmp_path)],
        cwd=ROOT,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"accuracy": 1.0, "fits in memory": False}
    (file,) = (tmp_path / "large" / "cache" / "images").glob("*/images")
    assert file.stat().st_size == PIXELS
