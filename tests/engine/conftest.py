"""Fixtures of the engine's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.engine.harness import EngineHarness


@pytest.fixture
def harness(tmp_path: Path) -> EngineHarness:
    """An empty harness."""
    return EngineHarness(tmp_path)


@pytest.fixture
def one_thread_again() -> Iterator[None]:
    """A job sets the threads of its process."""
    yield
    torch.set_num_threads(1)
