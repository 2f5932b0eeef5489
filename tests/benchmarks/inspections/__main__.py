"""python -m tests.benchmarks.inspections [--against CHECKOUT] [--rounds 15]

Each upload is posted to a service of this tree and to one of another checkout in turns (its `.venv` has to exist), so
that both meet the same machine. Memory is the peak of a fresh process that has imported what a worker's child has, and
inspects the file once.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import httpx

from tests.benchmarks.figures import say
from tests.benchmarks.inspections.uploads import Upload, uploads
from tests.demo.service import Service

HERE = Path(__file__).parents[3]
PROBE = Path(__file__).with_name("probe.py")


def _seconds(http: httpx.Client, upload: Upload) -> float:
    """From the start of the upload to the answer `ready`."""
    began = time.perf_counter()
    with upload.path.open("rb") as body:
        manifest = (None, json.dumps(upload.manifest).encode())
        made = http.post(f"/v1/{upload.kind}", files={"manifest": manifest, "file": body})
    made.raise_for_status()
    found = http.get(f"/v1/{upload.kind}/{made.json()['id']}?wait=60").json()
    taken = time.perf_counter() - began
    assert found["state"] == "ready", found["rejection"]
    http.delete(f"/v1/{upload.kind}/{made.json()['id']}").raise_for_status()
    return taken


def _mebibytes(checkout: Path, upload: Upload, folder: Path) -> float:
    """The peak of memory of a process that inspects the file."""
    words = [checkout / ".venv/bin/python", PROBE, upload.kind, json.dumps(upload.manifest), upload.path, folder]
    done = subprocess.run(list(map(str, words)), cwd=checkout, check=True, stdout=subprocess.PIPE, text=True)
    return float(done.stdout)


def _compare(upload: Upload, clients: Sequence[httpx.Client], checkouts: Sequence[Path], rounds: int) -> None:
    seconds = [[_seconds(client, upload) for client in clients] for _ in range(rounds + 1)][1:]  # the first warms up
    times = [statistics.median(each) for each in zip(*seconds, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        memory = [_mebibytes(checkout, upload, Path(folder)) for checkout in checkouts]
    figures = " and ".join(
        f"{time * 1000:6.0f} ms {mebibytes:4.0f} MiB" for time, mebibytes in zip(times, memory, strict=True)
    )
    ratios = "" if len(times) < 2 else f"; ratios {times[0] / times[1]:.2f} {memory[0] / memory[1]:.2f}"
    print(f"  {upload.name:<24} {figures}{ratios}", flush=True)


def main() -> None:
    """Print the medians of each upload, and their ratios to the other checkout's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    words = parser.parse_args()
    checkouts = [HERE] if words.against is None else [HERE, words.against.resolve()]
    say("From an upload to `ready`, and memory of the inspection: this tree, and the other checkout")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        clients = []
        for index, checkout in enumerate(checkouts):
            service = stack.enter_context(
                Service(folder / f"data{index}", executable=checkout / ".venv/bin/stillhouse")
            )
            headers = {"Authorization": f"Bearer {service.key}"}
            clients.append(stack.enter_context(httpx.Client(base_url=service.url, headers=headers, timeout=90)))
        for upload in uploads(folder):
            _compare(upload, clients, checkouts, words.rounds)


if __name__ == "__main__":
    main()
