"""A process that runs a named batch, for tests that kill it: ``python killable_batch.py URL COUNT``."""

from __future__ import annotations

import sys

from kowalski_jupyter import RLM


def main() -> None:
    url, count = sys.argv[1], int(sys.argv[2])
    tasks = [f"Number {number}?" for number in range(count)]
    with RLM(url=url) as rlm:
        results = rlm.batch(tasks, max_parallel=20, name="numbers", on_progress=lambda now: say(now.done))
        say("values", *results.values)


def say(*words: object) -> None:
    print(*words, flush=True)  # noqa: T201 (to the test)


if __name__ == "__main__":
    main()
