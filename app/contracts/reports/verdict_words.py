"""The words of a verdict."""

from typing import Literal

VerdictWord = Literal[
    "gain",
    "no_gain",
    "loss",
    "inconclusive",
    "provisional_gain",
    "provisional_loss",
    "undecided",
    "not_applicable",
]
