"""python -m tests.benchmarks.calibration [--networks N] [--draws N] [--folder DIR] [--table FILE]

Trains pools of networks with the default recipe, draws jobs from them, and prints how often each word is said: where
nothing differs, where the students are truly better, and at least one gain of ten useless methods.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

from app.contracts.specs.distillation import TaskKind
from tests.benchmarks.calibration.draws import PROTOCOLS, any_gain, lowered, metric, rates
from tests.benchmarks.calibration.pools import SCENARIOS, Pool, pool_of

METHODS, GAIN = 10, 0.008
GAINS = {"mnist": "mnist, wider"}
"""The pools whose networks are truly better than those of another; they are half as large, as no control is theirs."""


def main() -> None:
    """Print the table, and write it to a file if one is named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", type=int, default=240)
    parser.add_argument("--draws", type=int, default=400)
    parser.add_argument("--folder", type=Path, default=Path(".cache/calibration"))
    parser.add_argument("--table", type=Path)
    arguments = parser.parse_args()
    pools = {
        name: pool_of(each, arguments.networks // (2 if name in GAINS.values() else 1), arguments.folder)
        for name, each in SCENARIOS.items()
    }
    lines = []
    for line in _lines(pools, arguments.draws):
        print(line, flush=True)
        lines.append(line)
    if arguments.table:
        arguments.table.write_text("\n".join(lines) + "\n")


def _lines(pools: dict[str, Pool], draws: int) -> Iterator[str]:
    names = [protocol.name for protocol in PROTOCOLS]
    yield f"| gain / loss in % of {draws} draws | {' | '.join(names)} |"
    yield f"|---|{'---|' * len(names)}"
    for name, pool in pools.items():
        if name not in GAINS.values():
            yield _row(f"no effect, {name}", pool, pool, _kind(name), draws)
    for base, better in GAINS.items():
        gain = float(metric(pools[better]).mean() - metric(pools[base]).mean())
        yield _row(f"true {100 * gain:+.2f} points, {base}", pools[better], pools[base], "class", draws)
        if gain > GAIN:
            students = lowered(pools[better], pools[base], GAIN)
            yield _row(f"the same, made {100 * GAIN:+.2f} points", students, pools[base], "class", draws)
    for name, pool in pools.items():
        if name not in GAINS.values():
            found = [any_gain(pool, protocol, _kind(name), METHODS, draws) for protocol in PROTOCOLS]
            yield f"| {METHODS} useless methods, {name}: a gain | {' | '.join(f'{each:.1f}' for each in found)} |"


def _row(title: str, students: Pool, controls: Pool, kind: TaskKind, draws: int) -> str:
    cells = []
    for protocol in PROTOCOLS:
        found = rates(students, controls, protocol, kind, draws)
        gain, loss = (found.get(word, 0.0) + found.get(f"provisional_{word}", 0.0) for word in ("gain", "loss"))
        cells.append(f"{gain:.1f} / {loss:.1f}")
    return f"| {title} | {' | '.join(cells)} |"


def _kind(name: str) -> TaskKind:
    return "value" if SCENARIOS[name].classes is None else "class"


if __name__ == "__main__":
    main()
