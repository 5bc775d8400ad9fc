"""Who is measured, and how each wants its models to write."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.environments import our_python, peer_python

DRIVERS = Path(__file__).parent / "drivers"


@dataclass(frozen=True, slots=True)
class Implementation:
    """One implementation.

    Attributes:
        name: in tables and on the command line.
        what: which version it is, and how it was set up.
        driver: the program that asks it (drivers/), run by what `python` returns.
        finish: makes the code that ends a run with an expression's value.
        options: the limits that it can be given; its driver has their names (drivers/line.py).
        tag: of the fence around a root model's code.
        wrap: makes a root reply of its body, prose and fences.
        query: makes the expression of a sub-call from that of its prompt.
        batch: makes the expression of many sub-calls from that of a list of prompts.
        say: makes what a sub-model replies from the text that the code is to get.
        children: makes the expression of child runs from that of a list of their data; None if there are none.
    """

    name: str
    what: str
    driver: str
    python: Callable[[], Path]
    finish: Callable[[str], str]
    options: frozenset[str] = frozenset()
    tag: str = "repl"
    wrap: Callable[[str], str] = "Go on.\n\n{}".format
    query: Callable[[str], str] = "llm_query({})".format
    batch: Callable[[str], str] = "llm_query_batched({})".format
    say: Callable[[str], str] = str
    children: Callable[[str], str] | None = None

    def fence(self, code: str, *, tag: str | None = None) -> str:
        """Return a fenced block of code."""
        return f"```{self.tag if tag is None else tag}\n{code}\n```\n"

    def write(self, code: str) -> str:
        """Return a root reply that holds one block of code."""
        return self.wrap(self.fence(code))


OURS = Implementation(
    "ours",
    "this checkout: service in a process of its own, sandboxed child kernels",
    "kowalski.py",
    our_python,
    "FINAL({})".format,
    frozenset({"max_turns", "timeout", "cell_timeout", "depth"}),
    children="rlm_query_batched(['Go on.'] * 8, {})".format,
)
_finish_rlms = "answer['content'] = str({})\nanswer['ready'] = True".format
RLMS = Implementation(
    "rlms",
    "rlms 0.1.3: environment ipython, kernel in a process of its own, no sandbox",
    "rlms.py",
    partial(peer_python, "rlms"),
    _finish_rlms,
    frozenset({"max_turns", "timeout", "cell_timeout", "max_errors", "depth"}),
    children="rlm_query_batched({})".format,
)
RLMS_LOCAL = Implementation(
    "rlms-local",
    "rlms 0.1.3: environment local (its default), in the asking process, no sandbox",
    "rlms_local.py",
    partial(peer_python, "rlms"),
    _finish_rlms,
    frozenset({"max_turns", "timeout", "max_errors", "depth"}),
    children="rlm_query_batched({})".format,
)
DSPY = Implementation(
    "dspy",
    "dspy 3.4.1: LocalInterpreter, in a process of its own, no sandbox (its default needs Deno)",
    "dspy_rlm.py",
    partial(peer_python, "dspy"),
    "SUBMIT(answer=str({}))".format,
    frozenset({"max_turns", "cell_timeout", "max_subcalls"}),
    tag="python",
    wrap="[[ ## reasoning ## ]]\nGo on.\n\n[[ ## code ## ]]\n{}\n[[ ## completed ## ]]".format,
)
_FIELDS = "'question -> answer', question={}".format
FABRIC = Implementation(
    "fabric",
    "fabric-rlm 0.6.9: its own engine, worker in a process of its own, no sandbox",
    "fabric.py",
    partial(peer_python, "fabric"),
    "SUBMIT(answer=str({}))".format,
    frozenset({"max_turns", "cell_timeout"}),
    tag="python",
    query=lambda prompt: f"(await predict({_FIELDS(prompt)})).answer",
    batch=lambda prompts: (
        f"[r.answer for r in await __import__('asyncio').gather(*[predict({_FIELDS('p')}) for p in {prompts}])]"
    ),
    say="[[ ## answer ## ]]\n{}\n\n[[ ## completed ## ]]".format,
)
ALL = (OURS, RLMS, DSPY)
"""Those whose overheads are measured."""
