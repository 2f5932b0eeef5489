"""The table of a campaign: mutants by format and outcome, as measured."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.mutants.running import Mutant
from tests.mutants.verdict import MANIFEST_REFUSED, Verdict


@dataclass
class Counts:
    """Verdicts by format."""

    verdicts: Counter[tuple[str, str]] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[Mutant, Verdict]] = field(default_factory=list)

    def add(self, made: Mutant, verdict: Verdict) -> None:
        """Count one."""
        by_contract = verdict.outcome == "refused" and verdict.detail == MANIFEST_REFUSED
        self.verdicts[made.sound.row, "contract" if by_contract else verdict.outcome] += 1
        if verdict.outcome == "refused" and not by_contract:
            self.codes[verdict.detail] += 1
        if verdict.outcome == "failed":
            self.failures.append((made, verdict))

    @property
    def total(self) -> int:
        """All mutants."""
        return self.verdicts.total()


_COLUMNS = ("ready", "refused", "contract", "failed")


def _line(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def table_of(counts: Counts, rows: Sequence[str], machine: str, command: str, seconds: float) -> str:
    """The table as Markdown."""
    lines = [_line([row, *(counts.verdicts[row, each] for each in _COLUMNS)]) for row in dict.fromkeys(rows)]
    sums = [sum(counts.verdicts[row, each] for row in dict.fromkeys(rows)) for each in _COLUMNS]
    codes = [_line((f"`{code}`", count)) for code, count in counts.codes.most_common()]
    return "\n".join(
        (
            "# Mutants of uploads",
            "",
            f"{machine}. `{command}`: {counts.total} mutants, {seconds:.0f} s.",
            "",
            "Ready: the changed file is sound, and a second reader found the same numbers, labels, pixels or weights.",
            "Refused: the inspection refused it by a code of the catalogue, with a printable message. By contract: the",
            "changed manifest is refused before a file is read. Failed: anything else: a crash, a signal, a timeout.",
            "",
            "| format | ready | refused | by contract | failed |",
            "| --- | --- | --- | --- | --- |",
            *lines,
            _line(["all", *sums]),
            "",
            "| code | mutants |",
            "| --- | --- |",
            *codes,
            "",
        )
    )
