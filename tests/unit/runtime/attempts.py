"""What a stranger's graph could try from inside a child: `python -m tests.unit.runtime.attempts ORDER TARGETS UID`.

It becomes the user, confines itself as the child of this order, tries everything, and prints {attempt: outcome}.
"""

import ctypes
import errno
import fcntl
import json
import mmap
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.contracts.wire.orders import Order
from workers.runtime.child.allowances import of_attempt
from workers.runtime.child.sandbox import confine
from workers.runtime.child.system_calls import DENIED

_libc = ctypes.CDLL(None, use_errno=True)
_COLUMN = 0 if os.uname().machine == "x86_64" else 1
_OTHER_CALLS = {"io_uring_setup": (425, 425), "clone3": (435, 435), "setxattrat": (463, 463)}
_AT_CWD = -100


@dataclass(frozen=True)
class Targets:
    """What is attacked: files, a process and sockets that are not the child's own."""

    database: str
    others_input: str
    own_input: str
    start_folder: str
    outside: str
    process: int
    port: int
    local: str
    abstract: str


def call(name: str, *arguments: object) -> int:
    """A system call by its name; OSError as it fails. A name that this machine lacks counts as unknown."""
    number = (DENIED | _OTHER_CALLS)[name][_COLUMN]
    if number is None:
        raise OSError(errno.ENOSYS, name)
    result = int(_libc.syscall(number, *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def outcome(what: Callable[[], object]) -> str:
    """`done`, or the name of the error."""
    try:
        what()
    except MemoryError:
        return "ENOMEM"
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, type(error).__name__)
    except (RuntimeError, ImportError) as error:
        return type(error).__name__
    return "done"


def _connect(family: int, kind: int, address: tuple[str, int] | str) -> None:
    with socket.socket(family, kind) as each:
        each.settimeout(5)
        each.connect(address)
        each.send(b"x")


def _fork_bomb() -> None:
    for _ in range(3):
        if os.fork() == 0:
            os._exit(0)


def _thread() -> None:
    worker = threading.Thread(target=len, args=("",))
    worker.start()
    worker.join()


def _peek(pid: int) -> None:
    """One byte of another process's memory, at an address that a map of it names."""
    local = ctypes.create_string_buffer(1)
    here = (ctypes.c_size_t * 2)(ctypes.addressof(local), 1)
    there = (ctypes.c_size_t * 2)(0x1000, 1)
    call("process_vm_readv", pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)


def _died_of_its_parent() -> str:
    found = ctypes.c_int()
    _libc.prctl(2, ctypes.byref(found), 0, 0, 0)
    return signal.Signals(found.value).name if found.value else "nothing"


def _link(folder: Path, target: str, how: Callable[[str, Path], object]) -> bytes:
    """Read a file by a link in one's own folder."""
    link = folder / how.__name__
    how(target, link)
    return link.read_bytes()


def _files(order: Order, at: Targets) -> dict[str, Callable[[], object]]:
    folder, outside = Path(order.attempt_dir), Path(at.outside)
    return {
        "read its input": Path(at.own_input).read_bytes,
        "write below its folder": lambda: (folder / "new").write_text("x"),
        "rename below its folder": lambda: (folder / "new").rename(folder / "newer"),
        "make a temporary file": lambda: tempfile.TemporaryDirectory().cleanup(),
        "import a module": lambda: __import__("xml.dom.minidom"),
        "read its own status": Path("/proc/self/status").read_bytes,
        "read the processor's name": Path("/proc/cpuinfo").read_bytes,
        "write a checkpoint": lambda: (Path(order.checkpoints_dir) / "step").write_text("x"),
        "write a cache entry": lambda: (Path(order.cache_dir) / "targets" / "entry").write_text("x"),
        "write its input": lambda: Path(at.own_input).open("ab"),
        "read the database": Path(at.database).read_bytes,
        "write the database": lambda: Path(at.database).open("ab"),
        "truncate the database": lambda: os.truncate(at.database, 0),
        "remove the database": lambda: Path(at.database).unlink(),
        "read the database by a symlink": lambda: _link(folder, at.database, os.symlink),
        "read the database by a hard link": lambda: _link(folder, at.database, os.link),
        "read the database by /proc/self/root": Path(f"/proc/self/root{at.database}").read_bytes,
        "read another job's input": Path(at.others_input).read_bytes,
        "list the inputs of others": lambda: list(Path(at.others_input).parent.iterdir()),
        "write beside its folder": lambda: (folder.parent / "new").write_text("x"),
        "move a file out of its folder": lambda: (folder / "newer").rename(outside.parent / "newer"),
        "read the start folder": lambda: (Path(at.start_folder) / "settings.env").read_bytes(),
        "read /etc/shadow": Path("/etc/shadow").read_bytes,
        "read /etc/passwd": Path("/etc/passwd").read_bytes,
        "read /dev/mem": Path("/dev/mem").read_bytes,
        "write /dev/shm": lambda: Path("/dev/shm/stillhouse-attempt").write_text("x"),
        "write the core pattern": lambda: Path("/proc/sys/kernel/core_pattern").write_text("|/bin/sh"),
        "make a device": lambda: os.mknod(folder / "null", 0o20600, os.makedev(1, 3)),
        "chmod": lambda: outside.chmod(0o777),
        "chmod in its folder": lambda: folder.chmod(0o777),
        "chown": lambda: os.chown(outside, os.getuid(), os.getgid()),
        "utime": lambda: os.utime(outside),
        "setxattr": lambda: os.setxattr(outside, "user.x", b"x"),
        "removexattr": lambda: os.removexattr(outside, "user.x"),
        "setxattrat": lambda: call("setxattrat", _AT_CWD, str(outside).encode(), 0, b"user.x", 0, 0),
        "open_by_handle_at": lambda: call("open_by_handle_at", _AT_CWD, 0, 0),
        "name_to_handle_at": lambda: call("name_to_handle_at", _AT_CWD, b"/", 0, 0, 0),
    }


def _processes(at: Targets) -> dict[str, Callable[[], object]]:
    other = Path(f"/proc/{at.process}")
    limits = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    return {
        "start a thread": _thread,
        "end itself by a signal of 0": lambda: os.kill(os.getpid(), 0),
        "read another's environment": (other / "environ").read_bytes,
        "read another's command line": (other / "cmdline").read_bytes,
        "read another's memory": (other / "mem").read_bytes,
        "read another's maps": (other / "maps").read_bytes,
        "list the processes": lambda: list(Path("/proc").iterdir()),
        "ptrace": lambda: call("ptrace", 16, at.process, 0, 0),
        "process_vm_readv": lambda: _peek(at.process),
        "kill": lambda: os.kill(at.process, 0),
        "own a descriptor for another": lambda: fcntl.fcntl(0, fcntl.F_SETOWN, at.process),
        "own a descriptor for another by ioctl": lambda: fcntl.ioctl(0, 0x8901, struct.pack("i", at.process)),
        "pidfd_open": lambda: os.pidfd_open(at.process),
        "change another's limits": lambda: resource.prlimit(at.process, resource.RLIMIT_CPU, limits),
        "change another's priority": lambda: os.setpriority(os.PRIO_PROCESS, at.process, 19),
        "execute a program": lambda: subprocess.run(["/bin/true"], check=True),
        "execve": lambda: os.execv("/bin/true", ["true"]),
        "posix_spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
        "fork bomb": _fork_bomb,
        "clone3": lambda: call("clone3", 0, 0),
        "become another user": lambda: os.setuid(12345),
        "memory beyond the limit": lambda: bytearray(8 << 30),
        "map memory beyond the limit": lambda: mmap.mmap(-1, 8 << 30),
    }


def _sockets(at: Targets) -> dict[str, Callable[[], object]]:
    return {
        "TCP": lambda: _connect(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", at.port)),
        "UDP": lambda: _connect(socket.AF_INET, socket.SOCK_DGRAM, ("127.0.0.1", at.port)),
        "TCP over IPv6": lambda: _connect(socket.AF_INET6, socket.SOCK_STREAM, ("::1", at.port)),
        "a local socket": lambda: _connect(socket.AF_UNIX, socket.SOCK_STREAM, at.local),
        "an abstract socket": lambda: _connect(socket.AF_UNIX, socket.SOCK_STREAM, f"\0{at.abstract}"),
        "a netlink socket": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
        "a raw socket": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
    }


def _kernel() -> dict[str, Callable[[], object]]:
    attribute = ctypes.create_string_buffer(struct.pack("<IIQ", 1, 112, 0), 112)
    return {
        "shmget": lambda: call("shmget", 0x5111, 4096, 0o1600),
        "semget": lambda: call("semget", 0x5111, 1, 0o1600),
        "msgget": lambda: call("msgget", 0x5111, 0o1600),
        "mq_open": lambda: call("mq_open", b"stillhouse", 0o102, 0o600, 0),
        "io_uring_setup": lambda: call("io_uring_setup", 1, attribute),
        "userfaultfd": lambda: call("userfaultfd", 1),
        "bpf": lambda: call("bpf", 0, attribute, 112),
        "perf_event_open": lambda: call("perf_event_open", attribute, 0, -1, -1, 0),
        "keyctl": lambda: call("keyctl", 0, -3, 1),
        "add_key": lambda: call("add_key", b"user", b"x", b"x", 1, -2),
        "mount": lambda: call("mount", b"none", b"/mnt", b"tmpfs", 0, 0),
        "unshare": lambda: call("unshare", 0x10000000),
        "setns": lambda: call("setns", 0, 0),
        "chroot": lambda: call("chroot", b"/"),
        "load a module": lambda: call("init_module", 0, 0, b""),
        "reboot": lambda: call("reboot", 0, 0, 0, 0),
        "set the clock": lambda: call("clock_settime", 0, 0),
        "personality": lambda: call("personality", 0xFFFFFFFF),
    }


def main(order_file: str, targets: str, user: str) -> None:
    """Print {"in_force": […], "dies with its parent": …, "outcomes": {attempt: outcome}}."""
    order = Order.model_validate_json(Path(order_file).read_bytes())
    at = Targets(**json.loads(targets))
    tempfile.gettempdir()  # as an import may have asked before
    if int(user) != os.getuid():
        os.setgroups([])
        os.setgid(int(user))
        os.setuid(int(user))
    _libc.prctl(1, signal.SIGKILL, 0, 0, 0)
    found: dict[str, Any] = {"in_force": sorted(confine(of_attempt(order)))}
    attempts = _files(order, at) | _processes(at) | _sockets(at) | _kernel()
    found["outcomes"] = {name: outcome(what) for name, what in attempts.items()}
    print(json.dumps({**found, "dies with its parent": _died_of_its_parent()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
