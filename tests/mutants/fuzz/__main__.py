"""`python -m tests.mutants.fuzz --minutes 1 --seed 0`: calls for two thirds of the time, changed files for the rest."""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from tests.databases import DATABASES
from tests.mutants.fuzz.calls import send

_MOST_MUTANTS: Final = 1_000_000


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=1.0, help="besides the start of the service")
    parser.add_argument("--seed", type=int, default=0, help="of calls and files")
    parser.add_argument("--database", choices=DATABASES, default="postgresql", help="of the service")
    return parser.parse_args()


def main() -> None:
    """Run it. The exit status is 1 if there was a fault, however many calls there were."""
    arguments = _arguments()
    print(
        f"python -m tests.mutants.fuzz --minutes {arguments.minutes:g} --seed {arguments.seed} "
        f"--database {arguments.database}",
        flush=True,
    )
    folder = Path(tempfile.mkdtemp(prefix="stillhouse-fuzz-"))
    answered = send(folder, arguments.database, arguments.seed, max(1, round(40 * arguments.minutes)))
    files = [sys.executable, "-m", "tests.mutants", "--seed", str(arguments.seed), "--count", str(_MOST_MUTANTS)]
    read = subprocess.run([*files, "--minutes", str(arguments.minutes / 3)], check=False).returncode == 0
    if answered:
        shutil.rmtree(folder)
    else:
        print(f"repeat the calls with this seed; what the service held is kept in {folder}")
    sys.exit(0 if answered and read else 1)


if __name__ == "__main__":
    main()
