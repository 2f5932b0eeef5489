"""A report as people read it: what its first lines say, that nothing in it is markup, and how large a page may be."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from math import exp
from pathlib import Path
from typing import Any

import pytest

from app.contracts.reports.document.charts.siblings import Sibling, pareto
from app.contracts.reports.document.charts.svg import Axis
from app.contracts.reports.document.headline import headline, verdict_sentence
from app.contracts.reports.document.html import MOST_BYTES, page
from app.contracts.reports.document.markdown import markdown
from app.contracts.reports.document.text import render

GOLDEN = Path(__file__).parents[2] / "golden" / "report.json"
HOSTILE = "<script>alert(1)</script> | *x* [a](http://b) \"'&"
SERIES = {f"{party}train/loss": [(10 * i, exp(-i / 20)) for i in range(50)] for party in ("", "control/", "repeat-1/")}
VOID = {"meta", "br"}


def golden() -> dict[str, Any]:
    report: dict[str, Any] = json.loads(GOLDEN.read_text())
    return report


def preflight(**changes: Any) -> dict[str, Any]:
    memory = {"rows": 1 << 20, "teachers": 0, "soft_targets": 0, "peak": 1, "total": 3 << 30}
    seconds = {"loading": 0.1, "teaching": 0.2, "step": 0.004, "training": 3700.0, "total": 3701.0}
    environment = {"device": "cpu", "threads": 1, "versions": {}, "precision": "float32"}
    report = {"kind": "preflight", "steps": 900, "memory": memory, "seconds": seconds, "environment": environment}
    return {**report, **changes}


class Checker(HTMLParser):
    """Elements of a page in order, and those that are open."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.found: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(html: str) -> Checker:
    checker = Checker()
    checker.feed(html)
    checker.close()
    assert checker.open == [], "every element is closed"
    return checker


def test_the_first_words_say_what_was_asked_what_came_out_and_how_sure_it_is() -> None:
    report = golden() | {"kind": "distill"}
    del report["student"]["tasks"]["size"], report["verdict"]["size"], report["verdict"]["ink"]
    report["compression"] = {"parameters": 70.2}
    report["fidelity"] = {}
    assert headline(report) == (
        "Distilled 2 teachers into a student (mlp) of 1,210 parameters for `digit`, 70.2 times smaller. Result: digit "
        "accuracy 0.86 on 300 test rows. The teachers seem to have helped, in one pair of trainings: accuracy +0.2567 "
        "against the same network trained without, 97.5 % interval +0.1794 to +0.3302."
    )
    assert render(report).replace("\n", " ").startswith(headline(report))


@pytest.mark.parametrize(
    ("word", "begins"),
    [
        ("gain", "The teacher helped: accuracy +0.0400"),
        ("loss", "The teacher did harm:"),
        ("no_gain", "The teacher made no difference that matters:"),
        ("inconclusive", "Whether the teacher helped stays open:"),
        ("provisional_gain", "The teacher seems to have helped, in one pair of trainings:"),
        ("provisional_loss", "The teacher seems to have done harm, in one pair of trainings:"),
        ("undecided", "Whether the teacher helped stays open after one pair of trainings:"),
        ("not_applicable", "Whether the teacher helped was not judged: there are no labels."),
    ],
)
def test_every_verdict_is_one_sentence(word: str, begins: str) -> None:
    verdict = {"verdict": word, "metric": "accuracy", "difference": 0.04, "interval": (0.01, 0.07)}
    assert verdict_sentence({**verdict, "method": "Not judged: there are no labels."}, 1).startswith(begins)


def test_a_verdict_over_seeds_says_that_it_is_of_means_which_the_page_shows() -> None:
    """Trap: the exported student may be worse than the control beside it where the mean of the students is better."""
    report = golden()
    seeds = {"students": [0.9, 0.92, 0.94], "controls": [0.85]}
    report["verdict"]["digit"] |= {"verdict": "gain", **seeds}
    assert "trained without, by the means of 3 students and 1 control, 97.5 % interval" in headline(report)
    shown = page(report, "student", "job_1")
    assert "student, mean of 3 0.92" in shown
    assert "control, mean of" not in shown


def test_a_page_loads_nothing_runs_nothing_and_every_element_ends() -> None:
    found = checked(page(golden(), "student", "job_1", SERIES))
    assert set(found.found).isdisjoint({"script", "link", "img", "iframe", "object", "form", "base", "a", "animate"})
    assert not [name for name, value in found.attributes if name.startswith("on") or "//" in (value or "")]
    assert found.found.count("svg") >= 5
    assert {"figcaption", "table"} <= set(found.found)
    assert all(value for name, value in found.attributes if name == "aria-label"), "each picture says what it shows"


@pytest.mark.parametrize("write", [page, markdown], ids=["html", "markdown"])
def test_words_of_users_are_no_markup(write: Callable[[dict[str, Any], str], str]) -> None:
    text = json.dumps(golden())
    for name in ("digit", "big net", "ink"):
        text = text.replace(f'"{name}"', json.dumps(HOSTILE + name)).replace(f"`{name}`", "")
    report = json.loads(text)
    written = write(report, HOSTILE)
    assert "alert(1)" in written
    if write is page:
        assert "script" not in checked(written).found
        return
    for mark in ("<script>", "*x*", "[a](", "| *"):
        assert mark not in written
    rows = [line for line in written.splitlines() if line.startswith("|")]
    assert {len(re.findall(r"(?<!\\)\|", row)) for row in rows if row.startswith("| parameters")} == {6}


def test_a_page_with_everything_is_at_most_400_kb_and_says_what_it_leaves_out() -> None:
    report = golden()
    for name in [f"task-{i}" for i in range(64)]:
        for each in ("per_class", "robustness", "reliability", "verdict", "fidelity"):
            if "digit" in report[each]:
                report[each][name] = report[each]["digit"]
        for party in (report["student"], report["control"]):
            party["tasks"][name] = party["tasks"]["digit"]
    measures = [f"validation/task-{i}/accuracy" for i in range(64)]
    parties = ("", "control/", *(f"repeat-{i}/" for i in range(1, 8)))
    many = {f"{party}{each}": [(i, exp(-i / 100)) for i in range(160)] for party in parties for each in measures}
    large = page(report, "student", "job_1", many)
    assert len(large.encode()) <= MOST_BYTES
    assert re.search(r"\d+ charts are left out: a page has at most 400 kB\.", large)
    assert "task-63" in large, "tables have every task"
    assert "left out" not in page(golden(), "student", "job_1", SERIES)


def test_a_preflight_says_first_whether_the_job_would_run() -> None:
    runs = (
        "The job would run in about 1 h 1 min, with about 3.22 GB of memory: 900 optimizer steps. Nothing was trained."
    )
    assert headline(preflight()) == runs
    failing = preflight(would_fail=[{"code": "teacher_mismatch", "message": "the teacher has 3 classes"}])
    assert headline(failing) == "The job would fail: the teacher has 3 classes."
    for report in (preflight(), failing):
        checked(page(report, "preflight"))
        assert "## Memory" in markdown(report, "preflight")
        assert "total" in render(report)


def test_an_export_says_what_the_file_loses() -> None:
    verdict = {"verdict": "no_loss", "difference": -0.001, "interval": [-0.004, 0.002]}
    party = {"format": "int8", "method": "static", "ratio": 0.27, "verdict": {"digit": verdict}, "bytes": 900}
    report = {"kind": "export", "party": {**party, "tasks": {"digit": {"accuracy": 0.9, "rows": 40.0}}}}
    assert "27 % of the size of the file in float32: digit no_loss (-0.0010" in headline(report)
    assert "accuracy" in render(report)
    checked(page(report, "export"))


@pytest.mark.parametrize("values", [[0.0, 0.0], [3.0], [], [-1e-9, 1e9], [float("nan"), 2.0]])
def test_axes_show_any_values(values: list[float]) -> None:
    axis = Axis.of(values, 0.0, 100.0)
    assert axis.low < axis.high
    assert all(0.0 <= axis.at(each) <= 100.0 for each in axis.ticks())
    assert 1 <= len(axis.ticks()) <= 8


@pytest.mark.parametrize("lower", [True, False])
def test_the_front_of_quality_and_size_joins_what_no_smaller_network_equals(lower: bool) -> None:
    sign = -1.0 if lower else 1.0
    networks = [Sibling(name, size, sign * value) for name, size, value in (("a", 10, 1), ("b", 20, 0.5), ("c", 30, 2))]
    chart = pareto("digit", "rmse" if lower else "accuracy", networks, lower_is_better=lower)
    assert chart is not None
    (front,) = re.findall(r'<path d="([^"]+)" fill="none" stroke="var\(--c5\)"', chart.svg)
    assert front.count("L") == 1, "from the smallest to the best, past the one that is worse than a smaller one"
