"""`%rlm resume`, `replay` and `export`: what becomes of a recorded run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from IPython.core.error import UsageError

from kowalski_jupyter.magics.arguments import LIMITS, LineParser, a_name, above_zero, add_limits
from kowalski_jupyter.magics.session import Session
from kowalski_jupyter.magics.stepping import ask_about, check_can_ask
from kowalski_jupyter.rlm.events import ReplyFinished, RunStarted

RESUME = "%rlm resume ID [--turn N [--edit]] [-o NAME] [--max-turns N …]"
REPLAY = "%rlm replay ID [-o NAME]"
EXPORT = "%rlm export ID [--notebook FILE | --jsonl FILE]"
_REPLY = "%%rlm_reply ID TURN [-o NAME] [--max-turns N …], and below it what the model is to have said"


def resume(session: Session, words: Sequence[str]) -> None:
    """Go on with a run, from the turn and with the limits on the line if they stand there."""
    parser = LineParser(RESUME)
    parser.add_argument("run")
    parser.add_argument("--turn", type=above_zero(int))
    parser.add_argument("--edit", action="store_true")
    parser.add_argument("-o", "--output", type=a_name)
    add_limits(parser)
    given = parser.read(words)
    run, turn, output, edit = (given.pop(key) for key in ("run", "turn", "output", "edit"))
    if edit:
        _edit(session, run, turn, output, given)
        return
    data, settings = _as_before(session, run, f"%rlm resume {run}")
    session.ask(lambda rlm: rlm.resume(run, data, turn=turn), output, **settings, **given)


def branch(session: Session, line: str, reply: str) -> None:
    """Go on with a run as if the model had said `reply` in the turn on the line."""
    parser = LineParser(_REPLY)
    parser.add_argument("run")
    parser.add_argument("turn", type=above_zero(int))
    parser.add_argument("-o", "--output", type=a_name)
    add_limits(parser)
    given = parser.read(line)
    run, turn, output = (given.pop(key) for key in ("run", "turn", "output"))
    data, settings = _as_before(session, run, "run this cell")
    session.ask(lambda rlm: rlm.resume(run, data, turn=turn, reply=reply), output, **settings, **given)


def replay(session: Session, words: Sequence[str]) -> None:
    """Go through a run again without a model."""
    parser = LineParser(REPLAY)
    parser.add_argument("run")
    parser.add_argument("-o", "--output", type=a_name)
    given = parser.read(words)
    run = given["run"]
    data, _ = _data_of(session, run, f"%rlm replay {run}")
    session.ask(lambda rlm: rlm.replay(run, data), given["output"])


def export(session: Session, words: Sequence[str]) -> None:
    """Write a run to a file, by default to a notebook beside this one."""
    parser = LineParser(EXPORT)
    parser.add_argument("run")
    files = parser.add_mutually_exclusive_group()
    files.add_argument("--notebook", type=Path)
    files.add_argument("--jsonl", type=Path)
    given = parser.read(words)
    form: Literal["notebook", "jsonl"] = "jsonl" if given["jsonl"] else "notebook"
    path = (given[form] or Path(f"{given['run']}.ipynb")).expanduser()
    content = session.rlm().export(given["run"], form)
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        raise UsageError(f"{path} is there already. Choose another name with --{form} FILE.") from None
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}.") from None
    print(f"Written to {path}.")  # noqa: T201 (for the user)


def _edit(session: Session, run: str, turn: int | None, output: str | None, limits: Mapping[str, float | None]) -> None:
    """Put the reply of a turn into a cell below, which branches off when it is run."""
    if turn is None:
        raise UsageError(f"--edit needs to know which turn. Usage: {RESUME}")
    replies = {event.turn: event.text for event in session.rlm().events(run) if isinstance(event, ReplyFinished)}
    if turn not in replies:
        raise UsageError(f"Run {run} has no reply of turn {turn}; there are: {', '.join(map(str, replies)) or 'none'}.")
    options = [("-o", output), *((LIMITS[name][0], value) for name, value in limits.items())]
    words = [f" {option} {value}" for option, value in options if value is not None]
    session.shell.set_next_input(f"%%rlm_reply {run} {turn}{''.join(words)}\n{replies[turn]}")


def _as_before(session: Session, run: str, then: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the user's variables that a run was asked about, and the settings that let it be steered as it was."""
    data, options = _data_of(session, run, then)
    if not options.get("step"):
        return data, {}
    check_can_ask(session.shell, f"Run {run} was started with it: go on where you can type, in a notebook or IPython.")
    return data, {"step": ask_about}


def _data_of(session: Session, run: str, then: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the user's variables that a run was asked about, and its options."""
    started = next((event for event in session.rlm().events(run) if isinstance(event, RunStarted)), None)
    names = [item["name"] for item in started.data] if started else []
    namespace = session.shell.user_ns
    missing = [name for name in names if name not in namespace]
    if missing:
        raise UsageError(
            f"Run {run} was asked about {', '.join(names)}, and there is no {' and no '.join(missing)} here. "
            f"Run the cell that defines {'it' if len(missing) == 1 else 'them'}, then {then} again."
        )
    return {name: namespace[name] for name in names}, started.options if started else {}
