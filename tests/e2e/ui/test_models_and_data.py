"""Models and datasets, comparisons, the system."""

from functools import partial

from selenium.webdriver.support.ui import Select

from tests.e2e.ui.browser import Page
from tests.e2e.ui.conftest import Things


def test_a_model_says_where_it_comes_from_and_answers_rows(page: Page, things: Things) -> None:
    page.open(f"models/{things.ids['small model']}")
    page.wait_for("Where it comes from")
    page.wait_for("the teacher", "aside")
    assert "digits" in page.text("aside")
    page.field("Also ask its teachers").click()
    page.wait(lambda: page.all(".rows li button"))[0].click()
    page.wait_for("Teacher of digit")
    assert page.all("[aria-live] .bars")
    page.wait(lambda: page.one(".rows li[data-chosen] img"))


def test_a_rejected_dataset_says_why_and_the_way_out(page: Page, things: Things) -> None:
    rejection = things.http.get(f"/v1/datasets/{things.ids['rejected']}").json()["rejection"]
    page.open("datasets")
    page.wait_for(rejection["code"])
    page.driver.find_element("link text", "no numbers").click()
    page.wait_for("The upload was rejected")
    assert rejection["message"].replace("`", "")[:60] in page.text(".note")
    assert "PATCH" in page.text(".note")
    page.picture("rejected-dataset")


def test_a_dataset_shows_rows_labels_and_splits(page: Page, things: Things) -> None:
    page.open(f"datasets/{things.ids['digits']}")
    page.wait(lambda: page.all(".rows img"))
    statistics = things.http.get(f"/v1/datasets/{things.ids['digits']}").json()["statistics"]["digit"]["train"]
    bars = page.text("section .bars")
    assert bars.splitlines()[1::2] == [str(each) for each in statistics["counts"]]
    assert "360" in page.text("aside")
    widths = page.run("return [...document.querySelectorAll('.rows img')].map((each) => each.naturalWidth)")
    assert set(widths) == {28}


def test_jobs_are_compared_side_by_side_and_by_cost(page: Page, things: Things) -> None:
    page.open("jobs?text=small")
    for name in ("small", "smaller"):
        page.wait(partial(page.one, f'tr[data-id="{things.ids[name]}"] input')).click()
    page.button("Compare 2 jobs").click()
    page.wait_for("Against the control")
    assert "/student/hidden" in page.text()
    assert "Rank" in page.text()
    points = page.all("svg.drawing a")
    assert len(points) == 5  # two students, two controls, the teacher
    page.run("arguments[0].focus()", points[0])
    assert page.run("return document.activeElement.getAttribute('aria-label')")
    Select(page.field("Cost")).select_by_visible_text("file size")
    page.wait(lambda: "kB" in page.text("svg.drawing"))
    page.one('[aria-label="Leave out smaller"]').click()
    page.wait(lambda: "Against the control" not in page.text())
    assert page.driver.current_url.endswith(f"jobs={things.ids['small']}")


def test_the_system_shows_queue_workers_and_versions(page: Page) -> None:
    page.open("system")
    page.wait_for("Last seen")
    page.one(".card details summary").click()
    page.wait_for("torch ")
    assert all(
        words in page.text()
        for words in ("training", "inspections", "alive", "torch", "sqlite", "of 1 busy", "on the disk")
    )
