"""The README's words on the client and the commands are what works."""

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.main import get_command

from app.cli import cli
from tests.client.conftest import clouds
from tests.demo import digits
from tests.demo.service import Service

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SECTION = README.split("## The client in five lines")[1].split("\n## ")[0]
TOUR = (ROOT / "tests/demo/tour/README.md").read_text()
COMMANDS = [line for line in SECTION.splitlines() if line.startswith("stillhouse ")]
COMMANDS += [line.strip() for line in TOUR.splitlines() if line.startswith("    stillhouse ")]


def test_the_client_in_five_lines_does_a_whole_job(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)
    data = clouds(120)
    few = np.where(np.arange(120) % 4 == 0, data["kind"], -1)
    names: dict[str, Any] = {"key": service.key, "rows": data["x"], "labels": data["kind"], "few_labels": few}
    exec(code.replace("http://127.0.0.1:8000", service.url), names)
    assert names["job"].report.verdict
    assert (tmp_path / "student.onnx").stat().st_size > 0
    names["client"].close()


@pytest.mark.exhaustive  # half a minute of training; the five lines above do a whole job in any case
def test_the_tour_ends_with_a_gain(service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("STILLHOUSE_URL", service.url)
    monkeypatch.setenv("STILLHOUSE_KEY", service.key)
    digits.write_few_labels(tmp_path / "digits.npz")
    names: dict[str, Any] = {}
    for code in re.findall(r"```python\n(.*?)```", TOUR, re.DOTALL):
        with np.load(tmp_path / "digits.npz") as file:
            names["rows"] = file["x"][:4]
        exec(code, names)
    assert [job.report.verdict for job in names["jobs"]] == ["gain"] * 3
    assert (tmp_path / "student.onnx").stat().st_size > 0
    names["client"].close()


def test_every_picture_of_the_tour_is_there_and_small() -> None:
    pictures = re.findall(r"\]\((pictures/[^)]+)\)", TOUR)
    assert len(pictures) == 6
    assert all(0 < (ROOT / "tests/demo/tour" / each).stat().st_size < 120_000 for each in pictures)


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_and_its_options_exist(line: str) -> None:
    command: Any = get_command(cli)
    words = shlex.split(line, comments=True)[1:]
    while hasattr(command, "commands") and not words[0].startswith("-"):
        command = command.commands[words.pop(0)]
    if words == ["--install-completion", "bash"]:
        assert any("--install-completion" in parameter.opts for parameter in command.params)
        return
    command.make_context("stillhouse", words)  # raises for unknown options and missing arguments


def test_the_commands_that_the_readme_lists_in_passing_exist() -> None:
    named = re.search(r"# watch JOB, (.*)", SECTION)
    assert named is not None
    wanted = {each.split()[0] for each in named[1].split(", ")}
    assert wanted <= set(get_command(cli).commands)  # type: ignore[attr-defined]  # typer returns a group
