"""A normal user's kernels have control groups that their systemd manager lets them make, and do without if need be."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest

from kowalski_jupyter.kernels import scope
from kowalski_jupyter.kernels.base import Limits
from kowalski_jupyter.kernels.cgroup import group_of, unified
from kowalski_jupyter.kernels.sandbox import Bubblewrap
from kowalski_jupyter.kernels.watch import OVERHEAD, SLACK

from . import guest
from .support import FakeRun, Session, opened, until
from .user import REPOSITORY, contained_as_user

MANAGERS = {
    "there is no systemd-run": "",
    "it fails": "exit 1",
    "it hangs": "exec /bin/sleep 1000",
    "it ends without a word": "exit 0",
    "it says where no group is": "echo /nonexistent\nexec >&- /bin/sleep 1000",
    "it gives a group that is not the user's": "exec /bin/sh",
}
"""What stands in for systemd-run, by what goes wrong."""


@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user takes root")
@pytest.mark.skipif(unified() is None, reason="there are no control groups of version 2")
@pytest.mark.parametrize("problem", MANAGERS)
def test_a_kernel_waits_for_no_group(problem: str, folder: Path) -> None:
    contained_as_user("test_scope", "go_without", {"script": MANAGERS[problem]}, folder, seconds=120)


async def go_without(root: Path, script: str) -> None:
    """Have a kernel where the manager hands out no group."""
    runtime, programs, asked = (root.parent / name for name in ("run", "programs", "asked"))
    (runtime / "systemd").mkdir(parents=True)
    (runtime / "systemd" / "private").touch()
    programs.mkdir()
    (programs / "bwrap").symlink_to(Bubblewrap.find().path)
    if script:
        program = programs / "systemd-run"
        program.write_text(f"#!/bin/sh\n: > {asked}\n{script}\n")
        program.chmod(0o755)
    os.environ |= {"XDG_RUNTIME_DIR": str(runtime), "PATH": str(programs)}
    scope.SECONDS = 3600  # who waits for it comes too late
    async with opened(root) as session:
        assert session.kernel._process.provisioner.cgroup is None  # type: ignore[attr-defined]
        assert await session.value("6 * 7") == "42"
    assert asked.exists() == bool(script)
    assert not psutil.Process().children(recursive=True)


# -- with a real manager, in a guest -----------------------------------------------------------------

SLICES = Path("/sys/fs/cgroup/user.slice")
LIMITS = Limits(memory=150 << 20)
TOGETHER = """
import os
def child():
    memory = bytearray(130 << 20)
    memory[::4096] = b"x" * len(memory[::4096])
    os.read(stay[0], 1)
    os._exit(0)
stay = os.pipe()
children = [os.fork() or child() for _ in range(4)]
_, status = os.wait()
os.close(stay[1])
status
"""
"""Four processes, none of which uses more than it may, but all together do. One is killed."""
CODE = f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); from tests.kernels import test_scope; test_scope."


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a normal user's service saw in a guest, by where it was started."""
    if reason := guest.missing():
        pytest.skip(reason)
    look = ["/usr/bin/env", "PYTHONDONTWRITEBYTECODE=1", sys.executable, "-c", f"{CODE}look()"]
    terminal = ["/usr/bin/systemd-run", "--user", "--scope", "--quiet", "--unit=terminal", *look]
    in_session, in_terminal = guest.run([look, terminal], tmp_path_factory.mktemp("guest"), seconds=500)
    return {"session": json.loads(in_session), "terminal": json.loads(in_terminal)}


@pytest.mark.parametrize("place", ["session", "terminal"])
class TestWithAManager:
    """Each looks at what was seen from a session, whose group is root's, or a terminal that the manager has started."""

    def test_kernels_have_groups_in_one_scope(self, seen: dict[str, Any], place: str) -> None:
        found = seen[place]
        own = Path(found["own"])
        assert own.name == {"session": "session-1.scope", "terminal": "terminal.scope"}[place]
        for way in ("tried", "forked", "cold"):
            group = Path(found[way])
            assert group.is_relative_to(SLICES / "user-1500.slice/user@1500.service"), way
            assert group.parent.suffix == ".scope", way
            assert group.parent != own, way
        assert found["entered"] == found["cold"]
        assert found["bounds"] == [str(LIMITS.memory + SLACK), str(LIMITS.processes + OVERHEAD)]

    def test_what_processes_use_together_is_bounded(self, seen: dict[str, Any], place: str) -> None:
        found = seen[place]
        assert found["killed"] == str(int(signal.SIGKILL))
        assert found["ran out"]
        assert found["seconds"] > 0
        assert found["then"] == "42"

    def test_without_the_scope_kernels_go_on(self, seen: dict[str, Any], place: str) -> None:
        found = seen[place]
        assert found["stopped"] == "died"
        group, status = found["after a stop"]
        assert status == "ok"
        assert Path(group).parent != Path(found["cold"]).parent

    def test_nothing_is_left_of_a_service_that_was_killed(self, seen: dict[str, Any], place: str) -> None:
        group, processes = seen[place]["service"]
        assert Path(group).parent.suffix == ".scope"
        assert processes

    def test_a_manager_that_lets_nobody_in(self, seen: dict[str, Any], place: str) -> None:
        for way in ("refused, forked", "refused, cold"):
            group, status = seen[place][way]
            assert status == "ok"
            assert bool(group) == (place == "terminal"), "from there a process enters by itself"


def look() -> None:
    """In a guest: say how a user's kernels are bounded."""
    found = asyncio.run(_look(Path(tempfile.mkdtemp(prefix="kt-"))))
    sys.stdout.write(f"{guest.MARK}{json.dumps(found)}\n")


def stay(root: str) -> None:
    """In a guest: serve until this process is killed, and say where the kernel's group is."""

    async def serve() -> None:
        async with opened(Path(root)) as session:
            sys.stdout.write(f"{(await _grouped(session)).folder}\n")
            sys.stdout.flush()
            await asyncio.sleep(1000)

    asyncio.run(serve())


async def _look(root: Path) -> dict[str, Any]:
    scope.SECONDS = 60  # a guest is slow
    found: dict[str, Any] = {"own": _group(os.getpid()), "tried": str(await scope.tried())}
    async with opened(root / "forked", limits=LIMITS) as session:
        group = await _grouped(session)
        found["forked"] = str(group.folder)
        found["bounds"] = [(group.folder / name).read_text().strip() for name in ("memory.max", "pids.max")]
        found["killed"] = await session.value(TOGETHER)
        found["ran out"] = group.ran_out_of_memory()
        found["seconds"] = group.cpu_seconds()
        found["then"] = await session.value("6 * 7")
    async with opened(root / "cold", forks=False) as session:
        group = await _grouped(session)
        found["cold"] = str(group.folder)
        found["entered"] = _group(session.kernel._process.provisioner.inside)  # type: ignore[attr-defined]
        await asyncio.to_thread(subprocess.run, ["systemctl", "--user", "stop", group.folder.parent.name], check=True)
        found["stopped"] = (await session("1")).status
        found["after a stop"] = await _again(session)
    service, family, folder = await asyncio.to_thread(_killed, root / "stays")
    found["service"] = [service, len(family)]
    await until(lambda: not folder.exists() and not any(process.is_running() for process in family), 30)
    scope._MANAGER = ("org.freedesktop.nobody", *scope._MANAGER[1:])
    for way, forks in (("refused, forked", True), ("refused, cold", False)):
        async with opened(root / way, forks=forks) as session:
            await session.pool._scope.started()
            found[way] = await _again(session)
    await until(lambda: not list(SLICES.rglob("kowalski-*")), 30)
    return found


def _killed(root: Path) -> tuple[str, list[psutil.Process], Path]:
    """Kill a service, and return where its kernel's group was, its processes, and the folder of its scope."""
    command = [sys.executable, "-c", f"{CODE}stay({str(root)!r})"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        group = Path(service.stdout.readline().strip())
        assert group.exists()
        family = psutil.Process(service.pid).children(recursive=True)
        service.send_signal(signal.SIGKILL)
    return str(group), family, group.parent


async def _grouped(session: Session) -> Any:
    """Give a session a kernel that was started after there was a scope, and return the kernel's group."""
    await session.pool._scope.started()
    await _again(session)
    return session.kernel._process.provisioner.cgroup  # type: ignore[attr-defined]


async def _again(session: Session) -> list[str]:
    """Give a session another kernel, and return its group and how a cell ends there."""
    session.kernel = await session.pool.acquire("python", data=(), calls=FakeRun())
    group = session.kernel._process.provisioner.cgroup  # type: ignore[attr-defined]
    return [str(group.folder if group else ""), (await session("1")).status]


def _group(process: int) -> str:
    return str(SLICES.parent / group_of(process)[""])
