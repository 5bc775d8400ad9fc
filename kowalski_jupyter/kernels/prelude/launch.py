"""Start the kernel: bind its sockets, say that it is ready, serve."""

from __future__ import annotations

import asyncio
import faulthandler
import json
import logging
import os
import socket
import sys
from pathlib import Path
from typing import cast

import zmq
from ipykernel.control import ControlThread
from ipykernel.parentpoller import ParentPollerUnix
from IPython.core.profiledir import ProfileDir
from jupyter_client.session import Session
from traitlets.config import Config
from zmq.eventloop.zmqstream import ZMQStream

from .kernel import LockedSocket, RunKernel
from .landlock import Reach, confine
from .messages import Messages
from .requests import Requests


def main(arguments: list[str]) -> None:
    """Serve the connection file ``arguments[0]``, and the requests that come over the socket ``arguments[1]``.

    ``arguments[2]`` says what code may reach (landlock.py), and the rest where more modules are.
    """
    connection_file, descriptor, reach, *sites = arguments
    confine(cast("Reach", reach))
    sys.path += sites
    if hasattr(os, "setsid") and os.getpid() != os.getpgid(0):
        os.setsid()  # so that an interrupt also reaches the programs that a cell has started
    last_words = os.fdopen(os.dup(2), "w", buffering=1)  # what the service reads when a kernel has died
    faulthandler.enable(last_words)
    logging.basicConfig(stream=last_words, level=logging.ERROR)
    asyncio.run(_serve(json.loads(Path(connection_file).read_text()), int(descriptor)))


async def _serve(info: dict[str, str], descriptor: int) -> None:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()

    def bind(kind: int, channel: str) -> zmq.Socket[bytes]:
        bound = context.socket(kind)
        bound.linger = 1000
        bound.sndhwm = 0  # nothing may be dropped; the recorder limits what there is
        bound.bind(f"ipc://{info['ip']}-{info[f'{channel}_port']}")
        return bound

    control = ControlThread(daemon=True)
    config = Config()
    config.HistoryManager.enabled = False
    config.HistoryManager.hist_file = ":memory:"
    config.InteractiveShell.cache_size = 0
    config.InteractiveShell.colors = "nocolor"
    key = info["key"].encode()
    kernel = RunKernel.instance(
        messages=Messages(key, "kernel"),
        config=config,
        session=Session(key=key, username="kernel"),
        control_stream=ZMQStream(bind(zmq.ROUTER, "control"), control.io_loop),
        control_thread=control,
        iopub_socket=LockedSocket(bind(zmq.PUB, "iopub")),
        profile_dir=ProfileDir(location=str(Path.home() / ".ipython")),
        log=logging.getLogger("kernel"),
        user_ns={},
    )
    control.start()
    kernel.start()  # type: ignore[no-untyped-call]
    if (parent := int(os.environ.get("JPY_PARENT_PID", "1"))) > 1:
        ParentPollerUnix(parent_pid=parent).start()
    connection = socket.socket(fileno=descriptor)
    connection.set_inheritable(False)
    Requests(connection, kernel.answer).listen()
    await asyncio.Event().wait()
