"""Becomes a command that can reach no abstract unix socket but its own: ``python -I -S scoped.py COMMAND …``.

Such sockets belong to a network, and a desktop's X server and session bus have some. Where the user has allowed a run
the network, Landlock keeps its code from them, if the system's is new enough (Linux 6.12).
"""

from __future__ import annotations

import ctypes
import os
import sys

_CREATE_RULESET, _RESTRICT_SELF = 444, 446
_SCOPE_ABSTRACT_SOCKETS = 1


def main(command: list[str]) -> None:
    """Never returns."""
    libc = ctypes.CDLL(None)
    rules = (ctypes.c_uint64 * 3)(0, 0, _SCOPE_ABSTRACT_SOCKETS)  # files and ports are not Landlock's concern here
    ruleset = libc.syscall(_CREATE_RULESET, ctypes.byref(rules), ctypes.sizeof(rules), 0)
    if ruleset >= 0:
        if libc.syscall(_RESTRICT_SELF, ruleset, 0):
            sys.exit("This system's Landlock refuses to keep code from other programs' sockets.")
        os.close(ruleset)
    os.execv(command[0], command)  # noqa: S606 - there is no shell to be had


if __name__ == "__main__":
    main(sys.argv[1:])
