"""What code in the sandbox tries; run in a child kernel by test_sandbox.py, one function at a time.

Each returns a text; the test knows what it has to be.
"""

from __future__ import annotations

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


FORBIDDEN = {
    "x86_64": {"ptrace": 101, "keyctl": 250, "unshare": 272, "perf_event_open": 298, "setns": 308, "bpf": 321}
    | {"process_vm_readv": 310, "userfaultfd": 323, "mount": 165, "chroot": 161, "add_key": 248, "kcmp": 312},
    "aarch64": {"ptrace": 117, "keyctl": 219, "unshare": 97, "perf_event_open": 241, "setns": 268, "bpf": 280}
    | {"process_vm_readv": 270, "userfaultfd": 282, "mount": 40, "chroot": 51, "add_key": 217, "kcmp": 272},
}
EVERYWHERE = {"io_uring_setup": 425, "open_tree": 428, "fsopen": 430, "pidfd_getfd": 438, "mount_setattr": 442}


def forbidden_calls() -> str:
    """The system calls that are not refused. They have the arguments of harmless ones, so that they might work."""
    libc = ctypes.CDLL(None, use_errno=True)
    allowed = []
    for name, number in (FORBIDDEN[os.uname().machine] | EVERYWHERE).items():
        ctypes.set_errno(0)
        result = libc.syscall(number, 0, 0, 0, 0, 0)
        if result != -1 or ctypes.get_errno() != errno.EPERM:
            allowed.append(f"{name}: {errno.errorcode.get(ctypes.get_errno())}")
    return ",".join(allowed)


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
    links = [link for link in Path("/proc").glob("[0-9]*/fd/*") if link.is_dir()]
    return ",".join(str(link.readlink()) for link in links)


def way_out() -> str:
    """What lies at the top of what each process sees as its root, and around where it is."""
    seen = set()
    for process in Path("/proc").glob("[0-9]*"):
        for link in ("root", "cwd/../.."):
            seen |= {path.name for path in (process / link).iterdir()}
    return ",".join(sorted(seen - {path.name for path in Path("/").iterdir()}))


def _become(user: int) -> None:
    os.setresuid(user, user, user)


def _run_from_memory() -> None:
    """A program that exists in memory only has no more rights than another."""
    descriptor = os.memfd_create("program")
    os.write(descriptor, Path("/usr/bin/env").read_bytes())
    done = subprocess.run(
        [f"/proc/self/fd/{descriptor}", "cat", "/proc/self/status"],
        capture_output=True,
        check=True,
        pass_fds=[descriptor],
        text=True,
    )
    if "CapEff:\t0000000000000000" in done.stdout and "NoNewPrivs:\t1" in done.stdout:
        raise PermissionError


def _gain_from_a_setuid_program() -> None:
    program = Path("/tmp/work/id")
    program.write_bytes(Path("/usr/bin/id").read_bytes())
    program.chmod(0o6755)
    if subprocess.run([program, "-u"], capture_output=True, check=True, text=True).stdout == "1000\n":
        raise PermissionError


def _signal_the_host() -> None:
    for number in range(10, 5000):
        try:
            os.kill(number, 0)
        except ProcessLookupError:
            continue
        return
    raise ProcessLookupError


def _open(path: str) -> None:
    os.close(os.open(path, os.O_RDONLY))


def _rewrite(path: str) -> None:
    """Write what is there already, so that nothing is harmed if it works."""
    Path(path).write_text(Path(path).read_text())


def _link_to(target: str) -> None:
    link = Path("/tmp/work/link")
    link.unlink(missing_ok=True)
    link.symlink_to(target)
    link.read_bytes()


TRIES: dict[str, Callable[[], object]] = {
    "become root": lambda: _become(0),
    "become nobody": lambda: _become(65534),
    "become root's group": lambda: os.setresgid(0, 0, 0),
    "join groups": lambda: os.setgroups([0]),
    "run from memory": _run_from_memory,
    "gain from a setuid program": _gain_from_a_setuid_program,
    "make a device": lambda: os.mknod("/tmp/work/disk", 0o060600, os.makedev(8, 0)),
    "read the machine's memory": lambda: _open("/dev/mem"),
    "read the system's memory": lambda: _open("/proc/kcore"),
    "read the system's log": lambda: _open("/dev/kmsg"),
    "read a disk": lambda: _open("/dev/sda"),
    "use FUSE": lambda: _open("/dev/fuse"),
    "use KVM": lambda: _open("/dev/kvm"),
    "reach a tunnel": lambda: _open("/dev/net/tun"),
    "command the machine": lambda: Path("/proc/sysrq-trigger").write_text("h"),
    "change the system's settings": lambda: _rewrite("/proc/sys/kernel/hostname"),
    "have core dumps piped": lambda: _rewrite("/proc/sys/kernel/core_pattern"),
    "change the user's mapping": lambda: Path("/proc/self/uid_map").write_text("0 0 1"),
    "allow itself groups": lambda: Path("/proc/self/setgroups").write_text("allow"),
    "be spared when memory is short": lambda: Path("/proc/self/oom_score_adj").write_text("-1000"),
    "come before others": lambda: os.nice(-5),
    "be scheduled in real time": lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10)),
    "set the clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
    "rename the machine": lambda: socket.sethostname("x"),
    "signal the host's processes": _signal_the_host,
    "follow a link to the users": lambda: _link_to("/etc/passwd"),
    "follow a link to the host": lambda: _link_to("/proc/1/root/host/etc/passwd"),
    "follow a link to root's home": lambda: _link_to("/proc/1/root/root/.bashrc"),
    "link a program": lambda: os.link("/usr/bin/env", "/tmp/work/env"),
    "use a low port": lambda: socket.create_server(("127.0.0.1", 80)),
    "send raw packets": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1),
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
