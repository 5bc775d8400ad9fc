"""Who is measured, and how each wants its root model to write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import our_python, peers_python

DRIVERS = Path(__file__).parent / "drivers"


@dataclass(frozen=True, slots=True)
class Implementation:
    """One implementation.

    `what` says which, and how it was set up. `driver` is the program that asks it (drivers/), run by what
    `python` returns. `write` makes a root reply of code, `finish` the code that ends a run with an expression's
    value.
    """

    name: str
    what: str
    driver: str
    python: Callable[[], Path]
    write: Callable[[str], str]
    finish: Callable[[str], str]


def _fence(code: str) -> str:
    return f"Go on.\n\n```repl\n{code}\n```\n"


def _dspy_fields(code: str) -> str:
    return f"[[ ## reasoning ## ]]\nGo on.\n\n[[ ## code ## ]]\n```python\n{code}\n```\n\n[[ ## completed ## ]]"


OURS = Implementation(
    "ours",
    "this checkout: service in a process of its own, sandboxed child kernels",
    "kowalski.py",
    our_python,
    _fence,
    lambda value: f"FINAL({value})",
)
RLMS = Implementation(
    "rlms",
    "rlms 0.1.3: environment ipython, kernel in a process of its own, no sandbox",
    "rlms.py",
    peers_python,
    _fence,
    lambda value: f"answer['content'] = str({value})\nanswer['ready'] = True",
)
DSPY = Implementation(
    "dspy",
    "dspy 3.4.1: LocalInterpreter, in a process of its own, no sandbox (its default needs Deno)",
    "dspy_rlm.py",
    peers_python,
    _dspy_fields,
    lambda value: f"SUBMIT(answer=str({value}))",
)
ALL = (OURS, RLMS, DSPY)
