"""What is said of values that no request can be made of, and the codes of the client's own errors."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import stillhouse
from stillhouse import Client, ConnectionFailed, Job, JobFailed, Rejected, StillhouseError, Unreadable
from stillhouse.flows.jobs import Rows

from tests.client.scripted import Answer, Server, scripted

XY: dict[str, Any] = {"inputs": {"x": {"columns": ["a"]}}, "targets": {"y": {"kind": "value"}}, "wait": False}


@pytest.fixture
def server() -> Iterator[Server]:
    with scripted([Answer(200, {"id": "job_1", "state": "succeeded"})]) as running:
        yield running


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.url, "key", retries=0) as made:
        yield made


class Changing:
    """A file that has other content once its length has been asked for."""

    def __init__(self, path: Path, later: bytes) -> None:
        self.path, self.later = path, later
        self.file = path.open("rb")

    def read(self, size: int = -1) -> bytes:
        if self.later is not None and self.file.tell() == 0:
            self.path.write_bytes(self.later)
        return self.file.read(size)

    def seekable(self) -> bool:
        return True

    def seek(self, *place: int) -> int:
        return self.file.seek(*place)

    def tell(self) -> int:
        return self.file.tell()


@pytest.mark.parametrize("later", [b"", b"a,y\n1,2\n" * 50_000], ids=["shorter", "longer"])
def test_a_file_that_changes_while_it_is_sent_is_said(client: Client, tmp_path: Path, later: bytes) -> None:
    (tmp_path / "a.csv").write_bytes(b"a,y\n1,2\n" * 100)
    changing: Any = Changing(tmp_path / "a.csv", later)
    with pytest.raises(Unreadable, match="changed while it was sent"):
        client.datasets.upload(changing, format="csv", **XY)
    changing.file.close()


def test_a_text_file_is_no_binary_one(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a,y\n1,2\n")
    text: Any
    with path.open() as text, pytest.raises(Unreadable, match="open it in the mode `rb`"):
        client.datasets.upload(text, format="csv", **XY)


@pytest.mark.parametrize("key", ["schlüssel", "a\nb", "", " a"])
def test_an_idempotency_key_that_no_header_can_hold_is_refused(client: Client, server: Server, key: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: client.jobs.submit({}, idempotency_key=key),
        lambda: client.datasets.upload({"x": np.zeros((2, 2))}, idempotency_key=key),
    ]
    for call in calls:
        with pytest.raises(Unreadable, match="idempotency key of printable ASCII"):
            call()
    assert not server.asked


def test_rows_may_be_a_frame_and_an_array_needs_the_name_of_its_input() -> None:
    frame = pandas.DataFrame({"a": [1, 2], "b": [0.5, np.nan], "c": pandas.to_datetime(["2030-01-02", None])})
    rows = Rows.of(frame)
    assert rows.media_type == "application/json"
    assert json.loads(rows.content) == {
        "rows": [{"a": 1, "b": 0.5, "c": "2030-01-02T00:00:00"}, {"a": 2, "b": None, "c": None}]
    }
    with pytest.raises(Unreadable, match="name the input"):
        Rows.of(np.zeros((2, 2)))
    for wrong in (None, 7):
        with pytest.raises(Unreadable, match="expected a path"):
            Rows.of(wrong)


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"timeout": 0}, ValueError), ({"timeout": float("nan")}, ValueError), ({"timeout": "1"}, TypeError),
        ({"retries": -1}, ValueError), ({"retries": 1.5}, TypeError), ({"retries": True}, TypeError),
    ],
)  # fmt: skip
def test_wrong_settings_of_a_client_are_said(settings: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=r"^expected `(timeout|retries)`"):
        Client("http://127.0.0.1:1", "key", **settings)


@pytest.mark.parametrize(("name", "value"), [("HTTPS_PROXY", "odd://proxy"), ("SSL_CERT_FILE", "/none")])
def test_a_proxy_or_certificate_that_cannot_be_used_is_said(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConnectionFailed, match="correct or unset HTTP_PROXY"):
        Client("http://127.0.0.1:1", "key")


def made(kind: Any) -> Any:
    """An error of this class with the same words as the others."""
    if issubclass(kind, Rejected):
        return kind({"rejection": {"code": "a_code", "message": "what to do"}})
    if issubclass(kind, JobFailed):
        return kind({"error": {"code": "a_code", "message": "what to do"}})
    if issubclass(kind, stillhouse.ApiError):
        return kind(400, "a_code", "what to do")
    return kind("what to do")


ERRORS = [each for each in vars(stillhouse).values() if isinstance(each, type) and issubclass(each, StillhouseError)]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_every_error_has_a_code_and_a_detail(kind: type[StillhouseError]) -> None:
    error = made(kind)
    assert error.code.replace("_", "a").isalpha()
    assert error.detail == "what to do"
    assert error.detail in str(error)


def test_the_codes_of_the_client_differ() -> None:
    own = [kind.code for kind in ERRORS if "code" in vars(kind)]
    assert len(own) == len(set(own)) == 7


def test_predictions_go_into_a_folder_under_a_name_of_their_own(tmp_path: Path) -> None:
    content = Answer(200, b"outputs", kind="application/octet-stream")
    with scripted([content]) as server, Client(server.url, "key") as client:
        path = Job({"id": "job_1"}, client._session).predictions(path=tmp_path)
    assert path == tmp_path / "job_1.test.npz"
    assert path.read_bytes() == b"outputs"
