"""The list of jobs, and a job, live."""

import time
from collections.abc import Iterator

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests.e2e.ui.browser import Page
from tests.e2e.ui.conftest import SMALL, Things

_SEEN = """
  const hidden = arguments[0];
  Object.defineProperty(document, "hidden", {get: () => hidden, configurable: true});
  document.dispatchEvent(new Event("visibilitychange"));
"""
_REFUSES = """
  const ask = window.fetch;
  window.fetch = (address, options) => String(address).includes("label=no")
    ? Promise.resolve(Response.json({code: "refused", detail: "refused"}, {status: 400})) : ask(address, options);
"""
"""Refuses one filter, as the service does with some."""


@pytest.fixture
def long_job(things: Things) -> Iterator[str]:
    """A job that trains until the end of the test."""
    job = things.long_job("a long one")
    yield job["id"]
    things.http.post(f"/v1/jobs/{job['id']}/cancel")
    if things.http.get(f"/v1/jobs/{job['id']}").status_code == 200:
        things.ended("jobs", job["id"])


def test_the_list_names_datasets_teachers_students_and_verdicts_and_is_filtered(page: Page, things: Things) -> None:
    page.open("jobs")
    row = page.wait(lambda: page.one(f'tr[data-id="{things.ids["small"]}"]')).text
    assert all(
        words in row for words in ("succeeded", "small", "distil", "digits", "the teacher", "mlp 8", "team=vision")
    )
    verdict = things.http.get(f"/v1/jobs/{things.ids['small']}").json()["verdict"]["digit"]
    assert verdict.replace("_", " ") in row
    Select(page.field("Kind")).select_by_value("train")
    page.wait(lambda: "small" not in page.text("tbody"))
    assert "the teacher" in page.text("tbody")
    Select(page.field("Kind")).select_by_value("")
    page.field("Label").send_keys("team=vision")
    page.wait(lambda: len(page.all("tbody tr")) == 2)
    assert "label=team%3Dvision" in page.driver.current_url
    page.driver.refresh()
    page.wait(lambda: len(page.all("tbody tr")) == 2)
    assert page.field("Label").get_attribute("value") == "team=vision"


def test_a_row_that_changes_keeps_its_element_and_the_focus(page: Page, things: Things, long_job: str) -> None:
    page.open("jobs")
    row = f'tr[data-id="{long_job}"]'
    page.wait_for("running", row)
    page.run("arguments[0].marked = true; arguments[0].querySelector('th a').focus()", page.one(row))
    before = page.text(f"{row} td:nth-of-type(6)")
    page.wait(lambda: page.text(f"{row} td:nth-of-type(6)") != before)
    things.http.post(f"/v1/jobs/{long_job}/cancel")
    page.wait_for("cancelled", row)
    assert page.run("return document.querySelector(arguments[0]).marked", row)
    assert page.run("return document.activeElement.closest('tr')?.dataset.id") == long_job


def test_a_list_that_cannot_be_seen_asks_for_nothing_and_goes_on_once_it_can(page: Page) -> None:
    page.open("jobs?text=small")
    page.wait_for("smaller")
    asked = "return performance.getEntriesByType('resource').filter((each) => each.name.includes('/v1/jobs')).length"
    before = page.run(asked)
    page.wait(lambda: page.run(asked) > before)
    page.run(_SEEN, True)
    page.run("performance.clearResourceTimings()")
    time.sleep(5.0)  # polls are 2 s apart: one that did not rest would have asked; one was on its way at most
    assert page.run(asked) <= 1
    page.run("performance.clearResourceTimings()")
    page.run(_SEEN, False)
    page.wait(lambda: page.run(asked) > 0)


def test_pages_of_a_long_list_hold_fifty_rows_and_go_both_ways(page: Page, things: Things, long_job: str) -> None:
    labels = {"of": "many"}
    for i in range(60):
        teacher = [{"job": long_job}]
        things.submit(kind="distill", name=f"n{i}", target="digit", teachers=teacher, student=SMALL, labels=labels)
    page.open("jobs?label=of%3Dmany")
    page.wait(lambda: len(page.all("tbody tr")) == 50)
    assert "n59" in page.text("tbody")
    page.button("Older →").click()
    page.wait(lambda: len(page.all("tbody tr")) == 10)
    assert not page.button("Older →").is_enabled()
    page.driver.refresh()
    page.wait(lambda: len(page.all("tbody tr")) == 10)
    assert page.run("return history.state") == {"trail": [None]}
    page.button("← Newer").click()
    page.wait(lambda: len(page.all("tbody tr")) == 50)
    page.driver.find_element(By.LINK_TEXT, "n59").click()
    page.wait_for("queued", ".page-head")
    for action in ("Pause", "Cancel"):
        page.button(action).click()
        assert "checkpoint" not in page.text("dialog")
        page.one("dialog").send_keys(Keys.ESCAPE)
        page.wait(lambda: not page.all("dialog"))


def test_a_filter_that_is_refused_ends_nothing_and_what_is_wrong_in_the_address_is_left_out(page: Page) -> None:
    page.open("jobs?text=small&state=nonsense&after=nonsense")
    page.wait_for("smaller")
    assert "The address was not understood" in page.text()
    assert page.driver.current_url.endswith("?text=small")
    page.run(_REFUSES)
    page.field("Label").send_keys("no")
    page.wait(lambda: page.one(".note[data-tone=bad]"))
    page.field("Label").send_keys(Keys.BACKSPACE * 2 + "team=vision")
    page.wait(lambda: not page.all(".note[data-tone=bad]"))
    page.wait(lambda: len(page.all("tbody tr")) == 2)
    assert page.field("Name or id").get_attribute("maxlength") == "200"
    assert all("400" in each or "422" in each for each in page.complaints())


def test_a_job_is_followed_while_it_trains_and_ended_from_its_page(page: Page, long_job: str) -> None:
    page.open(f"jobs/{long_job}")
    page.wait_for("rows/s")
    canvas = "figure.chart canvas"
    page.wait(lambda: page.one(canvas))
    loss = "[data-name='train/loss'] output"
    before = page.wait(lambda: page.text(loss))
    page.wait(lambda: page.text(loss) not in ("", before))
    page.all("details summary")[0].click()
    page.wait(lambda: page.one("details table tbody tr"))
    page.picture("running-job")
    page.button("Pause").click()
    page.one("dialog button.primary").click()
    page.wait_for("It goes on from its checkpoint", "main")
    page.button("Resume").click()
    page.one("dialog button.primary").click()
    page.wait_for("running", ".page-head")
    page.button("Cancel").click()
    assert page.run("return document.activeElement.textContent") == "Go back"
    assert page.violations() == []
    page.one("dialog").send_keys(Keys.ESCAPE)
    page.wait(lambda: not page.all("dialog"))
    page.button("Cancel").click()
    page.one("dialog button.danger").click()
    page.wait_for("cancelled", ".page-head")
    assert page.button("Retry from the checkpoint").is_enabled()
    assert "is cancelled" in page.text("#announcer") or page.run("return document.title").startswith(
        "a long one, cancelled"
    )


def test_a_job_that_succeeded_shows_its_report_in_the_colours_of_the_page(page: Page, things: Things) -> None:
    page.look(dark=True)
    page.open(f"jobs/{things.ids['small']}")
    page.wait_for("Distilled the teacher the teacher into a student (mlp)")
    report = "document.querySelector('.report-host').shadowRoot"
    titles = page.run(f"return [...{report}.querySelectorAll('h2')].map((each) => each.textContent)")
    assert titles[:2] == ["Costs", "Digit (test split)"]
    assert "Training" not in titles
    swatch = f"getComputedStyle({report}.querySelector('.legend i')).backgroundColor"
    colour = "getComputedStyle(document.body).color"
    assert page.run(f"return {swatch}").startswith("rgb(")
    assert page.run(f"return getComputedStyle({report}.querySelector('table')).color === {colour}")
    assert page.run(f"return {report}.querySelectorAll('svg').length") > 4
    assert page.run(f"return {report}.querySelectorAll('[style*=max-width]').length") > 0


def test_the_relation_of_tasks_is_shown_over_time_and_as_tables(page: Page, things: Things) -> None:
    page.open(f"jobs/{things.ids['together']}")
    slider = page.wait(lambda: page.one(".heat input[type=range]"))
    page.wait(lambda: int(slider.get_attribute("max") or 0) > 0)
    latest = page.text(".heat .slider")
    slider.send_keys(Keys.HOME)
    page.wait(lambda: page.text(".heat .slider") != latest)
    assert slider.get_attribute("aria-valuetext") == page.text(".heat .slider")
    page.one(".heat details summary").click()
    tables = page.wait(lambda: page.all(".heat table"))
    assert tables[0].find_element(By.TAG_NAME, "caption").text == "R"
    assert [each.text for each in tables[0].find_elements(By.TAG_NAME, "th")] == [
        "Helped task",
        "digit",
        "odd",
        "digit",
        "odd",
    ]


def test_the_spec_is_copied_as_programs_and_what_is_offered_can_be_downloaded(page: Page, things: Things) -> None:
    page.open(f"jobs/{things.ids['small']}")
    page.wait(lambda: page.button("Copy as Python"))
    page.run("navigator.clipboard.writeText = async (text) => { window.copied = text; }")

    def copied(button: str) -> str | None:
        page.button(button).click()  # again where what arrives above has moved it under the pointer
        found: str | None = page.run("return window.copied")
        return found

    python = page.wait(lambda: copied("Copy as Python"))
    assert python is not None
    compile(python, "copied", "exec")
    assert "from stillhouse import Client" in python
    assert "client.jobs.submit({" in python
    assert page.wait(lambda: "curl" in (copied("Copy as curl") or ""))
    links = [each.get_attribute("href") or "" for each in page.all(".downloads a")]
    assert len(links) == 10
    for link in links:
        assert things.http.get(link).status_code == 200, link


def test_a_job_that_failed_says_why_and_what_can_be_done(page: Page, things: Things) -> None:
    training = {"steps": 200, "batch_size": 32, "optimizer": "sgd", "learning_rate": 1000.0, "clip_norm": 0.0}
    job = things.submit(
        kind="train", name="too fast", target="digit", model={"family": "mlp", "hidden": [64, 64]}, training=training
    )
    job = things.ended("jobs", job["id"])
    assert job["state"] == "failed"
    page.open(f"jobs/{job['id']}")
    page.wait_for("The job failed.")
    assert job["error"]["code"] in page.text(".note")
    assert "a retry by the same spec would fail" in page.text(".note")
    page.picture("failed-job")
    page.button("New job like it").click()
    page.wait(lambda: page.field("Name").get_attribute("value") == "too fast")


def test_a_job_that_is_deleted_while_somebody_watches_is_said_so(page: Page, things: Things, long_job: str) -> None:
    page.open(f"jobs/{long_job}")
    page.wait_for("rows/s")
    things.http.post(f"/v1/jobs/{long_job}/cancel")
    page.wait_for("cancelled", ".page-head")
    assert things.http.delete(f"/v1/jobs/{long_job}").status_code == 204
    page.wait_for("This job was deleted while you were looking at it")
    assert all(not each.is_enabled() for each in page.all(".page-head button"))
    assert all("404" in each for each in page.complaints())


def test_an_address_of_nothing_says_so(page: Page) -> None:
    page.open("jobs/job_01890a5d-ac96-774b-bcce-b302099a8057")
    page.wait_for("This job cannot be shown")
    page.open("nowhere")
    page.wait_for("There is no such page")
    for malformed in ("jobs/%", "jobs/%E0%A4%A"):
        page.open(malformed)
        page.wait_for("There is no such page")
    page.driver.find_element(By.LINK_TEXT, "Go to the jobs").click()
    page.wait(lambda: page.driver.current_url.endswith("/ui/jobs"))
    assert all("404" in each for each in page.complaints())


def test_a_page_whose_module_does_not_arrive_is_tried_again_by_itself(page: Page) -> None:
    page.open("jobs?text=small")
    page.wait_for("smaller")
    page.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*pages/models.js*"]})
    page.driver.find_element(By.LINK_TEXT, "Models").click()
    page.wait_for("This page could not be loaded")
    page.wait_for("Next try in", "#connection")
    page.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
    page.wait_for("Teachers that were uploaded")
    page.wait(lambda: page.text("#connection") == "")
    assert all("ERR_" in each or "Failed to" in each for each in page.complaints())


def test_a_service_that_restarts_is_waited_for_and_the_page_goes_on(page: Page, things: Things) -> None:
    page.open("jobs?text=small")
    page.wait_for("smaller")
    page.run("document.querySelector('tbody tr').marked = true")
    things.service.__exit__(None, None, None)
    page.wait_for("The service does not answer", "#connection")
    assert "Next try in" in page.text("#connection")
    things.service.__enter__()
    page.wait(lambda: page.text("#connection") == "")
    page.wait(lambda: page.run("return document.querySelector('tbody tr').marked"))
    assert all("ERR_" in each or "Failed to load" in each for each in page.complaints())
    page.wait(things.predicts)  # for the tests that follow
