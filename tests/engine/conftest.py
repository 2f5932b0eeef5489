"""Fixtures of the engine's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.engine.workshop import Workshop


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """An empty workshop."""
    return Workshop(tmp_path)


@pytest.fixture
def one_thread_again() -> Iterator[None]:
    """A job sets the threads of its process."""
    yield
    torch.set_num_threads(1)
