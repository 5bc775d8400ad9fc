"""How Python tries: run in a child kernel. Each way returns "gained: …" or "refused: …"."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path("/tmp/work")


def report(number: str, said: str) -> None:
    print(f"#{number} {' '.join(said.split())[:2000]}")


def tried(do: Callable[[], object]) -> str:
    try:
        return f"gained: {do()}"
    except (OSError, ValueError, MemoryError, RuntimeError, subprocess.SubprocessError) as error:
        return f"refused: {error!r}"


# -- files, networks, processes --


def try_read(path: str) -> str:
    def read() -> str:
        with open(path, "rb") as file:
            return file.read(1000).decode(errors="replace")

    return tried(read)


def try_write(path: str) -> str:
    """In a folder a file is made, and removed again; a file is opened to be appended to."""

    def write() -> None:
        if os.path.isdir(path):
            Path(path, "new").touch(exist_ok=False)
            Path(path, "new").unlink()
        else:
            open(path, "ab").close()

    return tried(write)


def try_list(path: str) -> str:
    return tried(lambda: sorted(os.listdir(path)))


def try_remove(path: str) -> str:
    return tried(lambda: os.unlink(path))


def try_rename(path: str) -> str:
    return tried(lambda: os.rename(path, f"{path}.moved"))


def try_chmod(path: str) -> str:
    return tried(lambda: os.chmod(path, 0o777))


def try_touch(path: str) -> str:
    return tried(lambda: os.utime(path, (1, 1)))


def try_truncate(path: str) -> str:
    return tried(lambda: os.truncate(path, 0))


def try_symlink(target: str) -> str:
    """Make a link to a file outside, and read it."""

    def follow() -> str:
        link = HERE / "link"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        return link.read_text()[:1000]

    return tried(follow)


def try_hardlink(path: str) -> str:
    return tried(lambda: os.link(path, HERE / f"hard-{os.path.basename(path)}"))


def try_link_in(folder: str) -> str:
    return tried(lambda: os.symlink("/etc/passwd", f"{folder}/new-link"))


def try_tcp(host: str, port: str) -> str:
    return tried(lambda: socket.create_connection((host, int(port)), timeout=3))


def try_udp(host: str, port: str) -> str:
    return tried(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"out", (host, int(port))))


def try_resolve(host: str) -> str:
    return tried(lambda: socket.getaddrinfo(host, 80))


def try_unix(path: str) -> str:
    return tried(lambda: socket.socket(socket.AF_UNIX).connect(path))


def try_abstract(name: str) -> str:
    return tried(lambda: socket.socket(socket.AF_UNIX).connect("\0" + name))


def try_listen(port: str) -> str:
    return tried(lambda: socket.create_server(("0.0.0.0", int(port))))


def try_socket(family: str, kind: str, protocol: str) -> str:
    return tried(lambda: socket.socket(int(family), int(kind), int(protocol)))


def try_signal(process: str, number: str) -> str:
    return tried(lambda: os.kill(int(process), int(number)))


def try_environment() -> str:
    return f"gained: {dict(os.environ)}"


def try_processes() -> str:
    """What every process that can be seen was started with."""
    found = []
    for file in [*Path("/proc").glob("[0-9]*/cmdline"), *Path("/proc").glob("[0-9]*/environ")]:
        with contextlib.suppress(OSError):
            found.append(file.read_bytes().decode(errors="replace").replace("\0", " "))
    return f"gained: {found}"


def try_run(*command: str) -> str:
    def run() -> str:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=10, stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode:
            raise OSError(f"exit status {done.returncode}: {done.stderr}")
        return done.stdout

    return tried(run)


def try_call(number: str, *arguments: str) -> str:
    """A call of the system's, by its number."""

    def call() -> int:
        libc = ctypes.CDLL(None, use_errno=True)
        result = libc.syscall(int(number), *(ctypes.c_long(int(argument)) for argument in arguments))
        if result == 0 and number in (str(56), str(220)):  # the child of a clone
            os._exit(0)
        if result < 0:
            raise OSError(ctypes.get_errno(), errno.errorcode.get(ctypes.get_errno(), "?"))
        return int(result)

    return tried(call)


def try_speak(path: str, start: str, piece: str = "", times: str = "0") -> str:
    """Say something to the run: a start, a piece so many times, and then an end of line."""

    def speak() -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(10)
            connection.connect(path)
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(start.encode())
                for _ in range(int(times)):
                    connection.sendall(piece.encode())
                connection.sendall(b"\n")
            reply = connection.makefile("rb").readline().decode()
        if '"error"' in reply or not reply:
            raise OSError(reply or "closed")
        return reply

    return tried(speak)


def try_crowd(path: str, number: str) -> str:
    """Open so many connections and say nothing; tells how many are still there."""
    crowd = []
    for _ in range(int(number)):
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(5)
        try:
            connection.connect(path)
        except OSError:
            break
        crowd.append(connection)
    left = 0
    for connection in crowd:
        connection.settimeout(0.01)
        try:
            left += connection.recv(1) != b""
        except TimeoutError:
            left += 1
        except OSError:
            pass
    for connection in crowd:
        connection.close()
    return f"refused: all but {left}" if left < int(number) else f"gained: {left}"


def try_deaf(path: str, line: str, times: str) -> str:
    """Ask again and again on many connections, and never read a reply."""
    asked = 0
    connections = [socket.socket(socket.AF_UNIX) for _ in range(50)]
    with contextlib.suppress(OSError):
        for connection in connections:
            connection.settimeout(0.2)
            connection.connect(path)
        for _ in range(int(times)):
            for connection in connections:
                connection.sendall(line.encode() + b"\n")
                asked += 1
    time.sleep(2)
    for connection in connections:
        connection.close()
    return f"refused: after {asked}"


# -- using everything up --


def use_memory() -> None:
    hoard = []
    while True:
        hoard.append(bytes([1]) * (1 << 26))


def use_memory_by_many() -> None:
    """Each process stays below its own limit."""
    for _ in range(20):
        if os.fork() == 0:
            try:
                hoard = [bytes([1]) * (1 << 26) for _ in range(6)]
                signal.pause()
            finally:
                os._exit(len(hoard) > 99)
    signal.pause()


def use_processes() -> None:
    made = 0
    try:
        while made < 3000:
            if os.fork() == 0:
                signal.pause()
                os._exit(0)
            made += 1
    except OSError:
        pass
    print("made", made)


def use_threads() -> None:
    made = 0
    try:
        while made < 3000:
            threading.Thread(target=signal.sigwait, args=([signal.SIGUSR1],), daemon=True).start()
            made += 1
    except RuntimeError:
        pass
    print("made", made)


def use_disk(folder: str) -> None:
    """Fill a folder, with file after file, until the system refuses."""
    made = 0
    with contextlib.suppress(OSError):
        for number in range(64):
            with open(f"{folder}/fill-{number}", "wb", buffering=0) as file, contextlib.suppress(OSError):
                for _ in range(64):
                    made += file.write(bytes(1 << 20)) // (1 << 20)
    print("made", made)


def use_inodes(folder: str) -> None:
    made = 0
    with contextlib.suppress(OSError):
        while made < 3_000_000:
            os.close(os.open(f"{folder}/{made}", os.O_CREAT))
            made += 1
    print("made", made)


def use_descriptors() -> None:
    kept = []
    with contextlib.suppress(OSError):
        while len(kept) < 100_000:
            kept.append(os.open("/dev/null", os.O_RDONLY))
    made = len(kept)
    for descriptor in kept:
        os.close(descriptor)
    print("made", made)


def use_pipes() -> None:
    """Memory of the system's, in pipes that nobody reads."""
    kept = []
    with contextlib.suppress(OSError):
        while len(kept) < 100_000:
            reader, writer = os.pipe()
            kept += [reader, writer]
            os.set_blocking(writer, False)
            with contextlib.suppress(BlockingIOError):
                while True:
                    os.write(writer, bytes(1 << 16))
    made = len(kept) // 2
    for descriptor in kept:
        os.close(descriptor)
    print("made", made)


def use_depth() -> None:
    """Folders in folders."""
    made = 0
    with contextlib.suppress(OSError):
        while made < 100_000:
            os.mkdir("d")
            os.chdir("d")
            made += 1
    os.chdir(HERE)
    print("made", made)


def use_a_huge_file() -> None:
    try:
        os.truncate(os.open(HERE / "huge", os.O_CREAT | os.O_RDWR), 1 << 44)
        print("made", 1 << 24)
    except OSError:
        print("made", 0)


def use_stack() -> None:
    sys.setrecursionlimit(1 << 30)

    def deeper(value: object) -> object:
        return deeper([json.dumps(value) if value is None else value])

    deeper(None)


def use_time() -> None:
    while True:
        pass


def use_time_by_many() -> None:
    for _ in range(24):
        if os.fork() == 0:
            use_time()
    use_time()


def use_output() -> None:
    while True:
        print("x" * 1000)


def ignore_all() -> None:
    """Not stop when told to."""
    while True:
        with contextlib.suppress(BaseException):
            while True:
                pass


def kill_all() -> None:
    os.kill(-1, signal.SIGKILL)
    print("made", 0)  # a kernel that is one process is alone with what Landlock keeps signals from


def leave_behind() -> None:
    """Processes that nobody waits for, in a session of their own."""
    for _ in range(5):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                while True:
                    signal.pause()
            os._exit(0)
    print("made", 0)
