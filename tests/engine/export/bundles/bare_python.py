"""An unpacked bundle in an environment that has numpy and ONNX Runtime alone: no torch, none of this project."""

import json
import os
import shutil
import subprocess
import venv
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from app.contracts.wire.orders import OutputFile, TrainingOutcome
from app.db.rows import FileRow, ModelRow
from app.models.bundle.bundled import BundledModel
from app.models.bundle.parts import members_of

_MODEL, _JOB = "mdl_01890a5d-ac96-774b-bcce-b302099a8057", "job_01890a5d-ac96-774b-bcce-b302099a8057"
_ROLES = {"student": "weights"}
ALLOWED = ("numpy", "numpy.libs", "onnxruntime")


@cache
def bare_python() -> Path:
    """The interpreter of a fresh environment; its packages are links to those of this one."""
    folder = Path(mkdtemp(prefix="stillhouse-bare-"))
    venv.create(folder, with_pip=False, symlinks=True)
    (packages,) = folder.glob("lib/python3*/site-packages")
    numpy = find_spec("numpy")
    assert numpy is not None
    assert numpy.origin is not None
    here = Path(numpy.origin).parents[1]
    for name in ALLOWED:
        if (here / name).exists():
            (packages / name).symlink_to(here / name)
    return folder / "bin" / "python"


def run_bare(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`python predict.py …` in the folder of a bundle, with nothing of this environment."""
    command = [str(bare_python()), "predict.py", *map(str, arguments)]
    environment = {"OMP_NUM_THREADS": "1", "LANG": os.environ.get("LANG", "C.UTF-8")}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environment)


def answered(folder: Path, rows: Path) -> list[dict[str, Any]]:
    """What `predict.py` prints for a file of rows."""
    done = run_bare(folder, rows)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def unpacked(outcome: TrainingOutcome, outputs: Path, folder: Path) -> Path:
    """The bundle of a job's student, as the service would assemble it once the job has ended."""
    model = BundledModel.of(row_of(outcome), outcome.report)
    by_digest = {file.sha256: outputs / file.path for file in outcome.files}
    for name, content in members_of(model).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            (folder / name).write_bytes(content)
        else:
            shutil.copy(by_digest[content.sha256], folder / name)
    return folder


def row_of(outcome: TrainingOutcome) -> ModelRow:
    """The student as the service stores it."""
    return ModelRow(
        id=_MODEL,
        name=outcome.student_manifest.name,
        manifest=outcome.student_manifest.model_dump(mode="json"),
        facts=outcome.student.model_dump(mode="json"),
        source_job_id=_JOB,
        files=[_stored(file) for file in outcome.files],
    )


def _stored(file: OutputFile) -> FileRow:
    return FileRow(name=file.path, role=_ROLES.get(file.role, file.role), bytes=file.bytes, sha256=file.sha256)
