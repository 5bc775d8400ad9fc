"""``python -m tests.support.failing_cluster --port 8963``: the cluster of `failing`, for tests in other languages.

Its nodes are 127.0.0.11 and up. Says ``{"control": …}`` on a line when all replicas are ready, and ends with its
standard input. See `kowalski_jupyter.exo_sim` for what `control` takes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from tests.support.failing import MODEL, simulation


async def main(port: int, nodes: int, calls: int, delay: float) -> None:
    async with simulation(calls, delay=delay, nodes=nodes, port=port, first=11) as sim:
        for node in range(nodes):
            await sim.place(MODEL, on=[node])
        print(json.dumps({"control": sim.control_url}), flush=True)  # noqa: T201 (what it is for)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--calls", type=int, default=200)
    parser.add_argument("--delay", type=float, default=1.0, help="seconds that a sub-call takes")
    given = parser.parse_args()
    asyncio.run(main(given.port, given.nodes, given.calls, given.delay))
