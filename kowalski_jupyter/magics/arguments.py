"""The `%%rlm` line: `[NAME …] [-o NAME] [--model M] [--url U] [--max-turns N] [--timeout S] [--seed N] [--detach]`."""

from __future__ import annotations

import argparse
import shlex
from dataclasses import dataclass
from typing import Any, NoReturn

from IPython.core.error import UsageError

USAGE = "%%rlm [NAME …] [-o NAME] [--model M] [--url U] [--max-turns N] [--timeout S] [--seed N] [--detach]"


@dataclass(frozen=True, slots=True)
class RlmArguments:
    """What stood on the line. `options` holds only what was given."""

    names: tuple[str, ...]
    output: str | None
    options: dict[str, Any]
    detach: bool


class _Parser(argparse.ArgumentParser):
    """Raises instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}. Usage: {USAGE}")


def parse_line(line: str) -> RlmArguments:
    """Read the line.

    Raises:
        UsageError: one line with what is wrong and the usage.
    """
    parser = _Parser(prog="%%rlm", add_help=False, allow_abbrev=False)
    parser.add_argument("names", nargs="*", type=_name)
    parser.add_argument("-o", "--output", type=_name)
    parser.add_argument("--model")
    parser.add_argument("--url")
    parser.add_argument("--max-turns", type=_positive(int))
    parser.add_argument("--timeout", type=_positive(float))
    parser.add_argument("--seed", type=int)
    parser.add_argument("--detach", action="store_true")
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise UsageError(f"{error}. Usage: {USAGE}") from None
    given = vars(parser.parse_intermixed_args(words))
    names, output, detach = given.pop("names"), given.pop("output"), given.pop("detach")
    options = {key: value for key, value in given.items() if value is not None}
    return RlmArguments(tuple(dict.fromkeys(names)), output, options, detach)


def _name(word: str) -> str:
    if not word.isidentifier():
        raise argparse.ArgumentTypeError(f"{word!r} is not a variable's name")
    return word


def _positive(kind: type[int | float]) -> Any:
    def read(word: str) -> float:
        value = kind(word)
        if value <= 0:
            raise argparse.ArgumentTypeError(f"{word} is not above zero")
        return value

    read.__name__ = "number"
    return read
