"""When silence of a child counts, and what is said of it."""

from pathlib import Path

from app.contracts.wire.events import PhaseEvent, ProgressEvent
from workers.runtime.child.spool import Spool
from workers.runtime.child.supervisor_link import Events, Heartbeat
from workers.runtime.child.watchdog import LONGEST_PAUSE, Watchdog


class Clock:
    """Set by the test."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_silence_is_counted_from_the_last_sign_and_named_with_what_came_before() -> None:
    clock = Clock()
    watchdog = Watchdog(10.0, "send it again", clock)
    watchdog.look([PhaseEvent(phase="training"), ProgressEvent(step=7, steps=20)])
    for _ in range(9):
        clock.now += 1.0
        watchdog.look(None)
    watchdog.look([])  # a heartbeat
    for _ in range(9):
        clock.now += 1.0
        watchdog.look(None)
        assert watchdog.exceeded is None
    clock.now += 1.0
    watchdog.look(None)
    limit = watchdog.exceeded
    assert limit is not None
    assert limit.code == "stalled"
    assert "found none for 10 s (phase `training`, step 7 of 20)" in limit.message
    assert limit.message.endswith(": send it again")


def test_time_in_which_the_supervisor_was_stopped_does_not_count() -> None:
    clock = Clock()
    watchdog = Watchdog(10.0, "send it again", clock)
    watchdog.look(None)
    clock.now += 3600.0
    watchdog.look(None)
    assert watchdog.exceeded is None
    clock.now += 10.0 - LONGEST_PAUSE
    watchdog.look(None)
    assert watchdog.exceeded is not None


def test_a_heartbeat_is_written_once_a_second_and_read_as_no_event(tmp_path: Path) -> None:
    spool, events = Spool(tmp_path / "events.jsonl"), Events(tmp_path)
    beat = Heartbeat(events)
    assert spool.read() is None
    for _ in range(1000):
        beat()
    assert spool.read() == []
    assert (tmp_path / "events.jsonl").stat().st_size in (1, 2)
    events.emit(PhaseEvent(phase="teaching"))
    assert spool.read() == [PhaseEvent(phase="teaching")]
    events.close()
