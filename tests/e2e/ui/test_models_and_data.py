"""Models and datasets, comparisons, the system."""

from functools import partial

from selenium.webdriver.support.ui import Select

from tests.e2e.ui.browser import Page
from tests.e2e.ui.conftest import Things

_IN_PART = """
  const ask = window.fetch;
  window.fetch = async (address, options) => {
    const answer = await ask(address, options);
    if (!String(address).includes("/preview")) return answer;
    const found = await answer.json();
    for (const { inputs } of found.rows) for (const each of Object.values(inputs)) each.whole = false;
    return Response.json(found);
  };
"""
"""Makes previews say of every input that it is not the whole."""


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


def test_a_row_that_the_preview_has_in_part_is_not_asked_and_long_names_fit(page: Page, things: Things) -> None:
    page.open(f"models/{things.ids['small model']}")
    page.wait_for("Rows of a dataset")
    page.run(_IN_PART)
    page.run("document.querySelector('select[aria-label^=Dataset]').dispatchEvent(new Event('change'))")
    page.wait_for("These rows cannot be asked from here: of x there is a picture")
    assert not page.all(".rows li button")
    page.look(400)
    page.run("document.querySelector('select[aria-label^=Dataset] option').textContent = 'long name '.repeat(30)")
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")


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


def test_a_job_that_is_not_there_is_named_and_left_out_of_a_comparison(page: Page, things: Things) -> None:
    gone = "job_01890a5d-ac96-774b-bcce-b302099a8057"
    page.open(f"compare?jobs={things.ids['small']},{gone},nothing")
    page.wait_for("Side by side")
    assert page.text(".selected").count("(deleted or unknown)") == 2
    for _ in range(2):
        page.all(".selected li:nth-child(2) button")[0].click()
        page.wait_for("small", ".selected")
    assert page.driver.current_url.endswith(f"jobs={things.ids['small']}")
    assert all("404" in each or "422" in each or "400" in each for each in page.complaints())


def test_the_system_shows_queue_workers_and_versions(page: Page) -> None:
    page.open("system")
    page.wait_for("Last seen")
    page.one(".card details summary").click()
    page.wait_for("torch ")
    assert all(
        words in page.text()
        for words in ("training", "inspections", "alive", "torch", "sqlite", "0 of 1 busy", "on the disk")
    )
