"""Problems and warnings of a resolution: problems refuse the job, warnings are kept with it."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from app.contracts.base import Contract
from app.contracts.problems import Chosen, Problem, listed
from app.contracts.specs.families.library import LibraryArchitecture


@dataclass
class Findings:
    """Collects problems instead of stopping at the first, so that a client can correct all of them at once."""

    problems: list[Problem] = field(default_factory=list)
    warnings: list[dict[str, str]] = field(default_factory=list)
    chosen: dict[str, Chosen] = field(default_factory=dict)
    complete: bool = True
    unmeasured: list[LibraryArchitecture] = field(default_factory=list)
    """Trunks of libraries that a worker must measure first, each with the shape of its rows."""

    def problem(self, pointer: str, code: str, detail: str) -> None:
        """A problem that refuses the job."""
        self.problems.append(Problem(pointer=pointer, code=code, detail=detail))

    def warn(self, code: str, message: str) -> None:
        """A warning about something that is allowed but may be unintended."""
        self.warnings.append({"code": code, "message": message})

    def choose(self, pointer: str, value: float | str | dict[str, Any] | Contract, because: str) -> None:
        """A value that was chosen for a field that the spec left out."""
        document = value.model_dump(mode="json") if isinstance(value, Contract) else value
        self.chosen[pointer] = Chosen(value=document, because=because)

    def unknown(self) -> None:
        """An input is not inspected yet (or not made yet): some checks are made when the job is claimed."""
        self.complete = False


def quoted(names: Iterable[str]) -> str:
    """A short, stable list of names for an error's detail."""
    return listed(sorted(names), most=20) or "none"
