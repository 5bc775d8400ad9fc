"""Data for kernels that are not Python: JSON or CSV instead of pickles and Arrow.

Nothing that is packed is read outside of a sandbox, so the conversion runs in one of its own (prelude/export.py).
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from .base import DataItem, KernelError, Limits
from .languages.language import Form
from .pipes import read_to_end
from .sandbox import DATA, PRELUDE, Bubblewrap, Mount, Python, environment

_AS_IT_IS: dict[str, Form] = {"text": "text", "bytes": "bytes", "path": "path"}
_TABLES = frozenset({"arrow", "polars", "pandas", "series"})
_SECONDS = 120.0
_LIMITS = Limits()


async def convert(
    items: Sequence[DataItem], table_form: Form, folder: Path, python: str, *, unsandboxed: bool
) -> list[tuple[DataItem, Form]]:
    """Return each item with the form that its file has now; new files are made in `folder`.

    Raises:
        KernelError: one cannot be converted; says which and why.
    """
    ready: list[tuple[DataItem, Form]] = []
    for number, item in enumerate(items):
        if item.kind in _AS_IT_IS:
            ready.append((item, _AS_IT_IS[item.kind]))
            continue
        form: Form = table_form if item.kind in _TABLES else "json"
        path = folder / f"converted-{number}"
        await _export(item, form, path, python, unsandboxed=unsandboxed)
        ready.append((dataclasses.replace(item, path=path, size=path.stat().st_size), form))
    return ready


async def _export(item: DataItem, form: Form, path: Path, python: str, *, unsandboxed: bool) -> None:
    assert item.path is not None  # noqa: S101 - these kinds have a file
    found = Python.probe(python)
    program = str(Path(__file__).parent / "prelude") if unsandboxed else PRELUDE
    source = str(item.path) if unsandboxed else f"{DATA}/item"
    site = [str(found.user_site)] if found.user_site else []
    meta = "".join(name for name in ("batch", "series", "unnamed") if item.meta.get(name))
    command = [found.executable, "-I", f"{program}/export.py", item.kind, form, source, meta, *site]
    reader, writer = os.pipe()
    try:
        if not unsandboxed:
            command = Bubblewrap.find().command(
                command, python=found, mounts=[Mount(item.path, source)], limits=_LIMITS, info=writer
            )
        with path.open("wb") as out:
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.PIPE,
                pass_fds=(writer,),
                env=environment(str(path.parent)) if unsandboxed else {},
            )
    finally:
        os.close(writer)
    try:
        async with asyncio.timeout(_SECONDS):
            _, (_, error) = await asyncio.gather(read_to_end(reader), process.communicate())
    except TimeoutError:
        raise KernelError(f"{item.name} could not be written as {form.upper()} within {_SECONDS:.0f} s.") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        words = error.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise KernelError(f"{item.name} cannot be given to this language: {words[-1][:300]}")
