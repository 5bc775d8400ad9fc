"""A process that asks one implementation, and the scripted server that its models are."""

from __future__ import annotations

import itertools
import json
import os
import queue
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from typing import IO, Any

import psutil

from benchmarks.bare import seconds_of_bare_calls
from benchmarks.environments import ROOT
from benchmarks.implementations import DRIVERS, Implementation
from benchmarks.memory import PeakMemory
from benchmarks.scenarios import CALLS, Scenario, Trial
from tests.support.scripted_server import Reply, Request, ScriptedServer

# The answer of llama.cpp's /props, so that who asks for it knows how many requests may be sent at a time.
_PROPS = {"total_slots": CALLS, "default_generation_settings": {"n_ctx": 131072}}
_QUESTION = "What is the answer?"
_SUBCALL = re.compile(r"(?:\[\[ ## question ## \]\]\n)?SUBCALL \d")  # with or without dspy's name of the field


class DriverError(Exception):
    """A driver's process has ended, or says nothing within the time given."""


class Session:
    """One process of one implementation. Its first trial is a cold one."""

    def __init__(
        self,
        implementation: Implementation,
        server: ScriptedServer,
        process: subprocess.Popen[str],
        errors: IO[str],
        spawned: float,
    ) -> None:
        self.server = server
        self._implementation = implementation
        self._process = process
        self._errors = errors
        self._spawned = spawned
        self._context_size = 0
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def run(self, scenario: Scenario, *, sample_memory: bool = False) -> Trial:
        """Run a scenario once.

        Raises:
            RuntimeError: the answer is wrong.
            DriverError: the process has ended.
        """
        if scenario.context_size != self._context_size:
            self.tell({"context_size": scenario.context_size})
            self._context_size = scenario.context_size
        self.server.script = _script(self._implementation, scenario)
        seen = len(self.server.requests)
        memory = PeakMemory(self._process.pid)
        with memory if sample_memory else nullcontext():
            said = self.ask()
        if said.get("answer") != scenario.expected:
            raise RuntimeError(f"{self._implementation.name}: {said!r} instead of {scenario.expected!r}")
        requests = self.server.requests[seen:]
        subcalls = [request for request in requests if is_subcall(request)]
        root = [request for request in requests if not is_subcall(request)]
        bare = seconds_of_bare_calls(self.server.port, scenario.bare_calls, width=CALLS) if scenario.bare_calls else 0.0
        return Trial(self._spawned, said["asked"], said["answered"], root, subcalls, memory.added, bare)

    def ask(self) -> dict[str, Any]:
        """Ask the question and return what the driver says when the run has ended."""
        return self.tell({"question": _QUESTION})

    def tell(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Send a command and wait for what the driver says to it."""
        self.send(command)
        return self.receive()

    def send_question(self) -> None:
        """Ask the question and do not wait; see `receive`."""
        self.send({"question": _QUESTION})

    def send(self, command: Mapping[str, Any]) -> None:
        """Send a command."""
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise DriverError(self._last_words()) from None

    def receive(self, timeout: float | None = None) -> dict[str, Any]:
        """Return what the driver says next.

        Raises:
            DriverError: its process has ended.
            TimeoutError: it says nothing within `timeout` seconds.
        """
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"nothing within {timeout:g} s") from None
        if not line:
            raise DriverError(self._last_words())
        return dict(json.loads(line))

    def interrupt(self) -> None:
        """Do what Ctrl+C does to the process that asks."""
        self._process.send_signal(signal.SIGINT)

    def close(self, *, force: bool = False) -> None:
        """End the process: when it is ready, or by `force` with everything below it."""
        family = _family(self._process.pid) if force else []
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.kill()
        assert self._process.stdin
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()
        self._reader.join()
        assert self._process.stdout
        self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def _last_words(self) -> str:
        self._process.wait()
        self._errors.seek(0)
        said = [line.strip() for line in self._errors if line.strip()]
        return f"its process has ended: {said[-1] if said else 'without a word'}"


@contextmanager
def open_session(implementation: Implementation, options: Mapping[str, float] | None = None) -> Iterator[Session]:
    """Start a process of an implementation, on a scripted server of its own.

    Args:
        implementation: whose.
        options: the limits that it is given, see drivers/line.py.
    """
    with (
        ScriptedServer(routes={"/props": _PROPS}) as server,
        tempfile.TemporaryFile("w+") as errors,
        tempfile.TemporaryDirectory() as folder,
    ):
        spawned = time.monotonic()
        process = subprocess.Popen(
            [implementation.python(), DRIVERS / implementation.driver, server.url, json.dumps(options or {})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT), "KOWALSKI_STORE": f"{folder}/runs.sqlite"},
        )
        session = Session(implementation, server, process, errors, spawned)
        try:
            yield session
        except BaseException:
            session.close(force=True)
            raise
        session.close()


def is_subcall(request: Request) -> bool:
    """Return whether code asked this, rather than the loop."""
    return _SUBCALL.match(request.last("user")) is not None


def _script(implementation: Implementation, scenario: Scenario) -> Callable[[Request], Reply]:
    codes = [*scenario.codes, implementation.finish(scenario.answer)]
    # In one piece: a real model's tokens are read while it writes the next ones, not after its last.
    chatter = " and so on" * (scenario.chatter // 3)
    replies = [
        Reply(implementation.write(code) + chatter, whole=not chatter, token_delay=scenario.word_seconds)
        for code in codes
    ]
    turns = itertools.count()
    turn_of = turn_counter()

    def script(request: Request) -> Reply:
        if is_subcall(request):
            return Reply("ok", delay=scenario.subcall_seconds)
        return replies[turn_of(request) if scenario.by_turn else next(turns)]

    return script


def turn_counter() -> Callable[[Request], int]:
    """Return a function that tells which turn of its run a root request is, from 0, for many runs at a time.

    Replies in a chat may be examples in the prompt: the first request of all, which has no others, shows how many.
    """
    examples: int | None = None

    def turn_of(request: Request) -> int:
        nonlocal examples
        said: int = sum([message.get("role") == "assistant" for message in request.messages])
        examples = said if examples is None else examples
        return said - examples

    return turn_of


def _family(pid: int) -> list[psutil.Process]:
    """Return a process and all below it."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    return []
