"""Finds the service: the Jupyter server's if it announced one, else one in a thread of this process."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from typing import TYPE_CHECKING

from kowalski_jupyter.service.config import Kowalski
from kowalski_jupyter.service.socket.client import ServiceClient, ServiceError

if TYPE_CHECKING:
    from kowalski_jupyter.service.host import ThreadHost

SOCKET_VARIABLE = "KOWALSKI_SOCKET"
TOKEN_VARIABLE = "KOWALSKI_TOKEN"  # noqa: S105 (the variable's name, not a token)


def connect(config: Kowalski | None = None) -> tuple[ServiceClient, str]:
    """Return a client of the service, and a line for the user where it is not the Jupyter server's ("" otherwise).

    A service that the environment announces but that does not answer within a second is passed over.

    Args:
        config: for a service in this process; by default the configuration of the IPython that this runs in, if any.

    Raises:
        ServiceError: no service could be started.
    """
    line = "No kowalski server here: running in this kernel."
    socket = os.environ.get(SOCKET_VARIABLE)
    if socket:
        with contextlib.suppress(ServiceError):
            return ServiceClient(socket, os.environ.get(TOKEN_VARIABLE, "")), ""
        line = "The kowalski server announced to this kernel is gone: running in this kernel."
    host = _thread_host(config or _configured())
    return ServiceClient(host.socket, host.token), line


@functools.cache
def _configured() -> Kowalski:
    """Return the user's settings, as the IPython that this process runs has read them."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return Kowalski(config=shell.config) if shell is not None else Kowalski()


@functools.cache
def _thread_host(config: Kowalski) -> ThreadHost:
    from kowalski_jupyter.service.host import ThreadHost  # noqa: PLC0415 (a kernel with a server does not need it)

    return ThreadHost(config)
