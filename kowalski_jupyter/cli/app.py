"""`jupyter kowalski COMMAND`."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from kowalski_jupyter._version import __version__
from kowalski_jupyter.kernels.languages import FOREIGN


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit code: 0 when all is well, 1 when not, 2 for wrong words."""
    parser = argparse.ArgumentParser(prog="jupyter kowalski", description=__doc__)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("doctor", help="what is there, what is missing, and the command that fixes it")
    commands.add_parser("model", help="download the embedded model's weights now rather than at the first run")
    demo = commands.add_parser("demo", help="run a notebook from top to bottom and print its runs as they stream")
    demo.add_argument("notebook", type=Path, help="the notebook; it is saved with its outputs")
    sim = commands.add_parser("sim", help="simulate an exo cluster on this machine, to try things and to break it")
    sim.add_argument("--nodes", type=int, default=3, help="how many nodes (3)")
    sim.add_argument("--model", action="append", help="a model to load, by exo's full name; may be given several times")
    sim.add_argument("--port", type=int, default=52415, help="the port of every node; 0 takes a free one (52415)")
    sim.add_argument(
        "--forward", metavar="URL", help="an OpenAI-compatible server for the replies; without, they are echoes"
    )
    sim.add_argument("--forward-model", metavar="NAME", help="the model's name there")
    sim.add_argument("--tokens-per-second", type=float, default=30.0, help="the pace of a reply (30)")
    sim.add_argument("--speed", type=float, default=1.0, help="how much faster than exo the cluster waits (1)")
    sim.add_argument("--phantom-nodes", type=int, default=0, help="further nodes that are only told of (0)")
    kernels = commands.add_parser("kernels", help="the languages that runs can use; `kernels add` installs more")
    adding = kernels.add_subparsers(dest="kernels_command").add_parser("add", help="install and try kernels")
    adding.add_argument("languages", nargs="*", choices=[[], *FOREIGN], metavar="LANGUAGE", help=", ".join(FOREIGN))
    adding.add_argument("--all", action="store_true", help="all of them")
    given = parser.parse_args(arguments)
    if given.command == "kernels":
        if given.kernels_command == "add" and not (given.all or given.languages):
            adding.error("name a language, or give --all")
        return _kernels(None if given.kernels_command is None else FOREIGN if given.all else given.languages)
    if given.command == "doctor":
        return _doctor()
    if given.command == "model":
        return _model()
    if given.command == "sim":
        return _sim(given)
    return _demo(given.notebook)


def _doctor() -> int:
    from kowalski_jupyter.cli.doctor import examine, report  # noqa: PLC0415 (each command loads its own)

    checks = examine()
    _say(report(checks))
    return 0 if all(check.ok for check in checks if check.needed) else 1


def _kernels(add_languages: Sequence[str] | None) -> int:
    from kowalski_jupyter.cli.kernels import add, table  # noqa: PLC0415 (each command loads its own)
    from kowalski_jupyter.service.config import Kowalski  # noqa: PLC0415 (each command loads its own)

    if add_languages is None:
        _say("\n".join(table(Kowalski())))
        return 0
    return 0 if add(add_languages, Kowalski(), _say) else 1


def _model() -> int:
    from kowalski_jupyter.models.base import ModelError  # noqa: PLC0415 (each command loads its own)
    from kowalski_jupyter.models.embedded.weights import obtain  # noqa: PLC0415 (each command loads its own)

    try:
        _say(f"The embedded model is {asyncio.run(obtain(_report))}")
    except ModelError as error:
        _say(str(error))
        return 1
    return 0


def _report(text: str, done: int | None, total: int | None) -> None:
    """Show progress on one line of a terminal; elsewhere only what has no figures."""
    if done is None:
        _say(text)
    elif sys.stdout.isatty():
        share = f"{done / 1e6:,.0f}" + (f" of {total / 1e6:,.0f} MB" if total else " MB")
        sys.stdout.write(f"\r{text}: {share}")
        sys.stdout.flush()


def _demo(notebook: Path) -> int:
    from kowalski_jupyter.cli.demo import run_notebook  # noqa: PLC0415 (each command loads its own)

    return run_notebook(notebook)


def _sim(given: argparse.Namespace) -> int:
    from kowalski_jupyter.cli.sim import run  # noqa: PLC0415 (each command loads its own)
    from kowalski_jupyter.exo_sim.plan import Device, Forward, Model, Plan, Rule  # noqa: PLC0415 (as above)

    pace = given.tokens_per_second
    plan = Plan(
        nodes=(Device(),) * given.nodes,
        models=tuple(Model(name) for name in given.model or ["mlx-community/Test-1B-4bit"]),
        speed=given.speed,
        port=given.port,
        phantoms=given.phantom_nodes,
        rules=(Rule(echo=True, tokens_per_second=pace),),
        forward=Forward(given.forward, given.forward_model, pace) if given.forward else None,
    )
    return run(plan, _say)


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 (a command's output, among that of programs it starts)
