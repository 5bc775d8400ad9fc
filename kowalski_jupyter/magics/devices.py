"""`%rlm devices | models | load | unload`: what there is to run on, in lines."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

from kowalski_jupyter.magics.arguments import LineParser, above_zero
from kowalski_jupyter.magics.session import Session

LOAD_USAGE: Final = "%rlm load MODEL [--sharding pipeline|tensor|auto] [--min-nodes N]"

NO_DEVICES: Final = (
    "No devices yet: no exo cluster was found. Start exo on a device (`uv run exo`), or set c.Kowalski.devices to its "
    "address, such as http://192.168.1.20:52415."
)
_CONDITIONS: Final = {"ok": "ok", "stale": "silent", "unreachable": "not reachable from here", "lost": "LOST"}
_LIMITS: Final = {"memory": "short of memory", "battery": "on battery"}
_MOST_OTHERS: Final = 15
_GIB: Final = 1 << 30


def devices(session: Session) -> str:
    """Return all devices, what runs on them, and alerts."""
    document = session.rlm().devices()
    if not document["devices"]:
        return NO_DEVICES
    width = max(len(device["name"]) for device in document["devices"])
    lines = [line for device in document["devices"] for line in _device(device, width)]
    alerts = [alert_line(alert) for alert in document["alerts"]]
    return "\n".join(lines + (["", "alerts:", *alerts] if alerts else []))


def decisions(session: Session) -> str:
    """Return where the last requests went, and why."""
    made = session.rlm().devices()["decisions"]
    if not made:
        return "Nothing was sent to several places yet: a run on one server has no choice."
    return "\n".join(
        f"{_clock(each['time'])}  {each['what']} {each['did']} {each['where']}: {each['why']}" for each in made
    )


def models(session: Session) -> str:
    """Return all models that there are, place by place: what is loaded, what is on a disk, what would fit."""
    known = session.rlm().models()
    if not known:
        return NO_DEVICES
    places = [list(group) for _, group in groupby(known, key=itemgetter("where"))]
    lines = [line for place in places for line in (f"{place[0]['where']}:", *_at_place(place), "")]
    return "\n".join([*lines, f"Load one: {LOAD_USAGE}" if any(model["loadable"] for model in known) else NO_DEVICES])


def _at_place(known: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the models of one place in lines."""
    here = [model for model in known if model["loaded"] or model["downloaded"]]
    others = [model for model in known if model not in here]
    fitting = [model for model in others if model["devices"]]
    shown = fitting[-_MOST_OTHERS:][::-1]
    lines = [_model(model) for model in here] or ["Nothing is loaded, and nothing is on a disk."]
    if shown:
        lines += ["Would fit, and would be downloaded (the largest first):", *map(_model, shown)]
    hidden = len(others) - len(shown)
    if hidden:
        lines.append(
            f"… and {hidden} more, {len(others) - len(fitting)} of them too large for the memory that is free."
        )
    return lines


def load(session: Session, words: tuple[str, ...]) -> str:
    """Have a model loaded, telling how far it is on a line of its own; return what it came to."""
    parser = LineParser(LOAD_USAGE)
    parser.add_argument("model")
    parser.add_argument("--sharding", choices=("auto", "pipeline", "tensor"), default="auto")
    parser.add_argument("--min-nodes", type=above_zero(int), default=1)
    given = parser.read(words)
    line = _Line()
    try:
        instance = session.rlm().load(
            given["model"], sharding=given["sharding"], min_nodes=given["min_nodes"], on_progress=line.show
        )
    finally:
        line.end()
    return f"{instance['model']} is ready on {', '.join(instance['devices'])}."


def unload(session: Session, model: str) -> str:
    """Have a model unloaded; return what was done."""
    count = session.rlm().unload(model)
    return f"{model} is unloaded." if count == 1 else f"{count} instances of {model} are unloaded."


class _Line:
    """One line of output that is written again and again."""

    def __init__(self) -> None:
        self._width = 0

    def show(self, text: str, done: int | None, total: int | None) -> None:
        said = text if not done or not total else f"{text}: {done / _GIB:.1f} of {total / _GIB:.1f} GB"
        print(f"\r{said:<{self._width}}", end="", flush=True)  # noqa: T201 (what the command is for)
        self._width = max(self._width, len(said))

    def end(self) -> None:
        if self._width:
            print(flush=True)  # noqa: T201


def _device(device: Mapping[str, Any], width: int) -> Iterator[str]:
    yield f"{device['name']:<{width}}  " + " · ".join((condition(device), *facts(device)))
    for instance in device["instances"]:
        yield f"{'':{width}}  {instance_line(instance)}"


def condition(device: Mapping[str, Any]) -> str:
    """Return how a device is."""
    word, unheard = _CONDITIONS.get(device["condition"], device["condition"]), device["unheard"]
    return f"{word} for {unheard:.0f} s" if device["condition"] in {"lost", "stale"} and unheard is not None else word


def facts(device: Mapping[str, Any]) -> list[str]:
    """Return what a device reports, in words; nothing for what it does not."""
    total, free = device["memory_total"], device["memory_available"]
    found = [
        *[_LIMITS.get(limit, limit) for limit in device["limits"]],
        ", ".join(word for word in (device["model"], device["chip"]) if word),
        f"{free / _GIB:.1f} of {total / _GIB:.1f} GB memory free" if total and free is not None else "",
        f"load {device['load']:.0%}" if device["load"] is not None else "",
        f"{device['temperature']:.0f} °C" if device["temperature"] is not None else "",
        f"{device['power']:.0f} W" if device["power"] is not None else "",
        f"answers in {device['round_trip'] * 1000:.0f} ms" if device["round_trip"] is not None else "",
    ]
    return [fact for fact in found if fact]


def instance_line(instance: Mapping[str, Any]) -> str:
    """Return a model that is loaded, in a line."""
    state = "ready" if instance["state"] == "ready" else instance["detail"]
    parts = [
        f"{instance['model']}: {state}",
        f"over {len(instance['devices'])} devices" if len(instance["devices"]) > 1 else "",
        f"{instance['ours']} requests of ours" if instance["ours"] else "",
        f"{instance['others']} of others" if instance["others"] else "",
        f"{instance['queued']} of them wait" if instance["queued"] else "",
        f"{instance['tokens_per_second']:.0f} tokens/s" if instance["tokens_per_second"] else "",
    ]
    return ", ".join(part for part in parts if part)


def alert_line(alert: Mapping[str, Any]) -> str:
    """Return an alert in a line."""
    over = "" if alert["until"] in {None, alert["since"]} else " (over)"
    return f"{_clock(alert['since'])}  {alert['text']}{over}"


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().strftime("%H:%M:%S")


def _model(model: Mapping[str, Any]) -> str:
    states = [
        model["loaded"],
        "on a disk" if model["downloaded"] else "",
        _fits(model["devices"]) if model["loadable"] and not model["loaded"] else "",
        f"window {model['context_tokens']:,} tokens" if model["context_tokens"] else "",
    ]
    size = f"{model['size'] / _GIB:7.1f} GB" if model["size"] else " " * 10
    return f"{size}  {model['id']}  ({', '.join(state for state in states if state)})"


def _fits(devices: int | None) -> str:
    if devices is None:
        return "too large for the memory that is free"
    return "fits on one device" if devices == 1 else f"fits on {devices} devices"
