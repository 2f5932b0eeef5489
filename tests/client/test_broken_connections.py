"""Connections that break, and a service that restarts, at the worst moments."""

import io
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stillhouse import Client, ConnectionFailed, Dataset, Event, Job
from stillhouse.flows import sending

from tests.client.conftest import LONG, NETWORK, SHORT, clouds
from tests.client.proxy import Proxy
from tests.demo.service import Service


@pytest.fixture
def proxy(service: Service) -> Iterator[Proxy]:
    with Proxy(service.url) as running:
        yield running


@pytest.fixture
def far(service: Service, proxy: Proxy) -> Iterator[Client]:
    """A client behind the proxy."""
    with Client(proxy.url, service.key) as made:
        yield made


class Background(threading.Thread):
    """Runs a call beside the test, and gives its result or raises its error."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._call = call
        self._result: Any = None
        self._error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self._result = self._call()
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        """What the call returned, within two minutes."""
        self.join(timeout=120)
        assert not self.is_alive(), "the call goes on"
        if self._error is not None:
            raise self._error
        return self._result


def test_an_upload_whose_connection_breaks_is_sent_again_and_stored_once(far: Client, proxy: Proxy) -> None:
    file = io.BytesIO()
    np.savez(file, **clouds(30_000))
    proxy.limit_up(200_000)
    before = len(list(far.datasets.list()))
    dataset = far.datasets.upload(
        file, name="broken", format="npz", inputs="x", targets={"kind": {"kind": "class", "classes": 3}}, progress=True
    )
    assert proxy.cuts == 1
    assert (dataset.state, dataset.rows) == ("ready", 30_000)
    assert len(list(far.datasets.list())) == before + 1


def test_an_answer_that_is_lost_does_not_submit_a_job_twice(far: Client, proxy: Proxy, dataset: Dataset) -> None:
    before = len(list(far.jobs.list(kind="train")))
    far.check()
    proxy.limit_down(1)
    job = far.jobs.train(dataset, NETWORK, training=SHORT)
    assert proxy.cuts == 1
    job.wait()
    assert len(list(far.jobs.list(kind="train"))) == before + 1


def test_waiting_and_events_survive_connections_that_are_cut(far: Client, proxy: Proxy, dataset: Dataset) -> None:
    job = far.jobs.train(dataset, NETWORK, training=LONG)
    seen: list[Event] = []
    other = Client(far.url, far._session.driver.http.headers["Authorization"].removeprefix("Bearer "))
    waiting = Background(lambda: job.wait(check=False))
    following = Background(lambda: seen.extend(other.jobs.get(job).events()))
    while proxy.cuts < 3:
        proxy.wait_for_answers(proxy.answers + 1)
        proxy.cut()
    far.jobs.cancel(job)
    assert waiting.result().state == "cancelled"
    following.result()
    other.close()
    assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
    assert seen[-1].data["state"] == "cancelled"


def test_a_download_goes_on_where_it_broke_off_also_in_a_later_call(
    far: Client, client: Client, proxy: Proxy, dataset: Dataset, tmp_path: Path
) -> None:
    large = {"family": "mlp", "hidden": [600, 600]}
    model = client.jobs.train(dataset, large, training={"epochs": 1, "batch_size": 64}).wait().student
    whole = model.download(tmp_path / "whole.safetensors").read_bytes()
    behind = far.models.get(model)
    proxy.limit_down(500_000)
    assert behind.download(tmp_path / "once.safetensors", progress=True).read_bytes() == whole
    assert proxy.cuts == 1

    with Client(proxy.url, far._session.driver.http.headers["Authorization"][7:], retries=0) as impatient:
        proxy.limit_down(500_000)
        target = tmp_path / "later.safetensors"
        with pytest.raises(ConnectionFailed, match="goes on where it stopped"):
            impatient.models.get(model).download(target)
        (part,) = tmp_path.glob(".later.safetensors.*.part")
        assert 0 < part.stat().st_size < len(whole)
        part.write_bytes(part.read_bytes())  # as a later process finds it
        assert impatient.models.get(model).download(target).read_bytes() == whole
    assert not list(tmp_path.glob(".*.part"))


def test_a_part_of_other_bytes_is_not_used(client: Client, dataset: Dataset, tmp_path: Path) -> None:
    model = client.jobs.train(dataset, NETWORK, training=SHORT).wait().student
    (tmp_path / f".file.{'0' * 64}.part").write_bytes(b"other bytes")
    assert model.download(tmp_path / "file").stat().st_size == model.files[0]["bytes"]
    sha256 = model.files[0]["sha256"]
    (tmp_path / f".second.{sha256}.part").write_bytes(b"0" * model.files[0]["bytes"])  # as long, and begun again
    assert model.download(tmp_path / "second").read_bytes() == (tmp_path / "file").read_bytes()
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_wait_goes_on_while_the_service_restarts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "LONGEST_PAUSE", 1.0)
    settings = {"STILLHOUSE_LEASE_SECONDS": "5"}
    with (
        Service(tmp_path / "data", settings=settings) as service,
        Proxy(service.url) as proxy,
        Client(proxy.url, service.key) as client,
    ):
        job: Job = client.jobs.train(client.datasets.upload(clouds()), NETWORK, training={**SHORT, "epochs": 300})
        following = Background(lambda: [event.seq for event in job.events()])
        waiting = Background(lambda: job.wait(timeout=100))
        proxy.wait_for_answers(proxy.answers + 2)
        service.restart()
        assert waiting.result().state == "succeeded"
        seen = following.result()
        assert seen == list(range(1, len(seen) + 1))
