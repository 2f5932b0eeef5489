"""One task's cut of a student: the tensors that the task reaches, served out of the student's own file.

Nothing is stored: a cut is a header of its own and ranges of the student's blob, so it lives as long as the student's
weights do, and costs no memory that grows with the file.
"""

from app.contracts.layouts.cut_files import LENGTH_BYTES, CutFile, header_length
from app.db.rows import ArtifactRow
from app.errors import NotFound
from app.http.files import ServedFile, blob
from app.http.pieces import Pieces, read_all
from app.http.ranges import Span
from app.http.services import Services


async def of_task(services: Services, artifact: ArtifactRow, task: str) -> ServedFile:
    """The weights of one task, as safetensors. Raises NotFound where the student has no such task."""
    store, sha256 = services.store, artifact.sha256
    length = header_length(await read_all(store, sha256, 0, LENGTH_BYTES))
    data = LENGTH_BYTES + length
    whole = CutFile(await read_all(store, sha256, LENGTH_BYTES, data))
    if task not in whole.tasks:
        there = ", ".join(f"`{name}`" for name in whole.tasks)
        raise NotFound("no_such_task", f"this student has no task `{task}`: it has {there}")
    name = f"{artifact.job_id}-{task}.safetensors"
    if whole.tasks == [task]:
        return blob(services, name, artifact.bytes, sha256)
    cut = whole.cut(task)
    spans = (Span(data + start, data + end) for start, end in cut.spans)
    return await Pieces(store, sha256, (cut.head, *spans)).served(name, f"task/{task}")
