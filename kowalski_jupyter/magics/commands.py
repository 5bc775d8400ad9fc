"""`%rlm COMMAND`: look at runs and at what there is to run them on."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from IPython.core.error import UsageError
from IPython.display import display

from kowalski_jupyter.magics.bundle import run_bundle
from kowalski_jupyter.magics.display import display_for
from kowalski_jupyter.magics.session import Session
from kowalski_jupyter.rlm.trace import Trace
from kowalski_jupyter.service.client import ServiceClient, ServiceError


def run_command(line: str, session: Session) -> Any:
    """Run one `%rlm` command.

    Raises:
        UsageError: in one line, what is wrong and what there is.
    """
    name, *arguments = shlex.split(line) or ["help"]
    command = _COMMANDS.get(name)
    if command is None:
        raise UsageError(f"%rlm has no command {name!r}. There are: {', '.join(_COMMANDS)}.")
    try:
        return command(session, *arguments)
    except ServiceError as error:
        raise UsageError(str(error)) from None
    except TypeError:
        raise UsageError(f"Usage: {(command.__doc__ or '').splitlines()[0]}") from None


def _help(session: Session) -> None:
    """`%rlm help`: this list."""
    del session
    _say("\n".join((command.__doc__ or "").splitlines()[0] for command in _COMMANDS.values()))


def _status(session: Session) -> None:
    """`%rlm status`: the service, the model, this machine, runs that are going on."""
    client = session.client()
    status = client.status()
    machine, model = status["machine"], status["model"]
    going = [run for run in status["runs"] if run["state"] in ("starting", "running")]
    _say(
        f"kowalski {status['version']}, running in: {client.info.host}\n"
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
        for run in session.client().status()["runs"]
    ]
    _say("\n".join(rows) or "No runs yet. Write a cell that starts with %%rlm and a variable's name.")


def _show(session: Session, run: str = "") -> None:
    """`%rlm show [ID]`: a run as it is now; without an ID the newest."""
    client = session.client()
    display(run_bundle(client.document(run or _newest(client))), raw=True)


def _attach(session: Session, run: str = "") -> None:
    """`%rlm attach [ID]`: follow a run; interrupting stops following, not the run."""
    client = session.client()
    trace, shown = Trace(), display_for(session.shell)
    with client.follow(run or _newest(client)) as batches:
        for batch in batches:
            for event in batch:
                trace.apply(event)
            shown.update(trace.document())


def _cancel(session: Session, run: str) -> None:
    """`%rlm cancel ID`: stop a run."""
    session.client().cancel(run)
    _say(f"{run} is stopped.")


def _newest(client: ServiceClient) -> str:
    for run in client.status()["runs"]:
        return str(run["id"])
    raise ServiceError("There are no runs yet.")


def _last(session: Session) -> Any:
    """`%rlm last`: the last result: .value, .text, .run, .document."""
    return session.last


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
    "last": _last,
    "doctor": _doctor,
}
