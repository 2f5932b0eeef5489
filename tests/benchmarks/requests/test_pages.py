"""The dashboard in a real Chromium: the first paint without a cache, and the live view of a job of ten hours, with
100,000 points and an event each second.

The bars: first paint under 1 s; a live view without a task of the page's thread over 100 ms once it is drawn. How long
the page takes until it shows events is compared with the time in which a client reads all of them as a stream.
"""

import json
import shutil
import time
from pathlib import Path
from statistics import median

import httpx
import pytest
from sqlalchemy import create_engine, insert, select, update
from sqlalchemy.pool import NullPool

from app.contracts.states import JobState
from app.db.rows import EventRow, JobRow, MetricRow
from app.db.urls import sync_url
from tests.benchmarks.figures import line, say
from tests.benchmarks.requests.test_side_by_side import job_spec, service_on
from tests.demo.service import Service
from tests.e2e.ui.browser import Page, chromium

pytestmark = [pytest.mark.benchmark, pytest.mark.timeout(600)]
SERIES, STEPS, ROUNDS, LIVE_SECONDS = 5, 20_000, 5, 20.0
EVENTS = 36_000
_PAINTED = (
    "return performance.getEntriesByType('paint').find((each) => each.name === 'first-contentful-paint')?.startTime"
)
_WATCH = """
  window.tasks = [];
  new PerformanceObserver((list) => window.tasks.push(...list.getEntries().map((each) => each.duration)))
    .observe({ type: "longtask", buffered: false });
"""


@pytest.mark.skipif(shutil.which("chromedriver") is None, reason="needs Chromium: `make browser`")
def test_the_dashboard_in_chromium(tmp_path: Path) -> None:
    with service_on("sqlite://", tmp_path) as service:
        headers = {"Authorization": f"Bearer {service.key}"}
        with httpx.Client(base_url=service.url, headers=headers, timeout=60) as http:
            job = http.post("/v1/jobs", json=json.loads(job_spec(service, tmp_path))).json()["id"]
        url = sync_url(f"sqlite:///{tmp_path / 'data' / 'stillhouse.db'}")[1]
        engine = create_engine(url, poolclass=NullPool)
        with engine.begin() as connection:
            connection.execute(update(JobRow).where(JobRow.id == job).values(state=JobState.RUNNING))
            last = connection.scalars(select(JobRow.last_seq).where(JobRow.id == job)).one()
            connection.execute(insert(EventRow), [_event(job, last + n, n) for n in range(1, EVENTS + 1)])
            connection.execute(update(JobRow).where(JobRow.id == job).values(last_seq=last + EVENTS))
            for place in range(SERIES):
                connection.execute(insert(MetricRow), [_point(job, place, step) for step in range(1, STEPS + 1)])
        driver = chromium(tmp_path / "profile")
        try:
            page = Page(driver, f"{service.url}/ui", tmp_path)
            paints = [_first_paint(page) for _ in range(ROUNDS)]
            page.sign_in(service.key)
            page.wait_for("train")
            opened = [_events_shown(page, job) for _ in range(ROUNDS)]
            read = [_all_read(service, job, last + EVENTS) for _ in range(ROUNDS)]
            page.wait_for("Values as a table")
            time.sleep(5.0)  # all charts are drawn
            page.run(_WATCH)
            ends = time.monotonic() + LIVE_SECONDS
            step = STEPS
            while time.monotonic() < ends:
                step += 1
                with engine.begin() as connection:
                    connection.execute(insert(MetricRow), [_point(job, place, step) for place in range(SERIES)])
                time.sleep(0.5)
            tasks = [float(each) / 1000.0 for each in page.run("return window.tasks")]
            asked = page.run(
                "return performance.getEntriesByType('resource').filter((e) => /metrics/.test(e.name)).length"
            )
            assert asked > 5, "the page followed the job"
        finally:
            driver.quit()
    say(f"The dashboard in Chromium; a job of {SERIES * STEPS} points, followed for {LIVE_SECONDS:.0f} s")
    line("first contentful paint, no cache", paints)
    line(f"the page of the job with {EVENTS:,} events, until it shows them", opened)
    line("all of them as a stream", read)
    print(f"  ratio {median(opened) / median(read):.2f}")
    longest = max(tasks, default=0.0)
    print(f"  tasks over 50 ms while it is live: {len(tasks)}, the longest {longest * 1000:.0f} ms, bar 100")


def _point(job: str, place: int, step: int) -> dict[str, object]:
    name = ("train/loss", "validation/y/nll", "validation/y/accuracy", "train/learning_rate", "train/y/kd")[place]
    return {"job_id": job, "series": name, "step": step, "epoch": 1, "value": (step % 97 + place) / 97}


def _event(job: str, seq: int, step: int) -> dict[str, object]:
    progress = {"step": step, "steps": 2 * EVENTS, "epoch": 1, "epochs": 2, "percent": 50.0 * step / EVENTS}
    found = progress | {"samples_per_second": 1000.0 + step % 97, "eta_seconds": 3600.0, "phase": "training"}
    return {"job_id": job, "seq": seq, "type": "progress", "data": found}


def _events_shown(page: Page, job: str) -> float:
    page.driver.get("about:blank")
    begun = time.monotonic()
    page.open(f"jobs/{job}")
    page.wait_for("queued", "#events")
    page.wait_for("rows per second", "#training")
    return time.monotonic() - begun


def _all_read(service: Service, job: str, last: int) -> float:
    headers = {"Authorization": f"Bearer {service.key}", "Accept": "text/event-stream"}
    begun = time.monotonic()
    with httpx.stream("GET", f"{service.url}/v1/jobs/{job}/events", headers=headers, timeout=60) as answer:
        for each in answer.iter_lines():
            if each == f"id: {last}":
                break
    return time.monotonic() - begun


def _first_paint(page: Page) -> float:
    page.driver.execute_cdp_cmd("Network.clearBrowserCache", {})
    page.open("jobs")
    page.wait(lambda: page.run(_PAINTED))
    return float(page.run(_PAINTED)) / 1000.0
