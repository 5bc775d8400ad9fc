"""A process that has everything imported and nothing started, and forks a kernel whenever it is asked to.

It runs nobody's code, has no thread, no loop and no ZMQ context, and sees the host read-only (sandbox.py says why).
Each request (zygote.py in kernels/ sends them) is answered by two processes. The guard makes the kernel's sandbox
with bubblewrap, as it is made for a kernel that starts by itself, enters it, and forks the kernel. It stays to tell
how the kernel ended. Each is killed with the process that started it, so that nothing outlives the service.
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
    """Make the sandbox, start the kernel in it, and report its exit status. Does not return."""
    numbers: list[int] = request["descriptors"]
    # Out of the way of the numbers that the kernel and bubblewrap expect.
    free = max(INFO, *numbers) + 1
    errors, info, status, *rest = [_moved(descriptor, free) for descriptor in descriptors]
    passed, groups = rest[: len(numbers)], rest[len(numbers) :]
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
            _become_kernel(request, dict(zip(numbers, passed, strict=True)))
        for descriptor in (errors, *passed):
            os.close(descriptor)
        os.write(info, json.dumps({"child-pid": first}).encode())
        os.close(info)
        code = os.waitstatus_to_exitcode(os.waitpid(kernel, 0)[1])
        os.write(status, str(code).encode())
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


def _become_kernel(request: Mapping[str, Any], descriptors: Mapping[int, int]) -> None:
    """Leave everything of the zygote's behind but its modules, and serve as a kernel. Does not return."""
    try:
        set_name("kernel")
        null = os.open(os.devnull, os.O_RDWR)
        for number, descriptor in {0: null, 1: null, **descriptors}.items():
            os.dup2(descriptor, number)
        first = 3
        for kept in (*sorted(descriptors), 1 << 30):
            os.closerange(first, min(kept, os.sysconf("SC_OPEN_MAX")))
            first = kept + 1
        filter_calls(bytes.fromhex(request["seccomp"]))
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(os.environ["PWD"])
        program, *arguments = request["command"]
        if program == _OWN:
            launch.main(arguments)
        sys.argv = [program, *arguments]
        _run(program)
    except BaseException:  # noqa: BLE001 - the service reads it
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(1)


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
