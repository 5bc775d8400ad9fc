"""What a model's reply says: code to run, a final answer, and what is wrong with it.

`parse_reply` never fails on anything a model writes. What cannot be used is reported as a `Problem`, from
which the loop words its next message to the model.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from kowalski_jupyter.rlm.protocol.final import Final, Rejected, find_final
from kowalski_jupyter.rlm.protocol.hints import hints
from kowalski_jupyter.rlm.protocol.languages import LANGUAGES, guess_language
from kowalski_jupyter.rlm.protocol.messages import read_message
from kowalski_jupyter.rlm.protocol.problems import Problem, ProblemKind
from kowalski_jupyter.rlm.protocol.stream import CUT_REASONS, Block, ReplyStream, Segment

__all__ = [
    "Block",
    "Final",
    "Problem",
    "ProblemKind",
    "Reply",
    "ReplyStream",
    "Segment",
    "parse_reply",
]


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply, understood.

    `blocks` are to be run in order; `final` is the answer that the prose gives (one given by code is the
    kernel's to report). `prose` is the text without code and thoughts, `reasoning` the thoughts. `problems`
    says what cannot be used; there may be some beside blocks.
    """

    blocks: tuple[Block, ...]
    final: Final | None
    prose: str
    reasoning: str
    problems: tuple[Problem, ...]


# Tags of fences that hold no code: beside code, nothing is wrong with them.
_DATA_TAGS = frozenset({
    "console", "csv", "diff", "html", "json", "jsonl", "log", "markdown", "md", "mermaid", "output",
    "plaintext", "text", "toml", "tsv", "txt", "xml", "yaml", "yml",
})  # fmt: skip

_REJECTIONS = {
    "cut": ProblemKind.FINAL_CUT,
    "empty": ProblemKind.FINAL_EMPTY,
    "placeholder": ProblemKind.FINAL_PLACEHOLDER,
    "undefined": ProblemKind.FINAL_UNDEFINED,
}


def parse_reply(
    message: object,
    *,
    finish_reason: str | None = "stop",
    defined: Collection[str] = (),
    languages: Collection[str] = LANGUAGES,
    segments: Sequence[Segment] | None = None,
) -> Reply:
    """Read a model's reply.

    Args:
        message: the reply's text, a list of content parts, None, or a message (a mapping or an object with
            ``content`` and perhaps ``reasoning_content`` and ``tool_calls``, as in OpenAI's API).
        finish_reason: why the reply ended. After ``length``, code and answers left open are not used.
        defined: names of the variables that the kernel holds.
        languages: canonical names of the languages that can run here.
        segments: what a `ReplyStream` has found in the text, if one has read it.

    Raises:
        TypeError: `message` is of another type.
    """
    read = read_message(message)
    if segments is None:
        stream = ReplyStream()
        stream.feed(read.text)
        stream.finish(finish_reason)
        segments = stream.segments
    calls = [Segment("code", call.code, call.language, call.name, is_tool=True) for call in read.calls]
    segments = [*segments, *calls]
    cut = finish_reason in CUT_REASONS

    blocks, problems = _blocks(segments, cut=cut, languages=languages)
    prose = "\n\n".join(segment.text for segment in segments if segment.kind == "prose")
    final, rejection = _final(segments, cut=cut, defined=defined)
    if final and blocks:
        problems.append(Problem(ProblemKind.FINAL_BESIDE_CODE))
    thoughts = [read.reasoning, *(segment.text for segment in segments if segment.kind == "thought")]
    reasoning = "\n\n".join(filter(None, thoughts))
    if not blocks and final is None:
        problems += [rejection] if rejection else hints(prose)
        if not problems:
            problems.append(Problem(_nothing(prose, reasoning)))
    return Reply(
        blocks=tuple(blocks),
        final=final,
        prose=prose,
        reasoning=reasoning,
        problems=tuple(dict.fromkeys(problems)),
    )


def _blocks(segments: Sequence[Segment], *, cut: bool, languages: Collection[str]) -> tuple[list[Block], list[Problem]]:
    blocks, problems = [], []
    for segment in segments:
        if segment.kind != "code" or not segment.text:
            continue
        if not segment.language:
            problems.append(_not_code(segment))
        elif segment.language not in languages:
            problems.append(Problem(ProblemKind.UNAVAILABLE_LANGUAGE, segment.language))
        elif cut and not segment.closed:
            problems.append(Problem(ProblemKind.CODE_CUT, segment.language))
        else:
            blocks.append(Block(segment.language, segment.text))
    if blocks:
        problems = [problem for problem in problems if not _is_data(problem)]
    return blocks, problems


def _not_code(segment: Segment) -> Problem:
    if segment.is_tool:
        return Problem(ProblemKind.UNKNOWN_TOOL, segment.tag)
    if segment.tag:
        return Problem(ProblemKind.UNKNOWN_TAG, segment.tag)
    return Problem(ProblemKind.UNTAGGED_FENCE, guess_language(segment.text))


def _is_data(problem: Problem) -> bool:
    if problem.kind is ProblemKind.UNKNOWN_TAG:
        return problem.detail in _DATA_TAGS
    return problem.kind is ProblemKind.UNTAGGED_FENCE and not problem.detail


def _final(segments: Sequence[Segment], *, cut: bool, defined: Collection[str]) -> tuple[Final | None, Problem | None]:
    for index in reversed(range(len(segments))):
        if segments[index].kind != "prose":
            continue
        is_end = index == len(segments) - 1
        found = find_final(segments[index].text, is_end=is_end, cut=cut, defined=defined)
        if isinstance(found, Rejected):
            return None, Problem(_REJECTIONS[found.reason], found.value)
        if found:
            return found, None
    return None, None


def _nothing(prose: str, reasoning: str) -> ProblemKind:
    if prose:
        return ProblemKind.NO_ACTION
    return ProblemKind.ONLY_REASONING if reasoning else ProblemKind.EMPTY
