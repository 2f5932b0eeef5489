"""How long the service's own jobs, inspections and exports, may take: uploads wait for their slot."""

from dataclasses import dataclass

from app.queue.records import Claim
from workers.runtime.child.watchdog import Deadline

INSPECTION_SECONDS = 180.0
"""How long an inspection may take."""
EXPORT_SECONDS = 900.0
"""How long an export may take, which reads a whole dataset and runs its test rows where it names one."""


@dataclass(frozen=True)
class Deadlines:
    """Seconds by kind of job."""

    inspection: float = INSPECTION_SECONDS
    export: float = EXPORT_SECONDS

    def of(self, claim: Claim) -> Deadline | None:
        """That of a claim; None for a training, which takes as long as it takes."""
        if claim.kind == "inspect":
            return Deadline(
                seconds=self.inspection,
                code="inspection_timeout",
                message=f"expected the inspection to take at most {self.inspection:.0f} s, and stopped it: upload a "
                "smaller or simpler file",
            )
        if claim.kind == "export":
            return Deadline(
                seconds=self.export,
                code="export_timeout",
                message=f"expected the export to take at most {self.export:.0f} s, and stopped it: name a dataset "
                "with fewer rows, or export a smaller model",
            )
        return None


def advice_of(claim: Claim) -> str:
    """The way out of a job that was ended because it showed no progress."""
    if claim.kind == "inspect":
        return (
            "its process was stopped or hangs on this machine: have it inspected again by PATCH, or upload it again; "
            "raise STILLHOUSE_STALLED_SECONDS of the worker where the machine is that slow"
        )
    if claim.kind == "export":
        return (
            "its process was stopped or hangs on this machine: send the export again; raise "
            "STILLHOUSE_STALLED_SECONDS of the worker where the machine is that slow"
        )
    return (
        "check that its models run on rows of this dataset, where an ONNX graph may loop; raise "
        "STILLHOUSE_STALLED_SECONDS of the worker where one block takes longer. A retry continues from the last "
        "checkpoint"
    )
