"""A process that asks one implementation, and the scripted server that its models are."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from benchmarks.environments import ROOT
from benchmarks.implementations import DRIVERS, Implementation
from benchmarks.memory import PeakMemory
from benchmarks.scenarios import CALLS, SUBCALL, Scenario, Trial
from tests.support.scripted_server import Reply, Request, ScriptedServer

# The answer of llama.cpp's /props, so that who asks for it knows how many requests may be sent at a time.
_PROPS = {"total_slots": CALLS, "default_generation_settings": {"n_ctx": 131072}}


class Session:
    """One process of one implementation. Its first trial is a cold one."""

    def __init__(
        self,
        implementation: Implementation,
        server: ScriptedServer,
        process: subprocess.Popen[str],
        spawned: float,
    ) -> None:
        self._implementation = implementation
        self._server = server
        self._process = process
        self._spawned = spawned
        self._context_size = 0

    def run(self, scenario: Scenario, *, sample_memory: bool = False) -> Trial:
        """Run a scenario once.

        Raises:
            RuntimeError: the answer is wrong, or the process has ended.
        """
        if scenario.context_size != self._context_size:
            self._tell({"context_size": scenario.context_size})
            self._context_size = scenario.context_size
        self._server.script = _script(self._implementation, scenario)
        seen = len(self._server.requests)
        memory = PeakMemory(self._process.pid)
        if sample_memory:
            with memory:
                said = self._tell({"question": "What is the answer?"})
        else:
            said = self._tell({"question": "What is the answer?"})
        if said["answer"] != scenario.expected:
            raise RuntimeError(f"{self._implementation.name}: {said['answer']!r} instead of {scenario.expected!r}")
        requests = self._server.requests[seen:]
        subcalls = [request for request in requests if _is_subcall(request)]
        root = [request for request in requests if not _is_subcall(request)]
        return Trial(self._spawned, said["asked"], said["answered"], root, subcalls, memory.added)

    def _tell(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._implementation.name}: its process has ended: see above")
        return dict(json.loads(line))


@contextmanager
def open_session(implementation: Implementation) -> Iterator[Session]:
    """Start a process of an implementation, on a scripted server of its own."""
    with ScriptedServer(routes={"/props": _PROPS}) as server:
        python = implementation.python()
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        spawned = time.monotonic()
        process = subprocess.Popen(
            [python, DRIVERS / implementation.driver, server.url],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        try:
            yield Session(implementation, server, process, spawned)
        finally:
            process.communicate()


def _script(implementation: Implementation, scenario: Scenario) -> Any:
    codes = [*scenario.codes, implementation.finish(scenario.answer)]
    replies = iter([implementation.write(code) for code in codes])

    def script(request: Request) -> Reply | str:
        if _is_subcall(request):
            return Reply("ok", delay=scenario.subcall_seconds)
        # In one piece: a real model's tokens are read while it writes the next ones, not after its last.
        return Reply(next(replies), whole=True)

    return script


def _is_subcall(request: Request) -> bool:
    return request.last("user").startswith(SUBCALL)
