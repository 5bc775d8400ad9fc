"""A second wall around a child kernel: system calls that its code never needs, refused by the kernel of the system.

Namespaces and lost capabilities already make these calls fail. Refused before they are looked at, they also give no
way to a fault in the system's own code. The filter is a program for Linux's classic BPF machine
(linux/seccomp.h, linux/filter.h), made here by hand: a list of comparisons needs no compiler.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NUMBER, _ARCHITECTURE = 0, 4
_X32 = 0x40000000
"""x86_64's second set of numbers begins here. The first calls that other architectures have are far below."""

_FAMILIES = (1, 2, 10)
"""AF_UNIX, AF_INET and AF_INET6, which reach nothing but the sandbox's own loopback. AF_NETLINK has its own rule."""
_NETLINK = 16
_NEW_NAMESPACES = 0x7E020000
_TIOCSTI = 0x5412
"""Puts input into a terminal."""


@dataclass(frozen=True, slots=True)
class _Machine:
    """An architecture: its code, and the numbers of the calls that differ between architectures."""

    code: int
    clone: int
    socket: int
    ioctl: int
    refused: Sequence[int]


_REFUSED: Mapping[str, tuple[int, int]] = {
    "shmget": (29, 194),
    "msgget": (68, 186),
    "ptrace": (101, 117),
    "syslog": (103, 116),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "acct": (163, 89),
    "mount": (165, 40),
    "umount2": (166, 39),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "init_module": (175, 105),
    "delete_module": (176, 106),
    "quotactl": (179, 60),
    "kexec_load": (246, 104),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "unshare": (272, 97),
    "perf_event_open": (298, 241),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "setns": (308, 268),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "kcmp": (312, 272),
    "finit_module": (313, 273),
    "memfd_create": (319, 279),
    "kexec_file_load": (320, 294),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
}
"""The numbers of refused calls, on x86_64 and on aarch64.

Some make memory that belongs to no process: where no control group can be had, nothing else would bound it.
"""
_REFUSED_EVERYWHERE = (425, 426, 427, 428, 429, 430, 431, 432, 433, 438, 442, 447)
"""io_uring_*, open_tree to fspick, pidfd_getfd, mount_setattr and memfd_secret: new calls are the same everywhere."""
_MACHINES = {
    "x86_64": _Machine(0xC000003E, 56, 41, 16, [x86 for x86, _ in _REFUSED.values()]),
    "aarch64": _Machine(0xC00000B7, 220, 198, 29, [arm for _, arm in _REFUSED.values()]),
}
_CLONE3 = 435
"""Its flags lie in memory, where no filter can look. C libraries use `clone` when they are told that it is missing."""


@cache
def program() -> bytes:
    """Return the filter for this machine, in the form that bubblewrap and the system take; empty if it is unknown."""
    machine = _MACHINES.get(platform.machine())
    if machine is None:
        return b""
    refused, missing = _ERRNO | errno.EPERM, _ERRNO | errno.ENOSYS
    lines = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        *_unless(_EQUAL, machine.code, refused),
        (_LOAD, 0, 0, _NUMBER),
        *_when(_AT_LEAST, _X32, refused),
        *_when(_EQUAL, _CLONE3, missing),
    ]
    for number in (*machine.refused, *_REFUSED_EVERYWHERE):
        lines += _when(_EQUAL, number, refused)
    lines += _call(machine.clone, [_argument(0), *_when(_ANY_BIT, _NEW_NAMESPACES, refused)])
    lines += _call(machine.ioctl, [_argument(1), *_when(_EQUAL, _TIOCSTI, refused)])
    family = _ERRNO | errno.EAFNOSUPPORT
    # NETLINK_ROUTE, by which the C library lists interfaces, and no other protocol.
    netlink = [*_unless(_EQUAL, _NETLINK, family), _argument(2), *_unless(_EQUAL, 0, family)]
    known = [line for number in _FAMILIES for line in _when(_EQUAL, number, _ALLOW)]
    lines += _call(machine.socket, [_argument(0), *known, *netlink])
    lines.append((_RETURN, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


_Line = tuple[int, int, int, int]
"""Operation, how many lines to skip if a comparison holds and if not, and a constant."""


def _when(comparison: int, value: int, result: int) -> Sequence[_Line]:
    """End with `result` if the comparison holds."""
    return ((comparison, 0, 1, value), (_RETURN, 0, 0, result))


def _unless(comparison: int, value: int, result: int) -> Sequence[_Line]:
    return ((comparison, 1, 0, value), (_RETURN, 0, 0, result))


def _call(number: int, lines: Sequence[_Line]) -> Sequence[_Line]:
    """Judge the call `number` by `lines` alone, which load its arguments."""
    return ((_EQUAL, 0, len(lines) + 1, number), *lines, (_RETURN, 0, 0, _ALLOW))


def _argument(index: int) -> _Line:
    """Load the lower half of an argument: all that the calls in question look at."""
    return (_LOAD, 0, 0, 16 + 8 * index)
