"""What sub-calls must do: alone, in batches, below recursion, and when Ctrl+C comes."""

from __future__ import annotations

import re
from collections.abc import Callable

from benchmarks.faults.case import Case, Outcome, answers, ended
from benchmarks.implementations import Implementation
from benchmarks.scenarios import CHILDREN
from tests.support.scripted_server import Reply, Request

_NO_RECURSION = "has no `rlm_query_batched`"
_MANY = 200


def _prompts(number: int) -> str:
    return f"[f'SUBCALL {{n}}' for n in range({number})]"


def _with_calls(turns: Callable[[Implementation], tuple[str, ...]], finish: str) -> Callable[..., list[Reply]]:
    def root(implementation: Implementation) -> list[Reply]:
        return [Reply(implementation.write(code)) for code in (*turns(implementation), implementation.finish(finish))]

    return root


_REFUSED = Reply(status=400, error="this one is refused")


def _one_fails(request: Request) -> Reply:
    return _REFUSED if "SUBCALL 3" in request.last("user") else Reply("ok")


def _children(implementation: Implementation) -> list[Reply]:
    """Return replies for the root and its children alike: the data says which one runs the code."""
    assert implementation.children
    batch = implementation.children(f"[f'CHILD {{n}}' for n in range({CHILDREN})]")
    code = (
        "import time\n"
        "if context.startswith('CHILD'):\n"
        "    for _ in range(10):\n"
        "        print('MARK', context)\n"
        "        time.sleep(0.012)\n"
        "    result = context\n"
        "else:\n"
        f"    result = ', '.join(map(str, {batch}))"
    )
    return [Reply(implementation.write(code)), Reply(implementation.write(implementation.finish("result")))]


def _children_keep_apart(outcome: Outcome) -> str:
    expected = ", ".join(f"CHILD {n}" for n in range(CHILDREN))
    mixed = sum(len(set(re.findall(r"MARK CHILD (\d)", request.last("user")))) > 1 for request in outcome.root)
    if mixed:
        return f"{mixed} children see prints of others"
    return "" if outcome.answer == expected else answers(expected)(outcome)


def _nothing_is_sent_after_the_end(outcome: Outcome) -> str:
    if not outcome.subcalls:
        return f"no sub-call came: {ended(outcome)}"
    if outcome.hung or outcome.answer == str(_MANY):
        return "Ctrl+C does not end the run"
    if outcome.late:
        return (
            f"{len(outcome.subcalls) - outcome.late} sub-calls sent when the run had ended, {outcome.late} more later"
        )
    return ""


def _once(outcome: Outcome) -> str:
    if broken := answers("late but here")(outcome):
        return broken
    return "" if len(outcome.subcalls) == 1 else f"the sub-call was sent {len(outcome.subcalls)} times"


CASES = (
    Case(
        "second-batch",
        "The second batch of a run gives every reply, as the first did.",
        _with_calls(
            lambda i: (f"first = {i.batch(_prompts(20))}", f"second = {i.batch(_prompts(20))}"),
            "(sum(r == 'ok' for r in first), sum(r == 'ok' for r in second))",
        ),
        answers("(20, 20)"),
        subcall=lambda _: Reply("ok", delay=0.01),
    ),
    Case(
        "batch-of-51",
        "A batch of 51 is not too large for the default limits.",
        _with_calls(lambda i: ("replies = []", f"replies = {i.batch(_prompts(51))}"), "len(replies)"),
        answers("51"),
    ),
    Case(
        "failed-item",
        "One refused sub-call of a batch does not lose the others.",
        _with_calls(lambda i: ("replies = []", f"replies = {i.batch(_prompts(8))}"), "sum(r == 'ok' for r in replies)"),
        answers("7"),
        subcall=_one_fails,
        not_for={"fabric": "has no batch function: the code gathers calls itself"},
    ),
    Case(
        "failed-call",
        "A refused sub-call raises; its error is no text that could be taken for a reply.",
        _with_calls(
            lambda i: (f"try:\n    told = {i.query(repr('SUBCALL 1'))}\nexcept Exception:\n    told = 'raised'",),
            "told",
        ),
        answers("raised"),
        subcall=lambda _: _REFUSED,
    ),
    Case(
        "children-keep-apart",
        "Eight children at a time do not see each other's prints, and none dies.",
        _children,
        _children_keep_apart,
        options={"depth": 2},
        by_turn=True,
        not_for={"dspy": _NO_RECURSION, "fabric": _NO_RECURSION},
    ),
    Case(
        "ctrl-c",
        f"After Ctrl+C in a batch of {_MANY} nothing is sent any more.",
        _with_calls(lambda i: (f"replies = {i.batch(_prompts(_MANY))}",), "len(replies)"),
        _nothing_is_sent_after_the_end,
        room={"max_subcalls": 10_000},
        subcall=lambda _: Reply("ok", delay=0.5),
        interrupt_after=5,
    ),
    Case(
        "slow-subcall",
        "A sub-call that takes 310 s gives its reply, and is sent once.",
        _with_calls(lambda i: (f"told = {i.query(repr('SUBCALL 1'))}",), "told"),
        _once,
        subcall=lambda _: Reply("late but here", delay=310),
        deadline=400,
        slow=True,
    ),
)
