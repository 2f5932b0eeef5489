"""Fixtures of the engine's tests."""

from pathlib import Path

import pytest

from tests.engine.workshop import Workshop


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """An empty workshop."""
    return Workshop(tmp_path)
