"""The folder in which the service is started is no place for its code."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from app.cli.worker_process import worker_environment
from app.settings import Settings
from tests.demo.digits import write_article
from tests.demo.service import Service
from tests.e2e.conftest import ARTICLE_DATASET, Client

HOSTILE = ("sqlalchemy", "torch", "numpy", "json", "workers", "onnxruntime", "sitecustomize")
_MARK = "open({marker!r}, 'a').write(__name__ + chr(10))\nraise SystemExit('imported from the working directory')\n"


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The marker file of a folder of modules that leave their name there; the folder is the working directory, as
    with `cd uploads && stillhouse serve`.
    """
    folder, marker = tmp_path / "start", tmp_path / "marker"
    folder.mkdir()
    for name in HOSTILE:
        (folder / f"{name}.py").write_text(_MARK.format(marker=str(marker)))
    monkeypatch.chdir(folder)
    monkeypatch.delenv("PYTHONPATH")
    return marker


def test_no_process_imports_from_the_working_directory(hostile: Path, tmp_path: Path) -> None:
    """API, worker, fork server, inspection, training, probes of memory, and the clean-up."""
    rows = tmp_path / "article.npz"
    write_article(rows)
    with Service(tmp_path / "data", settings={"STILLHOUSE_THREADS": "1"}) as service:
        headers = {"Authorization": f"Bearer {service.key}"}
        with httpx.Client(base_url=service.url, headers=headers, timeout=90) as http:
            client = Client(http)
            one_target = {"y1": ARTICLE_DATASET["targets"]["y1"]}
            dataset = client.upload(
                "datasets",
                ARTICLE_DATASET
                | {"targets": one_target, "splits": {"fractions": {"train": 0.6, "validation": 0.2, "test": 0.2}}},
                rows,
            )
            assert dataset["state"] == "ready", dataset["rejection"]
            client.finish(
                {
                    "kind": "train",
                    "dataset": dataset["id"],
                    "model": {"family": "mlp", "hidden": [8]},
                    "training": {"epochs": 1},
                }
            )
    stillhouse = Path(sys.executable).with_name("stillhouse")
    subprocess.run([stillhouse, "gc", "--data", tmp_path / "data"], check=True, capture_output=True)
    assert not hostile.exists(), hostile.read_text()


def test_relative_entries_of_pythonpath_are_not_passed_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`PYTHONPATH=$PYTHONPATH:/code` has an empty entry where none was set, which means the working directory."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "code", str(tmp_path), "."]))
    settings = Settings(data_dir=tmp_path)
    assert worker_environment(settings)["PYTHONPATH"] == str(tmp_path)
    monkeypatch.setenv("PYTHONPATH", ":.")
    assert "PYTHONPATH" not in worker_environment(settings)


def test_no_key_is_passed_on_to_a_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither the service's own nor that of a client that was used in the same terminal."""
    for name in ("STILLHOUSE_API_KEY", "STILLHOUSE_KEY"):
        monkeypatch.setenv(name, "a-key-of-sixteen-or-more")
    assert "a-key-of-sixteen-or-more" not in worker_environment(Settings(data_dir=tmp_path)).values()
