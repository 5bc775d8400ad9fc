"""The folder in which a kernel finds a run's data."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from .base import DataItem
from .folders import OwnedFolder
from .sandbox import DATA, FILES, Mount


class DataFolder:
    """A folder of one kernel's at `path`. `as_it_is`: the kernel sees it, and the user's own files, where they are."""

    def __init__(self, path: Path, *, as_it_is: bool) -> None:
        self.path = path
        self._as_it_is = as_it_is
        self._owned: OwnedFolder | None = None

    def make(self) -> Mount:
        """Make the folder and return how it is shown."""
        self.path.mkdir(parents=True, mode=0o700)
        self._owned = OwnedFolder(self.path)
        return Mount(self.path, DATA)

    def hand_over(self, number: int, item: DataItem) -> str:
        """Show an item's file to the kernel and return where it finds that."""
        if item.source is not None:
            return str(item.source.resolve()) if self._as_it_is else _place(item, item.source)
        assert item.path is not None  # noqa: S101 - every other kind has a file
        name = f"{number}-{item.kind}"
        try:
            os.link(item.path, self.path / name)  # the run keeps its own, for another kernel
        except OSError:  # another disk, or one that has no links
            shutil.copyfile(item.path, self.path / name)
        return f"{self.path if self._as_it_is else DATA}/{name}"

    def remove(self) -> None:
        """Remove it with everything in it."""
        if self._owned is not None:
            self._owned.remove()
            self._owned = None


def mounts(items: Sequence[DataItem]) -> Iterator[Mount]:
    """Yield how the user's own files are shown, of which nothing is in the folder."""
    for item in items:
        if item.source is not None:
            yield Mount(item.source.resolve(), _place(item, item.source))


def _place(item: DataItem, source: Path) -> str:
    return f"{FILES}/{item.name}/{source.name}"
