"""Sign-in, sign-out, and sessions that end."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx

from tests.e2e.ui.browser import Page
from tests.e2e.ui.conftest import Things

_WRONG = "sth_" + "0" * 40


def test_a_wrong_key_is_refused_in_words_and_the_right_one_goes_on_to_the_page_asked_for(
    stranger: Page, things: Things
) -> None:
    stranger.open(f"models/{things.ids['teacher']}")
    stranger.sign_in(_WRONG)
    stranger.wait(lambda: stranger.text("dialog .problem"))
    assert stranger.run("return document.activeElement.type") == "password"
    stranger.sign_in(things.service.key)
    stranger.wait_for("the teacher")
    assert stranger.driver.current_url.endswith(things.ids["teacher"])
    assert all("401" in each for each in stranger.complaints())


def test_the_key_is_in_nothing_that_a_script_can_read(page: Page, things: Things) -> None:
    page.open("jobs?text=small")
    page.wait_for("small")
    read = (
        "return JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}, location.href, history.state])"
    )
    kept = page.run(read) + page.run("return document.documentElement.outerHTML")
    assert things.service.key not in kept
    assert page.run("return document.cookie") == ""
    (cookie,) = page.driver.get_cookies()
    assert cookie["httpOnly"]
    assert cookie["sameSite"] == "Strict"
    assert things.service.key not in cookie["value"]


def test_signing_out_ends_the_session_and_asks_for_a_key(page: Page, things: Things) -> None:
    (cookie,) = page.driver.get_cookies()
    page.button("Sign out").click()
    page.wait(lambda: page.one("dialog.sign-in"))
    assert page.driver.get_cookies() == []
    answer = httpx.get(f"{things.service.url}/v1/jobs", cookies={cookie["name"]: cookie["value"]})
    assert answer.status_code == 401
    assert all("401" in each for each in page.complaints())


def test_a_session_that_is_gone_is_renewed_over_the_page_which_then_goes_on(page: Page, things: Things) -> None:
    page.open("jobs?text=smal")
    page.wait_for("smaller")
    page.field("Name or id").send_keys("l")
    page.forget()
    page.wait_for("Your session has ended", "dialog.sign-in")
    assert page.text() == ""
    page.sign_in(things.service.key)
    page.wait(lambda: not page.all("dialog"))
    page.wait(lambda: len(page.all("tbody tr")) == 2)
    assert page.field("Name or id").get_attribute("value") == "small"
    assert all("401" in each for each in page.complaints())


def test_a_key_that_is_revoked_while_somebody_watches_is_said_so(stranger: Page, things: Things) -> None:
    key = _new_key(things)
    stranger.open("jobs?text=small")
    stranger.sign_in(key["secret"])
    stranger.wait_for("smaller")
    _stillhouse(things, "keys", "revoke", key["id"])
    stranger.wait_for("revoked", "dialog.sign-in")
    stranger.sign_in(things.service.key)
    stranger.wait(lambda: not stranger.all("dialog"))
    stranger.wait_for("smaller")


def test_a_session_that_expires_is_said_so_and_a_form_keeps_what_was_typed(page: Page, things: Things) -> None:
    page.open(f"new?teacher={things.ids['teacher']}&dataset={things.ids['digits']}")
    page.wait(lambda: page.button("Check"))
    page.field("Name").send_keys("typed before")
    with closing(sqlite3.connect(things.service.data / "stillhouse.db")) as database, database:
        database.execute("UPDATE sessions SET expires_at = '2020-01-01 00:00:00.000000'")
    page.wait(lambda: _checked(page))
    assert "Your session has expired" in page.text("dialog.sign-in")
    page.sign_in(things.service.key)
    page.wait_for("It can be submitted")
    assert page.field("Name").get_attribute("value") == "typed before"
    assert all("401" in each for each in page.complaints())


def test_a_session_that_another_tab_began_is_taken_up_and_another_key_is_named_first(
    page: Page, things: Things
) -> None:
    page.open(f"new?teacher={things.ids['teacher']}&dataset={things.ids['digits']}")
    page.wait(lambda: page.button("Check"))
    _begin_elsewhere(page, things.service.key)
    page.button("Check").click()
    page.wait_for("It can be submitted")
    _begin_elsewhere(page, _new_key(things)["secret"])
    page.field("Name").send_keys("another")
    page.button("Check").click()
    page.wait_for("another_session")
    page.wait_for("for a while", "header")
    page.button("Check").click()
    page.wait_for("It can be submitted")
    assert all("403" in each for each in page.complaints())


def _begin_elsewhere(page: Page, key: str) -> None:
    """Sign in as another tab does: the page has the token of the session before."""
    script = """
      const [address, key, done] = arguments;
      const headers = {"Content-Type": "application/json"};
      fetch(address, {method: "POST", headers, body: JSON.stringify({key})}).then((answer) => done(answer.status));
    """
    assert page.driver.execute_async_script(script, f"{page.url}/session", key) == 200


def _checked(page: Page) -> bool:
    """Check until the service, which remembers sessions for a moment, asks for a key."""
    if not page.all("dialog.sign-in"):
        page.button("Check").click()
    return bool(page.all("dialog.sign-in"))


def test_what_changes_something_is_refused_without_the_token(page: Page, things: Things) -> None:
    script = "const done = arguments[1]; fetch(arguments[0], {method: 'POST'}).then((a) => a.json()).then(done)"
    address = f"{things.service.url}/v1/jobs/{things.ids['small']}/cancel"
    found = page.driver.execute_async_script(script, address)
    assert found["code"] == "csrf_token_needed"
    assert ["403" in each for each in page.complaints()] == [True]


def test_the_policy_lets_no_page_run_other_scripts_or_ask_other_hosts(page: Page) -> None:
    script = """
      const done = arguments[0];
      const blocked = [];
      document.addEventListener("securitypolicyviolation", (event) => blocked.push(event.effectiveDirective));
      const text = document.createElement("script");
      try { text.text = "window.ran = true"; document.body.append(text); } catch { blocked.push("trusted-types"); }
      document.body.setAttribute("style", "color: red");
      fetch("http://127.0.0.1:9/").catch(() => setTimeout(() => done([blocked, window.ran ?? false]), 0));
    """
    blocked, ran = page.driver.execute_async_script(script)
    assert not ran
    assert {"connect-src", "style-src-attr"} <= set(blocked)
    assert {"trusted-types", "require-trusted-types-for"} & set(blocked)
    assert page.complaints()


def _new_key(things: Things) -> dict[str, str]:
    secret = _stillhouse(things, "keys", "create", "for a while").split()[0]
    line = next(each for each in _stillhouse(things, "keys", "list").splitlines() if "for a while" in each)
    return {"secret": secret, "id": line.split()[0]}


def _stillhouse(things: Things, *words: str) -> str:
    command = [str(Path(sys.executable).with_name("stillhouse")), *words]
    settings = os.environ | {"STILLHOUSE_DATA_DIR": str(things.service.data)}
    return subprocess.run(command, env=settings, check=True, capture_output=True, text=True).stdout
