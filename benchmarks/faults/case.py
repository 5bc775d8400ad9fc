"""What a fault case is: a scripted model, a promise, and a judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.implementations import Implementation
from tests.support.scripted_server import Reply, Request

Root = Callable[[Implementation], Sequence[Reply]]
"""The root model's replies, as an implementation wants them written. The last one repeats."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended, and what reached the server.

    Attributes:
        answer: as text; None if there was none.
        error: what was raised instead, with its type.
        hung: whether nothing came within the case's deadline.
        root: the loop's requests.
        subcalls: the code's.
        late: how many sub-calls were sent after the run was reported as ended.
    """

    answer: str | None
    error: str
    hung: bool
    root: Sequence[Request]
    subcalls: Sequence[Request]
    late: int


Judge = Callable[[Outcome], str]
"""Returns why a promise is broken, or ``""``."""


def answers(expected: str) -> Judge:
    """Return the judge of most cases: the run must end with this answer."""

    def judge(outcome: Outcome) -> str:
        if outcome.answer == expected:
            return ""
        return f"answered {outcome.answer!r}" if outcome.answer is not None else ended(outcome)

    return judge


def ended(outcome: Outcome) -> str:
    """Return in words how a run without an answer ended."""
    return "hangs" if outcome.hung else f"the run dies: {outcome.error}"


@dataclass(frozen=True, slots=True)
class Case:
    """One fault that must not be there.

    Attributes:
        name: on the command line.
        promise: what should happen, in a sentence.
        root: the root model's replies.
        judge: decides whether the promise was kept.
        context: the data.
        subcall: what the sub-model replies; its text is written by the implementation's `say`.
        options: limits that the run is given. An implementation that has no such limit is not judged.
        room: limits that are raised where there are any, since they are not what is judged.
        interrupt_after: Ctrl+C when so many sub-calls have arrived.
        deadline: seconds after which a run counts as hung.
        not_for: implementations that are not judged, and why.
        by_turn: whether the replies go by the number of the model's earlier replies in the chat, as they must
            where several chats go on at a time, rather than in their order.
        slow: only run when asked for.
    """

    name: str
    promise: str
    root: Root
    judge: Judge
    context: str = "some context"
    subcall: Callable[[Request], Reply] = lambda _: Reply("ok")
    options: Mapping[str, float] = field(default_factory=dict)
    room: Mapping[str, float] = field(default_factory=dict)
    interrupt_after: int = 0
    deadline: float = 30.0
    not_for: Mapping[str, str] = field(default_factory=dict)
    by_turn: bool = False
    slow: bool = False

    def excuse(self, implementation: Implementation) -> str:
        """Return why an implementation cannot be judged, or ``""``."""
        missing = sorted(set(self.options) - implementation.options)
        if missing:
            return f"has no {' or '.join(_OPTIONS[option] for option in missing)}"
        return self.not_for.get(implementation.name, "")

    def options_for(self, implementation: Implementation) -> dict[str, float]:
        """Return the limits to give an implementation."""
        return {**self.options, **{key: self.room[key] for key in self.room.keys() & implementation.options}}


_OPTIONS = {
    "max_turns": "limit of turns",
    "timeout": "limit of a run's time",
    "cell_timeout": "limit of a cell's time",
    "max_subcalls": "limit of sub-calls",
    "max_errors": "limit of errors in a row",
    "depth": "recursion",
}


def value_of(name: str, implementation: Implementation) -> str:
    """Return code that ends a run with a variable's value, or with ``lost``. Not all have `globals`."""
    look = f"try:\n    found = {name}\nexcept NameError:\n    found = 'lost'"
    return f"{look}\n{implementation.finish('found')}"


def codes(*turns: str, finish: str = "", value: str = "") -> Root:
    """Return replies that each hold one block of code.

    The last finishes with the value of the expression `finish`, or with what there is under the name `value`.
    """

    def root(implementation: Implementation) -> list[Reply]:
        last = value_of(value, implementation) if value else implementation.finish(finish)
        return [Reply(implementation.write(code), whole=True) for code in (*turns, last)]

    return root
