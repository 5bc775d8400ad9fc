"""Measures overheads with a scripted model, ours and the peers' in turn, and prints a table.

The table is also kept in benchmarks/results/. On a busy machine look at the minima too.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks import scenarios as sc
from benchmarks.folding import FOLDING, seconds_to_fold
from benchmarks.implementations import ALL, OURS, Implementation
from benchmarks.machine import ADDITIONS, seconds_to_add
from benchmarks.parsing import PARSING, seconds_to_parse
from benchmarks.report import to_markdown
from benchmarks.session import Session, open_session

RESULTS = Path(__file__).parent / "results"
WARM_RUNS = 3
PAUSE = 1.0
"""Seconds before a warm run: whoever reads one answer before asking again takes longer."""

_CHILDREN = f"[f'CHILD {{n}}' for n in range({sc.CHILDREN})]"

_WARM_SCENARIOS = (
    (sc.TEN_TURNS, sc.WARM),
    (sc.FIFTY_TURNS, sc.FIFTY),
    (sc.IN_SEQUENCE, sc.SEQUENCE),
    (sc.IN_A_BATCH, sc.BATCH),
    (sc.IN_A_LARGE_BATCH, sc.LARGE_BATCH),
    (sc.TALKATIVE, sc.TALK),
)


class Bench:
    """Collects figures by implementation."""

    def __init__(self) -> None:
        self.values: dict[sc.Figure, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))

    def measure(self, implementation: Implementation) -> None:
        """Measure one implementation once, in fresh processes."""
        name = implementation.name
        self.values[ADDITIONS][name].append(1e3 * seconds_to_add())
        with _session(implementation) as session:
            cold = session.run(sc.TEN_TURNS)
            self._add(name, [sc.FIRST_START, sc.COLD_RUN], cold)
            self._add(name, sc.RIGHT_AFTER, session.run(sc.TEN_TURNS))
            for scenario, figures in _WARM_SCENARIOS:
                for _ in range(WARM_RUNS):
                    time.sleep(PAUSE)
                    self._add(name, figures, session.run(scenario))
        with _session(implementation) as session:
            session.run(sc.TEN_TURNS)
            time.sleep(PAUSE)
            self._add(name, sc.CONTEXT, session.run(sc.LARGE_CONTEXT))
        with _session(implementation) as session:  # the sampling would cost time, the first run memory
            session.run(sc.TEN_TURNS)
            time.sleep(PAUSE)
            self._add(name, sc.MEMORY, session.run(sc.LARGE_CONTEXT, sample_memory=True))
        if implementation.children:
            self._measure_children(implementation, sc.recursive(implementation.children(_CHILDREN)))

    def measure_parsing(self) -> None:
        """Measure our parser, which has no peer: they read replies when they are whole."""
        for figure, megabytes in zip(PARSING, (1, 2), strict=True):
            for _ in range(WARM_RUNS):
                self.values[figure][OURS.name].append(1e3 * seconds_to_parse(megabytes))

    def measure_folding(self) -> None:
        """Measure our folding, which has no peer here either."""
        for figure, seconds in zip(FOLDING, seconds_to_fold(), strict=True):
            self.values[figure][OURS.name].append(1e3 * seconds)

    def _measure_children(self, implementation: Implementation, scenario: sc.Scenario) -> None:
        for figures, sample_memory in ((sc.RECURSION, False), (sc.RECURSION_MEMORY, True)):
            with _session(implementation, depth=2) as session:
                session.run(sc.TEN_TURNS)
                time.sleep(PAUSE)
                self._add(implementation.name, figures, session.run(scenario, sample_memory=sample_memory))

    def _add(self, name: str, figures: Iterable[sc.Figure], trial: sc.Trial) -> None:
        for figure in figures:
            self.values[figure][name].append(figure.read(trial))


def _session(implementation: Implementation, **options: float) -> AbstractContextManager[Session]:
    """Open a session in which the numbers of sub-calls and turns are not limited to what is usual."""
    wanted = {"max_subcalls": 10_000, "max_turns": 80, **options}
    return open_session(implementation, {key: wanted[key] for key in wanted.keys() & implementation.options})


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each is measured (default: 5)")
    parser.add_argument("--only", choices=[each.name for each in ALL], action="append")
    arguments = parser.parse_args()
    chosen = [each for each in ALL if not arguments.only or each.name in arguments.only]
    bench = Bench()
    for number in range(arguments.rounds):
        turn = number % len(chosen)
        for implementation in chosen[turn:] + chosen[:turn]:
            print(f"round {number + 1} of {arguments.rounds}: {implementation.name}", file=sys.stderr)
            bench.measure(implementation)
        if OURS in chosen:
            bench.measure_parsing()
            bench.measure_folding()
    table = to_markdown(bench.values, chosen, rounds=arguments.rounds)
    print(table)
    RESULTS.mkdir(exist_ok=True)
    stem = time.strftime("%Y-%m-%d-%H%M%S")
    (RESULTS / f"{stem}.md").write_text(table + "\n")
    raw = {figure.name: measured for figure, measured in bench.values.items()}
    (RESULTS / f"{stem}.json").write_text(json.dumps(raw, indent=1) + "\n")


if __name__ == "__main__":
    main()
