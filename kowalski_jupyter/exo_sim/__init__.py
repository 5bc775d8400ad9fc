r"""A simulated exo cluster: real processes, real sockets, exo's HTTP API, and everything that goes wrong with it.

    from kowalski_jupyter.exo_sim import Device, Model, Reply, Rule, Simulation, Timings

    async with Simulation(nodes=3, models=["mlx-community/Test-1B-4bit"], replies=Rule(echo=True), speed=50) as sim:
        sim.urls                                  # ["http://127.0.0.1:40123", "http://127.0.0.2:40123", …]
        sim.node_ids                              # exo's ids, by index; sim.control_url for other processes
        await sim.place("mlx-community/Test-1B-4bit", on=[1])     # ready when it returns; its id. Another call makes
                                                  # another replica; nodes=2 spreads it; wait=False does not wait
        await sim.inject("kill_node", node=1)     # all faults: kowalski_jupyter.exo_sim.faults
        (await sim.requests())[0].outcome         # every chat completion: kowalski_jupyter.exo_sim.records
        await sim.tell()                          # who is up, who is master, what is loaded

`nodes` is a number or devices (names, memory, sensors, `slow=3`); `models` are ids, `Model`s, or a mapping of ids to
`Model` or None. `replies` is a text, a `Reply` (`delay` in real seconds, `tokens_per_second`), a `Rule` or rules (the
first whose pattern is in the last user message; ``text=r"you said \1"``), a `Forward` to another server, or a
function of a request `Asked` that returns a text or a `Reply`, now or later.

`speed` is how much faster than exo the cluster waits (not how fast it replies): with 50, a dead node's 38 s take
0.76 s, a keep-alive comes every 0.2 s, loading takes 0.2 s; dates and ages in `/state` run as fast. `timings` changes
single durations, in exo's seconds: ``Timings(election=1)``. A request counts for the master's choice of a replica only
after `Timings.event_lag`, as in exo; 0 turns that fault off.

`phantom_nodes=97` fills `/state` with nodes that have no process; `catalogue=123` with models that nobody has.
Nodes' addresses begin at ``127.0.0.<first>``, all on the same free `port`: two simulations live side by side.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kowalski_jupyter.exo_sim.plan import Device, Forward, Model, Reply, Rule, Timings
    from kowalski_jupyter.exo_sim.records import Record
    from kowalski_jupyter.exo_sim.simulation import Asked, Simulation, SimulationError

__all__ = [
    "Asked",
    "Device",
    "Forward",
    "Model",
    "Record",
    "Reply",
    "Rule",
    "Simulation",
    "SimulationError",
    "Timings",
]

_HOMES = {
    "plan": ("Device", "Forward", "Model", "Reply", "Rule", "Timings"),
    "records": ("Record",),
    "simulation": ("Asked", "Simulation", "SimulationError"),
}


def __getattr__(name: str) -> Any:
    """Import what is public when it is first used: a node's process needs none of it."""
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
