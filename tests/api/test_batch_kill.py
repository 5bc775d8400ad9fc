"""A batch whose process is killed again and again: each result is there once, and only what is missing is asked for."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

from tests.support.scripted_server import Reply, Request, ScriptedServer

COUNT = 1000
KILLS = 5
PARALLEL = 20


def number_of(request: Request) -> Reply:
    return Reply(request.payload["messages"][-1]["content"].removeprefix("Number ").removesuffix("?"), delay=0.02)


def start(server: ScriptedServer, folder: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "tests.api.killable_batch", server.url, str(COUNT)]
    env = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2], env=env)


def test_a_batch_is_killed_at_five_random_moments(own_store: Path, of_killed: Path) -> None:
    # Moments are numbers of tasks that are done then: each process gets some way.
    moments = sorted(random.Random(5).sample(range(20, COUNT - 20), KILLS))  # noqa: S311 (the same each time)
    with ScriptedServer(number_of) as server:
        for moment in moments:
            with start(server, of_killed) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    if int(line) >= moment:
                        break
                process.send_signal(signal.SIGKILL)
                process.wait()
            assert kept(own_store) >= moment
        with start(server, of_killed) as process:
            said, _ = process.communicate()
        asked = Counter(request.payload["messages"][-1]["content"] for request in server.requests)

    assert said.splitlines()[-1] == " ".join(["values", *map(str, range(COUNT))])
    assert kept(own_store) == COUNT
    assert len(asked) == COUNT
    # Twice only what was under way when the process was killed.
    assert asked.total() - COUNT <= KILLS * PARALLEL
    assert (own_store.parent / "batches.sqlite").stat().st_mode & 0o077 == 0


def kept(store: Path) -> int:
    database = sqlite3.connect(store.parent / "batches.sqlite")
    try:
        [(count,)] = database.execute("SELECT count(*) FROM tasks WHERE batch = 'numbers' AND state = 'done'")
    finally:
        database.close()
    return int(count)
