"""What code in the sandbox tries; run in a child kernel by test_sandbox.py, one function at a time.

Each returns a text; the test knows what it has to be.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path


def interfaces() -> str:
    return ",".join(name for _, name in socket.if_nameindex())


def abstract_socket(name: str) -> str:
    try:
        socket.socket(socket.AF_UNIX).connect("\0" + name)
    except OSError as error:
        return type(error).__name__
    return "connected"


def read(*paths: str) -> str:
    seen = []
    for path in paths:
        try:
            seen.append(Path(path).read_text())
        except OSError as error:
            seen.append(type(error).__name__)
    return ",".join(seen)


def writable(*extra: str) -> str:
    """Every folder in which a file can be made, but for what lies below another."""
    found: list[str] = []
    for top in ("/", *extra):
        for folder, below, _ in os.walk(top):
            if folder.startswith(("/proc", "/sys")):
                below.clear()
                continue
            try:
                Path(folder, "new").touch()
                Path(folder, "new").unlink()
            except OSError:
                continue
            found.append(folder)
            below.clear()
    return ",".join(sorted(set(found)))


def processes() -> str:
    return str(sum(path.name.isdigit() for path in Path("/proc").iterdir()))


def environment() -> str:
    return ",".join(sorted(os.environ))


def capabilities() -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return ",".join(sorted({line.split()[1] for line in lines if line.startswith("Cap")}))


def user() -> str:
    return f"{os.getuid()},{os.getgid()}"


def nested_namespace() -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    return "made" if libc.unshare(0x10000000) == 0 else os.strerror(ctypes.get_errno())


def remount(target: str) -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    flags = 32 | 4096  # MS_REMOUNT | MS_BIND
    return "mounted" if libc.mount(b"none", target.encode(), None, flags, None) == 0 else "refused"


def grow(path: str, megabytes: int) -> str:
    try:
        with Path(path).open("wb") as file:
            file.writelines(bytes(1 << 20) for _ in range(megabytes))
    except OSError as error:
        return error.strerror or ""
    return "written"


def namespaces_by_clone() -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    number = {"x86_64": 56, "aarch64": 220}[os.uname().machine]
    answers = set()
    for flag in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        child = libc.syscall(number, flag | 17, 0, 0, 0, 0)
        if child == 0:
            os._exit(0)
        answers.add("made" if child > 0 else errno.errorcode[ctypes.get_errno()])
    answers.add(errno.errorcode[ctypes.get_errno()] if libc.syscall(435, 0, 0) == -1 else "made")
    return ",".join(sorted(answers))


def socket_families() -> str:
    """Every family and, of netlink, every protocol that a socket can be made of."""
    found = set()
    for family in range(46):
        for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET):
            for protocol in range(23) if family == socket.AF_NETLINK else (0,):
                try:
                    socket.socket(family, kind, protocol).close()
                except OSError:
                    continue
                found.add(f"{family}.{protocol}")
    return ",".join(sorted(found))


def change_executables() -> str:
    """Change the mode of each process's program by way of /proc, which leads to where the host has it."""
    answers = set()
    for link in Path("/proc").glob("[0-9]*/exe"):
        try:
            link.chmod(link.stat().st_mode)
        except OSError as error:
            answers.add(error.strerror or "")
        else:
            answers.add("changed")
    return ",".join(sorted(answers))


def open_folders() -> str:
    """Every folder that a process has open: a way out of the sandbox's own file system, if it is another's."""
    found = []
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(PermissionError):
            if link.is_dir():
                found.append(str(link.readlink()))
    return ",".join(found)


def way_out() -> str:
    """What lies at the top of what each process sees as its root, and around where it is."""
    seen = set()
    for process in Path("/proc").glob("[0-9]*"):
        for link in ("root", "cwd/../.."):
            with contextlib.suppress(PermissionError):
                seen |= {path.name for path in (process / link).iterdir()}
    return ",".join(sorted(seen - {path.name for path in Path("/").iterdir()}))


def _become(user: int) -> None:
    os.setresuid(user, user, user)


def _link_to(target: str) -> None:
    link = Path("/tmp/work/link")
    link.unlink(missing_ok=True)
    link.symlink_to(target)
    link.read_bytes()


TRIES: dict[str, Callable[[], object]] = {
    "become nobody": lambda: _become(65534),
    "join groups": lambda: os.setgroups([0]),
    "come before others": lambda: os.nice(-5),
    "be scheduled in real time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10)),
    "set the clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
    "follow a link to the host": lambda: _link_to("/proc/1/root/host/etc/passwd"),
    "follow a link to root's home": lambda: _link_to("/proc/1/root/root/.bashrc"),
    "lock much memory": lambda: _check(ctypes.CDLL(None, use_errno=True).mlockall(3)),
}


def _check(result: int) -> None:
    if result:
        raise OSError(ctypes.get_errno(), "")


def successes() -> str:
    """Which of the `TRIES` are not refused."""
    found = []
    for name, attempt in TRIES.items():
        try:
            attempt()
        except (OSError, MemoryError):
            continue
        found.append(name)
    return ",".join(found)


def raise_limit(name: str) -> str:
    kind = getattr(resource, name)
    try:
        resource.setrlimit(kind, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    except (ValueError, OSError) as error:
        return type(error).__name__
    return "raised"


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return f"{done.returncode} {done.stdout}{done.stderr}"
