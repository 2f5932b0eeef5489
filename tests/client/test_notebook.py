"""The client in a notebook: a bar as a widget, and the report as a page."""

import nbclient
import nbformat
import pytest

from tests.demo.service import Service

CELLS = (
    """
import os
from stillhouse import Client
from tests.client.conftest import NETWORK, SHORT, clouds
client = Client(os.environ["STILLHOUSE_URL"], os.environ["STILLHOUSE_KEY"])
job = client.jobs.train(client.datasets.upload(clouds(), name="of a notebook"), NETWORK, training=SHORT)
""",
    "job.wait();",
    "job.report",
)


def test_a_notebook_shows_bars_and_reports(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLHOUSE_URL", service.url)
    monkeypatch.setenv("STILLHOUSE_KEY", service.key)
    cells = [nbformat.v4.new_code_cell(each) for each in CELLS]  # type: ignore[no-untyped-call]  # it is not annotated
    notebook = nbformat.v4.new_notebook(cells=cells)  # type: ignore[no-untyped-call]  # it is not annotated
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
    bar, report = (cell.outputs for cell in notebook.cells[1:])
    assert "application/vnd.jupyter.widget-view+json" in bar[0].data
    assert "100%" in str(notebook.metadata.widgets)
    page = report[0].data["text/html"]
    assert page.startswith("<!doctype html>")
    assert "<svg" in page
