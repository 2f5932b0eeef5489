"""The cache of trained controls: what a killed process left half-written goes, what another is writing stays."""

import os
import time
from pathlib import Path

import torch

from workers.engine.controls import DRAFT_SECONDS, ControlCache


def test_drafts_of_the_dead_are_removed_and_those_of_the_living_stay(tmp_path: Path) -> None:
    cache = ControlCache(tmp_path)
    dead, alive = tmp_path / ".draft-a-1", tmp_path / ".draft-b-2"
    for draft in (dead, alive):
        draft.mkdir()
        (draft / "weights.safetensors").write_bytes(b"half")
    long_ago = time.time() - DRAFT_SECONDS - 60.0
    os.utime(dead, (long_ago, long_ago))
    cache.keep("c", {"weight": torch.zeros(2)}, epoch=1, steps=3)
    assert not dead.exists()
    assert alive.exists()
    assert cache.find("c") is not None
