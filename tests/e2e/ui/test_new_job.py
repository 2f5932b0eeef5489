"""The form of a new job, and the spec beside it."""

import json

from selenium.webdriver.support.ui import Select

from tests.e2e.ui.browser import Page
from tests.e2e.ui.conftest import Things


def _spec(page: Page) -> dict[str, object]:
    found: dict[str, object] = json.loads(page.field("The spec as JSON").get_attribute("value") or "")
    return found


def test_a_job_is_made_from_a_teacher_checked_and_submitted(page: Page, things: Things) -> None:
    page.open(f"new?teacher={things.ids['teacher']}&dataset={things.ids['digits']}")
    page.wait(lambda: page.button("Check"))
    hidden = page.field("Hidden layers")
    hidden.clear()
    hidden.send_keys("12, 6")
    page.field("Name").send_keys("from the form")
    Select(page.field("Recipe")).select_by_value("fast")
    assert _spec(page) == {
        "kind": "distill", "dataset": things.ids["digits"], "target": "digit", "name": "from the form",
        "teachers": [{"model": things.ids["teacher"]}], "student": {"family": "mlp", "hidden": [12, 6]},
        "training": {"recipe": "fast"},
    }  # fmt: skip
    page.button("Check").click()
    page.wait_for("It can be submitted")
    assert "9,568" in page.text("main")  # 784 * 12 + 12 + 12 * 6 + 6 + 6 * 10 + 10
    page.wait_for("/training/batch_size")
    page.picture("checked-new-job")
    page.button("Submit the job").click()
    page.wait_for("from the form", ".page-head")
    job = page.driver.current_url.rpartition("/")[2]
    assert things.http.get(f"/v1/jobs/{job}").json()["spec"]["student"]["hidden"] == [12, 6]
    things.http.post(f"/v1/jobs/{job}/cancel")
    things.ended("jobs", job)


def test_what_is_written_as_json_is_in_the_form_and_what_the_form_lacks_stays(page: Page, things: Things) -> None:
    page.open(f"new?dataset={things.ids['digits']}")
    page.wait(lambda: page.button("Check"))
    spec = {
        "kind": "multitask", "dataset": things.ids["digits"], "tasks": [{"name": "digit", "weight": 2}],
        "student": {"family": "convnet", "channels": [4, 8]}, "balancing": {"method": "pcgrad"},
    }  # fmt: skip
    field = page.field("The spec as JSON")
    field.clear()
    field.send_keys(json.dumps(spec))
    page.wait(lambda: page.field("Channels").get_attribute("value") == "4, 8")
    assert page.field("Weight of digit").get_attribute("value") == "2"
    blocks = page.field("Convolutions a stage")
    blocks.send_keys("2")
    assert _spec(page) == {**spec, "student": {"family": "convnet", "channels": [4, 8], "blocks": 2}}
    field.clear()
    field.send_keys('{"kind": ')
    page.wait_for("This is no JSON yet")
    assert not page.button("Submit the job").is_enabled()


def test_problems_are_shown_at_their_fields_and_lead_there(page: Page, things: Things) -> None:
    page.open(f"new?teacher={things.ids['teacher']}&dataset={things.ids['digits']}")
    page.wait(lambda: page.button("Check"))
    hidden = page.field("Hidden layers")
    hidden.clear()
    hidden.send_keys("0")
    page.field("Epochs").send_keys("many")
    page.button("Check").click()
    page.wait_for("2 problems to solve")
    page.picture("problems-of-a-new-job")
    for label, pointer in (("Hidden layers", "/student/hidden/0"), ("Epochs", "/training/epochs")):
        field = page.field(label)
        assert field.get_attribute("aria-invalid") == "true"
        wrong = (field.get_attribute("aria-describedby") or "").split()[1]
        assert "expected" in page.text(f"#{wrong}")
        page.button(pointer).click()
        assert page.run("return document.activeElement === arguments[0]", field)
    hidden.clear()
    hidden.send_keys("8")
    page.field("Epochs").clear()
    page.wait_for("It can be submitted")
    assert all("422" in each for each in page.complaints())
