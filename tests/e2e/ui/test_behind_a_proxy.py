"""The dashboard below a prefix that a proxy puts before every path."""

from pathlib import Path

from selenium.webdriver.common.by import By

from tests.client.gateway import Gateway
from tests.e2e.ui.browser import Page
from tests.e2e.ui.conftest import Things


def test_every_address_stays_below_the_prefix(stranger: Page, things: Things, tmp_path: Path) -> None:
    with Gateway(things.service.url, "/tools/stillhouse") as gateway:
        page = Page(stranger.driver, f"{gateway.url}/ui", tmp_path)
        page.open("jobs?text=small")
        page.sign_in(things.service.key)
        page.wait_for("smaller")
        page.driver.find_element(By.LINK_TEXT, "small").click()
        page.wait_for("Distilled the teacher")
        assert page.driver.current_url == f"{gateway.url}/ui/jobs/{things.ids['small']}"
        page.driver.refresh()
        page.wait_for("Distilled the teacher")
        page.wait_for("succeeded", "#events")
        page.driver.find_element(By.LINK_TEXT, "Datasets").click()
        page.wait(lambda: page.driver.find_element(By.LINK_TEXT, "digits")).click()
        page.wait(lambda: page.all(".rows img"))
        page.button("Sign out").click()
        page.wait(lambda: page.one("dialog.sign-in"))
        assert page.driver.current_url.startswith(f"{gateway.url}/ui/")
        assert page.hosts() == {gateway.host}
        page.driver.get("about:blank")
