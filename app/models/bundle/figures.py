"""The figures of a model card: quality with intervals, size and speed."""

import math
from collections.abc import Iterator, Mapping
from typing import Any

from app.contracts.reports.confidence import CONFIDENCE, level_text, tail
from app.contracts.reports.quantiles import normal_quantile
from app.models.bundle.bundled import BundledModel

_UNKNOWN = "Not measured: the model was uploaded or trained as a peer, or the report of its job is gone."


def quality_lines(model: BundledModel) -> Iterator[str]:
    """Metrics of the student beside control and teachers, and the verdicts."""
    report = model.report
    if report is None:
        yield _UNKNOWN
        return
    student, control = report["student"], report.get("control") or {}
    if not any(metrics.get("rows") for metrics in (student.get("tasks") or {}).values()):
        yield "Not measured: the datasets have no test split, or no label in it."
        return
    for task, metrics in (student.get("tasks") or {}).items():
        rows = int(metrics.get("rows") or 0)
        taught = [each["tasks"].get(task, {}) for each in report.get("teachers") or () if each.get("task") == task]
        seeds = (report.get("seeds") or {}).get(task) or ()
        yield f"`{task}`, {rows:,} rows:"
        yield ""
        yield f"| metric | this model | interval, {level_text(CONFIDENCE)} | over seeds | control | teachers |"
        yield "|---|---|---|---|---|---|"
        for name, value in metrics.items():
            if name == "rows" or value is None:
                continue
            cells = [_number(value), _interval(name, value, rows), _range([each.get(name) for each in seeds])]
            cells.append(_number(control.get("tasks", {}).get(task, {}).get(name)))
            cells.append(", ".join(_number(each.get(name)) for each in taught) or "–")
            yield f"| {name} | {' | '.join(cells)} |"
        yield ""
        yield from _verdict((report.get("verdict") or {}).get(task))
    yield (
        "Intervals are Wilson's, of accuracies: where this very model would be on other rows of the same source. "
        "`over seeds` is the range of the students that were trained alike."
    )


def _verdict(verdict: Mapping[str, Any] | None) -> Iterator[str]:
    """Whether the teachers helped, in one line."""
    if verdict is None or verdict.get("interval") is None:
        return
    low, high = verdict["interval"]
    yield (
        f"Against the control without a teacher: {verdict['verdict']}, {verdict['metric']} differs by "
        f"{_number(verdict.get('difference'))} ({_number(low)} to {_number(high)} at "
        f"{level_text(verdict.get('confidence'))})."
    )
    yield ""


def wilson(share: float, rows: int, confidence: float) -> tuple[float, float]:
    """The interval of a share of `rows` > 0 (Wilson 1927), which is within 0 and 1 where none or all are right."""
    z = normal_quantile(tail(confidence))
    centre = share + z * z / (2 * rows)
    half = z * math.sqrt(share * (1 - share) / rows + z * z / (4 * rows * rows))
    return max(0.0, (centre - half) / (1 + z * z / rows)), min(1.0, (centre + half) / (1 + z * z / rows))


def _interval(metric: str, value: float, rows: int) -> str:
    if metric != "accuracy" or rows == 0:
        return "–"
    low, high = wilson(value, rows, CONFIDENCE)
    return f"{low:.4f} to {high:.4f}"


def _range(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{_number(min(known))} to {_number(max(known))}" if len(known) > 1 else "–"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def quantized_lines(model: BundledModel) -> Iterator[str]:
    """What the files in 8 and 16 bits lose; nothing where there are none."""
    parties = (model.report or {}).get("quantized") or {}
    for party in parties.values():
        name, ratio = f"student.{party['format']}.onnx", party["ratio"]
        yield f"`{name}` ({party['method']}), {ratio:.2f} of the size of `student.onnx`:"
        yield ""
        if party["method"] == "dynamic":
            yield (
                "- Its answers for a row depend on the other rows of the batch; its figures are those of one row at a "
                "time, as `predict.py` runs it."
            )
        for task, metrics in (party.get("tasks") or {}).items():
            figures = ", ".join(f"{name} {_number(value)}" for name, value in metrics.items() if name != "rows")
            yield f"- `{task}`: {figures}"
        for task, verdict in (party.get("verdict") or {}).items():
            yield f"- `{task}`: {verdict['method']}"
        yield ""
    measured = {f"student.{party['format']}.onnx" for party in parties.values()}
    for name in ("student.int8.onnx", "student.fp16.onnx"):
        if name in model.files and name not in measured:
            yield (
                f"`{name}` was exported after the training: what it loses is in the report of its export job, where "
                "that named a dataset. If that report says `dynamic`, its answers for a row depend on the other rows "
                "of the batch; `predict.py` runs such a file row by row."
            )
            yield ""


def cost_lines(model: BundledModel) -> Iterator[str]:
    """Bytes of the files, and times and memory where the job measured them."""
    yield from (f"- `{name}`: {file.bytes:,} bytes" for name, file in sorted(model.files.items()))
    report = model.report
    if report is None:
        yield "- times: not measured"
        return
    student, environment = report["student"], report.get("environment") or {}
    if student.get("flops") is not None:
        yield f"- {student['flops']:,} FLOPs a row"
    for size, latency in (student.get("latency") or {}).items():
        yield f"- torch, batch {size}: {_times(latency)}"
    yield from _in_onnx_runtime((student.get("runtime") or {}).get("onnxruntime"), "student.onnx")
    for party in (report.get("quantized") or {}).values():
        name = f"student.{party['format']}.onnx"
        yield from _in_onnx_runtime((party.get("runtime") or {}).get("onnxruntime"), name)
    compression = report.get("compression") or {}
    ratios = [f"{compression[key]:.1f}x in {key}" for key in ("parameters", "bytes", "flops") if compression.get(key)]
    ratios += [f"{ratio:.1f}x as {name}" for name, ratio in (compression.get("files") or {}).items()]
    if ratios:
        yield f"- smaller than its teachers: {', '.join(ratios)}"
    if student.get("latency"):
        threads = environment.get("threads")
        plural = "" if threads == 1 else "s"
        yield ""
        yield (
            f"torch ran on {environment.get('device')} with {threads} CPU thread{plural}; ONNX Runtime on the CPU of "
            "the same machine, with the threads that a line names."
        )


def _in_onnx_runtime(cost: Mapping[str, Any] | None, file: str) -> Iterator[str]:
    if cost is None:
        return
    for name, by_size in cost["latency"].items():
        threads = cost["threads"] if name == "all" else int(name)
        plural = "s" if threads > 1 else ""
        for size, latency in by_size.items():
            yield f"- `{file}` in ONNX Runtime, {threads} thread{plural}, batch {size}: {_times(latency)}"
    if cost.get("cold_start_ms") is not None:
        yield f"- `{file}` in ONNX Runtime, to load it: {cost['cold_start_ms']:.1f} ms"
    if cost.get("peak_memory_bytes") is not None:
        yield f"- `{file}` in ONNX Runtime, peak memory: {cost['peak_memory_bytes'] / 1e6:.1f} MB"


def _times(latency: Mapping[str, Any]) -> str:
    unsteady = "" if latency.get("steady", True) else ", while the machine was busy with other work"
    return f"median {latency['median_ms']:.3f} ms, 95th percentile {latency['p95_ms']:.3f} ms{unsteady}"
