"""Landlock, a wall inside the sandbox: what the sandbox leaves open by mistake is closed all the same.

A kernel takes rights from itself, and so from all that it starts, before anything of its run is there. It needs no
privilege for that, and cannot have them back. Of what this system's Landlock does not know, nothing is taken
(linux/landlock.h). Kernels of all languages begin with this: standard library only.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from collections.abc import Collection, Mapping
from typing import Literal

Reach = Literal["everything", "network", "nothing"]
"""What a kernel's code may reach: whatever its user may (there is no sandbox), the network, or nothing outside."""

_CREATE, _ADD, _RESTRICT = 444, 445, 446
_GIVE_VERSION = 1
_BENEATH, _PORT = 1, 2

_WRITE, _TRUNCATE, _IOCTL = 1 << 1, 1 << 14, 1 << 15
_REMOVE, _MAKE, _MAKE_DEVICES = 0b11 << 4, 0b1_0111_1000_0000, 0b1000_0100_0000
_MOVE = 1 << 13
"""From one folder to another. Version 1 forbids that everywhere, and with it what compilers do in their own /tmp."""
_FILES = {2: _WRITE | _REMOVE | _MAKE | _MAKE_DEVICES | _MOVE, 3: _TRUNCATE, 5: _IOCTL}
"""The rights to change files, by the version that knows them. To read is no matter of this: the sandbox shows nothing
that may not be read."""
_TCP = {4: 0b11}
"""To bind a port, and to connect to one."""
_OUTSIDE = {6: 0b11}
"""Connections to abstract unix sockets of processes that are not confined with this one, and signals to them."""
COMPLETE = 6
"""The version that knows all that is held here."""
_UNTOLD = {7: 0b101}
"""What is refused is not written into the system's log, which code could fill by it."""

_PLACES = ("/tmp", "/dev/shm")  # noqa: S108 - the sandbox's own
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty", "pts")

_libc = ctypes.CDLL(None, use_errno=True)


def version() -> int:
    """Return the version of this system's Landlock, 0 if it has none."""
    if sys.platform != "linux":
        return 0
    try:
        return _call(_CREATE, 0, 0, _GIVE_VERSION)
    except OSError:
        return 0


def parts(reach: Reach) -> tuple[str, ...]:
    """Return what this system's Landlock keeps from code with such a reach, in words for the user."""
    known = version()
    held = {
        "writing": _FILES,
        "TCP": _TCP if reach == "nothing" else {},
        "signals": _OUTSIDE,
        "abstract sockets": _OUTSIDE,
    }
    return tuple(words for words, rights in held.items() if _known(rights, known)) if reach != "everything" else ()


def confine(reach: Reach, ports: Collection[int] = ()) -> None:
    """Confine this process and all that it starts. It must have one thread only: others would stay free.

    Args:
        reach: What its code may reach.
        ports: TCP ports for its own use, where it may not have the network.

    Raises:
        SystemExit: this system has Landlock and refuses it.
    """
    known = version()
    if reach == "everything" or known < min(_FILES):
        return
    try:
        _confine(known, reach, ports)
    except OSError as error:
        sys.exit(
            f"Landlock, which is a part of the sandbox, fails here ({error.strerror}). If Jupyter itself runs in a "
            "sandbox, start it outside."
        )


def _confine(known: int, reach: Reach, ports: Collection[int]) -> None:
    files = _known(_FILES, known)
    tcp = _known(_TCP, known) if reach == "nothing" else 0
    attributes = struct.pack("=QQQ", files, tcp, _known(_OUTSIDE, known))
    rules = _call(_CREATE, attributes, len(attributes), 0)
    for place in _PLACES:
        _let_change(rules, place, files & ~(_MAKE_DEVICES | _IOCTL))
    for device in _DEVICES:
        _let_change(rules, f"/dev/{device}", files & (_WRITE | _IOCTL))
    for port in ports if tcp else ():
        _call(_ADD, rules, _PORT, struct.pack("=QQ", tcp, port), 0)
    _call(_RESTRICT, rules, _known(_UNTOLD, known))
    os.close(rules)


def _known(rights: Mapping[int, int], version: int) -> int:
    return sum(bits for since, bits in rights.items() if since <= version)


def _let_change(rules: int, path: str, rights: int) -> None:
    """Allow `rights` to a file, or to a folder and all below it, if it is there."""
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    _call(_ADD, rules, _BENEATH, struct.pack("=Qi", rights, place), 0)
    os.close(place)


def _call(number: int, *arguments: int | bytes) -> int:
    values = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    result: int = _libc.syscall(number, *values)
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
