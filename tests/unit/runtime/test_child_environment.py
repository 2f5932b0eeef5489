"""What the environment of children keeps libraries from doing."""

import subprocess
import sys
from pathlib import Path

import pytest

from workers.runtime.child.pool import child_environment


def test_onnx_runtime_of_a_child_leaves_no_identity_behind(tmp_path: Path) -> None:
    environment = {**child_environment(), "TMPDIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", "import onnxruntime"], env=environment, check=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("own", "found"),
    [
        ({}, {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}),
        ({"GOMP_SPINCOUNT": "7"}, {"GOMP_SPINCOUNT": "7", "KMP_BLOCKTIME": "0"}),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, {"OMP_WAIT_POLICY": "ACTIVE"}),
    ],
)
def test_threads_that_wait_for_others_sleep_soon_unless_the_environment_says_otherwise(
    own: dict[str, str], found: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_WAIT_POLICY")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    for name, value in own.items():
        monkeypatch.setenv(name, value)
    assert {name: value for name, value in child_environment().items() if name in names} == found
