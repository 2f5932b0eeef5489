"""Numbers of system calls on x86-64 and arm64 (asm/unistd_64.h, asm-generic/unistd.h), by what they are denied for."""

import platform
from dataclasses import dataclass
from typing import Final

Numbers = tuple[int, int | None]
"""On x86-64, and on arm64; None where it has no such call."""

PROGRAMS: Final[dict[str, Numbers]] = {
    "fork": (57, None),
    "vfork": (58, None),
    "execve": (59, 221),
    "execveat": (322, 281),
}
OTHER_PROCESSES: Final[dict[str, Numbers]] = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "setpriority": (141, 140),
    "ioprio_set": (251, 30),
    "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118),
    "sched_setattr": (314, 274),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
}
OWN_PROCESS: Final[dict[str, Numbers]] = {"kill": (62, 129), "tgkill": (234, 131), "prlimit64": (302, 261)}
"""Allowed for this process alone: their first argument is its id. A child ends itself by the first."""
OWNERS: Final[dict[str, tuple[Numbers, tuple[int, ...]]]] = {
    "fcntl": ((72, 25), (8, 15)),  # F_SETOWN, F_SETOWN_EX
    "ioctl": ((16, 29), (0x8901, 0x8902)),  # FIOSETOWN, SIOCSPGRP
}
"""Denied with these second arguments: they name a process to which the kernel sends a signal of the caller's choice."""
ATTRIBUTES: Final[dict[str, Numbers]] = {
    # Landlock does not cover owners, modes, times and extended attributes, and nothing here changes them.
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "fchown": (93, 55),
    "lchown": (94, None),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
}
SHARED_BY_NAME: Final[dict[str, Numbers]] = {
    # System V memory, semaphores and queues, and POSIX queues: they have names of their own, outside every folder.
    "shmget": (29, 194),
    "shmat": (30, 196),
    "shmctl": (31, 195),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
}
KERNEL: Final[dict[str, Numbers]] = {
    # Most need capabilities, which are dropped; they are denied as well, as doors of past errors of the kernel.
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "perf_event_open": (298, 241),
    "keyctl": (250, 219),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "unshare": (272, 97),
    "setns": (308, 268),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    "fanotify_init": (300, 262),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "syslog": (103, 116),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "clock_adjtime": (305, 266),
    "adjtimex": (159, 171),
    "personality": (135, 92),
    "modify_ldt": (154, None),
    "iopl": (172, None),
    "ioperm": (173, None),
    "vhangup": (153, 58),
    "lookup_dcookie": (212, 18),
}
DENIED: Final = PROGRAMS | OTHER_PROCESSES | ATTRIBUTES | SHARED_BY_NAME | KERNEL
ABSENT: Final[dict[str, Numbers]] = {
    # As if the kernel did not have them: io_uring would bypass the filter, and a filter cannot read clone3's flags,
    # which are behind a pointer. Libraries fall back to other calls, and to clone.
    "io_uring_setup": (425, 425),
    "clone3": (435, 435),
}
NEWER: Final = 463
"""Calls from this number on are newer than this list (Linux 6.13: setxattrat), the same on both: absent as well."""


_ARCHITECTURES: Final = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}
"""How the kernel names each, and its place in the tables."""
_SOCKET: Final[Numbers] = (41, 198)
_CLONE: Final[Numbers] = (56, 220)


@dataclass(frozen=True)
class Calls:
    """The numbers of one architecture; `audit`: how the kernel names it."""

    audit: int
    socket: int
    clone: int
    own_process: tuple[int, ...]
    owners: tuple[tuple[int, tuple[int, ...]], ...]
    """Numbers with the second arguments that are denied."""
    denied: tuple[int, ...]
    absent: tuple[int, ...]


def calls_of_this_machine() -> Calls | None:
    """The numbers of the architecture that this process runs on; None where they are not known."""
    if platform.machine() not in _ARCHITECTURES:
        return None
    audit, place = _ARCHITECTURES[platform.machine()]

    def numbers(*each: Numbers) -> tuple[int, ...]:
        return tuple(number for pair in each if (number := pair[place]) is not None)

    socket, clone = numbers(_SOCKET, _CLONE)
    return Calls(
        audit,
        socket,
        clone,
        own_process=numbers(*OWN_PROCESS.values()),
        owners=tuple((number, seconds) for pair, seconds in OWNERS.values() for number in numbers(pair)),
        denied=numbers(*DENIED.values()),
        absent=numbers(*ABSENT.values()),
    )
