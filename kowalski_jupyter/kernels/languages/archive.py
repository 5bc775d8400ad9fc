"""A class data archive for Java's kernel: with it, a JVM has at once the thousands of classes that a start takes.

It is made once for each JDK and kernel: a kernel runs some cells, outside of a sandbox since all of it is ours, and
its JVM writes down at its end what it has loaded. A JVM that finds that an archive is none, or another's, goes without.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import secrets
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import platformdirs

_SECONDS = 30.0
"""How long a cell may take, and how long the JVM may write."""
_GUARD = """
Thread kowalskiGuard = new Thread(() -> {
    try { new java.io.FileInputStream(java.io.FileDescriptor.in).read(); } catch (java.io.IOException gone) {}
    Runtime.getRuntime().exit(0);
});
kowalskiGuard.setDaemon(true);
kowalskiGuard.start();
"""
"""Ends the JVM when its input ends: at our word, or with us."""

_log = logging.getLogger(__name__)
_lock = threading.Lock()
_failed: set[str] = set()


class Archive:
    """The archive for the JDK of the program `java` and a kernel's `jar`. Both have to exist.

    The name of its file says what it was made from and how long it is: a JVM looks at neither its end nor its middle,
    and crashes where a part is missing.
    """

    def __init__(self, java: str, jar: str) -> None:
        places = [Path(java).resolve().parent.parent / "lib" / "modules", Path(jar)]
        facts = [(place.stat().st_size, place.stat().st_mtime_ns) if place.exists() else () for place in places]
        self._folder = platformdirs.user_cache_path("kowalski-jupyter")
        self._which, self._state = (hashlib.sha256(repr(said).encode()).hexdigest()[:12] for said in (places, facts))

    @property
    def path(self) -> Path | None:
        """Where it is; None if there is none that is whole."""
        return next((file for file in self._files(self._state) if file.stem.endswith(f"-{_size(file)}")), None)

    def make(self, command: Sequence[str], environment: Mapping[str, str], cells: Sequence[str]) -> None:
        """Make it, if it is not there, by `cells` of the kernel that `command` starts. Takes some seconds.

        A kernel needs no archive, so what goes wrong is said in the log alone, and not tried again by this process.
        """
        with _lock:
            if self._state in _failed or self.path is not None:
                return
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(prefix="java-", dir=self._folder) as folder:
                    made = Path(folder, "archive")
                    _run(folder, [command[0], f"-XX:ArchiveClassesAtExit={made}", *command[1:]], environment, cells)
                    made.chmod(0o644)
                    for older in self._files("*"):
                        older.unlink(missing_ok=True)
                    made.replace(self._folder / f"java-{self._which}-{self._state}-{_size(made)}.jsa")
            except (OSError, ValueError, subprocess.SubprocessError) as error:
                _failed.add(self._state)
                _log.warning(
                    "Java's kernel starts slower than it could, as no archive of its classes was made: %s", error
                )

    def _files(self, state: str) -> list[Path]:
        return [*self._folder.glob(f"java-{self._which}-{state}-*.jsa")]


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:  # another process was faster
        return -1


def _run(folder: str, command: Sequence[str], environment: Mapping[str, str], cells: Sequence[str]) -> None:
    # All slow to import, for what is done once on a machine.
    import zmq  # noqa: PLC0415
    from jupyter_client.connect import write_connection_file  # noqa: PLC0415
    from jupyter_client.session import Session  # noqa: PLC0415

    key = secrets.token_hex(16).encode()
    file, info = write_connection_file(str(Path(folder, "connection.json")), key=key)
    line = [part.replace("{connection_file}", file) for part in command]
    quiet = subprocess.DEVNULL
    with (
        subprocess.Popen(
            line, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, env={**os.environ, **environment}
        ) as jvm,
        zmq.Context() as context,
        context.socket(zmq.DEALER) as shell,
    ):
        try:
            shell.linger = 0
            shell.connect(f"tcp://{info['ip']}:{info['shell_port']}")
            session = Session(key=key)
            for code in (_GUARD, *cells):
                session.send(shell, "execute_request", {"code": code, "silent": False, "allow_stdin": False})
                end = time.monotonic() + _SECONDS
                while not shell.poll(100):
                    if jvm.poll() is not None or time.monotonic() > end:
                        raise TimeoutError("its kernel does not answer")
                shell.recv_multipart()
            assert jvm.stdin is not None  # noqa: S101 - a pipe
            jvm.stdin.close()
            jvm.wait(_SECONDS)
        except zmq.ZMQError as error:
            raise OSError(str(error)) from error
        finally:
            with contextlib.suppress(OSError):
                jvm.kill()
