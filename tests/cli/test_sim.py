"""The simulator in a terminal: what it prints can be used, and its lines break it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest

from kowalski_jupyter.cli.sim import HELP


@pytest.fixture
def sim() -> Iterator[subprocess.Popen[str]]:
    words = "import sys; from kowalski_jupyter.cli import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", words, "sim", "--port", "0", "--nodes", "2", "--speed", "50"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        process.kill()


def read_until(process: subprocess.Popen[str], pattern: str) -> list[str]:
    """The lines until one with a pattern in it."""
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if re.search(pattern, line):
            return lines
    raise AssertionError(f"no {pattern!r} in {lines}")


def tell(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdin
    process.stdin.write(line + "\n")
    process.stdin.flush()


def fetch(url: str, body: object = None) -> Any:
    answer = httpx.get(url, timeout=20) if body is None else httpx.post(url, json=body, timeout=20)
    return answer.raise_for_status().json()


def test_a_cluster_in_a_terminal(sim: subprocess.Popen[str]) -> None:
    lines = read_until(sim, "Break it")
    urls = re.findall(r"node \d +(\S+)", "".join(lines))
    control = re.findall(r"control +(\S+)", "".join(lines))[0]
    assert f"KOWALSKI_URL={urls[0]} " in "".join(lines)
    model = re.findall(r"model +(\S+)", "".join(lines))[0]
    body = {"model": model, "messages": [{"role": "user", "content": "Hello."}]}
    answer = fetch(f"{urls[1]}/v1/chat/completions", body)
    assert answer["choices"][0]["message"]["content"] == "Hello."

    tell(sim, "requests")
    assert json.loads("".join(read_until(sim, r"^\]")))[0]["outcome"] == "finished"
    tell(sim, "kill_node node=1")
    read_until(sim, "^done")
    assert fetch(control)["up"] == [True, False]
    tell(sim, "kill_node node=9")
    assert read_until(sim, "node")[-1] == "There is no node 9. There are 0 to 1.\n"
    tell(sim, "earthquake")
    read_until(sim, "There is no fault 'earthquake'")
    tell(sim, "help")
    assert read_until(sim, "^  clear")[0] == HELP.splitlines()[0] + "\n"
    fetch(f"{control}/inject", {"fault": "node_back", "node": 1})
    assert fetch(control)["up"] == [True, True]


@pytest.mark.parametrize("ending", ["quit", "SIGINT", "SIGTERM"])
def test_nothing_stays_when_it_ends(sim: subprocess.Popen[str], ending: str) -> None:
    read_until(sim, "Break it")
    nodes = psutil.Process(sim.pid).children(recursive=True)
    assert len(nodes) == 2
    if ending == "quit":
        tell(sim, "quit")
    else:
        sim.send_signal(getattr(signal, ending))
    assert sim.wait(20) == 0
    assert not [node for node in nodes if node.is_running()]


def test_nodes_end_with_a_killed_coordinator(sim: subprocess.Popen[str]) -> None:
    read_until(sim, "Break it")
    nodes = psutil.Process(sim.pid).children(recursive=True)
    sim.kill()
    _, alive = psutil.wait_procs(nodes, 20)
    assert not alive
