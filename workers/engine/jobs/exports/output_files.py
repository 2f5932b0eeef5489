"""The files that a job leaves, as its outcome names them."""

from pathlib import Path

from app.contracts.wire.orders import OutputFile, OutputRole
from workers.engine.common.files import sha256_of


def output_file(role: OutputRole, path: Path) -> OutputFile:
    """An output file with its size and digest."""
    return OutputFile(role=role, path=path.name, bytes=path.stat().st_size, sha256=sha256_of(path))
