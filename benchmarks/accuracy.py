"""Asks the embedded model the questions of examples/truth.py, many times each, and prints how often it is right.

Runs go through the service as a cell's do: real model, real sandboxed kernels. Each has a seed of its own,
from which every reply and sub-call of it is sampled.

    python -m benchmarks.accuracy [--seeds 20] [--first-seed 0] [--only NAME ...] [--traces FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import secrets
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.truth import QUESTIONS, Question, load, passages
from kowalski_jupyter.kernels.pack import pack
from kowalski_jupyter.kernels.values import decode_answer
from kowalski_jupyter.service.config import Kowalski
from kowalski_jupyter.service.request import RunRequest
from kowalski_jupyter.service.service import Service

MAX_TURNS = 10


@dataclass(frozen=True, slots=True)
class Result:
    """How one run ended. `document` is the run as docs/run-format.md describes it."""

    right: bool
    answer: object
    document: Mapping[str, Any]


async def ask(service: Service, question: Question, data: Mapping[str, Any], seed: int) -> Result:
    """Run one question and judge its answer."""
    folder = service.data_root / f"pack-{secrets.token_hex(8)}"
    folder.mkdir(mode=0o700, parents=True)
    request = RunRequest(
        question.text,
        (pack(question.data, data[question.data], folder),),
        {"seed": seed, "max_turns": MAX_TURNS},
    )
    live = service.start_run(request)
    async for _ in live.run.log.follow():
        pass
    given = live.run.answer
    answer = None if given is None else decode_answer(given.kind, given.data)
    return Result(
        question.agrees(answer, question.truth(data["jargon"], data["entries"])), answer, live.trace.document()
    )


def row(question: Question, results: Sequence[Result]) -> str:
    """Return one line of the table."""
    usage = [result.document["usage"] for result in results]
    cells = [
        question.name,
        question.needs,
        f"{sum(result.right for result in results)} of {len(results)}",
        f"{statistics.median(result.document['seconds'] for result in results):.0f}",
        f"{statistics.median(used['turns'] for used in usage):g}",
        f"{statistics.median(used['subcalls'] for used in usage):g}",
    ]
    return f"| {' | '.join(cells)} |"


async def main(options: argparse.Namespace) -> None:
    """Ask everything and print a Markdown table."""
    jargon, entries = load()
    data = {"jargon": jargon, "entries": entries, "passages": passages(entries)}
    service = Service(Kowalski(store=":memory:"), host="benchmark")
    rows = []
    try:
        for question in QUESTIONS:
            if options.only and question.name not in options.only:
                continue
            results = []
            for seed in range(options.first_seed, options.first_seed + options.seeds):
                result = await ask(service, question, data, seed)
                results.append(result)
                said = f"{question.name}, seed {seed}: {'right' if result.right else 'WRONG'}"
                used = result.document["usage"]
                print(
                    f"{said}, {result.document['seconds']:.0f} s, {used['turns']} turns, {used['subcalls']} "
                    f"sub-calls: {result.answer!r:.100} {result.document['error'] or ''}",
                    file=sys.stderr,
                    flush=True,
                )
                if options.traces:
                    options.traces.mkdir(parents=True, exist_ok=True)
                    trace = json.dumps(result.document, indent=1, ensure_ascii=False)
                    (options.traces / f"{question.name}-{seed}.json").write_text(trace, encoding="utf-8")
            rows.append(row(question, results))
    finally:
        await service.close()
    print("| question | what it needs | right | seconds | turns | sub-calls |\n|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20, help="runs of each question")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=[question.name for question in QUESTIONS])
    parser.add_argument("--traces", type=Path, help="folder for every run's whole trace, as JSON")
    asyncio.run(main(parser.parse_args()))
