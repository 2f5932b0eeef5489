"""How long the service's own jobs, inspections and exports, may take: uploads wait for their slot."""

from dataclasses import dataclass

from app.queue.records import Claim

INSPECTION_SECONDS = 180.0
"""How long an inspection may take."""
EXPORT_SECONDS = 900.0
"""How long an export may take, which reads a whole dataset and runs its test rows where it names one."""


@dataclass(frozen=True)
class Deadline:
    """`message` is the error of a job that was stopped for it, and `code` its code."""

    seconds: float
    code: str
    message: str


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
