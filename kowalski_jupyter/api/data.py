"""Values on their way to a run."""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kowalski_jupyter.api.result import RlmError
from kowalski_jupyter.kernels.base import DataItem
from kowalski_jupyter.kernels.pack import PackError, pack
from kowalski_jupyter.service.request import RunRequest


def pack_all(data: Mapping[str, Any], data_root: Path) -> tuple[DataItem, ...]:
    """Pack named values into a new folder below `data_root`, which the service removes after the run.

    Raises:
        RlmError: in one line, that they have no names, that a value cannot be passed, or that there is no room for it.
            Nothing is left behind then.
    """
    if not isinstance(data, Mapping):
        raise RlmError(f"Give the values by their names, as {{'context': …}}, not as a {type(data).__name__}.")
    if not data:
        return ()
    folder = data_root / f"pack-{secrets.token_hex(8)}"
    try:
        folder.mkdir(mode=0o700, parents=True)
        return tuple(pack(name, value, folder) for name, value in data.items())
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, PackError):
            raise RlmError(str(error)) from None
        if isinstance(error, OSError):
            raise RlmError(f"The data could not be written to {folder}: {error.strerror or error}.") from None
        raise


async def make_aside(make: Callable[[], RunRequest]) -> RunRequest:
    """Make a request in a thread, since packing may take long; nothing is left of it if the wait is cancelled."""
    making = asyncio.ensure_future(asyncio.to_thread(make))
    try:
        return await asyncio.shield(making)
    except asyncio.CancelledError:
        making.add_done_callback(lambda made: None if made.exception() else discard(made.result().data))
        raise


def discard(data: Sequence[DataItem]) -> None:
    """Remove packed data that no service took over."""
    for item in data:
        if item.path is not None:
            shutil.rmtree(item.path.parent, ignore_errors=True)
