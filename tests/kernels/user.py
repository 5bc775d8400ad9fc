"""Attacks tried by a normal user, where the tests are root's."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]


def contained_as_user(module: str, attack: str, options: Mapping[str, Any], folder: Path, *, seconds: float) -> None:
    """Run ``attack(root, **options)``, a coroutine of a test module, as a normal user with a home in `folder`."""
    if not (shutil.which("setpriv") and shutil.which("unshare")):
        pytest.skip("setpriv and unshare (util-linux) are needed to become another user")
    home = folder / "home"
    home.mkdir()
    os.chown(home, 12345, 12345)
    folder.chmod(0o755)
    code = f"""
        import asyncio, sys
        sys.path.insert(0, {str(REPOSITORY)!r})
        from pathlib import Path
        from tests.kernels.{module} import {attack}
        asyncio.run({attack}(root=Path({str(home)!r}, "kernels"), **{dict(options)!r}))
        print("contained")
    """
    command = _as_user([sys.executable, "-c", textwrap.dedent(code)], home)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds, cwd="/")
    shutil.rmtree(home)
    assert done.stdout == "contained\n", done.stderr[-3000:]


def _closed(path: Path) -> Path | None:
    """Return the first folder on the way to `path` that is not everybody's to pass."""
    return next((place for place in [*path.parents][::-1] if not place.stat().st_mode & 0o001), None)


def _as_user(command: list[str], home: Path) -> list[str]:
    """Return a command line that runs `command` as a normal user, to whom this Python and Rust are shown."""
    rustup = Path(os.environ.get("RUSTUP_HOME", Path.home() / ".rustup"))
    places = [Path(sys.base_prefix).resolve(), *(path for path in (rustup, Path.home() / ".cargo") if path.is_dir())]
    drop = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups", "env", "-i"]
    drop += [f"HOME={home}", f"PATH={os.environ['PATH']}", f"RUSTUP_HOME={rustup}", "PYTHONDONTWRITEBYTECODE=1"]
    closed = {str(place): 0 for path in places if (place := _closed(path))}
    if not closed:
        return [*drop, *command]
    # They lie in a closed folder (root's home): open the way to them, in a view of our own.
    aside = [(f"/mnt/{number}", path) for number, path in enumerate(places)]
    script = " && ".join(
        [
            "mount -t tmpfs tmpfs /mnt",
            *(f"mkdir {kept} && mount --bind {path} {kept}" for kept, path in aside),
            *(f"mount -t tmpfs -o mode=755 tmpfs {path}" for path in closed),
            *(f"mkdir -p {path} && mount --bind {kept} {path} && umount {kept}" for kept, path in aside),
            'umount /mnt && exec "$@"',
        ]
    )
    return ["unshare", "--mount", "--propagation", "private", "sh", "-c", script, "sh", *drop, *command]
