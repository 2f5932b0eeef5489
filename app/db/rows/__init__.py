"""The tables of the service, one class each. `app.queue` decides who may write."""

from app.db.rows.access import DEFAULT_PROJECT, IdempotencyRow, KeyRow, ProjectRow, SessionRow
from app.db.rows.jobs import (
    ArtifactRow,
    EventRow,
    JobInputRow,
    JobLabelRow,
    JobRow,
    LaneTurnRow,
    MetricRow,
    OutboxRow,
    ReportRow,
)
from app.db.rows.networks import NetworkRow
from app.db.rows.predictions import LaneOwnerRow, PredictionRow
from app.db.rows.resources import BlobRow, DatasetRow, FileRow, ModelRow
from app.db.rows.signals import SignalRow
from app.db.rows.workers import WorkerRow

__all__ = [
    "DEFAULT_PROJECT",
    "ArtifactRow",
    "BlobRow",
    "DatasetRow",
    "EventRow",
    "FileRow",
    "IdempotencyRow",
    "JobInputRow",
    "JobLabelRow",
    "JobRow",
    "KeyRow",
    "LaneOwnerRow",
    "LaneTurnRow",
    "MetricRow",
    "ModelRow",
    "NetworkRow",
    "OutboxRow",
    "PredictionRow",
    "ProjectRow",
    "ReportRow",
    "SessionRow",
    "SignalRow",
    "WorkerRow",
]
