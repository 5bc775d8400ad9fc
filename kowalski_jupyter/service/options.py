"""The options of one run: their names on the wire, in `RLM(...)` and (with dashes) on the `%%rlm` line.

`judged` is on the wire alone: whoever asks follows the run, and has a word on its answer (`Steering.offer`).
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from kowalski_jupyter.kernels.access import readable
from kowalski_jupyter.rlm.chat.prompts import PROFILES, read_opening

ALLOWED = ("net",)
"""What a run's sandbox can be opened for."""

Check = Callable[[Any], Any]
"""Returns the value as JSON has it, or raises ValueError or TypeError."""


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def _profile(value: Any) -> str:
    if value not in PROFILES:
        raise ValueError
    return str(value)


def _prompt(value: Any) -> str:
    text = _text(value)
    try:
        read_opening(text)
    except ValueError as error:
        raise _WrongError(str(error)) from None
    return text


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _schema(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError
    return dict(value)


def _allowed(value: Any) -> list[str]:
    if isinstance(value, str) or not {*value} <= {*ALLOWED}:
        raise ValueError
    return [*dict.fromkeys(value)]


class _WrongError(Exception):
    """A value is wrong. The message says what is, and what is right."""


def _paths(value: Any) -> list[str]:
    if isinstance(value, str | Path):
        raise TypeError
    return [*dict.fromkeys(_path(each) for each in value)]


def _path(value: Any) -> str:
    try:
        return str(readable(Path(value)))
    except OSError as error:
        raise _WrongError(f"{value} cannot be mounted: {error.strerror}.") from None


def _whole(least: float) -> Check:
    def check(value: Any) -> int:
        number = operator.index(value)
        if isinstance(value, bool) or number < least:
            raise ValueError
        return number

    return check


def _seconds(value: Any) -> float:
    number = float(value)
    if isinstance(value, str | bool) or not 0 < number < math.inf:
        raise ValueError
    return number


_LIMITS: dict[str, tuple[Check, str]] = {
    "max_turns": (_whole(1), "a whole number from 1 up"),
    "timeout": (_seconds, "a number of seconds above 0"),
    "max_subcalls": (_whole(1), "a whole number from 1 up"),
    "max_prompt_tokens": (_whole(1), "a whole number of tokens from 1 up"),
    "max_completion_tokens": (_whole(1), "a whole number of tokens from 1 up"),
}
"""The options that say how much a run may use, each with its check and what is right. `allow` raises them."""

_OPTIONS: dict[str, tuple[Check, str]] = {
    "model": (_text, "a model's id or the path of a .gguf file"),
    "url": (_text, "a server's base URL, or several with commas"),
    "sub_model": (_text, "a model's id at the same server"),
    **_LIMITS,
    "depth": (_whole(0), "a whole number: 0 no sub-calls, 1 plain ones, from 2 on child runs"),
    "seed": (_whole(-math.inf), "a whole number"),
    "schema": (_schema, "a JSON Schema as a dict"),
    "step": (_switch, "True or False"),
    "judged": (_switch, "True or False"),
    "fresh": (_switch, "True or False"),
    "reuse": (_switch, "True or False"),
    "profile": (_profile, f"one of {', '.join(PROFILES)}"),
    "prompt": (_prompt, "the text of a prompt"),
    "images": (_switch, "True or False"),
    "allow": (_allowed, f"a list of what the sandbox is opened for: {', '.join(ALLOWED)}"),
    "mounts": (_paths, "a list of paths of files and folders"),
}


def check_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that are given, which are those that are not None.

    Raises:
        ValueError: one is unknown or wrong; one line that says what is right.
    """
    return _checked(options, _OPTIONS, "option")


def check_limits(limits: Mapping[str, Any]) -> dict[str, Any]:
    """Return the limits that are given, by the names that a run knows them under; raises like `check_options`."""
    checked = _checked(limits, _LIMITS, "limit")
    return {"max_seconds" if name == "timeout" else name: value for name, value in checked.items()}


def _checked(given: Mapping[str, Any], known: Mapping[str, tuple[Check, str]], noun: str) -> dict[str, Any]:
    checked = {}
    for name, value in given.items():
        if name not in known:
            raise ValueError(f"A run has no {noun} {name!r}. There are: {', '.join(known)}.")
        if value is None:
            continue
        check, right = known[name]
        try:
            checked[name] = check(value)
        except _WrongError as error:
            raise ValueError(str(error)) from None
        except (TypeError, ValueError):
            raise ValueError(f"{name} must be {right}, not {repr(value)[:60]}.") from None
    return checked
