"""Metrics, reports and predictions: answers that people compute with, or look at."""

import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, Final, Literal

from stillhouse.documents import JSON, Document, Value

ReportFormat = Literal["text", "markdown", "html"]
_COLUMNS: Final = ("series", "step", "epoch", "time", "value")


class Metrics(dict[str, list[Any]]):
    """Metric series as columns of one table: `series`, `step`, `epoch`, `time`, `value`, a row for each point.

    `pandas.DataFrame(job.metrics())` is that table; `wide()` has a column for each series. `json`: as the service sent
    it. A value that was not finite is None.
    """

    def __init__(self, json: JSON) -> None:
        self.json = json
        points = [(name, point) for name, series in (json.get("series") or {}).items() for point in series]
        rows = [(name, each["step"], each["epoch"], _time(each["time"]), each["value"]) for name, each in points]
        super().__init__({column: [row[i] for row in rows] for i, column in enumerate(_COLUMNS)})

    @property
    def latest(self) -> dict[str, float | None]:
        """The last value of each series."""
        return {name: point["value"] for name, point in (self.json.get("latest") or {}).items()}

    def wide(self) -> dict[str, list[Any]]:
        """`step`, and a column for each series, with None where it has no point at a step."""
        steps = sorted(set(self["step"]))
        place = {step: i for i, step in enumerate(steps)}
        table: dict[str, list[Any]] = {"step": steps}
        for name, step, value in zip(self["series"], self["step"], self["value"], strict=True):
            table.setdefault(name, [None] * len(steps))[place[step]] = value
        return table


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)


class Report(Mapping[str, Any]):
    """The report of a job: a mapping with what the service says, and its first questions as attributes."""

    def __init__(self, json: JSON) -> None:
        self.json = json

    def __getitem__(self, key: str) -> Any:
        return self.json[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self.json)

    def __len__(self) -> int:
        return len(self.json)

    @property
    def verdicts(self) -> dict[str, str]:
        """By task, whether the teachers helped: `gain`, `no_gain`, `loss`, `inconclusive`, `not_applicable` …"""
        return {task: each["verdict"] for task, each in (self.json.get("verdict") or {}).items()}

    @property
    def verdict(self) -> str | None:
        """The verdict of a job of one task; None where it has none. Raises ValueError for several: see `verdicts`."""
        found = self.verdicts
        if len(found) > 1:
            raise ValueError(f"expected one task, found {sorted(found)}: `verdicts` has the verdict of each")
        return next(iter(found.values()), None)

    @property
    def student(self) -> dict[str, Any]:
        """The student: `parameters`, `bytes`, `tasks` with its metrics on the test split, and more."""
        return self.json.get("student") or {}

    @property
    def control(self) -> dict[str, Any] | None:
        """The same of the student that had no teacher; None without one."""
        return self.json.get("control")

    @property
    def teachers(self) -> list[dict[str, Any]]:
        """The same of each teacher."""
        return list(self.json.get("teachers") or ())

    @property
    def warnings(self) -> list[dict[str, Any]]:
        """Why the student is not as good as it could be, each with `code` and `message`."""
        return list(self.json.get("warnings") or ())

    def __repr__(self) -> str:
        return f"{type(self).__name__}(kind={self.json.get('kind')!r}, verdicts={self.verdicts!r})"


class ShownReport(Report):
    """A report that also fetches itself in words and pictures. A notebook shows it as the page with its charts."""

    def __init__(self, json: JSON, fetch: Callable[[ReportFormat], str]) -> None:
        super().__init__(json)
        self._fetch = fetch
        self._fetched: dict[ReportFormat, str] = {}

    def _shown(self, form: ReportFormat) -> str:
        if form not in self._fetched:
            self._fetched[form] = self._fetch(form)
        return self._fetched[form]

    @property
    def text(self) -> str:
        """The report as plain text."""
        return self._shown("text")

    @property
    def markdown(self) -> str:
        """The report as Markdown."""
        return self._shown("markdown")

    @property
    def html(self) -> str:
        """The report as one page with charts, which needs no other file."""
        return self._shown("html")

    def _repr_html_(self) -> str:
        return self.html


class Prediction(Document):
    """Answers of a model: `prediction["digit"]["class"]` has the class of each row.

    They are numpy arrays where numpy is imported, else lists.
    """

    model = Value[str]("Id of the model.")
    rows = Value[int]("Number of rows.")
    teachers = Value[list[dict[str, Any]] | None]("With `compare`: the answers of the student's teachers.")

    @property
    def outputs(self) -> dict[str, dict[str, Any]]:
        """By output (of a student: by task), its `class`, `probabilities`, `value` and so on."""
        found: dict[str, dict[str, Any]] = self.json.get("outputs") or {}
        return {name: {key: _array(value) for key, value in each.items()} for name, each in found.items()}

    def __getitem__(self, output: str) -> dict[str, Any]:
        return self.outputs[output]

    def __repr__(self) -> str:
        return f"Prediction({self.rows} rows, outputs={sorted(self.json.get('outputs') or {})})"


def _array(value: Any) -> Any:
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(value, list):
        return value
    return numpy.asarray(value) if _regular(value) else value


def _regular(value: list[Any]) -> bool:
    """Whether an array can be made of it: rows of one length, as those of tokens are not."""
    rows = [each for each in value if isinstance(each, list)]
    return not rows or (len({len(each) for each in rows}) == 1 and all(_regular(each) for each in rows))
