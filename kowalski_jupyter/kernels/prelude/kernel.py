"""The kernel: ipykernel's, with a lean path from a request to its reply."""

from __future__ import annotations

import builtins
import getpass
import os
import resource
import signal
import sys
import threading
import time
import warnings
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, NoReturn, cast

import zmq
from ipykernel.ipkernel import IPythonKernel
from traitlets import Type

from .calls import Calls
from .chance import seed
from .history import History
from .interrupts import interrupts
from .load import load
from .messages import Messages
from .namespace import Finished, Namespace
from .output import Descriptors, Recorder, Rich, Stream
from .requests import reply_to
from .running import may_wait, run
from .shell import Compiler, Shell
from .text import valid
from .tracebacks import describe


class LockedSocket:
    """A socket that any thread may send on. It replaces ipykernel's thread and its two hops."""

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self._lock = threading.Lock()

    def send_multipart(self, parts: list[bytes], **options: Any) -> None:
        """Send one message."""
        with interrupts, self._lock:
            self._socket.send_multipart(parts, **options)


class RunKernel(IPythonKernel):
    """Runs cells for one run.

    It takes its requests past Jupyter's shell channel (requests.py), for the sake of speed, and publishes outputs as
    Jupyter's kernels do. Besides cells it takes one ``load_request``, which brings the data, the way to the run, and
    the limits, and must come before the first cell; and before that a ``recall_request`` for each cell that the run's
    code ran in a kernel that has died. One that is to wait for a run takes a ``warm_up_request``.
    """

    shell_class = Type(Shell)
    compiler_class = Type(Compiler)

    def __init__(self, messages: Messages, **options: Any) -> None:
        super().__init__(**options)  # type: ignore[no-untyped-call]
        self._messages = messages
        self._request: Mapping[str, Any] = {}
        self._pid = os.getpid()
        self._shell = cast("Shell", self.shell)
        self._cells = 0
        self._namespace: Namespace | None = None
        self._published = 0
        self._last_outputs: list[dict[str, Any]] | None = None
        self._history = History()
        self.recorder = Recorder(self._send_output)
        self._descriptors = Descriptors(self.recorder)
        sys.stdout = Stream("stdout", self.recorder)
        sys.stderr = Stream("stderr", self.recorder)
        self._shell.attach(self.recorder, self._descriptors.drain)
        self._shell.user_ns.clear()
        self._shell.user_ns["__name__"] = "__main__"
        self._shell.user_ns["__builtins__"] = builtins
        builtins.input = getpass.getpass = _refuse_input
        warnings.filterwarnings("ignore", message="To exit: use")
        interrupts.install()

    def answer(self, request: Mapping[str, Any]) -> Mapping[str, Any] | Coroutine[Any, Any, Mapping[str, Any]]:
        """Answer a request. Called by `Requests`, for one after the other."""
        self._request, content = {"msg_id": request["id"]}, request["content"]
        match request["type"]:
            case "execute_request":
                cell = self._execute(content)
                return cell if may_wait(content["code"]) else _to_its_end(cell)
            case "load_request":
                return self._load(content)
            case "recall_request":
                return self._recall(content)
            case "warm_up_request":
                return self._warm_up()
        self._publish_status("idle", "shell")  # type: ignore[no-untyped-call]  # who asks wants to see both ways work
        return {"status": "ok"}

    def _warm_up(self) -> Mapping[str, Any]:
        """Do once what a cell and an answer need: in a fork, each page of memory is copied when it is first written."""
        names = self._shell.user_ns
        names["FINAL"] = Namespace({}, Calls("", ""), (), self._history, checks_answer=False, starts_runs=False).FINAL
        for code in ("print()", "FINAL(0)"):
            reply_to("", _to_its_end(self._execute({"code": code})))
        del names["FINAL"]
        self._cells, self._history = 0, History()
        return {"status": "ok"}

    def _load(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Take the run's data, socket and limits."""
        try:
            self.recorder.limit = content["limits"]["output"]
            self.recorder.end_cell()
            values = {item["name"]: load(item) for item in content["items"]}
            calls = Calls(content["socket"], content["token"])
            calls.connect()
            self._namespace = Namespace(
                self._shell.user_ns,
                calls,
                content["functions"],
                self._history,
                checks_answer=content["checks_answer"],
                starts_runs=content["starts_runs"],
            )
            self._namespace.install(values)
            seed(content["seed"])
            _set_limits(content["limits"])
        except Exception as error:  # noqa: BLE001 - whatever it is, the user has to read it
            return {"status": "error", "evalue": describe(error)}
        return {"status": "ok"}

    def _recall(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Take an earlier cell into the history."""
        self._cells += 1
        self._history.write(content["output"], 0)
        self._history.end_cell(self._cells, content["code"])
        return {"status": "ok"}

    async def _execute(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Run one cell.

        Each message costs both sides two threads' wake-ups, and most cells are short. So the last outputs go with the
        reply, which says how many were published before it, and there is no status.
        """
        started = time.perf_counter()
        code = content["code"]
        self._cells += 1
        cast("Compiler", self._shell.compile).cell = self._cells
        if self._namespace:
            self._namespace.start_cell()
        self.recorder.start_cell()
        error = await self._run(code)
        if os.getpid() != self._pid:
            os._exit(0)  # the cell forked and this is the copy: the kernel is elsewhere
        self._descriptors.drain()
        last_outputs: list[dict[str, Any]] = []
        self._last_outputs = last_outputs
        self.recorder.end_cell()
        self._last_outputs = None
        published, self._published = self._published, 0
        self._history.end_cell(self._cells, code)
        return {
            "status": "ok" if error is None else "error",
            "execution_count": self._cells,
            "ename": "" if error is None else type(error).__name__,
            "names": self._namespace.visible() if self._namespace else [],
            "seconds": time.perf_counter() - started,
            "outputs": last_outputs,
            "published": published,
            "answer": self._namespace.take_answer() if self._namespace else None,
            "draft": self._namespace.take_draft() if self._namespace else None,
        }

    async def _run(self, code: str) -> BaseException | None:
        """Run `code`, with its outputs and its error recorded; return the error."""
        shell = self._shell
        try:
            interrupts.start_cell()
            try:
                error = await run(shell, code)
            finally:
                interrupts.end_cell()
            shell.events.trigger("post_execute")
            if error is None and self._namespace is not None:
                self._namespace.check_answer()
        except BaseException as problem:  # noqa: BLE001 - an interrupt on the last metre, an answer's TypeError
            shell.showtraceback()
            return problem
        return None if isinstance(error, Finished) else error

    def _send_output(self, kind: str, text: str, omitted: int, rich: Rich) -> None:
        """Publish one output as Jupyter's message for its kind, or keep it for the reply that is about to go."""
        metadata = {"omitted": omitted} if omitted else {}
        text = valid(text)
        self._history.write(text, omitted)
        content: dict[str, Any]
        if kind in {"stdout", "stderr"}:
            message, content = "stream", {"name": kind, "text": text}
        elif kind == "error":
            message, content = "error", {"ename": "", "evalue": "", "traceback": [text]}
        else:
            message = "execute_result" if kind == "result" else "display_data"
            content = {"data": {"text/plain": text, **rich}, "metadata": {}, "execution_count": 0}
        if self._last_outputs is not None:
            self._last_outputs.append({"msg_type": message, "content": content, "metadata": metadata})
            return
        self._published += 1
        _, parts = self._messages.pack(message, content, parent=self._request, metadata=metadata)
        cast("LockedSocket", self.iopub_socket).send_multipart(parts)

    def pre_handler_hook(self) -> None:
        """Leave SIGINT to `interrupts`."""

    def post_handler_hook(self) -> None:
        """Leave SIGINT to `interrupts`."""


def _to_its_end(cell: Coroutine[Any, Any, Mapping[str, Any]]) -> Mapping[str, Any]:
    """Run what awaits nothing. A task would take two turns of the event loop for it."""
    try:
        cell.send(None)
    except StopIteration as end:
        return cast("Mapping[str, Any]", end.value)
    raise RuntimeError("a cell without a word for it awaits")


def _set_limits(limits: Mapping[str, Any]) -> None:
    """Confine this process and those that it starts. None of it can be undone from here."""
    for name in ("AS", "NPROC", "FSIZE", "NOFILE", "CORE", "CPU"):
        if (value := limits.get(name)) is not None:
            if name == "AS":
                value += _address_space()  # the limit is for what the run adds
            kind = getattr(resource, f"RLIMIT_{name}")
            _soft, hard = resource.getrlimit(kind)
            value = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (value, value))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit is an OSError, not the end


def _address_space() -> int:
    """Return the bytes of address space that this process has taken, 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except OSError:
        return 0
    return pages * resource.getpagesize()


def _refuse_input(*_args: Any, **_options: Any) -> NoReturn:
    raise RuntimeError("Nobody is there to answer input(): the data is in variables, and code must go on by itself.")
