"""The user's variables, by the names that stand on a line."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from IPython.core.error import UsageError


def pick(names: Sequence[str], namespace: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of variables.

    Raises:
        UsageError: in one line, that a name is not there.
    """
    advice = "Name variables that hold data; the question goes below the line."
    return {name: _value(name, namespace, advice) for name in names}


def pick_schema(name: str, namespace: Mapping[str, Any]) -> Any:
    """Return the value of the variable that ``--schema`` names.

    Raises:
        UsageError: in one line, that it is not there.
    """
    return _value(name, namespace, "--schema takes the name of one that holds a JSON Schema or a pydantic model.")


def pick_values(path: str, namespace: Mapping[str, Any]) -> list[Any]:
    """Return the values of a variable that holds many: a list, or a column as `frame.column`.

    Raises:
        UsageError: in one line, that there is none, or that it is a single one.
    """
    name, *columns = path.split(".")
    value = pick([name], namespace)[name]
    for column in columns:
        try:
            value = value[column]
        except (LookupError, TypeError, ValueError):
            raise UsageError(f"{name} has no column {column}.") from None
        name = f"{name}.{column}"
    to_list = getattr(value, "tolist", None) or getattr(value, "to_list", None)
    if to_list is not None:
        value = to_list()
    if isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable):
        raise UsageError(f"{name} is one value. A batch is about many: a list, or a column such as frame.column.")
    return list(value)


def _value(name: str, namespace: Mapping[str, Any], advice: str) -> Any:
    if name in namespace:
        return namespace[name]
    mine = sorted(key for key in namespace if not key.startswith("_") and key not in _SHELL_NAMES)
    near = difflib.get_close_matches(name, mine, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise UsageError(f"There is no variable {name} here.{hint} {advice}")


_SHELL_NAMES = frozenset({"In", "Out", "exit", "quit", "get_ipython", "open"})
