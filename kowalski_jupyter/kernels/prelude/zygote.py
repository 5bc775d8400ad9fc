"""A process that has everything imported and nothing started, and forks a kernel whenever it is asked to.

It runs nobody's code, has no thread, no loop and no ZMQ context, and sees the host read-only (sandbox.py says why).
Each request (zygote.py in kernels/ sends them) is answered by two processes. The guard makes the kernel's sandbox
with bubblewrap, as it is made for a kernel that starts by itself, enters it, and forks. The fork waits there until it
is told which kernel to become; the guard stays to tell how that ended. Each is killed with the process that started it,
so that nothing outlives the service.
"""

from __future__ import annotations

import fcntl
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from . import launch
from .join import die_with, filter_calls, join, set_name

INFO = 3
"""The descriptor on which bubblewrap tells the guard of the sandbox's first process."""
_OWN = str(Path(__file__).parent)
"""What a Python kernel runs."""
_programs: dict[str, CodeType] = {}
"""What other kernels run, compiled, by its path in their sandboxes."""
_LARGEST = 1 << 20
_MOST_DESCRIPTORS = 16
_LATER = (
    "IPython.core.application",
    "IPython.core.completerlib",
    "IPython.core.crashhandler",
    "IPython.core.logger",
    "IPython.core.oinspect",
    "ipykernel.debugger",
    "pdb",
    "resource",
    "tornado.platform.asyncio",
    "unicodedata",
    "unittest.mock",
)
"""What a kernel imports while it starts."""


def serve(control: int, programs: Mapping[str, str]) -> None:
    """Fork a kernel for each request on the socket `control`, until its other end is closed.

    `programs` says where files are read from that kernels run, by the paths that these have in their sandboxes.
    """
    for module in _LATER:
        importlib.import_module(module)
    for inside, path in programs.items():
        _programs[inside] = compile(Path(path).read_bytes(), inside, "exec")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the system clears the guards away
    gc.collect()
    gc.freeze()  # so that a collection in a kernel does not copy what all share
    with socket.socket(fileno=control) as requests:
        requests.send(b"ready")
        own = os.getpid()
        while True:
            message, descriptors, _flags, _address = socket.recv_fds(requests, _LARGEST, _MOST_DESCRIPTORS)
            if not message:
                return
            if os.fork() == 0:
                requests.close()
                _guard(json.loads(message), descriptors, own)
            for descriptor in descriptors:
                os.close(descriptor)


def _guard(request: Mapping[str, Any], descriptors: Sequence[int], zygote: int) -> None:
    """Make the sandbox, have a fork wait in it for its order, and report its exit status. Does not return."""
    # Out of the way of the number that bubblewrap expects.
    errors, info, service, *groups = [_moved(descriptor, INFO + 1) for descriptor in descriptors]
    code = 1
    try:
        die_with(zygote)
        set_name("kernel-guard")
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(errors, 2)
        sandbox, report = _begin_sandbox(request["sandbox"])
        for group in groups:  # meanwhile: the system takes milliseconds for each
            os.write(group, b"0")
            os.close(group)
        first = _first_process(sandbox, report)
        join(first)
        die_with(zygote)  # which the changes of user have made undone
        if (kernel := os.fork()) == 0:
            _become_kernel(request, service)
        os.close(errors)
        os.write(info, json.dumps({"child-pid": first}).encode())
        os.close(info)
        code = os.waitstatus_to_exitcode(os.waitpid(kernel, 0)[1])
        os.write(service, str(code).encode())
        sandbox.kill()
        sandbox.wait()
    except BaseException:  # noqa: BLE001 - the service reads it
        traceback.print_exc()
    finally:
        os._exit(code != 0)


def _begin_sandbox(line: Sequence[str]) -> tuple[subprocess.Popen[bytes], int]:
    """Return the bubblewrap process that makes a sandbox, and a descriptor on which it tells of that."""
    reader, writer = os.pipe()
    reader = _moved(reader, INFO + 1)
    os.dup2(writer, INFO)
    if writer != INFO:
        os.close(writer)
    pipe = subprocess.PIPE
    sandbox = subprocess.Popen(line, stdin=pipe, stdout=pipe, env={}, pass_fds=(INFO,), close_fds=True)
    os.close(INFO)
    return sandbox, reader


def _first_process(sandbox: subprocess.Popen[bytes], report: int) -> int:
    """Wait until a sandbox is ready, and return the process id of the first process inside."""
    assert sandbox.stdout is not None  # noqa: S101 - a pipe
    if sandbox.stdout.read(1) != b"\n":
        os._exit(1)  # bubblewrap has said why
    with os.fdopen(report, "rb") as file:
        return int(json.load(file)["child-pid"])


def _become_kernel(request: Mapping[str, Any], service: int) -> None:
    """Leave everything of the zygote's behind but its modules, and serve as a kernel when told to. Does not return."""
    try:
        set_name("kernel-to-be")
        null = os.open(os.devnull, os.O_RDWR)
        orders = 3
        for number, descriptor in {0: null, 1: null, orders: service}.items():
            os.dup2(descriptor, number)
        os.closerange(orders + 1, os.sysconf("SC_OPEN_MAX"))
        filter_calls(bytes.fromhex(request["seccomp"]))
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(os.environ["PWD"])
        program, *arguments = _order(orders)
        set_name("kernel")
        if program == _OWN:
            launch.main(arguments)
        sys.argv = [program, *arguments]
        _run(program)
    except BaseException:  # noqa: BLE001 - the service reads it
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(1)


def _order(orders: int) -> list[str]:
    """Wait until the service says what to run, take the descriptors that come along, and return the command line."""
    with socket.socket(fileno=orders) as service:
        message, descriptors, _flags, _address = socket.recv_fds(service, _LARGEST, _MOST_DESCRIPTORS)
    if not message:
        os._exit(0)  # nobody wants a kernel any more
    order = json.loads(message)
    numbers: list[int] = order["descriptors"]
    for number, descriptor in zip(numbers, [_moved(each, max(numbers) + 1) for each in descriptors], strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    command: list[str] = order["command"]
    return command


def _run(program: str) -> None:
    """Run a program as its interpreter would, without compiling it once more."""
    if program not in _programs:
        runpy.run_path(program, run_name="__main__")
        return
    main = sys.modules["__main__"] = ModuleType("__main__")
    vars(main).update(__file__=program, run_program=_run)
    exec(_programs[program], vars(main))  # noqa: S102 - ours


def _moved(descriptor: int, least: int) -> int:
    """Return a copy of `descriptor` whose number is at least `least`, and close it."""
    copy = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, least)
    os.close(descriptor)
    return copy
