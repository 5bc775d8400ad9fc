"""The course that a recorded run took, for a run that goes the same way again."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

from kowalski_jupyter.rlm.record import Record, RecordedCall, RecordedReply, branch


@dataclass(slots=True)
class Course:
    """What a run that goes through a recorded one has still before it. Each item is taken once, in order.

    Equal calls are told apart by their order alone: a vote is a vote again, and a second try finds what it found.

    Attributes:
        turn: of the parent run, in which its code started this one.
        replies: of the root model.
        calls: sub-calls, by prompt.
        children: child runs, by their keys; by their questions, in records of before they had keys.
        error: what its parent's code was told in place of an answer.
    """

    turn: int = 0
    replies: list[RecordedReply] = field(default_factory=list)
    calls: dict[str, list[RecordedCall]] = field(default_factory=dict)
    children: dict[str, list[Course]] = field(default_factory=dict)
    error: str = ""

    @classmethod
    def of(cls, record: Record, record_of: Callable[[str], Record | None]) -> Course:
        """Read a run's record, and by `record_of` those of its child runs."""
        course = cls(replies=[*record.replies])
        for call in record.calls:
            if not call.run:
                course.calls.setdefault(call.prompt, []).append(call)
                continue
            theirs = record_of(call.run)
            child = cls() if theirs is None else cls.of(theirs, record_of)
            child.turn, child.error = call.turn, call.outcome.error if call.outcome else ""
            course.children.setdefault(call.key or call.prompt, []).append(child)
        return course

    def known(self) -> dict[str, str]:
        """Return the replies of all its sub-calls, those of child runs too, by key."""
        calls = itertools.chain.from_iterable(self.calls.values())
        replies = {call.key: call.outcome.reply for call in calls if call.outcome and not call.outcome.error}
        for child in itertools.chain.from_iterable(self.children.values()):
            replies |= child.known()
        return replies

    def call(self, prompt: str, key: str, key_at: Callable[[str], str]) -> RecordedCall | None:
        """Take the next sub-call that is like one that is made now.

        Args:
            prompt: what is asked.
            key: names it with all that shapes its reply.
            key_at: returns the name that it would have at another model.
        """
        calls = self.calls.get(prompt, [])
        for place, call in enumerate(calls):
            if call.key == key or (call.model and call.key == key_at(call.model)):
                return calls.pop(place)
        return None

    def child(self, key: str, question: str) -> Course:
        """Take the next child run of that key, or question where that is all that is recorded; an empty one if none."""
        found = [children.pop(0) for name in (key, question) if (children := self.children.get(name))]
        return found[0] if found else Course()

    def cut(self, turn: int, reply: str | None, *, fresh: bool) -> None:
        """Forget what came from a turn on, and have its reply be `reply` unless that is None.

        Unless the run is `fresh`, what its code was answered from there on answers what is asked anew, of the same
        model.
        """
        self.replies = branch(self.replies, turn, reply)
        for prompt, calls in self.calls.items():
            self.calls[prompt] = [call for call in calls if call.turn < turn] + [
                dataclasses.replace(call, model="")
                for call in calls
                if call.turn >= turn and not fresh and call.outcome and not call.outcome.error
            ]
        for key, children in self.children.items():
            self.children[key] = [child for child in children if child.turn < turn or not (fresh or child.error)]

    def go_on_with(self, earlier: Course) -> None:
        """Add what an earlier run had come to and this one, which was to go through it, had not."""
        own = [reply.text for reply in self.replies]
        if own == [reply.text for reply in earlier.replies[: len(own)]]:
            self.replies = earlier.replies
        self.error = self.error or earlier.error
        for prompt, calls in earlier.calls.items():
            mine = self.calls.get(prompt, [])
            done = [call if call.outcome else then for call, then in zip(mine, calls, strict=False)]
            self.calls[prompt] = [*done, *mine[len(done) :], *calls[len(done) :]]
        for key, children in earlier.children.items():
            ours = self.children.setdefault(key, [])
            for child, then in zip(ours, children, strict=False):
                child.go_on_with(then)
            ours += children[len(ours) :]


COURSE: ContextVar[Course] = ContextVar("course")
"""That of the run which the running task belongs to."""
