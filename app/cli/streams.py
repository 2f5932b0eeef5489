"""The standard streams of a command, whatever its caller made of them."""

import io
import os
import sys
from pathlib import Path


def prepare_streams() -> None:
    """Let every command read and write: a closed stream becomes an empty one, and what the encoding of stdout lacks is
    written as an escape.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):  # in the order of their descriptors
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115 (it lasts as long as the process)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
