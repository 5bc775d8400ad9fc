"""A Jupyter kernel for bash: ``python bash_kernel.py CONNECTION_FILE``.

Why not bash_kernel: it takes 3.3 s to start (it drives an interactive bash through a terminal's prompts), needs 110 ms
for a cell, and never replies to a cell that is not complete. This one sources each cell from a file, so that an
incomplete one is a syntax error, and takes some milliseconds.

The shell is an interactive one without a terminal: only such a one gives up what it does at an interrupt and keeps
its variables, functions and folder.
"""

from __future__ import annotations

import codecs
import datetime as dt
import hashlib
import hmac
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path
from typing import Any

import zmq

PIECE = 1 << 16
TAIL = 1 << 14
_DRAIN_MILLISECONDS = 20
_ERREXIT = re.compile(r"^([ \t]*)set[ \t]+(?:-([A-Za-z]*)e([A-Za-z]*)|-o[ \t]+errexit)(.*)$", re.MULTILINE)


def main(path: str) -> None:
    """Serve until the shell or the service ends."""
    Kernel(json.loads(Path(path).read_text())).run()


class Shell:
    """The bash, with the pipes of its output and the one on which it says that a cell has ended."""

    def __init__(self) -> None:
        self._folder = tempfile.mkdtemp(prefix=".cell-")
        self.cell = str(Path(self._folder, "cell"))
        self.status, status = os.pipe()
        # A write past the limit stays an error; `subprocess` would let it be the end, as a closed pipe shall be.
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)
        self._process = subprocess.Popen(
            ["bash", "--norc", "--noprofile", "--noediting", "-i"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(status,),
            start_new_session=True,
            restore_signals=False,
            env={**os.environ, "PS1": "", "PS2": "", "KOWALSKI_PYTHON": sys.executable, "TERM": "dumb"},
        )
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        os.close(status)
        assert self._process.stdin and self._process.stdout and self._process.stderr  # noqa: PT018, S101
        self._stdin = self._process.stdin
        self.streams = {self._process.stdout.fileno(): "stdout", self._process.stderr.fileno(): "stderr"}
        for descriptor in (*self.streams, self.status):
            os.set_blocking(descriptor, False)
        # What is defined here is not in the cell's way: names begin with an underscore.
        self._say(f"set +mH; PROMPT_COMMAND=; _done() {{ printf '%s\\n' \"$1\" >&{status}; }}")
        self._say("_done 0")

    def start(self, code: str) -> None:
        """Begin to run a cell."""
        Path(self.cell).write_text(_without_errexit(code), "utf-8", "surrogateescape")
        self._say(f"KOWALSKI_STATUS=; source {self.cell} </dev/null")
        # On a line of its own: an interrupt drops the rest of the line it comes in.
        self._say('_done "${KOWALSKI_STATUS:-$?}"; trap - ERR; set +Eu +o pipefail')

    def interrupt(self) -> None:
        """Stop what the shell and its programs do."""
        os.killpg(self._process.pid, signal.SIGINT)

    def end(self) -> int:
        """Return the exit status of a shell that has closed its pipe; -n for a signal."""
        return self._process.wait()

    def _say(self, line: str) -> None:
        self._stdin.write(line.encode() + b"\n")
        self._stdin.flush()


def _without_errexit(code: str) -> str:
    """Let `set -e` end the cell at an error, and not the shell with all that it knows."""

    def instead(match: re.Match[str]) -> str:
        flags = f"{match[2] or ''}{match[3] or ''}"
        other = f"set -{flags}{match[4]}; " if flags else ""
        return f"{match[1]}{other}set -E; trap 'KOWALSKI_STATUS=$?; _kowalski_end_cell' ERR"

    return _ERREXIT.sub(instead, code)


class Output:
    """The output of one cell: the first part as it comes, then only the end, with what was left out counted."""

    def __init__(self, kernel: Kernel, limit: int) -> None:
        make = codecs.getincrementaldecoder("utf-8")
        self._decoders = {kind: make("replace") for kind in ("stdout", "stderr")}
        self._kernel = kernel
        self._room = limit
        self._tail: list[tuple[str, str]] = []
        self._tail_size = 0
        self._omitted = 0
        self._held = ""

    def write(self, kind: str, data: bytes) -> None:
        """Add a piece."""
        text = self._decoders[kind].decode(data)
        # An interrupted shell adds a line end, which nobody wants to see.
        if kind == "stderr":
            text, self._held = self._held + text, ""
            if text.endswith("\n") and (text == "\n" or text.endswith("\n\n")):
                text, self._held = text[:-1], "\n"
        fits, rest = text[: self._room], text[self._room :]
        self._room -= len(fits)
        if fits:
            self._kernel.publish("stream", {"name": kind, "text": fits})
        if rest:
            self._tail.append((kind, rest))
            self._tail_size += len(rest)
        while self._tail_size > 2 * TAIL and len(self._tail) > 1:
            _, first = self._tail.pop(0)
            self._tail_size -= len(first)
            self._omitted += len(first)

    def end(self) -> None:
        """Send the end."""
        for kind, text in self._tail:
            excess = max(len(text) - 2 * TAIL, 0)
            content = {"name": kind, "text": text[excess:]}
            self._kernel.publish("stream", content, {"omitted": self._omitted + excess})
            self._omitted = 0


class Kernel:
    """Jupyter's messages on one side, the shell on the other."""

    def __init__(self, info: dict[str, Any]) -> None:
        self._key = info["key"].encode()
        self._session = uuid.uuid4().hex
        self._shell = Shell()
        self._cells = 0
        self._parent: dict[str, Any] = {}
        self._request: list[bytes] = []
        self._output: Output | None = None
        self._limit = int(os.environ.get("KOWALSKI_OUTPUT", "1048576"))
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        kinds = {"shell": zmq.ROUTER, "iopub": zmq.XPUB, "stdin": zmq.ROUTER, "control": zmq.ROUTER, "hb": zmq.REP}
        self._sockets = {}
        for channel, kind in kinds.items():
            socket = self._sockets[channel] = context.socket(kind)
            socket.linger = 1000
            socket.sndhwm = 0  # nothing may be dropped; what there is, is limited
            colon = ":" if info["transport"] == "tcp" else "-"
            socket.bind(f"{info['transport']}://{info['ip']}{colon}{info[f'{channel}_port']}")

    def run(self) -> None:
        """Serve until the shell ends. Its first word says that it is ready, after complaints about no terminal."""
        poller = zmq.Poller()
        poller.register(self._shell.status, zmq.POLLIN)
        poller.poll()
        self._read_status()
        self._drain()
        for descriptor in (*self._shell.streams, self._sockets["control"], self._sockets["hb"]):
            poller.register(descriptor, zmq.POLLIN)
        if (ready := os.environ.pop("KOWALSKI_READY", None)) is not None:
            os.write(int(ready), b"ready")
            os.close(int(ready))
            self._sockets["iopub"].recv()  # whoever has started us listens: what is published from now on is heard
        while True:
            if self._output is None:
                poller.register(self._sockets["shell"], zmq.POLLIN)
            elif self._sockets["shell"] in poller:  # the next cell waits in its socket
                poller.unregister(self._sockets["shell"])
            self._serve(dict(poller.poll()))

    def _serve(self, events: dict[Any, int]) -> None:
        for descriptor in self._shell.streams:
            if descriptor in events:
                self._read(descriptor)
        if self._shell.status in events:
            self._finish(self._read_status())
        for channel in ("control", "shell"):
            if self._sockets[channel] in events:
                self._take(channel)
        if self._sockets["hb"] in events:
            self._sockets["hb"].send(self._sockets["hb"].recv())

    def publish(self, kind: str, content: dict[str, Any], metadata: dict[str, Any] | None = None) -> None:
        """Send one message to everybody."""
        self._send("iopub", [kind.encode()], kind, content, parent=self._parent, metadata=metadata)

    # -- messages --------------------------------------------------------------------------------------

    def _take(self, channel: str) -> None:
        frames = self._sockets[channel].recv_multipart()
        place = frames.index(b"<IDS|MSG>")
        identities, signature, parts = frames[:place], frames[place + 1], frames[place + 2 : place + 6]
        if not hmac.compare_digest(signature, self._signature(parts)):
            return
        header, content = json.loads(parts[0]), json.loads(parts[3])
        if header["msg_type"] == "execute_request":
            self._start(identities, header, content)
            return
        self._parent = self._parent if self._output else header
        replies: dict[str, dict[str, Any]] = {
            "kernel_info_request": _KERNEL_INFO,
            "interrupt_request": {"status": "ok"},
            "shutdown_request": {"status": "ok", **content},
            "is_complete_request": {"status": "unknown"},
            "comm_info_request": {"status": "ok", "comms": {}},
        }
        reply = replies.get(header["msg_type"])
        if reply is None:
            return
        if header["msg_type"] == "interrupt_request" and self._output is not None:
            self._shell.interrupt()
        self._status("busy", header)
        self._send(channel, identities, header["msg_type"].replace("request", "reply"), reply, parent=header)
        self._status("idle", header)
        if header["msg_type"] == "shutdown_request":
            os._exit(0)

    def _start(self, identities: list[bytes], header: dict[str, Any], content: dict[str, Any]) -> None:
        self._request, self._parent = identities, header
        self._cells += 1
        self._status("busy", header)
        self._drain()  # of a program that an earlier cell has left behind
        self._output = Output(self, self._limit)
        self._shell.start(content["code"])

    def _finish(self, status: int) -> None:
        """The cell has ended with a status."""
        self._settle()
        output, self._output = self._output, None
        if output is None:
            return
        output.end()
        content: dict[str, Any] = {
            "status": "ok",
            "execution_count": self._cells,
            "payload": [],
            "user_expressions": {},
        }
        if status:
            error = {"ename": "ExitStatus", "evalue": str(status), "traceback": [f"exit status {status}"]}
            self.publish("error", error)
            content = {"status": "error", "execution_count": self._cells, **error}
        self._send("shell", self._request, "execute_reply", content, parent=self._parent)
        self._status("idle", self._parent)

    def _status(self, state: str, parent: dict[str, Any]) -> None:
        self._send("iopub", [b"status"], "status", {"execution_state": state}, parent=parent)

    def _send(
        self,
        channel: str,
        identities: list[bytes],
        kind: str,
        content: dict[str, Any],
        *,
        parent: dict[str, Any],
        metadata: dict[str, Any] | None = None,
    ) -> None:
        header = {
            "msg_id": uuid.uuid4().hex,
            "session": self._session,
            "username": "kernel",
            "date": dt.datetime.now(dt.UTC).isoformat(),
            "msg_type": kind,
            "version": "5.3",
        }
        parts = [json.dumps(part).encode() for part in (header, parent, metadata or {}, content)]
        self._sockets[channel].send_multipart([*identities, b"<IDS|MSG>", self._signature(parts), *parts])

    def _signature(self, parts: list[bytes]) -> bytes:
        if not self._key:
            return b""
        return hmac.new(self._key, b"".join(parts), hashlib.sha256).hexdigest().encode()

    # -- the shell -------------------------------------------------------------------------------------

    def _read(self, descriptor: int) -> bool:
        """Take what has come on a stream; return whether anything had."""
        try:
            data = os.read(descriptor, PIECE)
        except BlockingIOError:
            return False
        if data and self._output is not None:
            self._output.write(self._shell.streams[descriptor], data)
        return bool(data)

    def _drain(self) -> None:
        while any([self._read(descriptor) for descriptor in self._shell.streams]):  # noqa: C419 - both are read
            pass

    def _settle(self) -> None:
        """Read what was written before the cell ended: it is in the pipes already, unless a program goes on."""
        for _ in range(_DRAIN_MILLISECONDS):
            if not any([self._read(descriptor) for descriptor in self._shell.streams]):  # noqa: C419 - both are read
                return

    def _read_status(self) -> int:
        """Return the status that the shell has told. If it has ended, so does this process, as it did."""
        word = os.read(self._shell.status, 1 << 10)
        if not word:
            self._settle()
            if self._output:
                self._output.end()
            for socket in self._sockets.values():
                socket.close()
            status = self._shell.end()
            sys.exit(status if status >= 0 else 128 - status)
        return int(word.split()[-1])


_KERNEL_INFO = {
    "status": "ok",
    "protocol_version": "5.3",
    "implementation": "kowalski-bash",
    "implementation_version": "1",
    "language_info": {"name": "bash", "version": "", "mimetype": "text/x-sh", "file_extension": ".sh"},
    "banner": "",
    "help_links": [],
}

if __name__ == "__main__":
    main(sys.argv[1])
