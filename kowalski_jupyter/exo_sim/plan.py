"""What a simulation is made of: models, devices, replies and durations. All of it goes through JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Model:
    """A model of the catalogue. `size` is in bytes, `load_seconds` are simulated ones, for all of it on one node."""

    id: str
    size: int = 700_000_000
    layers: int = 16
    hidden: int = 2048
    kv_heads: int = 8
    context: int = 8192
    family: str = "llama"
    quantization: str = "4bit"
    base: str = ""
    capabilities: tuple[str, ...] = ("text",)
    supports_tensor: bool = True
    load_seconds: float = 8.0
    downloaded: bool = True


@dataclass(frozen=True, slots=True)
class Device:
    """A machine of the cluster. Memory is in bytes; `slow` multiplies the time that replies take.

    Without `mac` it tells as little of itself as exo does on Linux.
    """

    name: str = ""
    mac: bool = True
    model: str = "Mac Studio"
    chip: str = "Apple M3 Ultra"
    memory: int = 64 * GIB
    available: int = 48 * GIB
    gpu: float = 0.12
    temperature: float = 41.5
    power: float = 18.0
    slow: float = 1.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What a model says.

    `delay` is in real seconds until the first token; then `tokens_per_second` come, or all at once. `finish` is exo's
    reason, unless `max_tokens` end it before.
    """

    text: str = ""
    delay: float = 0.0
    tokens_per_second: float | None = None
    finish: str = "stop"
    reasoning: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    r"""A reply for the requests whose last user message has `pattern` in it (a regular expression).

    `text` may name groups of the pattern (``\1``); `echo` repeats the user's message instead. `model` limits it to one.
    """

    pattern: str = ""
    text: str = ""
    echo: bool = False
    delay: float = 0.0
    tokens_per_second: float | None = None
    model: str | None = None


@dataclass(frozen=True, slots=True)
class Forward:
    """Another OpenAI-compatible server that makes the replies. `model` is its name there; the pace is as in `Reply`."""

    url: str
    model: str | None = None
    tokens_per_second: float | None = None


@dataclass(frozen=True, slots=True)
class Timings:
    """What exo takes its time for, in simulated seconds: measured on the real one.

    `node_timeout` and `instance_timeout` count from a node's death; `event_lag` is how late the master counts a
    request; `unknown_model` is how long exo looks for a model that nobody knows.
    """

    keep_alive: float = 10.0
    node_timeout: float = 37.6
    instance_timeout: float = 48.0
    election: float = 3.5
    edges: float = 10.0
    event_lag: float = 0.05
    runner_death: float = 1.3
    runner_back: float = 0.5
    connect: float = 1.0
    warm_up: float = 2.0
    unknown_model: float = 18.0
    download: float = 20.0


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that a coordinator has to know when it begins.

    `ask` says that replies are asked from the process that began the simulation. `catalogue` adds so many models that
    nobody downloaded: a real exo lists 123 on every node. `first` is the last number of the first node's address.
    """

    nodes: tuple[Device, ...]
    models: tuple[Model, ...]
    speed: float = 1.0
    port: int = 0
    first: int = 1
    control_port: int = 0
    slots: int = 8
    phantoms: int = 0
    catalogue: int = 0
    rules: tuple[Rule, ...] = ()
    forward: Forward | None = None
    ask: bool = False
    timings: Timings = field(default_factory=Timings)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)

    @classmethod
    def from_json(cls, told: dict[str, Any]) -> Plan:
        """Read what `to_json` gave."""
        made = {name.name: told[name.name] for name in fields(cls) if name.name in told}
        made["nodes"] = tuple(Device(**device) for device in told["nodes"])
        made["models"] = tuple(
            Model(**{**model, "capabilities": tuple(model["capabilities"])}) for model in told["models"]
        )
        made["rules"] = tuple(Rule(**rule) for rule in told["rules"])
        made["forward"] = Forward(**told["forward"]) if told["forward"] else None
        made["timings"] = Timings(**told["timings"])
        return cls(**made)
