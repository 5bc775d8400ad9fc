"""Nodes of a cluster on this machine that say what a test wants them to say."""

from __future__ import annotations

import copy
from typing import Any, Self

from tests.support.scripted_server import ScriptedServer

SMOL = "mlx-community/SmolLM2-135M-Instruct"


class Nodes:
    """One scripted server for each node of a recorded state. Use as a context manager.

    Attributes:
        state: what all of them say. Change it, then `tell`.
        servers: by node id, in the order of the topology.
    """

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = copy.deepcopy(state)
        self.servers = {node: ScriptedServer(models=[{"id": SMOL, "owned_by": "exo"}]) for node in self.ids}

    @property
    def ids(self) -> list[str]:
        return list(self.state["topology"]["nodes"])

    @property
    def urls(self) -> list[str]:
        return [server.url for server in self.servers.values()]

    def __enter__(self) -> Self:
        for server in self.servers.values():
            server.__enter__()
        for sinks in self.state["topology"]["connections"].values():
            for node, edges in sinks.items():
                edges[:] = [
                    {
                        "sinkMultiaddr": {
                            "ip_address": "127.0.0.1",
                            "address_type": "ip4",
                            "port": self.servers[node].port,
                        }
                    }
                ]
        self.state["nodeNetwork"] = {}
        self.tell()
        return self

    def __exit__(self, *_: object) -> None:
        for server in self.servers.values():
            server.stop()

    def tell(self, *, parts: bool = True) -> None:
        """Have all nodes say what `state` is now; without `parts` as exo before 1.0.70 did, all of it at once."""
        said = {"/state": self.state}
        if parts:
            said |= {f"/state/{key}": value for key, value in self.state.items()}
        for node, server in self.servers.items():
            server.routes = copy.deepcopy(said) | {"/node_id": node}

    def hear_of(self, *silent: str, seconds: int = 1) -> None:
        """Let time go by for the master, who hears of all nodes but the `silent` ones."""
        for node, when in self.state["lastSeen"].items():
            if node not in silent:
                head, _, rest = when.partition(".")
                minute, second = head.rsplit(":", 1)
                self.state["lastSeen"][node] = f"{minute}:{(int(second) + seconds) % 60:02}.{rest}"
        self.state["lastEventAppliedIdx"] += 5
        self.tell()

    def forget(self, node: str) -> None:
        """Let exo forget a node, as it does after half a minute."""
        self.state["topology"]["nodes"].remove(node)
        for key in ("lastSeen", "nodeMemory"):
            del self.state[key][node]
        self.state["topology"]["connections"].pop(node, None)
        for sinks in self.state["topology"]["connections"].values():
            sinks.pop(node, None)
        self.tell()

    def stop(self, node: str) -> None:
        """End a node's process."""
        self.servers[node].stop()
