"""A name that is not the service's own is refused, so that no page in a browser reaches it by a name of the page's."""

from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from pydantic import ValidationError

from app.access.hosts import AllowedHosts, allowed_hosts
from app.main import create_app
from app.settings import Settings


async def ask(app: FastAPI, host: str) -> httpx.Response:
    """GET /healthz by this Host header."""
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
        return await http.get("/healthz", headers={"Host": host})


@pytest.mark.parametrize(
    ("bound", "setting", "host", "status"),
    [
        ("127.0.0.1", "", "localhost:8000", 200),
        ("127.0.0.1", "", "127.0.0.1:8000", 200),
        ("::1", "", "[::1]:8000", 200),
        ("127.0.0.1", "", "evil.example:8000", 400),
        ("127.0.0.1", "", "127.0.0.1.evil.example", 400),
        ("127.0.0.1", "", "localhost.evil.example", 400),
        ("127.0.0.1", "", "", 400),
        ("127.0.0.1", "", "localhost:evil", 400),
        ("127.0.0.1", "", "localhost:80:80", 400),
        ("127.0.0.1", "", "localhost:65536", 400),
        ("127.0.0.1", "", "[::1]evil", 400),
        ("127.0.0.1", "", "user@localhost", 400),
        ("127.0.0.1", "", "localhost:", 200),
        ("127.0.0.1", "*", "any.example:evil", 400),
        ("127.0.0.1", "*", "my_api:8000", 200),
        ("localhost", "", "evil.example", 400),
        ("0.0.0.0", "", "api:8000", 200),
        ("0.0.0.0", "still.example", "api:8000", 400),
        ("0.0.0.0", "still.example", "10.1.2.3:8000", 200),
        ("127.0.0.1", "still.example, *.house.example", "Still.Example.", 200),
        ("127.0.0.1", "still.example, *.house.example", "a.b.house.example:443", 200),
        ("127.0.0.1", "still.example, *.house.example", "house.example", 400),
        ("127.0.0.1", "still.example, *.house.example", "badhouse.example", 400),
        ("127.0.0.1", "*", "any.example", 200),
    ],
)
async def test_a_request_is_answered_by_the_names_of_the_service_only(
    bound: str, setting: str, host: str, status: int, tmp_path: Path
) -> None:
    app = create_app(Settings(host=bound, allowed_hosts=setting, data_dir=tmp_path))
    answer = await ask(app, host)
    assert answer.status_code == status
    if status == 400:
        assert answer.json()["code"] == "unknown_host"
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["instance"].endswith(answer.headers["x-request-id"])


async def test_a_request_without_a_host_is_answered_as_no_browser_sends_one(tmp_path: Path) -> None:
    seen = []

    async def app(scope: object, receive: object, send: object) -> None:
        seen.append(scope)

    guard = AllowedHosts(app, allowed_hosts(Settings(data_dir=tmp_path)))
    scope = {"type": "http", "headers": [], "path": "/healthz", "method": "OPTIONS"}

    async def nothing(*_: object) -> None:
        raise AssertionError("it was answered")

    await guard(scope, nothing, nothing)  # type: ignore[arg-type]  # neither is called
    assert seen == [scope]


@pytest.mark.parametrize("setting", ["https://still.example", "still.example:8000", "a,,b", "*still.example", "a b"])
def test_a_setting_that_names_no_hosts_is_refused_at_the_start(setting: str, tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match="without scheme, port or path"):
        Settings(allowed_hosts=setting, data_dir=tmp_path)
