"""What a confined child can and cannot do: tried in processes of their own, on this kernel, as root and as another."""

import json
import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from app.contracts.resources.manifests import DatasetManifest
from app.contracts.specs.architectures import Mlp
from app.contracts.specs.jobs import InspectJob, TrainJob
from app.contracts.wire.orders import DatasetInput, Order
from tests.unit.runtime.attempts import Targets
from workers.runtime.child import landlock
from workers.runtime.child.sandbox import lacking

ROOT = Path(__file__).parents[3]
NOBODY = 65534
MEMORY = 2 << 30
DATASET = "ds_01a22ece-40ff-7188-bd8c-a043cfa2050a"
DENIED, REFUSED, ABSENT = "EPERM", "EACCES", "ENOSYS"
OUTCOMES = {
    # Its work.
    "read its input": "done",
    "write below its folder": "done",
    "rename below its folder": "done",
    "make a temporary file": "done",
    "import a module": "done",
    "read its own status": "done",
    "read the processor's name": "done",
    "start a thread": "done",
    "end itself by a signal of 0": "done",
    # Files of others.
    "write its input": REFUSED,
    "read the database": REFUSED,
    "write the database": REFUSED,
    "truncate the database": REFUSED,
    "remove the database": REFUSED,
    "read the database by a symlink": REFUSED,
    "read the database by a hard link": "EXDEV",
    "read the database by /proc/self/root": REFUSED,
    "read another job's input": REFUSED,
    "list the inputs of others": REFUSED,
    "write beside its folder": REFUSED,
    "move a file out of its folder": REFUSED,
    "read the start folder": REFUSED,
    "read /etc/shadow": REFUSED,
    "read /etc/passwd": REFUSED,
    "read /dev/mem": REFUSED if Path("/dev/mem").exists() else "ENOENT",
    "write /dev/shm": REFUSED,
    "write the core pattern": REFUSED,
    "make a device": DENIED,
    "chmod": DENIED,
    "chmod in its folder": DENIED,
    "chown": DENIED,
    "utime": DENIED,
    "setxattr": DENIED,
    "removexattr": DENIED,
    "setxattrat": ABSENT,
    "open_by_handle_at": DENIED,
    "name_to_handle_at": DENIED,
    # Other processes, and more of them.
    "read another's environment": REFUSED,
    "read another's command line": REFUSED,
    "read another's memory": REFUSED,
    "read another's maps": REFUSED,
    "list the processes": REFUSED,
    "ptrace": DENIED,
    "process_vm_readv": DENIED,
    "kill": DENIED,
    "own a descriptor for another": DENIED,
    "own a descriptor for another by ioctl": DENIED,
    "pidfd_open": DENIED,
    "change another's limits": DENIED,
    "change another's priority": DENIED,
    "execute a program": DENIED,
    "execve": DENIED,
    "posix_spawn": DENIED,
    "fork bomb": DENIED,
    "clone3": ABSENT,
    "become another user": DENIED,
    "memory beyond the limit": "ENOMEM",
    "map memory beyond the limit": "ENOMEM",
    # Sockets.
    "TCP": REFUSED,
    "UDP": REFUSED,
    "TCP over IPv6": REFUSED,
    "a local socket": REFUSED,
    "an abstract socket": REFUSED,
    "a netlink socket": REFUSED,
    "a raw socket": REFUSED,
    # The kernel.
    "shmget": DENIED,
    "semget": DENIED,
    "msgget": DENIED,
    "mq_open": DENIED,
    "io_uring_setup": ABSENT,
    "userfaultfd": DENIED,
    "bpf": DENIED,
    "perf_event_open": DENIED,
    "keyctl": DENIED,
    "add_key": DENIED,
    "mount": DENIED,
    "unshare": DENIED,
    "setns": DENIED,
    "chroot": DENIED,
    "load a module": DENIED,
    "reboot": DENIED,
    "set the clock": DENIED,
    "personality": DENIED,
}
"""The same for every child and every user."""
OF_JOBS = {"write a checkpoint": "done", "write a cache entry": "done"}
OF_INSPECTIONS = {"write a checkpoint": REFUSED, "write a cache entry": REFUSED}
IN_FORCE = ["few_calls", "few_files", "limits", "no_capabilities", "no_network", "no_new_privileges"]
SPECS: dict[str, TrainJob | InspectJob] = {
    "training": TrainJob(kind="train", dataset=DATASET, model=Mlp(family="mlp")),
    "inspection": InspectJob(dataset=DATASET),
}

needs_landlock = pytest.mark.skipif(landlock.version() < 6, reason="this kernel's Landlock is older than version 6")


@pytest.fixture
def data(user: int) -> Iterator[Path]:
    """A data directory that is all the user's own: only the sandbox keeps a child from it."""
    with tempfile.TemporaryDirectory() as made:  # pytest's folders are closed to other users
        folder = Path(made)
        for name in ("jobs/j/attempt-1", "jobs/j/checkpoints", "cache/inputs", "cache/targets", "start"):
            (folder / name).mkdir(parents=True)
        for name in ("stillhouse.db", "cache/inputs/own", "cache/inputs/other", "start/settings.env", "jobs/j/outside"):
            (folder / name).write_text("secret")
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, user, user)
        yield folder


def order_of(kind: str, data: Path) -> Order:
    """An order as the supervisor writes it."""
    manifest = DatasetManifest.model_validate(
        {"name": "d", "format": "npz", "inputs": {"x": {"kind": "array"}}, "targets": {"y": {"kind": "value"}}}
    )
    given = DatasetInput(id=DATASET, path=str(data / "cache" / "inputs" / "own"), sha256="0" * 64, manifest=manifest)
    return Order(
        job="j",
        attempt=1,
        spec=SPECS[kind],
        datasets={DATASET: given},
        device="cpu",
        threads=1,
        attempt_dir=str(data / "jobs" / "j" / "attempt-1"),
        checkpoints_dir=str(data / "jobs" / "j" / "checkpoints"),
        cache_dir=str(data / "cache"),
        cache_bytes=1 << 20,
        memory_bytes=MEMORY,
    )


def tried(kind: str, data: Path, user: int) -> dict[str, Any]:
    """What a child of this kind found; its victim is a process of the same user."""
    (data / "order.json").write_text(order_of(kind, data).model_dump_json(by_alias=True))
    (data / "order.json").chmod(0o644)
    credentials: dict[str, Any] = {"user": user, "group": user, "extra_groups": []} if os.getuid() == 0 else {}
    local, abstract = str(data / "socket"), f"stillhouse-{os.getpid()}"
    with (
        socket.create_server(("127.0.0.1", 0)) as tcp,
        socket.socket(socket.AF_UNIX) as named,
        socket.socket(socket.AF_UNIX) as unnamed,
        subprocess.Popen(["/bin/sleep", "60"], **credentials) as victim,
    ):
        for server, address in ((named, local), (unnamed, f"\0{abstract}")):
            server.bind(address)
            server.listen()
        Path(local).chmod(0o666)
        targets = Targets(
            database=str(data / "stillhouse.db"),
            others_input=str(data / "cache" / "inputs" / "other"),
            own_input=str(data / "cache" / "inputs" / "own"),
            start_folder=str(data / "start"),
            outside=str(data / "jobs" / "j" / "outside"),
            process=victim.pid,
            port=tcp.getsockname()[1],
            local=local,
            abstract=abstract,
        )
        words = [str(data / "order.json"), json.dumps(asdict(targets)), str(user)]
        command = [sys.executable, "-P", "-m", "tests.unit.runtime.attempts", *words]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            command, cwd=data / "start", env=environment, capture_output=True, text=True, check=False, timeout=60
        )
        victim.kill()
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@needs_landlock
@pytest.mark.parametrize("kind", SPECS)
@pytest.mark.parametrize("user", [0, NOBODY] if os.getuid() == 0 else [os.getuid()], ids=str)
def test_a_child_can_do_its_work_and_nothing_else(kind: str, user: int, data: Path) -> None:
    found = tried(kind, data, user)
    if user != 0:
        assert found["outcomes"].pop("become another user") == "EINVAL"  # its namespace has no other user
        found["outcomes"]["become another user"] = DENIED
    if user != os.getuid():
        found["outcomes"]["import a module"] = "done"  # whether Python is readable for others is not the sandbox's
    assert found["outcomes"] == OUTCOMES | (OF_JOBS if kind == "training" else OF_INSPECTIONS)
    assert found["in_force"] == IN_FORCE
    assert found["dies with its parent"] == "SIGKILL"
    assert (data / "stillhouse.db").read_text() == "secret"


def run(code: str, folder: Path) -> list[str]:
    """The words that a program prints whose argument is this folder."""
    command = [sys.executable, "-c", code, str(folder)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()


def test_confinement_reaches_threads_started_later(tmp_path: Path) -> None:
    code = (
        "import sys, threading\n"
        "from pathlib import Path\n"
        "from workers.runtime.child.sandbox import Allowed, confine, has_network\n"
        "confine(Allowed(Path(sys.argv[1])))\n"
        "found = []\n"
        "thread = threading.Thread(target=lambda: found.append(has_network()))\n"
        "thread.start(); thread.join()\n"
        "print(found[0], has_network())\n"
    )
    assert run(code, tmp_path) == ["False", "False"]


def test_the_driver_of_a_gpu_has_local_sockets_and_no_internet(tmp_path: Path) -> None:
    code = (
        "import socket, sys\n"
        "from pathlib import Path\n"
        "from workers.runtime.child.sandbox import Allowed, confine, has_network\n"
        "confine(Allowed(Path(sys.argv[1]), gpu=True))\n"
        "socket.socket(socket.AF_UNIX).close()\n"
        "print(has_network())\n"
    )
    assert run(code, tmp_path) == ["False"]


def test_a_program_that_a_child_has_started_for_it_is_confined_too(tmp_path: Path) -> None:
    """The helper starts it, since the child may not; it reads and does no more than the child."""
    program, secret, folder = tmp_path / "program.py", tmp_path / "secret", tmp_path / "folder"
    folder.mkdir()
    secret.write_text("secret")
    program.write_text(
        "import os, sys\n"
        "from pathlib import Path\n"
        "for line in sys.stdin:\n"
        "    done = 0\n"
        "    for attempt in (Path(sys.argv[1]).read_text, os.fork):\n"
        "        try:\n"
        "            attempt()\n"
        "            done += 1\n"
        "        except PermissionError:\n"
        "            pass\n"
        "    print(done, flush=True)\n"
    )
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "from workers.runtime.child.confined import confined_command\n"
        "from workers.runtime.child.helper import Helper\n"
        "from workers.runtime.child.sandbox import Allowed, confine\n"
        "folder = Path(sys.argv[1])\n"
        "program, secret = (str(folder.parent / name) for name in ('program.py', 'secret'))\n"
        "allowed = Allowed(folder, readable=(Path(program),))\n"
        "helper = Helper([*confined_command(allowed), program, secret])\n"
        "confine(allowed)\n"
        "print(helper.call('?'), helper.call('again'))\n"
    )
    assert run(code, folder) == ["0", "0"]


def test_a_helper_that_fails_answers_nothing(tmp_path: Path) -> None:
    code = (
        "from workers.runtime.child.helper import Helper\n"
        "helper = Helper(['/bin/false'])\n"
        "print(helper.call(1), helper.call(2))\n"
    )
    assert run(code, tmp_path) == ["None", "None"]


@needs_landlock
def test_a_worker_says_what_its_machine_does_not_keep_children_from(monkeypatch: pytest.MonkeyPatch) -> None:
    assert lacking() == []
    monkeypatch.setattr(landlock, "version", lambda: 0)
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    files, calls = lacking()
    assert "can read every file" in files
    assert "riscv64" in calls
