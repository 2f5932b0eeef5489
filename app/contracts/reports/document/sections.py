"""The sections of a report, with teachers, student and control side by side. Standard library only."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from app.contracts.reports.confidence import level_text
from app.contracts.reports.document.baselines import baselines_sections
from app.contracts.reports.document.blocks import Block, Line, Section, Table
from app.contracts.reports.document.export import export_sections
from app.contracts.reports.document.headline import QUALITY
from app.contracts.reports.document.numbers import DASH, count, figure, signed, size
from app.contracts.reports.document.parties import parties_of
from app.contracts.reports.document.preflight import preflight_sections
from app.contracts.reports.document.relation import relation_sections
from app.contracts.reports.document.search import search_sections

_WORST_CLASSES = 5


def sections(report: Mapping[str, Any]) -> list[Section]:
    """The JSON of `GET /v1/jobs/{id}/report` as tables and a few sentences.

    Missing fields (of an older version) are shown as `-` or omitted.
    """
    return _OF_KINDS.get(str(report.get("kind")), _of_training)(report)


def _of_training(report: Mapping[str, Any]) -> list[Section]:
    return [
        *_costs(report),
        *_tasks(report),
        *baselines_sections(report.get("baselines")),
        *relation_sections(report.get("relation")),
        *search_sections(report.get("search")),
        *_compression(report),
        *_notes(report),
    ]


def _costs(report: Mapping[str, Any]) -> list[Section]:
    parties = parties_of(report)
    rows = [
        ["parameters", *(count(party.get("parameters")) for _, party in parties)],
        ["size", *(size(party.get("bytes")) for _, party in parties)],
        ["flops a row", *(count(party.get("flops")) for _, party in parties)],
    ]
    sizes = sorted({size for _, party in parties for size in party.get("latency", {})}, key=int)
    rows += [[f"latency, batch {size} (ms)", *(_latency(party, size) for _, party in parties)] for size in sizes]
    exported = [(heading, _in_onnx_runtime(party)) for heading, party in parties]
    sizes = sorted({size for _, party in exported for size in party["latency"]}, key=int)
    rows += [[f"ONNX Runtime, batch {size} (ms)", *(_latency(party, size) for _, party in exported)] for size in sizes]
    if any(party.get("steps") is not None for _, party in parties):
        rows.append(["steps", *(count(party.get("steps")) for _, party in parties)])
    return [Section("Costs", (_table(["", *(heading for heading, _ in parties)], rows),), is_plain=True)]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    return Table(tuple(head), tuple(map(tuple, rows)))


def _tasks(report: Mapping[str, Any]) -> Iterable[Section]:
    """A section for each task: metrics on the test split, fidelity, verdict."""
    names = dict.fromkeys(
        name
        for source in (report["student"].get("tasks", {}), report.get("fidelity", {}), report.get("verdict", {}))
        for name in source
    )
    for name in names:
        parties = parties_of(report, name)
        metrics = [party.get("tasks", {}).get(name, {}) for _, party in parties]
        rows = [
            [key, *(figure(values.get(key)) for values in metrics)]
            for key in QUALITY
            if any(key in values for values in metrics)
        ]
        lines: list[Block] = [_table(["", *(heading for heading, _ in parties)], rows)] if rows else []
        lines += _fidelity(report.get("fidelity", {}).get(name))
        lines += _verdict(report.get("verdict", {}).get(name))
        lines += _seeds(report, name)
        lines += _class_weights(report.get("class_weights", {}).get(name))
        lines += _worst_classes(report.get("per_class", {}).get(name))
        lines += _robustness(report.get("robustness", {}).get(name))
        yield Section(f"{name} (test split)", tuple(lines), task=name)


def _fidelity(fidelity: Mapping[str, Any] | None) -> list[Line]:
    if not fidelity:
        return []
    texts = {"agreement": "agrees on {} of the rows", "kl": "KL {} nats", "rmse": "rmse {}"}
    parts = [text.format(figure(fidelity[key])) for key, text in texts.items() if fidelity.get(key) is not None]
    return [Line(f"student to teacher: {', '.join(parts)}")] if parts else []


def _verdict(verdict: Mapping[str, Any] | None) -> list[Line]:
    if not verdict:
        return []
    word = f"verdict: {verdict['verdict']}"
    if verdict.get("difference") is not None:
        interval = verdict.get("interval")
        level = level_text(verdict.get("confidence"))
        range_ = f", {level} interval {interval[0]:+.4f} to {interval[1]:+.4f}" if interval else ""
        margin = verdict.get("margin")
        limit = f", margin {margin:.4g}" if margin is not None else ""
        word += f" ({verdict.get('metric')} {verdict['difference']:+.4f} against the control{range_}{limit})"
    lines = [Line(word), *_repeats(verdict)]
    if verdict.get("method"):
        lines.append(Line(str(verdict["method"]), is_detail=True))
    return lines + _settling(verdict.get("would_settle"))


def _settling(settling: Mapping[str, Any] | None) -> list[Line]:
    """What would decide an open verdict."""
    if not settling:
        return []
    ways = {"repeats": settling.get("repeats"), "test rows": settling.get("rows")}
    enough = " or ".join(f"{count(number)} {noun}" for noun, number in ways.items() if number is not None)
    size = f"a difference of {settling['size']:.4g}"
    first = f"{enough} would settle {size}." if enough else f"Neither repeats nor test rows alone would settle {size}."
    return [Line(f"{first} {settling['because']}", is_detail=True)]


def _seeds(report: Mapping[str, Any], name: str) -> list[Line]:
    """The first metric of each seed's student, where no verdict lists them."""
    seeds = report.get("seeds", {}).get(name, ())
    if not seeds or (report.get("verdict", {}).get(name) or {}).get("students"):
        return []
    metric = next(key for key in QUALITY if key in seeds[0])
    return [Line(f"students by seed: {metric} {', '.join(figure(each.get(metric)) for each in seeds)}")]


def _repeats(verdict: Mapping[str, Any]) -> list[Line]:
    """Mean and standard deviation over seeds, if there are several students or controls."""
    groups = {key: verdict.get(key) or () for key in ("students", "controls")}
    if max(map(len, groups.values())) < 2:
        return []
    spreads = ", ".join(_spread(key, values) for key, values in groups.items() if values)
    return [Line(f"over seeds, mean ± sd: {spreads}", is_detail=True)]


def _spread(group: str, values: Sequence[float]) -> str:
    deviation = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
    return f"{len(values)} {group} {statistics.fmean(values):.4f}{deviation}"


def _class_weights(weights: Mapping[str, float] | None) -> list[Line]:
    """The largest class weights in the loss on labels."""
    if not weights:
        return []
    largest = sorted(weights, key=lambda name: -weights[name])[:_WORST_CLASSES]
    more = f" and {len(weights) - len(largest)} more" if len(weights) > len(largest) else ""
    listed = ", ".join(f"{name} {_short(weights[name])}" for name in largest)
    return [Line(f"class weights in the loss: {listed}{more}")]


def _worst_classes(classes: Sequence[Mapping[str, Any]] | None) -> list[Table]:
    """The first classes of a list that is sorted by F1 difference, the largest loss first."""
    if not classes:
        return []
    shown = classes[:_WORST_CLASSES]
    parties = list(dict.fromkeys(party for each in shown for party in each.get("parties", {})))
    compared = any(each.get("difference") is not None for each in shown)
    head = ["worst classes (F1)", *parties, *(["difference"] if compared else []), "rows"]
    rows = [
        [
            _class_name(each),
            *(figure(each.get("parties", {}).get(party, {}).get("f1")) for party in parties),
            *([signed(each.get("difference"))] if compared else []),
            count(each.get("support")),
        ]
        for each in shown
    ]
    return [_table(head, rows)]


def _class_name(entry: Mapping[str, Any]) -> str:
    return str(entry.get("name") or entry.get("index"))


def _robustness(entries: Sequence[Mapping[str, Any]] | None) -> list[Table]:
    """A line for each corruption; cells have the metric at each severity."""
    if not entries:
        return []
    entries = sorted(entries, key=lambda entry: int(entry["severity"]))
    parties = list(dict.fromkeys(party for entry in entries for party in entry.get("parties", {})))
    severities = " / ".join(map(str, dict.fromkeys(entry["severity"] for entry in entries)))
    rows = []
    for name in dict.fromkeys(entry["corruption"] for entry in entries):
        by_severity = [entry.get("parties", {}) for entry in entries if entry["corruption"] == name]
        rows.append([name, *(" / ".join(_short(each.get(party)) for each in by_severity) for party in parties)])
    return [_table([f"corrupted, {entries[0]['metric']} at {severities}", *parties], rows)]


def _compression(report: Mapping[str, Any]) -> list[Section]:
    ratios = report.get("compression")
    if not ratios:
        return []
    parts = [f"{ratios[key]:.1f}x in {key}" for key in ("parameters", "bytes", "flops") if ratios.get(key) is not None]
    parts += [f"{ratio:.1f}x in time at batch {size}" for size, ratio in sorted(ratios.get("latency", {}).items())]
    parts += [f"{ratio:.1f}x in bytes as {name}" for name, ratio in sorted(ratios.get("files", {}).items())]
    line = Line(f"smaller than its teachers: {', '.join(parts)}")
    return [Section("Compression", (line,), is_plain=True)] if parts else []


def _datasets(report: Mapping[str, Any]) -> list[str]:
    """A line for each dataset, if there are several."""
    datasets = report.get("datasets", ())
    if len(datasets) < 2:
        return []
    lines = []
    for use in datasets:
        rows = ", ".join(f"{number:,} {split}" for split, number in use.get("rows", {}).items())
        lines.append(f"dataset {use['name']}: {count(use.get('batch'))} rows of each batch; {rows} rows")
    return lines


def _notes(report: Mapping[str, Any]) -> list[Section]:
    lines = _datasets(report)
    lines += [
        f"soft targets of {use['teacher']}: {use['store']}, {use['passes']} teacher passes{_saved(use)}"
        for use in report.get("targets", ())
    ]
    lines += [
        f"{form} export: differs from the predictions by at most {check['max_abs_difference']:.2g} "
        f"({check['tolerance']:.2g} allowed) on {check['rows']} rows"
        for form, check in report.get("export", {}).items()
    ]
    lines += [f"not measured, {what}: {reason}" for what, reason in report.get("not_measured", {}).items()]
    lines += [f"warning, {warning.get('code')}: {warning.get('message')}" for warning in report.get("warnings", ())]
    environment = report.get("environment")
    if environment:
        torch_version = environment["versions"].get("torch")
        lines.append(f"measured on {environment['device']}, {environment['threads']} threads, torch {torch_version}")
    return [Section("Notes", tuple(map(Line, lines)), is_plain=True)] if lines else []


def _short(value: float | None) -> str:
    return DASH if value is None else f"{value:.3g}"


def _in_onnx_runtime(party: Mapping[str, Any]) -> Mapping[str, Any]:
    """The times in ONNX Runtime with one thread, as those of a party."""
    cost = (party.get("runtime") or {}).get("onnxruntime") or {}
    return {"latency": cost.get("latency", {}).get("1", {})}


def _latency(party: Mapping[str, Any], size: str) -> str:
    latency = party.get("latency", {}).get(size)
    if not latency:
        return DASH
    unsteady = "" if latency.get("steady", True) else ", unsteady"
    return f"{latency['median_ms']:.3f} (p95 {latency['p95_ms']:.3f}{unsteady})"


def _saved(use: Mapping[str, Any]) -> str:
    return f", {use['saved']} saved" if use.get("saved") else ""


_OF_KINDS: Final[Mapping[str, Callable[[Mapping[str, Any]], list[Section]]]] = {
    "preflight": preflight_sections,
    "export": export_sections,
}
