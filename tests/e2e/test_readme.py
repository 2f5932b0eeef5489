"""The README's own commands work as they stand."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.demo.service import Service

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)


@pytest.mark.timeout(400)
def test_the_curl_sessions_of_the_readme_run_from_top_to_bottom(service: Service, tmp_path: Path) -> None:
    (tmp_path / "tests").symlink_to(ROOT / "tests")
    (tmp_path / "app").symlink_to(ROOT / "app")
    (tmp_path / ".venv").symlink_to(ROOT / ".venv")
    script = "set -euo pipefail\n" + "\n".join(BLOCKS)
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=tmp_path,
        env={**os.environ, "URL": service.url, "KEY": service.key},
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = done.stdout.splitlines()
    assert printed[0] == "ready"
    assert "12730" in printed, "784x16 + 16 + 16x10 + 10 parameters in the dry run"
    assert printed.count("succeeded") == 8
    assert "{'few': {'verdict': 'gain'" in done.stdout
    assert printed.count("ready") == 2
    assert (tmp_path / "left.safetensors").stat().st_size > 4 * (28 * 56 * 32 + 32 + 32 * 10 + 10)
    assert (tmp_path / "student.onnx").stat().st_size > 12730 * 4
    assert (tmp_path / "student.int8.onnx").stat().st_size < 0.5 * (tmp_path / "student.onnx").stat().st_size
    assert (tmp_path / "student.safetensors").stat().st_size > 12730 * 4


@pytest.mark.parametrize("target", sorted(set(re.findall(r"make ([a-z]+)(?=`| {2})", README))))
def test_every_make_target_that_the_readme_names_exists(target: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{target}:", makefile, re.MULTILINE)
