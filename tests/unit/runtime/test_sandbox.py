"""What a confined process can and cannot do: tried in a process of its own, on this kernel."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from workers.runtime.child import landlock

ROOT = Path(__file__).parents[3]

_TRY = """
import ctypes, json, os, socket, subprocess, sys, tempfile, threading
from pathlib import Path
from workers.runtime.child.sandbox import confine_untrusted, confine_training

def tried(what):
    try:
        what()
    except (OSError, MemoryError) as error:
        return type(error).__name__
    return "done"

def thread():
    worker = threading.Thread(target=len, args=("",))
    worker.start()
    worker.join()

def connect(family, address):
    with socket.socket(family, socket.SOCK_STREAM) as each:
        each.settimeout(5)
        each.connect(address)

def kept_pdeath():
    signal = ctypes.c_int()
    ctypes.CDLL(None).prctl(2, ctypes.byref(signal), 0, 0, 0)
    return signal.value

folder, data, secret, parent, port, mode = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), *sys.argv[4:]
ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)
tempfile.gettempdir()  # as an import may have asked before
found = {"in_force": sorted(
    confine_untrusted(folder, [data], 2 << 30) if mode == "inspection" else confine_training()
)}
found |= {
    "write inside": tried(lambda: (folder / "new").write_text("x")),
    "rename inside": tried(lambda: (folder / "new").rename(folder / "newer")),
    "write outside": tried(lambda: (folder.parent / "new").write_text("x")),
    "remove outside": tried(secret.unlink) if mode == "inspection" else None,
    "read input": tried(data.read_bytes),
    "change input": tried(lambda: data.open("ab")),
    "read secret": tried(secret.read_bytes),
    "environment of others": tried(lambda: Path(f"/proc/{parent}/environ").read_bytes()),
    "signal others": tried(lambda: os.kill(int(parent), 0)),
    "run a program": tried(lambda: subprocess.run(["/bin/true"], check=True)),
    "fork": tried(lambda: os.fork() or os._exit(0)),
    "start a thread": tried(thread),
    "internet": tried(lambda: connect(socket.AF_INET, ("127.0.0.1", int(port)))),
    "local socket": tried(lambda: socket.socket(socket.AF_UNIX).close()),
    "import": tried(lambda: __import__("xml.dom.minidom")),
    "temporary file": tried(lambda: tempfile.TemporaryDirectory().cleanup()),
    "much memory": tried(lambda: bytearray(3 << 30)) if mode == "inspection" else None,
    "dies with its parent": kept_pdeath(),
}
print(json.dumps(found))
"""


@pytest.fixture
def confined(tmp_path: Path, request: pytest.FixtureRequest) -> dict[str, Any]:
    """What a process found that was confined as the parameter says."""
    folder, data, secret = tmp_path / "attempt", tmp_path / "data.npz", tmp_path / "admin.key"
    folder.mkdir()
    data.write_bytes(b"rows")
    secret.write_bytes(b"key")
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        words = [str(folder), str(data), str(secret), str(os.getpid()), str(server.getsockname()[1]), request.param]
        command = [sys.executable, "-c", _TRY, *words]
        answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert answer.returncode == 0, answer.stderr
    found: dict[str, Any] = json.loads(answer.stdout)
    return found


needs_landlock = pytest.mark.skipif(landlock.version() < 6, reason="this kernel's Landlock is older than version 6")


@needs_landlock
@pytest.mark.parametrize("confined", ["inspection"], indirect=True)
def test_an_inspection_can_do_its_work_and_nothing_else(confined: dict[str, Any]) -> None:
    assert confined == {
        "in_force": ["few_calls", "few_files", "limits", "no_capabilities", "no_network", "no_new_privileges"],
        "write inside": "done",
        "rename inside": "done",
        "write outside": "PermissionError",
        "remove outside": "PermissionError",
        "read input": "done",
        "change input": "PermissionError",
        "read secret": "PermissionError",
        "environment of others": "PermissionError",
        "signal others": "PermissionError",
        "run a program": "PermissionError",
        "fork": "PermissionError",
        "start a thread": "done",
        "internet": "PermissionError",
        "local socket": "PermissionError",
        "import": "done",
        "temporary file": "done",
        "much memory": "MemoryError",
        "dies with its parent": 9,
    }


@pytest.mark.parametrize("confined", ["training"], indirect=True)
def test_a_training_has_no_internet(confined: dict[str, Any]) -> None:
    assert confined["in_force"] == ["no_internet", "no_new_privileges"]
    assert confined["internet"] == "PermissionError"
    assert confined["local socket"] == "done"  # a GPU's driver may need one
    assert confined["start a thread"] == "done"
    assert confined["dies with its parent"] == 9


def test_confinement_reaches_threads_started_later() -> None:
    code = (
        "import socket, threading\n"
        "from workers.runtime.child.sandbox import confine_training, has_network\n"
        "confine_training()\n"
        "found = []\n"
        "thread = threading.Thread(target=lambda: found.append(has_network()))\n"
        "thread.start(); thread.join()\n"
        "print(found[0], has_network())\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "False"]
