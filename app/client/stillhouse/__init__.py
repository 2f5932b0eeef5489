"""The Python client of Stillhouse.

    from stillhouse import Client

    with Client("http://127.0.0.1:8000", key) as client:
        dataset = client.datasets.upload({"x": rows, "digit": labels})
        teacher = client.jobs.train(dataset, {"family": "mlp", "hidden": [256, 256]}).wait()
        student = client.jobs.distill(dataset, {"family": "mlp", "hidden": [16]}, teacher=teacher).wait()
        print(student.report.text)

It talks to the public HTTP API alone. numpy, pandas, torch and onnxruntime are imported only where they are used.
"""

from stillhouse.aio.client import AsyncClient
from stillhouse.aio.datasets import AsyncDataset
from stillhouse.aio.jobs import AsyncJob
from stillhouse.aio.models import AsyncModel
from stillhouse.documents import Comparison, DryRun, Event
from stillhouse.errors import (
    ApiError,
    Conflict,
    ConnectionFailed,
    Damaged,
    Invalid,
    JobCancelled,
    JobFailed,
    NotFound,
    NotSignedIn,
    NotStillhouse,
    Problem,
    Rejected,
    ServiceUnavailable,
    StillhouseError,
    Timeout,
    TooManyRequests,
    Unauthorized,
    Unreadable,
)
from stillhouse.flows.sending import Retries
from stillhouse.results import Metrics, Prediction, Report, ShownReport
from stillhouse.sync.client import Client
from stillhouse.sync.datasets import Dataset
from stillhouse.sync.jobs import Job
from stillhouse.sync.models import Model

__all__ = [
    "ApiError",
    "AsyncClient",
    "AsyncDataset",
    "AsyncJob",
    "AsyncModel",
    "Client",
    "Comparison",
    "Conflict",
    "ConnectionFailed",
    "Damaged",
    "Dataset",
    "DryRun",
    "Event",
    "Invalid",
    "Job",
    "JobCancelled",
    "JobFailed",
    "Metrics",
    "Model",
    "NotFound",
    "NotSignedIn",
    "NotStillhouse",
    "Prediction",
    "Problem",
    "Rejected",
    "Report",
    "Retries",
    "ServiceUnavailable",
    "ShownReport",
    "StillhouseError",
    "Timeout",
    "TooManyRequests",
    "Unauthorized",
    "Unreadable",
]
