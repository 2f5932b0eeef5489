"""`python -m tests.demo.tour`: runs what the tour tells, in a service of its own, and takes the pictures of it.

Needs Chromium and its driver (`make browser`).
"""

import io
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait
from stillhouse import Client, Dataset, Job, Model

from tests.demo import digits
from tests.demo.service import Service

PICTURES: Final = Path(__file__).parent / "pictures"
_WIDTH: Final = 1280
_COLOURS: Final = 160
_TEACHER: Final = {"family": "mlp", "hidden": [256, 256]}


@contextmanager
def _browser() -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    for option in ("--headless=new", "--no-sandbox", "--hide-scrollbars", "--force-color-profile=srgb"):
        options.add_argument(option)
    driver = shutil.which("chromedriver")  # named, as selenium looks for one on the network otherwise
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver or "chromedriver"))
    try:
        yield browser
    finally:
        browser.quit()


class Camera:
    """A signed-in browser."""

    def __init__(self, browser: webdriver.Chrome, service: Service) -> None:
        self._browser, self._url = browser, service.url
        browser.set_window_size(_WIDTH, 900)
        browser.get(f"{service.url}/ui")
        wait = WebDriverWait(browser, 30)
        field = wait.until(lambda found: found.find_element(By.CSS_SELECTOR, "dialog input[type=password]"))
        field.send_keys(service.key)
        browser.find_element(By.CSS_SELECTOR, "dialog button[type=submit]").click()
        wait.until(lambda found: not found.find_elements(By.CSS_SELECTOR, "dialog[open]"))

    def take(self, name: str, path: str, height: int) -> None:
        """A picture of the top of a page, with few colours, so that it is small."""
        self._browser.set_window_size(_WIDTH, height)
        self._browser.get(f"{self._url}/ui/{path}")
        time.sleep(3.0)
        image = Image.open(io.BytesIO(self._browser.get_screenshot_as_png())).convert("RGB")
        PICTURES.mkdir(exist_ok=True)
        image.quantize(_COLOURS).save(PICTURES / f"{name}.png", optimize=True)
        print(f"{name}.png: {(PICTURES / f'{name}.png').stat().st_size:,} bytes")


def _data(client: Client, folder: Path) -> Dataset:
    digits.write_few_labels(folder / "digits.npz")
    return client.datasets.upload(
        folder / "digits.npz",
        name="digits",
        inputs={"x": {"kind": "array", "shape": [1, 28, 28], "scale": 1 / 255}},
        targets={"digit": {"kind": "class", "classes": 10}, "few": {"kind": "class", "classes": 10}},
        splits={"column": "split"},
    )


def main() -> None:
    """Take all pictures."""
    with (
        tempfile.TemporaryDirectory() as folder,
        Service(Path(folder) / "data") as service,
        Client(service.url, service.key, progress=False) as client,
        _browser() as browser,
    ):
        camera = Camera(browser, service)
        dataset = _data(client, Path(folder))
        camera.take("dataset", f"datasets/{dataset.id}", 900)
        teacher = client.jobs.train(dataset, _TEACHER, target="digit", name="digits teacher").wait().student
        jobs = [_student(client, dataset, teacher, width).wait() for width in (8, 16, 32)]
        camera.take("report", f"jobs/{jobs[-1].id}", 1500)
        camera.take("compare", "compare?jobs=" + ",".join(job.id for job in jobs), 1500)
        camera.take("new", f"new?dataset={dataset.id}&teacher={teacher.id}", 1000)
        running = client.jobs.train(
            dataset,
            {"family": "convnet", "channels": [16, 32]},
            target="digit",
            name="a longer training",
            training={"epochs": 60},
        )
        while running.refresh().progress["percent"] < 40:
            time.sleep(0.5)
        camera.take("live", f"jobs/{running.id}", 1100)
        camera.take("jobs", "jobs", 620)
        running.cancel()


def _student(client: Client, dataset: Dataset, teacher: Model, width: int) -> Job:
    return client.jobs.distill(
        dataset,
        {"family": "mlp", "hidden": [width]},
        teachers=[{"model": teacher, "output": "digit"}],
        target="few",
        name=f"digits mlp {width}",
    )


if __name__ == "__main__":
    main()
