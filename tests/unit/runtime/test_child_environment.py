"""What the environment of children keeps libraries from doing."""

import subprocess
import sys
from pathlib import Path

from workers.runtime.child.pool import child_environment


def test_onnx_runtime_of_a_child_leaves_no_identity_behind(tmp_path: Path) -> None:
    environment = {**child_environment(), "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", "import onnxruntime"], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []
