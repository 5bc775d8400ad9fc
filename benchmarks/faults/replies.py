"""What must be made of a root model's reply, however it is written."""

from __future__ import annotations

import re

from benchmarks.faults.case import Case, Judge, Outcome, Root, answers, codes, ended, value_of
from benchmarks.implementations import Implementation
from tests.support.scripted_server import Reply

_TOLD = re.compile(r"(?is)\b(only|one|first)\b.{0,60}\bblock|\bblocks?\b.{0,60}\b(not|ignored|skipped)\b|\bgot ```")


def _two_blocks(implementation: Implementation) -> list[Reply]:
    body = f"{implementation.fence('first = 1')}\nAnd then:\n\n{implementation.fence('second = 2')}"
    return [Reply(implementation.wrap(body)), Reply(implementation.write(value_of("first + second", implementation)))]


def _then_finish(*first: Reply, value: str) -> Root:
    def root(implementation: Implementation) -> list[Reply]:
        return [*first, Reply(implementation.write(implementation.finish(value)))]

    return root


def _without_usage(implementation: Implementation) -> list[Reply]:
    code = implementation.finish("'right'")
    return [Reply(implementation.write("x = 1"), usage=False), Reply(implementation.write(code), usage=False)]


def _in_parts(implementation: Implementation) -> list[Reply]:
    code = implementation.finish("'right'")
    return [Reply(implementation.write("x = 1"), shape="parts"), Reply(implementation.write(code), shape="parts")]


def _thoughts(implementation: Implementation) -> list[Reply]:
    thought = f"<think>\nPerhaps:\n{implementation.fence('leaked = True')}No.\n</think>\n"
    return [
        Reply(thought + implementation.write("x = 1")),
        Reply(implementation.write(value_of("leaked", implementation))),
    ]


def _after_the_final(implementation: Implementation) -> list[Reply]:
    call = f"late = {implementation.query(repr('SUBCALL 1'))}"
    final = implementation.fence(implementation.finish("'right'"))
    return [Reply(implementation.wrap(f"{final}\nOr else:\n\n{implementation.fence(call)}"))]


def _unclosed(implementation: Implementation) -> list[Reply]:
    body = f"```{implementation.tag}\nkept = 'right'\n"
    return [Reply(implementation.wrap(body)), Reply(implementation.write(value_of("kept", implementation)))]


def _other_tag(implementation: Implementation) -> list[Reply]:
    tag = "python" if implementation.tag == "repl" else "repl"
    return [
        Reply(implementation.wrap(implementation.fence("kept = 'right'", tag=tag))),
        Reply(implementation.write(value_of("kept", implementation))),
    ]


def _answers_or_tells(expected: str, *, unless_shown: str = "") -> Judge:
    """Return a judge that also lets pass that the model knows in its next turn what was not run.

    It knows if it is told, or if the chat that it sees next does not hold `unless_shown`.
    """

    def judge(outcome: Outcome) -> str:
        broken = answers(expected)(outcome)
        if not broken or outcome.answer is None or len(outcome.root) < 2:  # noqa: PLR2004 - the next turn's
            return broken
        chat = outcome.root[1].messages[1:]
        shown = not unless_shown or unless_shown in str(chat)
        return f"{broken}, and the model is not told" if shown and not _TOLD.search(str(chat[-1])) else ""

    return judge


def _no_subcall(outcome: Outcome) -> str:
    if outcome.subcalls:
        return f"sub-calls are sent by code that stands behind the answer ({len(outcome.subcalls)})"
    return "" if outcome.answer == "right" else answers("right")(outcome) or ended(outcome)


CASES = (
    Case(
        "null-content",
        "A reply with reasoning and `content: null` does not end the run.",
        _then_finish(Reply("", reasoning="Let me think.", shape="nulls"), value="'right'"),
        answers("right"),
    ),
    Case(
        "content-in-parts",
        "A reply whose content is a list of parts is read.",
        _in_parts,
        answers("right"),
    ),
    Case(
        "missing-usage",
        "A reply without `usage` does not end the run.",
        _without_usage,
        answers("right"),
    ),
    Case(
        "code-in-thoughts",
        "Code inside `<think>…</think>` is not run.",
        _thoughts,
        answers("lost"),
    ),
    Case(
        "prose-only",
        "A reply without code does not end the run.",
        _then_finish(Reply("Let me think about how to do this."), value="'right'"),
        answers("right"),
    ),
    Case(
        "several-blocks",
        "Of several blocks in a reply all are run, or the model is told which were not.",
        _two_blocks,
        _answers_or_tells("3", unless_shown="second = 2"),
    ),
    Case(
        "block-after-final",
        "A block behind the one that gives the answer is not run.",
        _after_the_final,
        _no_subcall,
    ),
    Case(
        "unclosed-block",
        "A block without its closing fence is run, or the model is told.",
        _unclosed,
        _answers_or_tells("right"),
    ),
    Case(
        "fence-in-string",
        "A fence inside a string literal does not cut the code.",
        codes("text = '''\n```\ninside\n```\n'''\nsize = len(text)", value="size"),
        answers("16"),
    ),
    Case(
        "other-tag",
        "A block with another tag of the same language (`python`, `repl`) is run, or the model is told.",
        _other_tag,
        _answers_or_tells("right"),
    ),
)
