"""What stands on a line behind `%%rlm` or a `%rlm` command."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from IPython.core.error import UsageError

USAGE = (
    "%%rlm [NAME …] [-o NAME] [--model M] [--url U] [--sub-model M] [--max-turns N] [--timeout S] [--max-subcalls N] "
    "[--max-tokens-in N] [--max-tokens-out N] [--depth N] [--seed N] [--schema NAME] [--profile NAME | --prompt FILE] "
    "[--allow net] [--mount PATH] [--images] [--step] [--fresh] [--reuse] [--detach]"
)


@dataclass(frozen=True, slots=True)
class RlmArguments:
    """What stood on the `%%rlm` line. `options` are settings of `RLM` and hold only what was given.

    `schema` names a variable of the user's; with `step` each block waits for the user's word.
    """

    names: tuple[str, ...]
    output: str | None
    options: dict[str, Any]
    schema: str | None
    step: bool
    detach: bool


_NUMBERS: dict[type[int | float], str] = {int: "whole number", float: "number"}
_LONG = 120
"""Characters of a usage that hide what is wrong when they stand behind it."""


class LineParser(argparse.ArgumentParser):
    """Reads a line; mistakes are one line that ends with how it is done right.

    Args:
        usage: the whole usage.
    """

    def __init__(self, usage: str) -> None:
        super().__init__(prog=usage.split(maxsplit=1)[0], usage=usage, add_help=False, allow_abbrev=False)

    def read(self, words: str | Sequence[str]) -> dict[str, Any]:
        """Return what was given, by name.

        Raises:
            UsageError: what is wrong, and what is right.
        """
        return vars(self.parse_intermixed_args(split(words, self.usage) if isinstance(words, str) else words))

    def error(self, message: str) -> NoReturn:
        """Raise instead of ending the process."""
        wrong = message.removeprefix("argument ").replace("unrecognized arguments:", "There is no")
        raise UsageError(f"{wrong}. {rightly(self.usage)}")


def rightly(usage: str | None) -> str:
    """Return how a line is written, or where that stands."""
    return f"Usage: {usage}" if usage and len(usage) < _LONG else "`%rlm help` lists all options."


def split(line: str, usage: str | None) -> list[str]:
    """Return the words of a line, quotes understood.

    Raises:
        UsageError: a quote is not closed.
    """
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageError(f"{error}. {rightly(usage)}") from None


def parse_line(line: str) -> RlmArguments:
    """Read the `%%rlm` line.

    Raises:
        UsageError: one line with what is wrong and what is right.
    """
    parser = LineParser(USAGE)
    parser.add_argument("names", nargs="*", type=a_name)
    parser.add_argument("-o", "--output", type=a_name)
    parser.add_argument("--model")
    parser.add_argument("--url")
    parser.add_argument("--sub-model")
    add_limits(parser)
    parser.add_argument("--depth", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--schema", type=a_name)
    prompt = parser.add_mutually_exclusive_group()
    prompt.add_argument("--profile")
    prompt.add_argument("--prompt", type=_text_of)
    add_access(parser)
    for switch in ("--images", "--step", "--fresh", "--reuse", "--detach"):
        parser.add_argument(switch, action="store_true")
    given = parser.read(line)
    names, output, schema, step, detach = (given.pop(key) for key in ("names", "output", "schema", "step", "detach"))
    options = {key: value for key, value in given.items() if value not in (None, False)}
    return RlmArguments(tuple(dict.fromkeys(names)), output, options, schema, step, detach)


BATCH_USAGE = (
    "%%rlm_batch VALUES [-o NAME] [--parallel N] [--name NAME] [--model M] [--url U] [--sub-model M] [--max-turns N] "
    "[--timeout S] [--max-subcalls N] [--max-tokens-in N] [--max-tokens-out N] [--depth N] [--seed N] [--schema NAME] "
    "[--allow net] [--mount PATH] [--fresh] [--reuse]"
)


@dataclass(frozen=True, slots=True)
class BatchArguments:
    """What stood on the `%%rlm_batch` line. `values` is a variable, or a column as ``frame.column``."""

    values: str
    output: str | None
    parallel: int
    name: str | None
    options: dict[str, Any]
    schema: str | None


def parse_batch_line(line: str) -> BatchArguments:
    """Read the `%%rlm_batch` line. Raises like `parse_line`."""
    parser = LineParser(BATCH_USAGE)
    parser.add_argument("values")
    parser.add_argument("-o", "--output", type=a_name)
    parser.add_argument("--parallel", type=above_zero(int), default=4)
    parser.add_argument("--name")
    parser.add_argument("--model")
    parser.add_argument("--url")
    parser.add_argument("--sub-model")
    add_limits(parser)
    parser.add_argument("--depth", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--schema", type=a_name)
    add_access(parser)
    for switch in ("--fresh", "--reuse"):
        parser.add_argument(switch, action="store_true")
    given = parser.read(line)
    values, output, parallel, name, schema = (
        given.pop(key) for key in ("values", "output", "parallel", "name", "schema")
    )
    options = {key: value for key, value in given.items() if value not in (None, False)}
    return BatchArguments(values, output, parallel, name, options, schema)


LIMITS: dict[str, tuple[str, type[int | float]]] = {
    "max_turns": ("--max-turns", int),
    "timeout": ("--timeout", float),
    "max_subcalls": ("--max-subcalls", int),
    "max_prompt_tokens": ("--max-tokens-in", int),
    "max_completion_tokens": ("--max-tokens-out", int),
}
"""The options that limit a run, by the names that they have in `RLM`."""


def add_limits(parser: argparse.ArgumentParser) -> None:
    """Have a parser read the limits of a run."""
    for name, (option, kind) in LIMITS.items():
        parser.add_argument(option, type=above_zero(kind), dest=name)


def add_access(parser: argparse.ArgumentParser) -> None:
    """Have a parser read how a run's sandbox is widened, each option as often as it is given."""
    parser.add_argument("--allow", action="append")
    parser.add_argument("--mount", action="append", dest="mounts", metavar="PATH")


def a_name(word: str) -> str:
    """Read the name of a variable."""
    if not word.isidentifier():
        raise argparse.ArgumentTypeError(f"{word!r} is not a variable's name")
    return word


def above_zero(kind: type[int | float]) -> Any:
    """Return what reads a number above zero."""

    def read(word: str) -> float:
        try:
            value = kind(word)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{word!r} is not a {_NUMBERS[kind]}") from None
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{word} is not above zero")
        return value

    return read


def _text_of(word: str) -> str:
    """Read a text file of the user's."""
    try:
        text = Path(word).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = "it is not text in UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror
        raise argparse.ArgumentTypeError(f"{word} cannot be read: {reason}") from None
    if not text.strip():
        raise argparse.ArgumentTypeError(f"{word} is empty")
    return text
