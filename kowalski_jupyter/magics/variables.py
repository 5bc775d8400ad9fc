"""The user's variables on their way to a run."""

from __future__ import annotations

import difflib
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from IPython.core.error import UsageError

from kowalski_jupyter.kernels.base import DataItem
from kowalski_jupyter.kernels.pack import PackError, pack


def pack_all(names: Sequence[str], namespace: Mapping[str, Any], data_root: Path) -> tuple[DataItem, ...]:
    """Pack the named variables into a new folder below `data_root`, which the service removes after the run.

    Raises:
        UsageError: in one line, that a name is not there, that its value cannot be passed, or that there is no
            room for it. Nothing is left behind then.
    """
    for name in names:
        if name not in namespace:
            raise UsageError(_missing(name, namespace))
    if not names:
        return ()
    folder = data_root / f"pack-{secrets.token_hex(8)}"
    try:
        folder.mkdir(mode=0o700, parents=True)
        return tuple(pack(name, namespace[name], folder) for name in names)
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, PackError):
            raise UsageError(str(error)) from None
        if isinstance(error, OSError):
            raise UsageError(f"The data could not be written to {folder}: {error.strerror or error}.") from None
        raise


def discard(data: Sequence[DataItem]) -> None:
    """Remove packed data that no service took over."""
    for item in data:
        if item.path is not None:
            shutil.rmtree(item.path.parent, ignore_errors=True)


def _missing(name: str, namespace: Mapping[str, Any]) -> str:
    mine = sorted(key for key in namespace if not key.startswith("_") and key not in _SHELL_NAMES)
    near = difflib.get_close_matches(name, mine, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    return f"There is no variable {name} here.{hint} Name variables that hold data; the question goes below the line."


_SHELL_NAMES = frozenset({"In", "Out", "exit", "quit", "get_ipython", "open"})
