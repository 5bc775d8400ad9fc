"""What code in the sandbox tries; run in a child kernel by test_sandbox.py, one function at a time.

Each returns a text; the test knows what it has to be.
"""

from __future__ import annotations

import ctypes
import os
import resource
import socket
import subprocess
from pathlib import Path


def interfaces() -> str:
    return ",".join(name for _, name in socket.if_nameindex())


def connect(port: int) -> str:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=2)
    except OSError as error:
        return type(error).__name__
    return "connected"


def resolve() -> str:
    try:
        return str(socket.getaddrinfo("localhost.example.com", 80))
    except OSError as error:
        return type(error).__name__


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


def mount() -> str:
    libc = ctypes.CDLL(None, use_errno=True)
    return "mounted" if libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == 0 else "refused"


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
    links = [link for link in Path("/proc").glob("[0-9]*/fd/*") if link.is_dir()]
    return ",".join(str(link.readlink()) for link in links)


def way_out() -> str:
    """What lies at the top of what each process sees as its root, and around where it is."""
    seen = set()
    for process in Path("/proc").glob("[0-9]*"):
        for link in ("root", "cwd/../.."):
            seen |= {path.name for path in (process / link).iterdir()}
    return ",".join(sorted(seen - {path.name for path in Path("/").iterdir()}))


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
