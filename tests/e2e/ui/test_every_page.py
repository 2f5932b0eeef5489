"""What holds for all pages: usable by keyboard and screen reader, narrow and wide, light and dark, small."""

import gzip
from pathlib import Path

import pytest

import app.ui
from tests.e2e.ui.browser import Page
from tests.e2e.ui.conftest import Things

STATIC = Path(app.ui.__file__).parent / "static"
MOST_BYTES = 150_000
PAGES = {
    "jobs": ("jobs?text=small", "smaller"),
    "job": ("jobs/{small}", "Digit (test split)"),
    "relation": ("jobs/{together}", "Cosine of gradients"),
    "compare": ("compare?jobs={small},{smaller}", "Against the control"),
    "models": ("models", "the teacher"),
    "model": ("models/{teacher}", "Ask"),
    "datasets": ("datasets", "digits"),
    "dataset": ("datasets/{digits}", "row "),
    "new": ("new?teacher={teacher}", "Hidden layers"),
    "system": ("system", "Last seen"),
}
_WORDS = """
  const texts = (root) => root.textContent + [...root.querySelectorAll("*")].filter((each) => each.shadowRoot)
    .map((each) => texts(each.shadowRoot)).join("");
  return texts(document.querySelector("main"));
"""


@pytest.mark.parametrize("name", PAGES)
def test_a_page_has_no_serious_finding_of_axe_and_fits_every_width(page: Page, things: Things, name: str) -> None:
    path, words = PAGES[name]
    page.open(path.format_map(things.ids))
    page.wait(lambda: words in page.run(_WORDS))
    assert page.violations() == []
    assert len(page.all("h1")) == 1
    page.look(dark=True)
    assert [each for each in page.violations() if each.startswith("color-contrast")] == []
    page.picture(f"{name}-dark")
    for width in (400, 1280, 2560):
        page.look(width)
        page.picture(f"{name}-{width}")
        assert page.run("return document.documentElement.scrollWidth <= innerWidth"), width


def test_the_sign_in_has_no_serious_finding_and_begins_at_the_key(stranger: Page) -> None:
    stranger.open("jobs")
    stranger.wait(lambda: stranger.one("dialog.sign-in"))
    assert stranger.violations() == []
    assert stranger.run("return document.activeElement.name") == "key"
    stranger.picture("sign-in")


def test_the_keyboard_skips_to_the_content_and_a_new_page_begins_there(page: Page) -> None:
    page.open("jobs?text=small")
    page.wait_for("smaller")
    page.driver.switch_to.active_element.send_keys("\t")
    assert page.run("return document.activeElement.className") == "skip"
    page.driver.switch_to.active_element.send_keys("\n")
    assert page.run("return document.activeElement.id") == "main"
    page.driver.find_element("link text", "Models").click()
    page.wait_for("Teachers that were uploaded")
    page.wait(lambda: page.run("return document.activeElement.id") == "main")
    assert page.run("return document.title") == "Models · Stillhouse"
    page.driver.back()
    page.wait_for("smaller")


def test_the_chosen_theme_stays(page: Page) -> None:
    page.open("jobs?text=small")
    page.wait_for("smaller")
    page.one(".theme option[value=dark]").click()
    dark = page.run("return getComputedStyle(document.body).backgroundColor")
    page.driver.refresh()
    assert page.run("return getComputedStyle(document.body).backgroundColor") == dark
    page.one(".theme option[value='']").click()
    assert page.run("return getComputedStyle(document.body).backgroundColor") != dark


def test_all_files_together_are_small_and_name_no_other_host() -> None:
    files = [path for path in STATIC.rglob("*") if path.suffix in (".js", ".css", ".html", ".svg")]
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) < MOST_BYTES
    own = [path for path in files if "vendor" not in path.parts]
    text = "".join(path.read_text() for path in own).replace("http://www.w3.org/2000/svg", "")
    assert "http://" not in text
    assert "https://" not in text.replace("https://host/prefix", "")
    assert "innerHTML" not in text


def test_the_files_are_as_short_as_modules_should_be() -> None:
    long = {str(path.relative_to(STATIC)): lines for path in STATIC.rglob("*.js") if "vendor" not in path.parts
            and (lines := len(path.read_text().splitlines())) > 300}  # fmt: skip
    assert not long
