"""What tests of clusters share: waiting for what is seen, and an address where nobody is."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from kowalski_jupyter.cluster.cluster import Cluster
from kowalski_jupyter.cluster.snapshot import Snapshot


def run(test: Coroutine[Any, Any, None]) -> None:
    asyncio.run(test)


def free_url() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"http://127.0.0.1:{listener.getsockname()[1]}"


async def until(cluster: Cluster, holds: Callable[[Snapshot], Any]) -> Snapshot:
    """Return the first snapshot that something holds of; the test's own time-out ends it otherwise."""
    changed = asyncio.Event()
    unwatch = cluster.watch(changed.set)
    try:
        while not holds(cluster.snapshot):
            changed.clear()
            await changed.wait()
        return cluster.snapshot
    finally:
        unwatch()
