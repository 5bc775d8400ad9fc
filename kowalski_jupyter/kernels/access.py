"""What the user lets one run's code reach besides its data, where its code finds it, and how that is told."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from pathlib import Path

from .base import Access, KernelError
from .prelude import landlock
from .sandbox import FILES, Mount

_RESOLVER = ("resolv.conf", "hosts", "host.conf", "nsswitch.conf", "gai.conf", "services", "protocols")
_CERTIFICATES = (
    "ssl/certs",
    "ssl/openssl.cnf",
    "ssl/cert.pem",
    "ca-certificates",
    "pki/tls/certs",
    "pki/tls/openssl.cnf",
    "pki/tls/cert.pem",
    "pki/ca-trust/extracted",
    "crypto-policies",
)


def readable(path: Path) -> Path:
    """Return the whole path of a file or folder that the user may give to a run.

    Raises:
        OSError: it is not there, or is not the user's to read; its `strerror` says which.
    """
    try:
        found = path.expanduser().resolve(strict=True)
    except RuntimeError as error:  # links that lead to each other, or a user without a home
        raise OSError(0, str(error)) from None
    mode = found.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(0, "it is neither a file nor a folder")
    if not os.access(found, os.R_OK | (os.X_OK if stat.S_ISDIR(mode) else 0)):
        raise PermissionError(0, "you may not read it")
    return found


def check_access(access: Access) -> None:
    """See that what the user mounts is there, as a run may be gone through again long after.

    Raises:
        KernelError: it is not.
    """
    for path in access.mounts:
        try:
            readable(path)
        except OSError as error:
            raise KernelError(f"{path} cannot be mounted: {error.strerror}.") from None


def mounts(access: Access, names: Collection[str]) -> list[Mount]:
    """Return where the files and folders are shown: beside the user's own variables, of which `names` are taken."""
    found: list[Mount] = []
    taken = {*names}
    for path in access.mounts:
        name, number = path.name or "root", 1
        while name in taken:
            number += 1
            name = f"{path.name or 'root'}-{number}"
        taken.add(name)
        found.append(Mount(path, f"{FILES}/{name}"))
    return found


def network() -> list[Mount]:
    """Return the settings that programs need to find names and trust servers: no keys and no passwords."""
    return [Mount(Path("/etc", name), f"/etc/{name}") for name in (*_RESOLVER, *_CERTIFICATES)]


def reach(access: Access) -> landlock.Reach:
    """Return what the user allows code to reach, in the word that what confines it from within knows."""
    return "network" if access.net else "nothing"


def description(access: Access) -> str:
    """Return what confines a kernel and what it is allowed, in words for the user."""
    held = landlock.parts(reach(access))
    others = "" if "abstract sockets" in held else " and other programs' abstract sockets"
    net = f"the network, this machine's own services{others} included (allowed by you)" if access.net else "no network"
    shown = ", ".join(map(str, access.mounts))
    files = f"no files of yours but {shown} (read-only, mounted by you)" if shown else "no files of yours"
    walls = "bubblewrap and Landlock" if held else "bubblewrap"
    return f"{walls}: {net}, {files}, limited memory, processes and time"
