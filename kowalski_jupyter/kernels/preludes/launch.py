"""Starts a kernel that is not our Python's: ``python -I launch.py ORDER COMMAND …``, inside the sandbox.

ORDER is JSON: ``ready`` (the descriptor on which to report), ``reach`` (what code may reach, see prelude/landlock.py),
``prelude`` (where that is in a sandbox), ``environment`` and ``limits`` of the kernel, and ``connection`` (the file
that says where its sockets shall be). Standard library only, and quick to import.

Most such kernels speak TCP only, which leads nowhere from a sandbox. So they get a connection file of their own, with
ports of the sandbox's own loopback, and this process stays and passes bytes between those ports and the unix sockets
that the service knows: ZMQ's protocol is the same on both.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import json
import os
import resource
import runpy
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

CHANNELS = ("shell", "iopub", "stdin", "control", "hb")
_PIECE = 1 << 16
_WAITING = 1 << 20
"""Bytes that may wait here for a slow reader; the rest waits in the kernel, at its own expense."""
_LAST_SECONDS = 0.2
"""How long to pass on what a kernel had sent before it ended."""


def main(order: dict[str, Any], command: list[str], run: Callable[[str], object]) -> None:
    """Confine this process, and start the kernel, by `run` if it is one of our own. Returns when it has ended."""
    ports = {} if order["direct"] else _free_ports()
    if order["reach"] != "everything":
        sys.path.insert(0, str(Path(order["prelude"]).parent))
        importlib.import_module("prelude.landlock").confine(order["reach"], ports.values())
    for name, value in order["limits"].items():
        kind = getattr(resource, f"RLIMIT_{name}")
        _soft, hard = resource.getrlimit(kind)
        lowest = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (lowest, lowest))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit is an error, not the end
    os.environ.update(order["environment"])
    info = json.loads(Path(order["connection"]).read_text())
    if order["direct"]:
        os.environ["KOWALSKI_READY"] = str(order["ready"])
        # A kernel of our own is in Python: it needs no other interpreter than this one, and none of its options.
        _, *rest = [part.replace("{connection_file}", order["connection"]) for part in command]
        sys.argv = [*itertools.dropwhile(lambda part: part.startswith("-"), rest)]
        run(sys.argv[0])
        return
    Relay(info, command, order["ready"], ports).run()


class Relay:
    """The kernel as a child, and the bytes between it and the service."""

    def __init__(self, info: dict[str, Any], command: list[str], ready: int, ports: dict[str, int]) -> None:
        self._selector = selectors.DefaultSelector()
        self._ready = ready
        self._ports = ports
        self._listeners: dict[socket.socket, int] = {}
        for channel, port in self._ports.items():
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(f"{info['ip']}-{info[f'{channel}_port']}")
            listener.listen()
            self._listeners[listener] = port
        own = {**info, "transport": "tcp", "ip": "127.0.0.1"}
        own |= {f"{channel}_port": port for channel, port in self._ports.items()}
        descriptor, path = tempfile.mkstemp(suffix=".json")
        os.write(descriptor, json.dumps(own).encode())
        os.close(descriptor)
        command = [part.replace("{connection_file}", path) for part in command]
        # The end of the child wakes the selector; an interrupt is passed on to it.
        self._wake, wake = socket.socketpair()
        wake.setblocking(False)
        signal.set_wakeup_fd(wake.fileno())
        self._keep = wake
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # A write past the limit stays an error; `subprocess` would let it be the end, as a closed pipe shall be.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        self._child = subprocess.Popen(command, stdin=subprocess.DEVNULL, restore_signals=False)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.signal(signal.SIGINT, lambda *_: self._child.send_signal(signal.SIGINT))

    def run(self) -> None:
        """Pass bytes until the kernel ends; end as it did."""
        self._wait_for_ports()
        os.write(self._ready, b"ready")
        os.close(self._ready)
        self._selector.register(self._wake, selectors.EVENT_READ)
        for listener in self._listeners:
            self._selector.register(listener, selectors.EVENT_READ)
        while self._child.poll() is None:
            self._step(None)
        end = time.monotonic() + _LAST_SECONDS
        while (left := end - time.monotonic()) > 0:
            self._step(left)
        self._end()

    def _wait_for_ports(self) -> None:
        for channel in ("shell", "iopub", "control"):
            while self._child.poll() is None:
                try:
                    socket.create_connection(("127.0.0.1", self._ports[channel]), 1).close()
                    break
                except OSError:
                    time.sleep(0.005)
        if self._child.poll() is not None:
            self._end()

    def _end(self) -> None:
        status = self._child.wait()
        os._exit(status if status >= 0 else 128 - status)

    def _step(self, seconds: float | None) -> None:
        for key, events in self._selector.select(seconds):
            if key.fileobj is self._wake:
                self._wake.recv(_PIECE)
            elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._listeners:
                self._accept(key.fileobj)
            elif isinstance(key.data, Pipe):
                key.data.pump(events)

    def _accept(self, listener: socket.socket) -> None:
        outer, _ = listener.accept()
        inner = socket.create_connection(("127.0.0.1", self._listeners[listener]))
        inner.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        one, other = Pipe(self._selector, outer), Pipe(self._selector, inner)
        one.other, other.other = other, one
        one.watch()
        other.watch()


class Pipe:
    """One end of a connection, with the bytes that wait to be written to it."""

    other: Pipe

    def __init__(self, selector: selectors.BaseSelector, end: socket.socket) -> None:
        self._selector = selector
        self._end = end
        self.waiting = bytearray()
        self._ended = False
        self._events = 0
        end.setblocking(False)

    def pump(self, events: int) -> None:
        """Do what can be done now."""
        try:
            if events & selectors.EVENT_WRITE:
                del self.waiting[: self._end.send(self.waiting)]
            if events & selectors.EVENT_READ:
                piece = self._end.recv(_PIECE)
                self._ended = not piece
                self.other.waiting += piece
        except BlockingIOError:
            pass
        except OSError:
            self._ended = True
        self.watch()
        self.other.watch()

    def watch(self) -> None:
        """Wait for what makes sense: room for what waits, and more to read if the other end keeps up."""
        events = selectors.EVENT_WRITE if self.waiting else 0
        if not self._ended and len(self.other.waiting) < _WAITING:
            events |= selectors.EVENT_READ
        if self._ended and not self.other.waiting:
            self.other.close()
            events = 0
        if events == self._events:
            return
        if self._events and events:
            self._selector.modify(self._end, events, self)
        elif events:
            self._selector.register(self._end, events, self)
        elif self._end.fileno() >= 0:
            self._selector.unregister(self._end)
        self._events = events

    def close(self) -> None:
        """Tell this end that the other has nothing more to say."""
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_WR)


def _free_ports() -> dict[str, int]:
    sockets = {channel: socket.create_server(("127.0.0.1", 0)) for channel in CHANNELS}
    ports = {channel: listener.getsockname()[1] for channel, listener in sockets.items()}
    for listener in sockets.values():
        listener.close()
    return ports


def _run(program: str) -> None:
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    # The zygote has a quicker way to run a program.
    main(json.loads(sys.argv[1]), sys.argv[2:], globals().get("run_program", _run))
