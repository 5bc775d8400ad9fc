"""What code in a sandbox tries against the machine, its user and the service: each attempt once, for all languages.

How a language tries it stands in the file of its own beside this one. A language that lacks a way (bash has no words
for system calls) does not try. Words in capitals stand for what the test puts in: the baits.
"""

from __future__ import annotations

import json
import platform
import re
import shlex
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

Verdict = Literal["refused", "blind", "unheard"]
"""Contained are: an attempt that is ``refused``; one that shows something in which no bait is (``blind``); one whatever
it says, since the test sees that nothing has come (``unheard``)."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt: the `way` is a function of the languages' files, which gets the `words`."""

    name: str
    way: str
    words: tuple[str, ...] = ()
    verdict: Verdict = "refused"


def _files() -> list[Attempt]:
    bait = "the user's"
    read = {
        f"read {bait} secret file": "SECRET",
        "read another user's file": "/etc/shadow",
        "read who the users are": "/etc/passwd",
        f"read {bait} shell settings": "HOME/.bashrc",
        f"read {bait} keys": "HOME/.ssh/id_ed25519",
        "read the service's own files": "PROJECT/pyproject.toml",
        "read the machine's memory": "/dev/mem",
        "read the system's memory": "/proc/kcore",
        "read the system's log": "/dev/kmsg",
        "read a disk": "/dev/sda",
        "use FUSE": "/dev/fuse",
        "use KVM": "/dev/kvm",
        "use a tunnel device": "/dev/net/tun",
        "read another process's memory": "/proc/1/mem",
        "read through the first process's root": "/proc/1/root/etc/passwd",
        "read through its own root's parent": "/proc/self/root/../../etc/shadow",
        "climb out by the folder it is in": "/proc/self/cwd/../../../../../etc/passwd",
        "follow a link in a mounted folder": "/data/papers/out",
        "follow a chain of links in a mounted folder": "/data/papers/chain",
        "read beside a mounted folder": "/data/papers/../secret.txt",
        "see devices and settings of the system": "/sys/kernel/notes",
        "have the host's folder of sockets": "/run/systemd/private",
        "read another run's data": "OTHER/connection.json",
    }
    write = {
        "write into the system": "/usr",
        "write into the settings": "/etc",
        "write into the root folder": "/",
        "write into the devices": "/dev",
        "write where its data is": "/run/data",
        "write where its socket is": "/run/kernel",
        "write into Python's functions": "/opt/kowalski/prelude",
        "write into other languages' functions": "PROJECT/kowalski_jupyter/kernels/preludes",
        "write into its Python": "PREFIX/lib",
        "write into a mounted folder": "/data/papers",
        "write into a mounted file": "/data/papers/a.txt",
        "have core dumps piped to a program": "/proc/sys/kernel/core_pattern",
        "change a setting of the system": "/proc/sys/kernel/hostname",
        "empty the system's caches": "/proc/sys/vm/drop_caches",
        "command the machine": "/proc/sysrq-trigger",
        "map itself to root": "/proc/self/uid_map",
        "allow itself groups": "/proc/self/setgroups",
        "be spared when memory is short": "/proc/self/oom_score_adj",
        "write into another process's memory": "/proc/1/mem",
        "write into its program": "/proc/self/exe",
    }
    links = {
        "link to the user's secret": "SECRET",
        "link to the users": "/etc/passwd",
        "link to the first process's root": "/proc/1/root/etc/shadow",
    }
    return [
        *(Attempt(name, "try_read", (path,)) for name, path in read.items()),
        *(Attempt(name, "try_write", (path,)) for name, path in write.items()),
        *(Attempt(name, "try_symlink", (path,)) for name, path in links.items()),
        Attempt("list the folder that the user's secret is in", "try_list", ("FOLDER",)),
        Attempt("list the folder of all runs", "try_list", ("RUNS",)),
        Attempt("hard link a mounted file", "try_hardlink", ("/data/papers/a.txt",)),
        Attempt("hard link a program", "try_hardlink", ("/usr/bin/env",)),
        Attempt("make a link in a mounted folder", "try_link_in", ("/data/papers",)),
        Attempt("remove a mounted file", "try_remove", ("/data/papers/a.txt",)),
        Attempt("remove its data's file", "try_remove", ("/data/papers/out",)),
        Attempt("rename a mounted file", "try_rename", ("/data/papers/a.txt",)),
        Attempt("open a mounted file for all", "try_chmod", ("/data/papers/a.txt",)),
        Attempt("open its program for all", "try_chmod", ("/proc/self/exe",)),
        Attempt("open the sandbox's program for all", "try_chmod", ("/proc/1/exe",)),
        Attempt("age a mounted file", "try_touch", ("/data/papers/a.txt",)),
        Attempt("empty a mounted file", "try_truncate", ("/data/papers/a.txt",)),
    ]


def _network() -> list[Attempt]:
    families = {
        "vsock, to the virtual machine's host": ("40", "1", "0"),
        "packet, to read all that passes": ("17", "3", "768"),
        "netlink of the firewall": ("16", "3", "12"),
        "netlink of audit": ("16", "3", "9"),
        "netlink of the kernel's events": ("16", "3", "15"),
        "raw ICMP": ("2", "3", "1"),
        "Bluetooth": ("31", "3", "1"),
        "CAN": ("29", "3", "1"),
        "the kernel's ciphers": ("38", "5", "0"),
        "XDP": ("44", "3", "0"),
        "TIPC": ("30", "1", "0"),
        "key management": ("15", "3", "2"),
        "RDS": ("21", "5", "0"),
        "phone network": ("35", "2", "0"),
    }
    return [
        Attempt("reach a server on the host's loopback", "try_tcp", ("127.0.0.1", "PORT")),
        Attempt("reach it by IPv6", "try_tcp", ("::1", "PORT")),
        Attempt("reach the internet", "try_tcp", ("198.51.100.1", "443")),
        Attempt("reach a cloud's metadata", "try_tcp", ("169.254.169.254", "80")),
        Attempt("send a datagram to the host", "try_udp", ("127.0.0.1", "UDP"), "unheard"),
        Attempt("send a datagram out", "try_udp", ("198.51.100.1", "53"), "unheard"),
        Attempt("resolve a name", "try_resolve", ("example.com",)),
        Attempt("listen on a low port", "try_listen", ("80",)),
        Attempt("reach a unix socket of the user's", "try_unix", ("UNIX",)),
        Attempt("reach the Docker daemon", "try_unix", ("/var/run/docker.sock",)),
        Attempt("reach the system bus", "try_unix", ("/run/dbus/system_bus_socket",)),
        Attempt("reach another run's socket", "try_unix", ("OTHER/calls.sock",)),
        Attempt("reach an abstract unix socket", "try_abstract", ("ABSTRACT",)),
        *(Attempt(f"make a socket: {name}", "try_socket", words) for name, words in families.items()),
    ]


def _processes() -> list[Attempt]:
    return [
        Attempt("see the user's environment", "try_environment", (), "blind"),
        Attempt("see other processes and their environments", "try_processes", (), "blind"),
        Attempt("kill a process of the user's", "try_signal", ("VICTIM", "9")),
        Attempt("kill the service", "try_signal", ("SERVICE", "9")),
        Attempt("run a program in a new user namespace", "try_run", ("unshare", "--user", "--map-root-user", "true")),
        Attempt("run a program in another's namespaces", "try_run", ("nsenter", "--target", "1", "--all", "true")),
        Attempt("mount with a program", "try_run", ("mount", "-t", "tmpfs", "none", "/tmp")),
        Attempt("make the system writable", "try_run", ("mount", "-o", "remount,rw,bind", "/usr")),
        Attempt("become root with a setuid program", "try_run", ("su", "-c", "true")),
        Attempt("make a device", "try_run", ("mknod", "/tmp/work/sda", "b", "8", "0")),
        Attempt("change its root with a program", "try_run", ("chroot", "/", "true")),
        Attempt(
            "give itself a capability",
            "try_run",
            ("setpriv", "--inh-caps=+sys_admin", "--ambient-caps=+sys_admin", "true"),
        ),
        Attempt("read the system's log with a program", "try_run", ("dmesg",)),
        Attempt("raise its own limits", "try_run", ("bash", "-c", "ulimit -n unlimited && ulimit -f unlimited")),
        Attempt("come before others", "try_run", ("bash", "-c", "renice -n -5 $$")),
        Attempt("trace with a program", "try_run", ("bash", "-c", "command -v gdb strace && strace true || exit 1")),
        Attempt("a file that carries root's rights", "try_run", ("bash", "-c", _SETUID)),
    ]


_SETUID = "cp /usr/bin/id /tmp/work/id && chmod 6755 /tmp/work/id && [ $(/tmp/work/id -u) = 0 ]"

_CALLS: Mapping[str, tuple[str, int, int, tuple[int, ...]]] = {
    "be traced": ("ptrace", 101, 117, (0,)),
    "trace another process": ("ptrace", 101, 117, (16, 1)),
    "read another process's memory by a call": ("process_vm_readv", 310, 270, (1,)),
    "write another process's memory by a call": ("process_vm_writev", 311, 271, (1,)),
    "take another process's descriptor": ("pidfd_getfd", 438, 438, (3, 0)),
    "compare processes": ("kcmp", 312, 272, (1, 1)),
    "use io_uring": ("io_uring_setup", 425, 425, (8,)),
    "make a file in memory": ("memfd_create", 319, 279, (0, 0)),
    "make memory that nobody counts": ("shmget", 29, 194, (0, 1 << 20, 0o1600)),
    "make a queue of messages": ("msgget", 68, 186, (0, 0o1600)),
    "see the kernel's keys": ("keyctl", 250, 219, (0, -3, 1)),
    "add a key": ("add_key", 248, 217, ()),
    "load a BPF program": ("bpf", 321, 280, (0,)),
    "count the machine's events": ("perf_event_open", 298, 241, ()),
    "handle page faults": ("userfaultfd", 323, 282, (0,)),
    "mount": ("mount", 165, 40, ()),
    "unmount": ("umount2", 166, 39, ()),
    "open a file system": ("fsopen", 430, 430, ()),
    "clone a mount": ("open_tree", 428, 428, (-100, 0, 1)),
    "change a mount": ("mount_setattr", 442, 442, ()),
    "change its root": ("chroot", 161, 51, ()),
    "swap its root": ("pivot_root", 155, 41, ()),
    "a new user namespace": ("unshare", 272, 97, (0x10000000,)),
    "a new network": ("unshare", 272, 97, (0x40000000,)),
    "a child in a new user namespace": ("clone", 56, 220, (0x10000011,)),
    "a child by the newer call": ("clone3", 435, 435, ()),
    "enter a namespace": ("setns", 308, 268, (0, 0)),
    "open a file by its handle": ("open_by_handle_at", 304, 265, (-100,)),
    "load a module": ("finit_module", 313, 273, (0,)),
    "load another kernel": ("kexec_load", 246, 104, ()),
    "restart the machine": ("reboot", 169, 142, (0xFEE1DEAD, 672274793, 0)),
    "keep accounts": ("acct", 163, 89, ()),
    "use a disk for swapping": ("swapon", 167, 224, ()),
    "become root": ("setuid", 105, 146, (0,)),
    "become root's group": ("setgid", 106, 144, (0,)),
    "set the clock": ("settimeofday", 164, 170, ()),
    "name the machine": ("sethostname", 170, 161, (0, 0)),
}
"""System calls: name, number on x86_64 and on aarch64, arguments. None would do harm if it worked."""


def _calls() -> list[Attempt]:
    return [
        Attempt(f"{what} ({name})", "try_call", (str(x86 if platform.machine() == "x86_64" else arm), *map(str, words)))
        for what, (name, x86, arm, words) in _CALLS.items()
    ]


def _socket() -> list[Attempt]:
    """The misuse of the run's own socket."""
    socket = "/run/kernel/calls.sock"

    def asked(**fields: object) -> str:
        return json.dumps({"token": "TOKEN", **fields})

    lines = {
        "speak without a token": (json.dumps({"call": "llm_query", "prompt": "x", "options": {}}), "", "0"),
        "speak with another run's token": (json.dumps({"token": "THEIRS", "call": "shared", "name": "x"}), "", "0"),
        "speak with a token of another type": (json.dumps({"token": ["TOKEN"], "call": "shared"}), "", "0"),
        "speak no JSON": ("GET / HTTP/1.1", "", "0"),
        "speak JSON that is nested without end": ("", "[" * 1000, "100"),
        "ask for what there is not": (asked(call="run_on_host", code="x"), "", "0"),
        "ask with wrong types": (asked(call="llm_query", prompt=[1], options=5), "", "0"),
        "ask with parts missing": (asked(call="rlm_query_batched", queries=[], values=[]), "", "0"),
        "announce more than may be sent": (asked(call="final", size=1 << 60), "", "0"),
        "announce less than nothing": (asked(call="final", size=-1), "", "0"),
        "send a line without end": ("", "x" * 1024, "131072"),
        "send millions of numbers": (asked(call="final", list=0)[:-2] + "[", "1," * 500, "40000"),
    }
    return [
        *(Attempt(name, "try_speak", (socket, *line)) for name, line in lines.items()),
        Attempt("open thousands of connections", "try_crowd", (socket, "900")),
        Attempt("never read replies", "try_deaf", (socket, asked(call="shared", name="large"), "20"), "unheard"),
    ]


ESCAPES: tuple[Attempt, ...] = (*_files(), *_network(), *_processes(), *_calls(), *_socket())
"""What would show, change or reach something outside."""


@dataclass(frozen=True, slots=True)
class Excess:
    """An attempt to use something up; it may be the end of its kernel.

    `most` is how many of it there may be. After `seconds` it is stopped, if nothing else has. Where it is `harmless`
    the kernel is there afterwards. The `last` of a kernel leaves it with nothing that the next attempt could use up.
    """

    name: str
    way: str
    words: tuple[str, ...] = ()
    most: int = 0
    seconds: float = 4
    harmless: bool = False
    last: bool = False


EXCESSES: tuple[Excess, ...] = (
    Excess("file descriptors", "use_descriptors", most=1024, harmless=True),
    Excess("the system's memory, in pipes", "use_pipes", most=512, harmless=True),
    Excess("leave processes behind", "leave_behind", most=0, harmless=True),
    Excess("the disk, in shared memory", "use_disk", ("/dev/shm",), most=64, harmless=True),
    Excess("the disk, in its own folder", "use_disk", ("/tmp/work",), most=64, harmless=True),
    Excess("a file of 16 TB", "use_a_huge_file", most=0, harmless=True),
    Excess("the depth of folders", "use_depth", most=100_000),
    Excess("time", "use_time", seconds=1),
    Excess("output", "use_output", seconds=1),
    Excess("time, by many processes", "use_time_by_many", seconds=1, last=True),
    Excess("the stack", "use_stack", seconds=2),
    Excess("memory, by one process", "use_memory"),
    Excess("memory, by many processes that keep their limits", "use_memory_by_many", seconds=3, last=True),
    Excess("patience: no interrupt stops it", "ignore_all", seconds=1),
    Excess("kill all there is", "kill_all", last=True),
    Excess("inodes", "use_inodes", ("/tmp/work",), most=300_000, last=True),
    Excess("inodes of shared memory", "use_inodes", ("/dev/shm",), most=300_000, last=True),
    Excess("threads", "use_threads", most=120, last=True),
    Excess("processes", "use_processes", most=120, seconds=2, last=True),
)

BEGUN = "begun"
"""What an attempt of a language whose code is compiled first says when it begins."""

FILES: Mapping[str, str] = {
    "python": "ways.py",
    "rust": "ways.rs",
    "java": "ways.java",
    "javascript": "ways.js",
    "bash": "ways.sh",
}


_BEGINNINGS = {"rust": f'println!("{BEGUN}"); ', "java": f'System.out.println("{BEGUN}"); '}


@cache
def source(language: str) -> str:
    """Return how a language tries."""
    return (Path(__file__).parent / FILES[language]).read_text(encoding="utf-8")


def words_for(language: str, wanted: Collection[str] = ()) -> str:
    """Return what a language needs for the escapes, or for the `wanted` excesses: no more, as it is compiled."""
    head, escapes, excesses = re.split(r"^(?:#|//) -- .* --$", source(language), flags=re.MULTILINE)
    if not wanted:
        return head + escapes
    pieces = re.split(r"\n\n+(?=[a-z#@])", excesses.strip())
    defined = {name: piece for piece in pieces for name in re.findall(r"^(?:\w+ )*(\w+)\(", piece, re.MULTILINE)}
    needed = {*wanted}
    while more := {name for name in defined if any(re.search(rf"\b{name}\b", defined[way]) for way in needed)} - needed:
        needed |= more
    return "\n\n".join([head, *dict.fromkeys(piece for name, piece in defined.items() if name in needed)])


@cache
def ways(language: str) -> frozenset[str]:
    """Return what a language has words for."""
    definition = r"^(?:def |fn |function |String |void |int )?((?:try|use|kill|leave|ignore)_\w+)(?:\(| \{ \()"
    return frozenset(re.findall(definition, source(language), re.MULTILINE))


def call(language: str, way: str, words: tuple[str, ...], number: int | None = None) -> str:
    """Return the code by which a language tries, and, with a `number`, reports how it went."""
    if language == "bash":
        words = tuple(map(shlex.quote, words))
        return " ".join([*([] if number is None else ["report", str(number)]), way, *words])
    arguments = ", ".join(json.dumps(word) for word in words)
    if f"fn {way}(words: &[" in source(language):
        arguments = f"&[{arguments}]"
    made = f"{way}({arguments})"
    if number is None:
        return f"{_BEGINNINGS.get(language, '')}{made};"
    waited = "await " if language == "javascript" else ""
    return f'report("{number}", {waited}{made});'


def document() -> str:
    """Return the list as docs/kernels.md has it: the attempts of each way, and the languages that have words for it."""
    titles = {"python": "Python", "rust": "Rust", "java": "Java", "javascript": "JavaScript", "bash": "bash"}
    names: dict[str, list[str]] = {}
    for attempt in (*ESCAPES, *EXCESSES):
        names.setdefault(attempt.way, []).append(attempt.name)
    lines = []
    for way, tried in names.items():
        by = [title for language, title in titles.items() if way in ways(language)]
        all_of_them = "all" if len(by) == len(titles) else ", ".join(by)
        lines.append(f"| {'; '.join(tried)} | {len(tried)} | {all_of_them} |")
    return "\n".join(["| attempts | | tried by |", "|---|---|---|", *lines])
