"""A browser signs in by a key: it has a cookie then, and no page has the key."""

from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select, update

from app.access import repository
from app.db.clock import utcnow
from app.db.rows import KeyRow, SessionRow
from app.system.retention.policy import collect
from tests.integration.api.conftest import opened
from tests.integration.api.harness import ApiHarness


async def signed_in(harness: ApiHarness) -> dict[str, Any]:
    """Sign in, and send no key from then on; the session."""
    harness.http.headers.pop("authorization", None)
    answer = await harness.http.post("/ui/session", json={"key": harness.key})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def code(answer: httpx.Response) -> str:
    return f"{answer.status_code} {answer.json()['code']}"


async def test_a_session_stands_for_its_key(any_harness: ApiHarness) -> None:
    session = await signed_in(any_harness)
    assert session["key"]["name"] == "test"
    assert any_harness.key not in str(session)
    assert (await any_harness.http.get("/v1/jobs")).status_code == 200
    assert (await any_harness.http.get("/ui/session")).json() == session


async def test_a_browser_that_has_not_signed_in_has_no_session_and_that_is_no_error(harness: ApiHarness) -> None:
    assert (await harness.http.get("/ui/session")).status_code == 204
    harness.http.cookies.set("stillhouse_session", "unknown")
    assert code(await harness.http.get("/ui/session")) == "401 session_needed"


async def test_no_script_reads_the_cookie_and_no_other_site_sends_it(harness: ApiHarness) -> None:
    answer = await harness.http.post("/ui/session", json={"key": harness.key})
    attributes = {each.strip().lower() for each in answer.headers["set-cookie"].split(";")[1:]}
    assert {"httponly", "samesite=strict", "path=/"} <= attributes
    assert harness.key not in answer.headers["set-cookie"]


async def test_over_https_the_cookie_is_sent_over_https_alone(harness: ApiHarness) -> None:
    answer = await harness.http.post("https://localhost/ui/session", json={"key": harness.key})
    assert "; Secure" in answer.headers["set-cookie"]


async def test_services_on_two_ports_of_a_host_have_cookies_of_their_own(harness: ApiHarness) -> None:
    names = set()
    for port in (8000, 8001):
        answer = await harness.http.post(f"http://localhost:{port}/ui/session", json={"key": harness.key})
        names.add(answer.headers["set-cookie"].partition("=")[0])
    assert len(names) == 2


async def test_what_changes_something_needs_the_csrf_token(any_harness: ApiHarness) -> None:
    session = await signed_in(any_harness)
    path = "/v1/jobs/job_none"
    for method, target in (
        ("POST", "/v1/jobs"),
        ("POST", f"{path}/cancel"),
        ("DELETE", path),
        ("PATCH", "/v1/models/m"),
    ):
        for token in (None, b"0" * 64, "ä".encode()):
            headers = {} if token is None else {b"X-CSRF-Token": token}
            answer = await any_harness.http.request(method, target, headers=headers)
            assert code(answer) == "403 csrf_token_needed", (method, target)
    answer = await any_harness.http.post(f"{path}/cancel", headers={"X-CSRF-Token": session["csrf"]})
    assert code(answer) == "404 unknown_job"


async def test_a_page_of_another_site_has_no_session(harness: ApiHarness) -> None:
    session = await signed_in(harness)
    for site in ("cross-site", "same-site"):
        headers = {"Sec-Fetch-Site": site, "X-CSRF-Token": session["csrf"]}
        assert code(await harness.http.get("/v1/jobs", headers=headers)) == "401 key_needed"
        assert (await harness.http.get("/ui/session", headers=headers)).status_code == 204
    assert (await harness.http.get("/v1/jobs", headers={"Sec-Fetch-Site": "same-origin"})).status_code == 200


async def test_a_page_of_another_site_cannot_sign_a_person_in(harness: ApiHarness) -> None:
    answer = await harness.http.post("/ui/session", json={"key": harness.key}, headers={"Sec-Fetch-Site": "cross-site"})
    assert code(answer) == "403 other_site"
    assert "set-cookie" not in answer.headers


async def test_a_wrong_key_signs_nobody_in(harness: ApiHarness) -> None:
    answer = await harness.http.post("/ui/session", json={"key": "sth_wrong"})
    assert code(answer) == "401 unknown_key"
    assert "set-cookie" not in answer.headers
    assert "sth_wrong" not in answer.text


@pytest.mark.parametrize("body", [{}, {"key": ""}, {"key": 1}, {"key": "x" * 600}, {"key": "a", "more": 1}, []])
async def test_a_sign_in_that_cannot_be_read_is_refused(harness: ApiHarness, body: Any) -> None:
    assert (await harness.http.post("/ui/session", json=body)).status_code == 422


async def test_many_wrong_keys_slow_the_guesser_down(migrated_sqlite_url: str, tmp_path: Any) -> None:
    async with opened(migrated_sqlite_url, tmp_path / "data", wrong_keys_per_minute=1) as harness:
        answers = [await harness.http.post("/ui/session", json={"key": f"wrong {i}"}) for i in range(2)]
        assert [code(each) for each in answers] == ["401 unknown_key", "429 too_many_wrong_keys"]


async def test_signing_out_ends_the_session_at_once(any_harness: ApiHarness) -> None:
    session = await signed_in(any_harness)
    cookies = dict(any_harness.http.cookies)
    assert code(await any_harness.http.delete("/ui/session")) == "403 csrf_token_needed"
    answer = await any_harness.http.delete("/ui/session", headers={"X-CSRF-Token": session["csrf"]})
    assert answer.status_code == 204
    assert not dict(any_harness.http.cookies), "the browser forgets the cookie"
    any_harness.http.cookies.update(cookies)
    assert code(await any_harness.http.get("/v1/jobs")) == "401 session_needed"


async def test_an_expired_session_says_so_and_is_forgotten_later(any_harness: ApiHarness) -> None:
    await signed_in(any_harness)
    database = any_harness.services.database
    for hours, expected in ((1, "401 session_expired"), (48, "401 session_needed")):
        async with database.write() as session:
            await session.execute(update(SessionRow).values(expires_at=utcnow() - timedelta(hours=hours)))
        any_harness.app.state.keys.forget()
        await collect(any_harness.services)
        assert code(await any_harness.http.get("/v1/jobs")) == expected


async def test_the_session_of_a_revoked_key_ends_at_once(any_harness: ApiHarness) -> None:
    await signed_in(any_harness)
    assert (await any_harness.http.get("/v1/jobs")).status_code == 200
    async with any_harness.services.database.write() as session:
        key = (await session.scalars(select(KeyRow))).one()
        await repository.revoke(session, key.id)
    assert code(await any_harness.http.get("/v1/jobs")) == "401 revoked_key"


async def test_the_secret_of_a_session_is_stored_nowhere(harness: ApiHarness) -> None:
    await signed_in(harness)
    (secret,) = dict(harness.http.cookies).values()
    async with harness.services.database.read() as session:
        row = (await session.scalars(select(SessionRow))).one()
    assert secret not in str(vars(row))


async def test_no_cache_keeps_what_a_session_reads(harness: ApiHarness) -> None:
    await signed_in(harness)
    for path in ("/v1/jobs", "/v1/jobs/none", "/v1/queue", "/ui/session"):
        assert (await harness.http.get(path)).headers["cache-control"] == "no-store", path


async def test_a_key_in_the_header_counts_before_a_cookie(harness: ApiHarness) -> None:
    await signed_in(harness)
    answer = await harness.http.get("/v1/jobs", headers={"Authorization": "Bearer sth_wrong"})
    assert code(answer) == "401 unknown_key"
