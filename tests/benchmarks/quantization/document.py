"""TABLE.md from the cells: accuracy, bytes and latency of each file, and what the claims of the issue are."""

import math
import statistics
from collections.abc import Callable, Sequence

from scipy.stats import t as student_t

from tests.benchmarks.quantization.cells import METHODS, Cell, Method

HEAD = """# Quantized students

    python -m tests.benchmarks.quantization     {minutes}

Each network is trained with the fast recipe, then once more with `quantization`, from the same seeds and on the same
splits. Files of the first: float32, int8 quantized after training (dynamic, static; \\* marks what a job would export)
and fp16; of the second its int8 file. Accuracy in percent on the test split, the mean over {seeds} seeds; bytes of the
ONNX files; milliseconds of one row and of 64 rows in ONNX Runtime with one thread, all files of a seed in turn, medians
over seeds. Dynamic answers are those of one row at a time. Convolutions are not quantized dynamically.

{machine}; commits {commits}.
"""


def document(cells: Sequence[Cell]) -> str:
    """The whole table."""
    seeds = len({cell.seed for cell in cells})
    parts = [
        HEAD.format(
            seeds=seeds,
            machine="; ".join(sorted({cell.machine for cell in cells})),
            commits=", ".join(sorted({cell.commit for cell in cells})),
            minutes="about half an hour of a free core",
        )
    ]
    parts += [_section(name, [cell for cell in cells if cell.data == name]) for name in _names(cells, "data")]
    return "\n".join([*parts, _summary(cells)])


def _names(cells: Sequence[Cell], field: str) -> list[str]:
    return list(dict.fromkeys(getattr(cell, field) for cell in cells))


def _section(data: str, cells: Sequence[Cell]) -> str:
    lines = [
        f"## {data}",
        "",
        "| network | file | accuracy | against float32 | bytes | ratio | 1 row, ms | 64 rows, ms |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for network in _names(cells, "network"):
        own = [cell for cell in cells if cell.network == network]
        lines += [_line(network, method, own) for method in METHODS if _of(own, method)]
    return "\n".join([*lines, ""])


def _line(network: str, method: Method, cells: Sequence[Cell]) -> str:
    mine = _of(cells, method)
    chosen = sum(cell.chosen for cell in mine)
    name = method if not chosen else f"{method} \\*" + (f" ({chosen} of {len(mine)})" if chosen < len(mine) else "")
    size = statistics.mean(cell.bytes for cell in mine)
    ratio = size / statistics.mean(cell.bytes for cell in _of(cells, "float32"))
    change = "" if method == "float32" else _with_interval(_differences(cells, method, "float32"))
    times = f"{_median(mine, lambda cell: cell.one_ms):.3f} | {_median(mine, lambda cell: cell.batch_ms):.2f}"
    accuracy = statistics.mean(cell.accuracy for cell in mine)
    return f"| {network} | {name} | {accuracy:.2f} | {change} | {size:,.0f} | {ratio:.3f} | {times} |"


def _summary(cells: Sequence[Cell]) -> str:
    best = [_loss_of_best(cells, network, data) for network, data in _pairs(cells)]
    after = [_mean_difference(cells, network, data, "static") for network, data in _pairs(cells)]
    aware = [
        difference
        for network, data in _pairs(cells)
        for difference in _differences(_cells(cells, network, data), "aware", "static")
    ]
    large = [
        _mean_bytes(cells, network, data, method) / _mean_bytes(cells, network, data, "float32")
        for network, data in _pairs(cells)
        for method in ("static", "aware")
        if _mean_bytes(cells, network, data, "float32") > 50_000
    ]
    return "\n".join(
        [
            "## All together",
            "",
            "- Loss of the best int8 file of each network and data set, mean over the pairs: "
            f"{statistics.mean(best):+.2f} points, worst {max(best):+.2f}.",
            f"- Static against float32, mean over the pairs: {statistics.mean(after):+.2f} points.",
            f"- Aware against static, over all networks, data sets and seeds: {_with_interval(aware)} points.",
            f"- Bytes of static and aware files relative to float32 ones above 50 kB: at most {max(large):.3f}.",
            "",
        ]
    )


def _pairs(cells: Sequence[Cell]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((cell.network, cell.data) for cell in cells))


def _cells(cells: Sequence[Cell], network: str, data: str) -> list[Cell]:
    return [cell for cell in cells if (cell.network, cell.data) == (network, data)]


def _of(cells: Sequence[Cell], method: Method) -> list[Cell]:
    return [cell for cell in cells if cell.method == method]


def _loss_of_best(cells: Sequence[Cell], network: str, data: str) -> float:
    """Points that the int8 file with the highest mean accuracy loses."""
    int8: tuple[Method, ...] = ("dynamic", "static", "aware")
    return -max(_mean_difference(cells, network, data, method) for method in int8)


def _mean_difference(cells: Sequence[Cell], network: str, data: str, method: Method) -> float:
    return statistics.mean(_differences(_cells(cells, network, data), method, "float32"))


def _mean_bytes(cells: Sequence[Cell], network: str, data: str, method: Method) -> float:
    return statistics.mean(cell.bytes for cell in _of(_cells(cells, network, data), method))


def _differences(cells: Sequence[Cell], one: Method, other: Method) -> list[float]:
    """Points of accuracy between two files, seed by seed."""
    theirs = {cell.seed: cell.accuracy for cell in _of(cells, other)}
    return [cell.accuracy - theirs[cell.seed] for cell in _of(cells, one)]


def _with_interval(values: Sequence[float]) -> str:
    """The mean and its 95 % interval by Student's t."""
    mean = statistics.mean(values)
    if len(values) < 2:
        return f"{mean:+.2f}"
    half = float(student_t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:+.2f} ± {half:.2f}"


def _median(cells: Sequence[Cell], value: Callable[[Cell], float]) -> float:
    return statistics.median(value(cell) for cell in cells)
