"""Faults of the disk, for tests and campaigns: functions of (seed, an empty folder, a database's URL)."""

import json
import random
import shutil
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.faults.campaign.outcome import Needs, Outcome
from tests.faults.disk.publications import BROKEN, NEW, OLD, PUBLICATIONS
from tests.faults.disk.small_disk import MIB, SmallDisk, needs_small_disk
from tests.faults.disk.system_calls import FAULTS, Publishers, needs_strace
from tests.faults.services.serve import eventually

__all__ = ["Needs", "Outcome", "failed_calls", "failed_calls_of", "flipped_bits", "full_disk"]
FEW_CALLS, FEW_FLIPS = 25, 40
DISK = 160 * MIB
FLIPPED = tuple(name for name, publication in PUBLICATIONS.items() if publication.flips_are_found)
_ENDED = ("succeeded", "failed", "cancelled")


def failed_calls(seed: int, folder: Path, url: str = "") -> Outcome:
    """`failed_calls_of` every publication, all calls. Raises Needs."""
    needs_strace()
    with Publishers() as publishers:
        found = [failed_calls_of(publishers, name, seed, folder / name) for name in PUBLICATIONS]
    wrong = [each for outcome in found for each in outcome.stale]
    return Outcome(others=sum(outcome.others for outcome in found), lost=len(wrong), stale=tuple(wrong))


def failed_calls_of(publishers: Publishers, name: str, seed: int, folder: Path, most: int = 10_000) -> Outcome:
    """System calls of a publication fail or kill, one after the other (all, or `most` by the seed), each in another
    way with the next seed: what is read afterwards is whole and of one version, and publishing again succeeds. Raises
    Needs.
    """
    publication, log = PUBLICATIONS[name], folder / "trace"
    before, undisturbed = folder / "before", folder / "undisturbed"
    before.mkdir(parents=True)
    least = 0 if publication.first_stays else OLD
    if least == OLD:
        publication.publish(before, OLD)
    shutil.copytree(before, undisturbed)
    places = publishers.places(name, undisturbed, NEW, log)
    calls = {place.call for place in places}
    assert {"fsync", "write"} <= calls, calls
    assert any(call.startswith("rename") for call in calls), calls
    chosen = sorted(random.Random(f"{seed}-{name}").sample(range(len(places)), min(most, len(places))))
    wrong = []
    for number in chosen:
        place, fault, here = places[number], FAULTS[(seed + number) % len(FAULTS)], folder / f"{number}"
        shutil.copytree(before, here)
        status = publishers.fail_at(place, fault, name, here, NEW, log)
        found = publication.found(here)
        publication.publish(here, NEW)
        again = publication.found(here)
        if status == BROKEN or (found != NEW and (status == 0 or found != least)) or again != NEW:
            wrong.append(f"{name}: {place} with {fault}: status {status}, found {found}, then {again}")
        shutil.rmtree(here)
    return Outcome(others=len(chosen), lost=len(wrong), stale=tuple(wrong))


def flipped_bits(seed: int, folder: Path, url: str = "", *, names: tuple[str, ...] = (), most: int = 400) -> Outcome:
    """Bits of every file of each publication are flipped, one at a time: the older version, or none, is what is found,
    and publishing again repairs it.
    """
    injected, wrong = 0, list[str]()
    for name in names or FLIPPED:
        count, found = _flipped_bits_of(name, random.Random(f"{seed}-{name}"), folder / f"flipped-{name}", most)
        injected, wrong = injected + count, wrong + found
    return Outcome(others=injected, lost=len(wrong), stale=tuple(wrong))


def _flipped_bits_of(name: str, chance: random.Random, folder: Path, most: int) -> tuple[int, list[str]]:
    publication, whole = PUBLICATIONS[name], folder / "whole"
    whole.mkdir(parents=True)
    least = 0 if publication.one_place else OLD
    if least == OLD:
        publication.publish(whole, OLD)
    older = _files(whole)
    publication.publish(whole, NEW)
    fresh = sorted(_files(whole) - older)
    wrong = []
    for number in range(most):
        here, file = folder / f"{number}", fresh[number % len(fresh)]
        shutil.copytree(whole, here)
        place, bit = chance.randrange((here / file).stat().st_size), chance.randrange(8)
        _flip(here / file, place, bit)
        found = publication.found(here)
        publication.publish(here, NEW)
        again = publication.found(here)
        if (found, again) != (least, NEW):
            wrong.append(f"{name}: bit {bit} of byte {place} of {file}: found {found}, then {again}")
        shutil.rmtree(here)
    return most, wrong


def _files(folder: Path) -> set[Path]:
    """Relative to it, without locks."""
    return {path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.stat().st_size}


def _flip(file: Path, place: int, bit: int) -> None:
    file.chmod(0o600)
    content = bytearray(file.read_bytes())
    content[place] ^= 1 << bit
    file.write_bytes(content)


def full_disk(seed: int, folder: Path, url: str = "") -> Outcome:
    """The disk of a service (SQLite, on a tmpfs) runs full while a job trains; its child is killed; space returns.
    Raises Needs.
    """
    needs_small_disk()
    with SmallDisk(folder / "data", DISK) as service:
        return _full_disk(service, folder, seed)


def _full_disk(service: SmallDisk, folder: Path, seed: int) -> Outcome:
    made = upload(service, folder)
    assert made.status_code == 201, made.text
    dataset = service.get(f"/v1/datasets/{made.json()['id']}?wait=60")["id"]
    wrong = [*_refused(service.http.post("/v1/jobs", json=training(dataset, 10, seed, 2048, 2048)), "a job too large")]
    spec = training(dataset, 2000, seed, 512, 256)
    job_id = service.submit(spec)
    service.await_checkpoint(job_id)
    spare = [service.submit(training(dataset, 20, seed, 8, 8)) for _ in range(5)]  # not all of them can be cancelled

    def warned() -> bool:
        service.fill(leave=MIB)
        return any(each["code"] == "checkpoint_failed" for each in service.events(job_id, "warning"))

    eventually(warned)
    wrong += _refused(upload(service, folder), "an upload")
    service.kill("child")
    eventually(lambda: service.get(f"/v1/jobs/{job_id}")["state"] == "queued")
    service.fill()
    wrong += _refused(upload(service, folder), "an upload on a disk without a byte")
    wrong += _refused(service.http.get("/readyz"), "the readiness of a service on a disk without a byte")
    for each in spare:
        for answer in (service.http.post(f"/v1/jobs/{each}/cancel"), service.http.delete(f"/v1/jobs/{each}")):
            if answer.status_code >= 500:  # what was written before leaves room in SQLite's log for a few changes
                wrong += _refused(answer, "a change on a disk without a byte")
    answer = service.http.get(f"/v1/jobs/{job_id}")
    if answer.status_code != 200 or answer.json()["state"] != "queued":
        wrong.append(f"a job on a full disk: {answer.text}")

    service.empty()
    began = time.monotonic()
    eventually(lambda: service.get(f"/v1/jobs/{job_id}")["state"] != "queued")
    recovery = time.monotonic() - began
    job = service.succeed(job_id)
    if job["attempt"] != 2:
        wrong.append(f"{job['attempt']} attempts instead of 2")
    if upload(service, folder).status_code != 201:
        wrong.append("no upload when space had returned")
    ends = [event["state"] for event in service.events(job_id, "state") if event["state"] in _ENDED]
    undisturbed = service.succeed(service.submit(spec))["id"]
    digests = {service.get(f"/v1/jobs/{each}/report")["digests"]["student"] for each in (job_id, undisturbed)}
    exact = bool(service.get(f"/v1/jobs/{job_id}/report")["bit_exact"]) and len(digests) == 1
    doubled = len(ends) - 1
    return Outcome(kills=1, others=2, doubled=doubled, stale=tuple(wrong), bit_exact=exact, recovery=recovery)


def _refused(answer: httpx.Response, what: str) -> list[str]:
    if (answer.status_code, answer.json().get("code")) == (507, "no_room"):
        return []
    return [f"{what} was answered with {answer.status_code}: {answer.text}"]


def upload(service: SmallDisk, folder: Path) -> httpx.Response:
    """POST a dataset of 600 rows."""
    chance = np.random.default_rng(0)
    x = chance.normal(size=(600, 16)).astype(np.float32)
    np.savez(folder / "rows.npz", x=x, y=(x[:, 0] > 0).astype(np.int64))
    manifest = {
        "name": "rows",
        "format": "npz",
        "inputs": {"x": {"kind": "array"}},
        "targets": {"y": {"kind": "class", "classes": 2}},
    }
    with (folder / "rows.npz").open("rb") as body:
        encoded = json.dumps(manifest).encode()
        return service.http.post("/v1/datasets", files={"manifest": (None, encoded), "file": body})


def training(dataset: str, steps: int, seed: int, *hidden: int) -> dict[str, Any]:
    """A train job of so many steps."""
    return {
        "kind": "train",
        "dataset": dataset,
        "model": {"family": "mlp", "hidden": list(hidden)},
        "training": {"steps": steps, "threads": 1, "seed": seed},
    }
