"""A cell's outputs: gathered, sent in pieces, and cut at the source when there are too many."""

from __future__ import annotations

import codecs
import io
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from .interrupts import interrupts
from .limits import COST, RICH, TAIL

Rich = Mapping[str, str]
"""Forms of an output besides its text, by MIME type, as Jupyter's messages have them: pictures in base64."""

Send = Callable[[str, str, int, Rich], None]
"""Called with ``(kind, text, omitted, rich)``; see `Output` in kernels/base.py for what the first three mean."""

PIECE = 1 << 16
"""Most characters in one message."""
FLUSH_SECONDS = 0.05

_STREAMS = {"stdout": 1, "stderr": 2}
_NONE: Rich = {}


class Recorder:
    """Collects what a cell puts out, from any thread.

    The first `limit` characters of a cell are sent as they come (at most every 50 ms or 64 Ki
    characters). Of all that follows only the last 16 Ki are kept, and sent when the cell has ended.
    """

    def __init__(self, send: Send) -> None:
        self.limit = 1 << 20
        self._send = send
        self._lock = threading.RLock()
        self._running = False
        self._forked = False
        self._room = self.limit
        self._rich_room = RICH
        self._pending: list[tuple[str, str, Rich]] = []
        self._pending_size = 0
        self._tail: deque[tuple[str, str]] = deque()
        self._tail_size = 0
        self._omitted = 0
        self._wake = threading.Event()
        os.register_at_fork(after_in_child=self._after_fork)
        threading.Thread(target=self._flush_often, name="output", daemon=True).start()

    def start_cell(self) -> None:
        """Outputs belong to a cell from here on."""
        with self._lock:
            self._running = True

    def end_cell(self) -> None:
        """Send everything that is left, the tail last, and give the next cell its full room."""
        with interrupts, self._lock:
            self.flush()
            omitted, self._omitted = self._omitted, 0
            for kind, text, _rich in _joined((*piece, _NONE) for piece in self._tail):
                self._send(kind, text, omitted, _NONE)
                omitted = 0
            self._tail.clear()
            self._tail_size = 0
            self._room = self.limit
            self._rich_room = RICH
            self._running = False

    def write(self, kind: str, text: str, rich: Rich = _NONE) -> None:
        """Add a piece of output. Pieces of a stream are joined, others stay single."""
        if self._forked:
            # Only the reader of the parent's pipe may speak for a forked process.
            _write_all(_STREAMS.get(kind, 1), text)
            return
        with interrupts, self._lock:
            fits = text[: self._room] if self._room > 0 else ""
            if fits:
                rich = self._fitting(rich)
                self._room -= _cost(kind, fits)
                self._pending.append((kind, fits, rich))
                self._pending_size += len(fits) + sum(map(len, rich.values()))
            if len(fits) < len(text):
                self._keep_tail(kind, text, len(fits))
            if self._pending_size >= PIECE:
                self.flush()
        if not self._wake.is_set():
            self._wake.set()

    def write_always(self, kind: str, text: str) -> None:
        """Add an output that must arrive, whatever came before it. `text` has to be short."""
        if self._forked:
            _write_all(2, text)
            return
        with interrupts, self._lock:
            self.flush()
            if self._omitted or self._tail:
                self._tail.append((kind, text))
                self._tail_size += _cost(kind, text)
            else:
                self._send(kind, text, 0, _NONE)

    def flush(self) -> None:
        """Send what is pending, if there is a cell to send it for."""
        with interrupts, self._lock:
            if not self._running:
                return
            pending, self._pending, self._pending_size = self._pending, [], 0
            for kind, text, rich in _joined(pending):
                for start in range(0, len(text) or 1, PIECE):
                    self._send(kind, text[start : start + PIECE], 0, _NONE if start else rich)

    def _fitting(self, rich: Rich) -> Rich:
        """Return what there is room for, the smallest first."""
        fitting = {}
        for form, data in sorted(rich.items(), key=lambda item: len(item[1])):
            if len(data) <= self._rich_room:
                self._rich_room -= len(data)
                fitting[form] = data
        return fitting

    def _keep_tail(self, kind: str, text: str, start: int) -> None:
        """Keep the end of ``text[start:]``, without copying what is too long."""
        excess = max(len(text) - start - TAIL, 0)
        self._omitted += excess
        text = text[start + excess :]
        self._tail.append((kind, text))
        self._tail_size += _cost(kind, text)
        while self._tail_size > TAIL:
            first_kind, first = self._tail.popleft()
            excess = self._tail_size - TAIL
            if first_kind in _STREAMS and len(first) > excess:
                self._tail.appendleft((first_kind, first[excess:]))
                self._tail_size -= excess
                self._omitted += excess
            else:
                self._tail_size -= _cost(first_kind, first)
                self._omitted += len(first)

    def _flush_often(self) -> None:
        while self._wake.wait():
            time.sleep(FLUSH_SECONDS)
            self._wake.clear()
            self.flush()

    def _after_fork(self) -> None:
        self._forked = True


class Stream(io.TextIOBase):
    """``sys.stdout`` or ``sys.stderr``."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, name: str, recorder: Recorder) -> None:
        super().__init__()
        self.name = name
        self._recorder = recorder

    def write(self, text: str) -> int:
        """Add `text` to the cell's output."""
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        if text:
            self._recorder.write(self.name, text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:  # type: ignore[override]
        """Write each of `lines`."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Send what is pending now."""
        self._recorder.flush()

    def fileno(self) -> int:
        """Return the real descriptor, for programs that are started with it. It is read as well."""
        return _STREAMS[self.name]

    def writable(self) -> bool:
        """Return True."""
        return True

    def isatty(self) -> bool:
        """Return False."""
        return False

    @property
    def buffer(self) -> io.BufferedIOBase:
        """The stream for bytes."""
        return _ByteStream(self)


class _ByteStream(io.BufferedIOBase):
    """``sys.stdout.buffer``."""

    def __init__(self, text: Stream) -> None:
        super().__init__()
        self._text = text

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._text.write(bytes(data).decode(errors="backslashreplace"))
        return len(data)

    def flush(self) -> None:
        self._text.flush()

    def writable(self) -> bool:
        return True


class Descriptors:
    """Reads what is written to descriptors 1 and 2 past Python: by C code, by programs it starts."""

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._busy = False
        self._kinds: dict[int, str] = {}
        self._unread = select.poll()
        for kind, descriptor in _STREAMS.items():
            reader, writer = os.pipe()
            os.dup2(writer, descriptor)
            os.close(writer)
            self._kinds[reader] = kind
            self._unread.register(reader, select.POLLIN)
        threading.Thread(target=self._read, name="descriptors", daemon=True).start()

    def drain(self, seconds: float = 0.5) -> None:
        """Wait until all that was written has been recorded, or until the time is over."""
        deadline = time.monotonic() + seconds
        while (self._unread.poll(0) or self._busy) and time.monotonic() < deadline:
            time.sleep(0.001)

    def _read(self) -> None:
        poll = select.poll()  # the other one is for the thread that waits
        for reader in self._kinds:
            poll.register(reader, select.POLLIN)
        make = codecs.getincrementaldecoder("utf-8")
        decoders = {reader: make("backslashreplace") for reader in self._kinds}
        while True:
            ready = poll.poll()
            self._busy = True
            for reader, _event in ready:
                self._recorder.write(self._kinds[reader], decoders[reader].decode(os.read(reader, PIECE)))
            self._busy = False


def _cost(kind: str, text: str) -> int:
    return len(text) if kind in _STREAMS else max(len(text), COST)


def _joined(pieces: Iterable[tuple[str, str, Rich]]) -> Iterable[tuple[str, str, Rich]]:
    """Join neighbours of one stream."""
    kind, texts, rich = "", list[str](), _NONE
    for next_kind, text, next_rich in pieces:
        if texts and (next_kind != kind or kind not in _STREAMS):
            yield kind, "".join(texts), rich
            texts = []
        kind, rich = next_kind, next_rich
        texts.append(text)
    if texts:
        yield kind, "".join(texts), rich


def _write_all(descriptor: int, text: str) -> None:
    data = memoryview(text.encode(errors="backslashreplace"))
    while data:
        data = data[os.write(descriptor, data) :]
