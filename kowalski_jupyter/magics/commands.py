"""`%rlm COMMAND`: look at runs, steer them, go on with them, and see what there is to run them on."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, cast

from IPython.core.error import UsageError
from IPython.display import display

from kowalski_jupyter.api.bundle import run_bundle
from kowalski_jupyter.api.result import RlmError
from kowalski_jupyter.api.rlm import RLM
from kowalski_jupyter.magics import again, devices, steering
from kowalski_jupyter.magics.arguments import BATCH_USAGE, USAGE, LineParser, a_name, split
from kowalski_jupyter.magics.session import Session


def run_command(line: str, session: Session) -> Any:
    """Run one `%rlm` command. A docstring of a command is its line in `%rlm help`.

    Raises:
        UsageError: in one line, what is wrong and what there is.
    """
    name, _, rest = line.strip().partition(" ")
    command = _COMMANDS.get(name or "help")
    if command is None:
        raise UsageError(f"%rlm has no command {name!r}. There are: {', '.join(_COMMANDS)}.")
    usage = _help_line(command)
    arguments = rest.split(None, 1) if command is _tell else split(rest, usage)
    try:
        inspect.signature(command).bind(session, *arguments)
    except TypeError:
        raise UsageError(f"Usage: {usage}") from None
    return command(session, *arguments)


def _help_line(command: Callable[..., Any]) -> str:
    return (command.__doc__ or "").splitlines()[0]


def _help(session: Session) -> None:
    """`%rlm help`: this list."""
    del session
    asking = (f"`{USAGE}`: ask the question in the cell's body", f"`{BATCH_USAGE}`: ask it about each of many values")
    _say("\n".join((*asking, *map(_help_line, _COMMANDS.values()))))


def _status(session: Session) -> None:
    """`%rlm status`: the service, the model, this machine, runs that are going on."""
    status = session.rlm().status()
    machine, model = status["machine"], status["model"]
    going = [run for run in status["runs"] if run["state"] in ("starting", "running")]
    _say(
        f"kowalski {status['version']}, running in: {status['host']}\n"
        f"model: {_model_line(model)}\n"
        f"machine: {machine['load']:.0%} of {machine['cores']} cores, "
        f"{machine['memory_available'] / 1e9:.1f} of {machine['memory_total'] / 1e9:.1f} GB memory free\n"
        f"runs going on: {len(going)}"
    )


def _model_line(model: dict[str, Any] | None) -> str:
    if model is None:
        return "none asked for yet"
    if model["state"] == "ready":
        return f"{model['name']}, {model['where']}"
    return f"{model['state']} {model['detail']}".strip()


def _runs(session: Session) -> None:
    """`%rlm runs`: the runs this service knows, newest first."""
    rows = [
        f"{run['id']}  {run['state']:<9}  {run['seconds']:8.1f} s  {run['question'][:60]}"
        for run in session.rlm().status()["runs"]
    ]
    _say("\n".join(rows) or "No runs yet. Write a cell that starts with %%rlm and a variable's name.")


def _show(session: Session, run: str = "") -> None:
    """`%rlm show [ID]`: a run as it is now; without an ID the newest."""
    rlm = session.rlm()
    display(run_bundle(rlm.document(run or _newest(rlm))), raw=True)


def _attach(session: Session, *words: str) -> None:
    """`%rlm attach [ID] [-o NAME]`: follow a run; interrupting stops following, not the run."""
    parser = LineParser("%rlm attach [ID] [-o NAME]")
    parser.add_argument("run", nargs="?")
    parser.add_argument("-o", "--output", type=a_name)
    given = parser.read(words)
    run = given["run"] or _newest(session.rlm())
    goes_on = f"run {run} goes on. `%rlm attach {run}` follows it again, `%rlm cancel {run}` stops it."
    session.ask(lambda rlm: rlm.attach(run), given["output"], interrupted=goes_on)


def _cancel(session: Session, run: str) -> None:
    """`%rlm cancel ID`: stop a run."""
    rlm = session.rlm()
    rlm.cancel(run)
    state = rlm.document(run)["state"]
    _say(f"{run} is stopped." if state == "cancelled" else f"{run} has ended before: {state}.")


def _tell(session: Session, run: str, note: str) -> None:
    """`%rlm tell ID TEXT…`: add a note that the model reads in its next turn."""
    steering.tell(session, run, note)


def _allow(session: Session, run: str, *limits: str) -> None:
    """`%rlm allow ID --max-turns N --timeout S --max-subcalls N --max-tokens-in N --max-tokens-out N`: raise limits."""
    steering.allow(session, run, limits)


def _step(session: Session, run: str, decision: str) -> None:
    """`%rlm step ID run|edit|skip`: decide on the block that waits in a run with --step."""
    if decision == "edit":
        steering.edit(session, run)
    elif decision in ("run", "skip"):
        steering.step(session, run, cast("Any", decision))
    else:
        raise UsageError(f"Decide by run, edit or skip, not by {decision!r}.")


def _resume(session: Session, run: str, *options: str) -> None:
    """`%rlm resume ID [--turn N [--edit]] [-o NAME] [--max-turns N …]`: go on with a run, or from one of its turns."""
    again.resume(session, (run, *options))


def _replay(session: Session, run: str, *options: str) -> None:
    """`%rlm replay ID [-o NAME]`: go through a run again with the recorded replies, asking no model."""
    again.replay(session, (run, *options))


def _export(session: Session, run: str, *options: str) -> None:
    """`%rlm export ID [--notebook FILE | --jsonl FILE]`: write a run as a runnable notebook or as JSON lines."""
    again.export(session, (run, *options))


def _newest(rlm: RLM) -> str:
    for run in rlm.status()["runs"]:
        return str(run["id"])
    raise RlmError("There are no runs yet.")


def _last(session: Session) -> Any:
    """`%rlm last`: the last result: .value, .text, .run, .usage, .document."""
    return session.last


def _devices(session: Session, why: str = "") -> None:
    """`%rlm devices [--why]`: the devices of the exo cluster and what runs where; or where requests went, and why."""
    if why not in {"", "--why"}:
        raise UsageError(f"Usage: {_help_line(_devices)}")
    _say(devices.decisions(session) if why else devices.devices(session))


def _watch(session: Session) -> Any:
    """`%rlm watch`: the same, live, as a widget of the notebook."""
    from kowalski_jupyter.magics.widget import DeviceWidget  # noqa: PLC0415 (seldom used)

    return DeviceWidget(session.rlm())


def _models(session: Session) -> None:
    """`%rlm models`: what exo has loaded, has on a disk, and could load."""
    _say(devices.models(session))


def _load(session: Session, *words: str) -> None:
    """`%rlm load MODEL [--sharding pipeline|tensor|auto] [--min-nodes N]`: have exo load a model."""
    _say(devices.load(session, words))


def _unload(session: Session, model: str) -> None:
    """`%rlm unload MODEL`: have exo unload a model."""
    _say(devices.unload(session, model))


def _doctor(session: Session) -> None:
    """`%rlm doctor`: what is there, what is missing, and the command that fixes it."""
    from kowalski_jupyter.cli.doctor import examine, report  # noqa: PLC0415 (seldom used)

    del session
    _say(report(examine()))


def _say(text: str) -> None:
    print(text)  # noqa: T201 (what the command is for)


_COMMANDS: dict[str, Callable[..., Any]] = {
    "help": _help,
    "status": _status,
    "runs": _runs,
    "show": _show,
    "attach": _attach,
    "cancel": _cancel,
    "tell": _tell,
    "allow": _allow,
    "step": _step,
    "resume": _resume,
    "replay": _replay,
    "export": _export,
    "last": _last,
    "devices": _devices,
    "watch": _watch,
    "models": _models,
    "load": _load,
    "unload": _unload,
    "doctor": _doctor,
}
