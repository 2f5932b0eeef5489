"""The part of a multitask student for one task: the tensors that the task uses, served from the student's file.

Nothing is stored: the response is a new header and ranges of the student's blob. Memory does not grow with the file.
"""

from app.contracts.layouts.cut_files import LENGTH_BYTES, CutFile, header_length
from app.http.errors import NotFound
from app.http.files import ServedFile, blob
from app.http.ranges import Span
from app.http.services import Services
from app.jobs.repository import StoredArtifact
from app.resources.blob_parts import BlobParts, BlobSpan, read_all


async def of_task(services: Services, artifact: StoredArtifact, task: str) -> ServedFile:
    """The weights for one task as safetensors. Raises NotFound if the student has no such task."""
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
    spans = (BlobSpan(sha256, Span(data + start, data + end)) for start, end in cut.spans)
    return await BlobParts(store, (cut.head, *spans)).served(name, sha256, f"task/{task}")
