"""Whether a child did what it may do with a hostile upload: accept what is sound, or refuse it by a stable code."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from app.contracts.wire.orders import InspectionOutcome
from tests.architecture.errors.catalogue import CATALOGUE
from tests.mutants.child import SECOND_READ
from workers.runtime.supervisor.publishing import crash_error, read_outcome

MANIFEST_REFUSED = "manifest"
MOST_CHARACTERS = 2000
_PATHS = re.compile(r"/(?:root|home|usr|opt|tmp|work|var|proc)/|site-packages|\.py\b|0x[0-9a-f]{6,}")


@dataclass(frozen=True)
class Verdict:
    """`detail`: the code of a refusal, or what went wrong."""

    outcome: Literal["ready", "refused", "failed"]
    detail: str = ""
    message: str = ""


def judge(status: int, folder: Path) -> Verdict:
    """The verdict on a child that exited with `status` and had this folder."""
    outcome = read_outcome(folder)
    log = (folder / "log.txt").read_text(errors="replace")
    if status != 0 or not isinstance(outcome, InspectionOutcome):
        error = crash_error(status, folder)
        return Verdict("failed", f"exit status {status}, {error.code}: {error.message}", log[-3000:])
    if "Traceback" in log:
        return Verdict("failed", "a traceback in the log", log[-3000:])
    if outcome.rejection is not None:
        wrong = misfit_of(outcome.rejection.code, outcome.rejection.message, folder)
        if wrong is not None:
            return Verdict("failed", f"{outcome.rejection.code}: {wrong}", outcome.rejection.message)
        return Verdict("refused", outcome.rejection.code, outcome.rejection.message)
    difference = (folder / SECOND_READ).read_text()
    return Verdict("failed", difference.partition("\n")[0], difference) if difference else Verdict("ready")


def misfit_of(code: str, message: str, folder: Path) -> str | None:
    """What is wrong with a refusal; None where nothing is."""
    if code not in CATALOGUE:
        return "the code is not in the catalogue"
    if not message.isprintable():
        return "the message has characters that cannot be printed"
    if not 10 < len(message) <= MOST_CHARACTERS:
        return f"the message has {len(message)} characters"
    if _PATHS.search(message) or str(folder.parent) in message or sys.prefix in message:
        return "the message discloses a path of the machine"
    if ":" not in message and "expected" not in message:
        return "the message names no way out"
    return None
