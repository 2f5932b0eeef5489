"""A headless Chromium that looks at the dashboard, and notes what it asks for and complains about."""

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException, WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

T = TypeVar("T")
AXE: Final = next(Path(sys.prefix).glob("axe-core-*/axe.min.js"), None)
"""axe-core, which checks pages for people with disabilities, as `make browser` gets it."""
BINARIES: Final = {"chromium": shutil.which("chromium"), "chromedriver": shutil.which("chromedriver"), "axe-core": AXE}
LONG: Final = 90.0
"""Seconds that a test waits for what must come: never the time that it may take."""


def chromium(profile: Path) -> webdriver.Chrome:
    """A browser with a profile of its own that asks no other host for anything."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(BINARIES["chromium"])
    for argument in (
        "--headless=new",
        "--no-sandbox",  # the tests may run as root, for whom Chromium has none
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--disable-background-networking",
        "--disable-component-update",
        "--no-first-run",
        f"--user-data-dir={profile}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=webdriver.ChromeService(str(BINARIES["chromedriver"])))


def _quoted(words: str) -> str:
    """Words as a string of XPath."""
    return json.dumps(words, ensure_ascii=False)


class Page:
    """What a person sees of the dashboard at `url`, such as `http://127.0.0.1:8000/ui`."""

    def __init__(self, driver: webdriver.Chrome, url: str, pictures: Path) -> None:
        self.driver = driver
        self.url = url
        self._pictures = pictures

    def open(self, path: str) -> None:
        """Go to a page below `/ui`."""
        self.driver.get(f"{self.url}/{path}")

    def look(self, width: int = 1280, *, dark: bool = False) -> None:
        """Set the size of the window and the theme of the system."""
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        theme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": theme})

    def sign_in(self, key: str) -> None:
        """Sign in at the dialog."""
        field = self.wait(lambda: self.one("dialog.sign-in input[type=password]"))
        field.clear()
        field.send_keys(key)
        self.one("dialog.sign-in button").click()

    def forget(self) -> None:
        """Forget the session and whatever else the browser keeps for the service."""
        self.driver.delete_all_cookies()

    def one(self, selector: str) -> WebElement:
        """The first element of a CSS selector. Raises WebDriverException."""
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def all(self, selector: str) -> list[WebElement]:
        """Every element of a CSS selector."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def button(self, words: str) -> WebElement:
        """The first button or link with these words. Raises WebDriverException."""
        found = f"(//dialog|//main|//header)//*[self::button or self::a][normalize-space(.)={_quoted(words)}]"
        return self.driver.find_element(By.XPATH, found)

    def field(self, label: str) -> WebElement:
        """The control with a label. Raises WebDriverException."""
        named = f"//label[starts-with(normalize-space(.), {_quoted(label)})]"
        found = self.driver.find_element(By.XPATH, named)
        target = found.get_attribute("for")
        return self.one(f"#{target}") if target else found.find_element(By.CSS_SELECTOR, "input, select, textarea")

    def text(self, selector: str = "main") -> str:
        """The words that an element shows."""
        return str(self.one(selector).text)

    def run(self, script: str, *arguments: object) -> Any:
        """What a script in the page returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, found: Callable[[], T], *, seconds: float = LONG) -> T:
        """What a function returns, once that is true and it finds its elements."""
        deadline = time.monotonic() + seconds
        last: object = None
        while time.monotonic() < deadline:
            try:
                last = found()
                if last:
                    return last
            except (StaleElementReferenceException, WebDriverException) as error:
                last = error
            time.sleep(0.05)
        raise AssertionError(
            f"it did not come to hold: {last}; the page says: {' / '.join(self.text('body').split(chr(10)))[:1500]}"
        )

    def wait_for(self, words: str, selector: str = "main") -> None:
        """Wait until an element shows these words."""
        self.wait(lambda: words in self.text(selector))

    def picture(self, name: str) -> None:
        """Keep a picture of the whole page."""
        size = self.run("return [innerWidth, document.documentElement.scrollHeight]")
        whole = {"width": size[0], "height": min(size[1], 6000), "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", whole)
        self.driver.save_screenshot(str(self._pictures / f"{name}.png"))

    def complaints(self) -> list[str]:
        """What the console has complained of since the last call."""
        entries = self.driver.get_log("browser")  # type: ignore[no-untyped-call]  # selenium has no types for it
        return [f"{each['source']}: {each['message']}" for each in entries if each["level"] == "SEVERE"]

    def hosts(self) -> set[str]:
        """The hosts that were asked for anything since the last call."""
        entries = self.driver.get_log("performance")  # type: ignore[no-untyped-call]  # selenium has no types for it
        messages = [json.loads(each["message"])["message"] for each in entries]
        asked = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
        return {urlsplit(each).netloc for each in asked if each.startswith(("http:", "https:", "ws:", "wss:"))}

    def violations(self) -> list[str]:
        """What axe-core finds serious or critical on the page as it is."""
        assert AXE is not None, "tests are skipped without it"
        self.run(AXE.read_text())
        found = self.driver.execute_async_script(
            "const done = arguments[0]; axe.run({resultTypes: ['violations']}).then((found) => done(found.violations))"
        )
        serious = [each for each in found if each["impact"] in ("serious", "critical")]
        return [f"{each['id']}: {node['html'][:300]}" for each in serious for node in each["nodes"]]
