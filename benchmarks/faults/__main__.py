"""Shows faults: plays each case to ours and to the peers, and prints who keeps the promise.

What the cases promise comes from faults that were seen in peers, and from what their users complain about.

    python -m benchmarks.faults [--only NAME ...] [--peers NAME ...] [--slow]
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Iterable

from benchmarks.faults.case import Case
from benchmarks.faults.cases import CASES
from benchmarks.faults.play import play
from benchmarks.implementations import DSPY, FABRIC, OURS, RLMS, RLMS_LOCAL, Implementation
from benchmarks.session import open_session

_WHO = (OURS, RLMS_LOCAL, RLMS, DSPY, FABRIC)
_REASON_LENGTH = 110


def judge(case: Case, implementation: Implementation) -> str:
    """Play a case in a fresh process and return the table's cell."""
    if excuse := case.excuse(implementation):
        return f"n/a: {excuse}"
    with open_session(implementation, case.options_for(implementation)) as session:
        outcome = play(case, implementation, session)
        if outcome.hung:
            session.close(force=True)
    reason = case.judge(outcome)
    return f"**fails**: {_short(reason)}" if reason else "passes"


def to_markdown(rows: Iterable[tuple[Case, list[str]]], who: Iterable[Implementation]) -> str:
    """Return the table."""
    names = [each.name for each in who]
    head = ["case", "what should happen", *names]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    lines += [f"| {case.name} | {case.promise} | {' | '.join(cells)} |" for case, cells in rows]
    return "\n".join([*(f"- {each.name}: {each.what}" for each in who), "", *lines])


def _short(reason: str) -> str:
    line = " ".join(reason.split()).replace("|", "\\|")
    return line if len(line) <= _REASON_LENGTH else f"{line[:_REASON_LENGTH]}…"


def main() -> None:
    # A shell has what it starts in the background ignore Ctrl+C, which cases press; so would all drivers then.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.faults", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=[case.name for case in CASES], metavar="NAME")
    parser.add_argument("--peers", nargs="+", choices=[each.name for each in _WHO], help="default: all, and ours")
    parser.add_argument("--slow", action="store_true", help="also those that take minutes")
    arguments = parser.parse_args()
    who = [each for each in _WHO if not arguments.peers or each.name in arguments.peers]
    rows = []
    for case in CASES:
        if case.name in arguments.only if arguments.only else arguments.slow or not case.slow:
            cells = []
            for implementation in who:
                cells.append(judge(case, implementation))
                print(f"{case.name}, {implementation.name}: {cells[-1]}", file=sys.stderr, flush=True)
            rows.append((case, cells))
    print(to_markdown(rows, who))


if __name__ == "__main__":
    main()
