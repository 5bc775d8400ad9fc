"""Folders that belong to a living process, and the removal of those whose process has died.

The owner holds a lock on its folder, which the system releases with the process, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from pathlib import Path

_YOUNG_SECONDS = 60.0
"""A folder younger than this may be one that its owner is about to lock."""


class OwnedFolder:
    """A folder that is locked as long as this process lives. It has to exist."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def remove(self) -> None:
        """Remove the folder with everything in it, and let go of it."""
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._descriptor)


def sweep(parent: Path, pattern: str) -> None:
    """Remove the folders below `parent` that match `pattern`, are this user's, and have lost their owner."""
    for path in parent.glob(pattern):
        try:
            facts = path.lstat()
            if facts.st_uid != os.getuid() or time.time() - facts.st_mtime < _YOUNG_SECONDS:
                continue
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(path, ignore_errors=True)
        except OSError:
            pass  # it is in use
        finally:
            os.close(descriptor)
