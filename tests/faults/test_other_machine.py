"""A job that resumes where its bits may differ: allowed, and reported."""

from pathlib import Path

import pytest
import torch

from tests.faults.services.control_service import ControlledService

STEPS = 1000


def test_a_job_that_is_resumed_with_other_instructions_ends_and_is_not_called_bit_exact(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a worker with an older processor: torch is held to the oldest instructions that it knows."""
    if torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        pytest.skip("torch has one set of instructions for this processor")
    with ControlledService(tmp_path / "data", checkpoint_seconds=3600, lease_seconds=60) as service:
        job_id = service.submit(service.training(service.dataset(tmp_path), STEPS))
        service.stepping(job_id)
        service.stop()
        monkeypatch.setenv("ATEN_CPU_CAPABILITY", "default")
        service.start()
        service.succeed(job_id)
        report = service.get(f"/v1/jobs/{job_id}/report")
        warnings = {each["code"]: each["message"] for each in report["warnings"]}
    assert report["bit_exact"] is False
    assert "instructions" in warnings["not_bit_exact"]
