"""A worker ends jobs that show no progress: each long part of an honest job shows some, also where it emits nothing."""

import fcntl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from app.contracts.specs.jobs import ExportJob, InspectJob, InternalJob
from app.contracts.wire.events import PhaseEvent
from app.db.ids import new_id
from tests.engine.harness import EngineHarness
from tests.engine.test_run import DISTILL, with_teacher
from workers.engine import run
from workers.engine.common import progress
from workers.engine.common.progress import report_progress_to
from workers.engine.common.row_store import Entry, RowFile, RowStore
from workers.engine.common.stop import NeverStop

COLUMNS: dict[str, Any] = {
    "inputs": {"x": {"kind": "array", "columns": ["a", "b"]}},
    "targets": {"t": {"kind": "value"}},
}
TEXTS: dict[str, Any] = {
    "inputs": {"text": {"kind": "text", "length": 8}},
    "targets": {"t": {"kind": "value"}},
}


@pytest.fixture
def listen() -> Iterator[Callable[[Callable[[], None]], None]]:
    """Listen until the end of a test."""
    yield report_progress_to
    report_progress_to(progress._ignore)


Listen = Callable[[Callable[[], None]], None]


def test_the_phases_of_a_job_show_progress_within_themselves(harness: EngineHarness, listen: Listen) -> None:
    with_teacher(harness)
    signs: Counter[str] = Counter()

    def count() -> None:
        phases = [event.phase for event in harness.log.events if isinstance(event, PhaseEvent)]
        signs[phases[-1] if phases else "starting"] += 1

    listen(count)
    harness.run(DISTILL)
    # One belongs to the beginning of the next phase, where a stop is polled. Arrays are loaded in one piece.
    assert {phase: signs[phase] > 1 for phase in ("teaching", "training", "evaluating")} == {
        "teaching": True,
        "training": True,
        "evaluating": True,
    }
    assert signs["exporting"] > 0


@pytest.mark.parametrize(
    ("name", "manifest", "line"),
    [("rows.csv", {"format": "csv", **COLUMNS}, "1.5,2.5,3"), ("texts.csv", {"format": "csv", **TEXTS}, "one two,1")],
)
def test_reading_a_file_shows_progress(
    name: str, manifest: dict[str, Any], line: str, harness: EngineHarness, tmp_path: Path, listen: Listen
) -> None:
    path = tmp_path / name
    header = "a,b,t" if name == "rows.csv" else "text,t"
    path.write_text("\n".join([header, *(line.replace("1", str(i)) for i in range(40))]) + "\n")
    signs = Counter[str]()
    listen(lambda: signs.update(["sign"]))
    harness.file(path, **manifest)
    assert signs["sign"] >= 2


def test_waiting_for_rows_that_another_job_makes_is_progress(tmp_path: Path, listen: Listen) -> None:
    file = RowFile(np.dtype(np.float32), ())
    store, waited = RowStore(tmp_path, 1 << 20), threading.Event()
    made: list[float] = []

    def get() -> None:
        rows = store.get(
            {"key": Entry({"rows": file})}, 2, lambda keys: iter([{"key": {"rows": np.ones(2, np.float32)}}])
        )
        made.extend(rows.arrays["key"]["rows"].tolist())

    with (tmp_path / "key.write").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        listen(waited.set)
        waiting = threading.Thread(target=get)
        waiting.start()
        assert waited.wait(30.0)
        assert made == []
    waiting.join(30.0)
    assert made == [1.0, 1.0]
    store.close()


@pytest.mark.parametrize("kind", ["inspect", "export"])
def test_work_that_is_limited_as_a_whole_shows_progress_while_its_process_runs(
    kind: str, monkeypatch: pytest.MonkeyPatch, listen: Listen
) -> None:
    """One step of an inspection may take longer than a worker waits for progress, such as reading a large array."""
    signs = threading.Semaphore(0)

    def wait_for_signs(order: Any, emit: Any) -> str:
        assert signs.acquire(timeout=30)
        assert signs.acquire(timeout=30)
        return "done"

    listen(signs.release)
    monkeypatch.setattr(progress, "_ALIVE_SECONDS", 0.01)
    monkeypatch.setattr(run, "inspect" if kind == "inspect" else "export_model", wait_for_signs)
    specs: dict[str, InternalJob] = {
        "inspect": InspectJob(dataset=new_id("ds")),
        "export": ExportJob(model=new_id("mdl"), format="onnx"),
    }
    order: Any = SimpleNamespace(spec=specs[kind])
    found: Any = run.execute(order, lambda _: None, NeverStop())
    assert found == "done"
