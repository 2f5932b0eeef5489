"""Programs that the demos run beside the service."""

import subprocess
import sys
from pathlib import Path

from tests.demo.console import say


def program(work: Path, *words: str | Path) -> str:
    """Run Python; its output is shown and returned."""
    say("  $ python " + " ".join(str(word).replace(f"{work}/", "") for word in words))
    done = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    say("  " + done.stdout.partition("\n")[0])
    return done.stdout
