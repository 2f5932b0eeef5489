"""Counter-based randomness: every draw is a function of (seed, stream, counters) and of nothing that came before.

So a resumed job draws what an uninterrupted one draws, and one learner, head or projector more never shifts the
draws of another.
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
    """Start torch's default generators (dropout draws from them) at `derived_seed`."""
    wanted = derived_seed(seed, stream, *counters)
    if torch.cuda.is_initialized() or torch.backends.mps.is_available():  # type: ignore[no-untyped-call]
        torch.manual_seed(wanted)
    else:  # torch would note down a traceback for a device that is not in use: a third of a millisecond each time
        torch.default_generator.manual_seed(wanted)
