"""Fixtures of the engine's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.engine.harness import EngineHarness
from workers.engine.evaluation.cost import latency, runtime


@pytest.fixture
def harness(tmp_path: Path) -> EngineHarness:
    """Without data and models."""
    return EngineHarness(tmp_path)


@pytest.fixture
def one_thread_again() -> Iterator[None]:
    """A job sets the threads of its process."""
    yield
    torch.set_num_threads(1)


@pytest.fixture(scope="module", autouse=True)
def few_timed_passes() -> Iterator[None]:
    """A job times its networks at its end: without a warm-up and with few passes, and without the processes that
    measure memory, as no test looks at these figures.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(latency, "_WARM_UP_SECONDS", 0.0)
        patch.setattr(latency, "_MAX_PASSES", 3)
        patch.setattr(runtime, "peak_memory", lambda files: {})
        yield
