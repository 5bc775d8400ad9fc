"""Fixtures for the models: nothing may be left behind, and servers that repeat recorded bytes."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.leaks import nothing_more

CAPTURES = Path(__file__).parent / "captures"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "embedded: runs the real embedded model; skipped where its file is not here")


@pytest.fixture(autouse=True)
def nothing_left(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After each test: no child process, no thread and no socket more than before; and no settings of the user's."""
    for name in ("KOWALSKI_URL", "KOWALSKI_MODEL", "KOWALSKI_API_KEY", "KOWALSKI_MODEL_FILE"):
        monkeypatch.delenv(name, raising=False)

    with nothing_more(sockets_of="inet"):
        yield


class Replay:
    """A server that answers every request with the same bytes, in pieces, and then closes or holds the connection.

    `pause` is in seconds, after each piece.
    """

    def __init__(self, answer: bytes, *, piece: int = 1 << 16, hold: bool = False, pause: float = 0.0) -> None:
        self.answer, self.piece, self.hold, self.pause = answer, piece, hold, pause
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection, contextlib.suppress(OSError):
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._read_request(connection)
                for at in range(0, len(self.answer), self.piece):
                    connection.sendall(self.answer[at : at + self.piece])
                    time.sleep(self.pause)
                if self.hold:
                    connection.recv(1)  # until the client has enough of it

    def _read_request(self, connection: socket.socket) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            received += connection.recv(65536)
        head, _, body = received.partition(b"\r\n\r\n")
        length = next(
            (int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if b"content-length" in line), 0
        )
        while len(body) < length:
            body += connection.recv(65536)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(5)


@pytest.fixture
def replay() -> Iterator[Callable[..., str]]:
    """A function that starts a `Replay` of a capture, or of the given body with a header line, and returns its URL."""
    servers = []

    def start(capture: str | bytes, *, header: bytes = b"", **how: Any) -> str:
        if isinstance(capture, bytes):
            answer = b"HTTP/1.1 200 OK\r\n%bContent-Type: text/event-stream\r\n\r\n%b" % (header, capture)
        elif capture.endswith(".txt"):
            return start((CAPTURES / capture).read_bytes(), **how)
        else:
            answer = (CAPTURES / capture).read_bytes()
        servers.append(Replay(answer, **how))
        return servers[-1].url

    yield start
    for server in servers:
        server.close()
