"""The order of a session: its model as local files."""

import asyncio
import mmap
from pathlib import Path

from app.contracts.resolving.footprint import footprint_of_uploads
from app.contracts.resources.facts import FileRef
from app.contracts.resources.graph_names import VERSION_TEXT
from app.contracts.wire.orders import ModelInput
from app.contracts.wire.predictions import Question, Reply, SessionOrder
from app.db.engine import Database
from app.queue.predictions.records import Answered
from app.queue.predictions.sources import source_of
from app.queue.records import StoredModel
from workers.runtime.disk.inputs import InputCache
from workers.runtime.machine import machine_memory


async def session_order(
    database: Database, cache: InputCache, question: Question, threads: int
) -> SessionOrder | Answered:
    """Download a model; the error where it has been deleted meanwhile."""
    source = await source_of(database, question)
    if source is None:
        return Answered(Reply(status=404, code="unknown_model", detail="the model was deleted: name another one"))
    model = source.model
    graph = _graph(model) if question.rows_of is None else None  # teachers answer as in a job
    exported = None if graph is None else await cache.download(graph)
    main = graph if exported is not None and await asyncio.to_thread(_takes_raw_rows, exported) else None
    main = main or next(file for file in model.files if file.role in ("weights", "onnx"))
    path = await cache.download(main)
    order = SessionOrder(
        model=ModelInput(id=model.id, manifest=model.manifest, facts=model.facts, path=str(path), sha256=main.sha256),
        graph=None if exported is None else str(exported),
        rows_of=source.rows_of.facts if question.rows_of is not None else None,
        taught=question.taught,
        dataset=source.dataset,
        tokenizers=await cache.tokenizers(source.files()),
        threads=threads,
        memory_bytes=0,
    )
    size = await asyncio.to_thread(_bytes_of, order.inputs())
    return order.model_copy(update={"memory_bytes": footprint_of_uploads(size).limit(1.0, machine_memory())})


def _graph(model: StoredModel) -> FileRef | None:
    """The exported file beside weights."""
    if model.manifest.format == "onnx":
        return None
    return next((file for file in model.files if file.role == "onnx"), None)


def _takes_raw_rows(graph: Path) -> bool:
    """Whether an exported file is of this version, whose sessions need no weights. It is not parsed here."""
    with graph.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.rfind(VERSION_TEXT.encode()) >= 0


def _bytes_of(paths: tuple[Path, ...]) -> int:
    return sum(path.stat().st_size for path in paths)
