"""Move this process into a sandbox that bubblewrap has made, and give up every privilege on the way."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import struct

_libc = ctypes.CDLL(None, use_errno=True)

_NS_GET_USERNS = 0xB701
_NEW = {"mnt": 0x20000, "cgroup": 0x2000000, "uts": 0x4000000, "ipc": 0x8000000, "net": 0x40000000, "pid": 0x20000000}
_NEW_USER = 0x10000000
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NAME, _PR_CAPBSET_DROP = 1, 4, 15, 24
_PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 22, 2
_CAPABILITIES_VERSION = 0x20080522


def join(first: int) -> None:
    """Enter all namespaces of the process `first`, and keep no capability. Children are in its process namespace too.

    Bubblewrap makes all namespaces in a user namespace of its own and then goes on to one below that. The way is
    the same here: capabilities in the one that owns the others are needed to enter them, and end in the last.

    Raises:
        OSError: the system does not allow it.
    """
    spaces = {name: os.open(f"/proc/{first}/ns/{name}", os.O_RDONLY | os.O_CLOEXEC) for name in [*_NEW, "user"]}
    owner = fcntl.ioctl(spaces["mnt"], _NS_GET_USERNS)
    _enter(owner, _NEW_USER)
    for name, kind in _NEW.items():
        _enter(spaces[name], kind)
    if not os.path.sameopenfile(owner, spaces["user"]):
        _enter(spaces["user"], _NEW_USER)
    for descriptor in (owner, *spaces.values()):
        os.close(descriptor)
    _drop_privileges()


def die_with(parent: int) -> None:
    """Have this process killed when `parent`, which started it, ends."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0))
    if os.getppid() != parent:
        os._exit(1)  # it was faster


def filter_calls(program: bytes) -> None:
    """Have this process's system calls, and its children's, judged by a BPF program; by none if that is empty."""
    if program:
        lines = ctypes.create_string_buffer(program, len(program))
        described = struct.pack("@HP", len(program) // 8, ctypes.addressof(lines))
        _check(_libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, described, 0, 0))


def set_name(name: str) -> None:
    """Have this process called `name` in lists of processes."""
    _check(_libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0))


def _drop_privileges() -> None:
    capability = 0
    while _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) == 0:
        capability += 1
    _check(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    header = (ctypes.c_uint32 * 2)(_CAPABILITIES_VERSION, 0)
    _check(_libc.capset(header, (ctypes.c_uint32 * 6)()))
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    # A change of user namespace makes a process's own files in /proc root's.
    _check(_libc.prctl(_PR_SET_DUMPABLE, 1, 0, 0, 0))


def _enter(descriptor: int, kind: int) -> None:
    _check(_libc.setns(descriptor, kind))


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
