"""Counter-based randomness: every draw is a function of (seed, stream, counters), not of earlier draws.

A resumed job therefore draws the same numbers as an uninterrupted one, and an additional learner, head or projector
does not change the draws of the others.
"""

import hashlib

import torch


def derived_seed(seed: int, stream: str, *counters: int) -> int:
    """A 63-bit seed from the job's seed, the stream's name and its counters (SHA-256)."""
    text = "/".join([stream, str(seed), *map(str, counters)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, stream: str, *counters: int) -> torch.Generator:
    """A CPU generator that starts at `derived_seed`."""
    return torch.Generator().manual_seed(derived_seed(seed, stream, *counters))


def seed_step(seed: int, stream: str, *counters: int) -> None:
    """Seed torch's default generators, from which dropout draws, with `derived_seed`."""
    value = derived_seed(seed, stream, *counters)
    if torch.cuda.is_initialized() or torch.backends.mps.is_available():  # type: ignore[no-untyped-call]
        torch.manual_seed(value)
    else:  # torch.manual_seed records a traceback for a device that is not in use: 0.3 ms for each call
        torch.default_generator.manual_seed(value)
