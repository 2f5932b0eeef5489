"""The first sentences of a report: what was asked, what came out, whether the teachers helped, and how sure that is.

Standard library only.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from app.contracts.reports.confidence import level_text
from app.contracts.reports.document.export import export_headline
from app.contracts.reports.document.numbers import count, figure
from app.contracts.reports.document.preflight import preflight_headline

QUALITY: Final = (
    "mean_iou",
    "accuracy",
    "nll",
    "ece",
    "brier",
    "macro_f1",
    "auroc",
    "rmse",
    "mae",
    "r2",
    "cosine",
    "rows",
)
"""Metrics in the order in which they are shown: the first that a task has is its main one."""
_MOST_TASKS: Final = 4
_HELPED: Final[Mapping[str, str]] = {
    "gain": "{Teaching} helped",
    "loss": "{Teaching} did harm",
    "no_gain": "{Teaching} made no difference that matters",
    "inconclusive": "Whether {teaching} helped stays open",
    "provisional_gain": "{Teaching} {seem} to have helped, in one pair of trainings",
    "provisional_loss": "{Teaching} {seem} to have done harm, in one pair of trainings",
    "undecided": "Whether {teaching} helped stays open after one pair of trainings",
}


def headline(report: Mapping[str, Any]) -> str:
    """The sentences, with a space between them."""
    return _OF_KINDS.get(str(report.get("kind")), _of_training)(report)


def _of_training(report: Mapping[str, Any]) -> str:
    return " ".join([_made(report), *_results(report), *_verdicts(report)])


def verdict_sentence(verdict: Mapping[str, Any], teachers: int) -> str:
    """A verdict in one sentence, of a task with so many teachers."""
    teaching, seem = ("the teacher", "seems") if teachers == 1 else ("the teachers", "seem")
    words = _HELPED.get(str(verdict["verdict"]))
    if words is None:
        reason = str(verdict.get("method") or "no reason was given").removeprefix("Not judged: ")
        return f"Whether {teaching} helped was not judged: {reason}"
    sentence = words.format(teaching=teaching, Teaching=teaching.capitalize(), seem=seem)
    if verdict.get("difference") is None:
        return f"{sentence}."
    interval = verdict.get("interval")
    level = level_text(verdict.get("confidence"))
    sure = f", {level} interval {interval[0]:+.4f} to {interval[1]:+.4f}" if interval else ""
    without = "the same network trained without"
    return f"{sentence}: {verdict.get('metric')} {verdict['difference']:+.4f} against {without}{_means(verdict)}{sure}."


def main_metric(metrics: Mapping[str, Any]) -> str | None:
    """The first metric that a task has; None where it has none."""
    return next((key for key in QUALITY if key != "rows" and metrics.get(key) is not None), None)


def _means(verdict: Mapping[str, Any]) -> str:
    """What the difference is of, where that is not the exported student and control."""
    students, controls = (len(verdict.get(group) or ()) for group in ("students", "controls"))
    if max(students, controls) < 2:
        return ""
    return f", by the means of {_counted(students, 'student')} and {_counted(controls, 'control')}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _made(report: Mapping[str, Any]) -> str:
    student = report["student"]
    network = _network(report.get("spec", {}))
    size = f" of {count(student['parameters'])} parameters" if student.get("parameters") is not None else ""
    what = f"{network}{size}"
    tasks = _tasks(report)
    names = _listed([f"`{name}`" for name in tasks])
    if report.get("kind") == "distill" and report.get("teachers"):
        return f"Distilled {_teachers(report)} into {what} for {names}{_smaller(report)}."
    if report.get("kind") == "multitask":
        taught = f" with {_teachers(report)}" if report.get("teachers") else ""
        return f"Trained {what} for {len(tasks)} tasks ({names}){taught}{_smaller(report)}."
    return f"Trained {what} for {names}."


def _network(spec: Mapping[str, Any]) -> str:
    architecture = spec.get("student") or spec.get("model") or {}
    family = architecture.get("family")
    name = f"{family} {architecture['name']}" if family and architecture.get("name") else family
    return f"a student ({name})" if name else "a student"


def _teachers(report: Mapping[str, Any]) -> str:
    names = list(dict.fromkeys(str(each.get("name")) for each in report.get("teachers", ())))
    return f"the teacher {names[0]}" if len(names) == 1 else f"{len(names)} teachers"


def _smaller(report: Mapping[str, Any]) -> str:
    ratio = (report.get("compression") or {}).get("parameters")
    if ratio is None:
        return ""
    return f", {ratio:.1f} times smaller" if ratio >= 1.0 else f", {1.0 / ratio:.1f} times larger"


def _tasks(report: Mapping[str, Any]) -> list[str]:
    sources = (report["student"].get("tasks", {}), report.get("fidelity", {}), report.get("verdict", {}))
    return list(dict.fromkeys(name for source in sources for name in source))


def _results(report: Mapping[str, Any]) -> list[str]:
    """The main metric of each task on the test split, of the first few tasks."""
    found = []
    for name, metrics in report["student"].get("tasks", {}).items():
        metric = main_metric(metrics)
        if metric is not None:
            found.append(f"{name} {metric} {figure(metrics[metric])} on {_rows(metrics)} test rows")
    more = f", and {len(found) - _MOST_TASKS} more tasks" if len(found) > _MOST_TASKS else ""
    return [f"Result: {'; '.join(found[:_MOST_TASKS])}{more}."] if found else []


def _rows(metrics: Mapping[str, Any]) -> str:
    rows = metrics.get("rows")
    return count(None if rows is None else int(rows))


def _verdicts(report: Mapping[str, Any]) -> list[str]:
    verdicts: Mapping[str, Mapping[str, Any]] = report.get("verdict", {})
    found = []
    for name, verdict in list(verdicts.items())[:_MOST_TASKS]:
        teachers = sum(each.get("task") == name for each in report.get("teachers", ()))
        sentence = verdict_sentence(verdict, teachers or 1)
        found.append(f"For `{name}`: {_lowered(sentence)}" if len(verdicts) > 1 else sentence)
    return found


def _listed(names: Sequence[str]) -> str:
    shown = names[:_MOST_TASKS]
    more = [f"{len(names) - _MOST_TASKS} more"] if len(names) > _MOST_TASKS else []
    *first, last = [*shown, *more] or ["no task"]
    return f"{', '.join(first)} and {last}" if first else last


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]


_OF_KINDS: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = {
    "preflight": preflight_headline,
    "export": export_headline,
}
