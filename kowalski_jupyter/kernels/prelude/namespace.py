"""The names that a run's code finds besides its data: `llm_query`, `FINAL`, `answer` …."""

from __future__ import annotations

import asyncio
import base64
import difflib
import json
import math
import os
import re
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping
from typing import Any, NoReturn

from .calls import Calls, QueryError, Request
from .chunks import chunks
from .encode import encode
from .figures import put_away
from .forms import with_form
from .helpers import Helpers
from .history import History
from .queries import query_functions
from .search import search
from .sharing import sharing

_SMALL = 64 << 10
"""Bytes of an answer that no run refuses unless it checks answers, and of a draft that goes with the cell's end."""
_LARGE = 8 * _SMALL
"""Bytes that an object takes whose encoding is not small: it is not tried."""
_NEEDED = frozenset({"FINAL", "FINAL_VAR"})


class Finished(BaseException):
    """Ends the cell after `FINAL`. No `Exception`, so that ``except Exception`` lets it through."""


class Namespace:
    """What a run puts into the user's names, and what it reads back from there."""

    def __init__(
        self,
        names: dict[str, Any],
        calls: Calls,
        functions: Collection[str],
        history: History,
        *,
        checks_answer: bool,
        starts_runs: bool,
    ) -> None:
        self._names = names
        self._checks_answer = checks_answer
        self._starts_runs = starts_runs
        self._answer: dict[str, str] | None = None
        self._draft: Any = None
        self._draft_stays = False
        self._drafted = b""
        self._process = os.getpid()
        self._calls = calls
        self._functions = functions
        self._history = history
        self._answer_protocol = True
        self._start: dict[str, Any] = {}
        self._data: frozenset[str] = frozenset()

    def install(self, data: Mapping[str, Any]) -> None:
        """Put the functions, then `data` and its `context`, into the user's names."""
        self._start = self._model_functions()
        for function in (self.FINAL, self.FINAL_VAR, self.exit):
            self._start[function.__name__] = function
        self._start |= sharing(self._calls)
        self._start |= {"quit": self.exit, "history": self._history.cells}
        if "answer" in data:
            self._answer_protocol = False
        else:
            self._start["answer"] = {"content": None, "ready": False}
        self._start |= {"asyncio": asyncio, "re": re, "json": json, "math": math}
        self._start |= {"Counter": Counter, "defaultdict": defaultdict}
        self._names.update(self._start)
        self._data = frozenset(data)
        if data and "context" not in data:
            self._names["context"] = next(iter(data.values())) if len(data) == 1 else dict(data)
        self._names.update(data)
        threading.excepthook = _quiet_when_finished(threading.excepthook)

    def start_cell(self) -> None:
        """Bring back what no run can do without: code may have deleted it, or called a variable FINAL."""
        self._names.setdefault("history", self._history.cells)
        for name in _NEEDED - self._data:
            self._names[name] = self._start[name]

    def _model_functions(self) -> dict[str, Any]:
        """Return what the run allows of the functions that ask models, and of the helpers."""
        found: dict[str, Any] = query_functions(self._calls, self._functions, starts_runs=self._starts_runs)
        if found:
            found["QueryError"] = QueryError
        if "helpers" in self._functions:
            helpers: list[Callable[..., Any]] = [chunks, search]
            if "llm_query" in self._functions:
                asking = Helpers(self._calls)
                helpers += [asking.map_query, asking.vote, asking.tree_reduce]
            found |= {helper.__name__: with_form(helper, helper.__name__) for helper in helpers}
        return found

    def visible(self, most: int = 500) -> list[str]:
        """Return the names that the user's data and code have bound, at most `most`."""
        start = self._start
        names = [
            name
            for name, value in self._names.copy().items()
            if start.get(name, self) is not value
            and isinstance(name, str)
            and name.isidentifier()
            and not name.startswith("_")
        ]
        return names[:most]

    def check_answer(self) -> bool:
        """Send ``answer['content']`` if ``answer['ready']`` is set; return whether it was.

        Raises:
            TypeError: the content cannot be sent.
        """
        answer = self._ready_answer()
        if answer is None:
            return False
        if answer.get("content") is None:
            answer["ready"] = False
            print("answer['ready'] is set, but answer['content'] is not.", file=sys.stderr)  # noqa: T201
            return False
        self._send(answer["content"])
        return True

    def _ready_answer(self) -> dict[str, Any] | None:
        """Return ``answer`` if ``answer['ready']`` is set."""
        answer = self._names.get("answer")
        if not (self._answer_protocol and isinstance(answer, dict)):
            return None
        ready = answer.get("ready")
        return answer if type(ready).__name__ in {"bool", "int", "bool_"} and ready == 1 else None

    def FINAL(self, value: Any, *more: Any) -> NoReturn:  # noqa: N802 - the name that models know
        """Give `value` as the run's answer and end the run."""
        if more:
            raise TypeError("FINAL takes one value: put several into a list, FINAL([a, b]).")
        self._send(value)
        raise Finished

    def FINAL_VAR(self, name: Any) -> NoReturn:  # noqa: N802 - the name that models know
        """Give the variable called `name` as the run's answer and end the run."""
        if isinstance(name, str) and name in self._names:
            self.FINAL(self._names[name])
        if isinstance(name, str) and name.isidentifier():
            near = difflib.get_close_matches(name, self.visible(), n=3) or self.visible(20)
            raise NameError(f"FINAL_VAR: there is no variable {name!r}. There are: {', '.join(near) or 'none'}")
        self.FINAL(name)

    def exit(self, code: Any = None) -> NoReturn:
        """End the cell."""
        raise SystemExit(code)

    def take_answer(self) -> dict[str, str] | None:
        """Return the answer that has to go with the cell's end, once."""
        answer, self._answer = self._answer, None
        return answer

    def take_draft(self) -> dict[str, str] | None:
        """Return ``answer['content']`` if it is new and small. It goes with the cell's end, as the kernel may not last.

        What cannot change in place is looked at once, and so is what cannot be sent or is too large.
        """
        answer = self._names.get("answer")
        content = answer.get("content") if self._answer_protocol and isinstance(answer, dict) else None
        if content is None or (content is self._draft and self._draft_stays):
            return None
        self._draft, self._draft_stays = content, True
        try:
            if sys.getsizeof(content) > _LARGE:
                return None
            header, data = _packed(content)
        except BaseException:  # noqa: BLE001 - code may have put anything there
            return None
        if len(data) > _SMALL:
            return None
        self._draft_stays = not isinstance(content, list | dict | set)
        before, self._drafted = self._drafted, data
        return None if data == before else _with_data(header, data)

    def _send(self, value: Any) -> None:
        """Give the run an answer. One that it cannot refuse goes with the cell's end: that saves two wake-ups.

        ``answer['ready']`` counts once: should the run not take the answer and go on, code has to set it again.
        """
        header, data = _packed(value)
        put_away(value)
        if self._checks_answer or len(data) > _SMALL or os.getpid() != self._process:
            self._calls.call(Request("final", header, data))
        elif self._answer is None:
            self._answer = _with_data(header, data)
        if (answer := self._ready_answer()) is not None and answer.get("content") is not None:
            answer["ready"] = False


def _packed(value: Any) -> tuple[dict[str, str], bytes]:
    kind, type_name, text, data = encode(value)
    return {"kind": kind, "type": type_name, "text": text}, data


def _with_data(header: dict[str, str], data: bytes) -> dict[str, str]:
    return {**header, "data": base64.b64encode(data).decode()}


def _quiet_when_finished(hook: Any) -> Any:
    def excepthook(arguments: Any) -> None:
        if not issubclass(arguments.exc_type, Finished):
            hook(arguments)

    return excepthook
