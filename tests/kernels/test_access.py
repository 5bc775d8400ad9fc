"""What a sandbox that the user has widened lets through, and what it does not."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest

from kowalski_jupyter.kernels import access
from kowalski_jupyter.kernels.base import CLOSED, Access, KernelError
from kowalski_jupyter.kernels.prelude import landlock

from .support import opened
from .test_sandbox import ATTACKS


def test_the_network_and_no_more(root: Path) -> None:
    """The host's network, its names and certificates; not its files, nor what else belongs to a network."""
    name = f"kowalski-test-{os.getpid()}"

    async def scenario() -> None:
        async with opened(root, {"text": "abc"}, access=Access(net=True)) as session:
            assert (await session(ATTACKS)).status == "ok", session.text()
            assert await session.value("interfaces()") == repr(",".join(name for _, name in socket.if_nameindex()))
            names = Path("/etc/resolv.conf").read_text() if Path("/etc/resolv.conf").exists() else "FileNotFoundError"  # noqa: ASYNC240
            assert await session.value("read('/etc/resolv.conf')") == repr(names)
            assert await session.value("bool(__import__('ssl').create_default_context().get_ca_certs())") == "True"
            for path in ("/etc/shadow", "/etc/passwd", "/etc/ssl/private", f"{Path.home()}/.bashrc"):
                assert await session.value(f"read('{path}')") in {"'FileNotFoundError'", "'PermissionError'"}
            reached = "PermissionError" if "abstract sockets" in landlock.parts("network") else "connected"
            assert await session.value(f"abstract_socket('{name}')") == repr(reached)
            assert await session.value("processes() < '4', capabilities(), user(), nested_namespace()") == (
                "(True, '0000000000000000', '1000,1000', 'Operation not permitted')"
            )
            assert await session.value("llm_query('x')") == "'reply to x'"

    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"\0{name}")
        unix.listen()
        asyncio.run(scenario())


@pytest.mark.parametrize("version", [0, 4, 6])
def test_what_confines_code_is_told_as_it_is(monkeypatch: pytest.MonkeyPatch, version: int) -> None:
    monkeypatch.setattr(landlock, "version", lambda: version)
    closed, net = access.description(CLOSED), access.description(Access(net=True))

    assert closed.startswith("bubblewrap and Landlock: no network" if version else "bubblewrap: no network")
    assert ("and other programs' abstract sockets included (allowed by you)" in net) == (version < landlock.COMPLETE)


def test_mounts_stand_beside_the_data_under_names_of_their_own(root: Path, tmp_path: Path) -> None:
    for name in ("a/notes", "b/notes", "text"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "name.txt").write_text(name)
    mounted = tuple(tmp_path / name for name in ("a/notes", "b/notes", "text"))

    async def scenario() -> None:
        async with opened(root, {"text": "abc", "notes": tmp_path / "text"}, access=Access(mounts=mounted)) as session:
            assert session.kernel.mounts == ["/data/notes-2", "/data/notes-3", "/data/text-2"]
            for place, path in zip(session.kernel.mounts, mounted, strict=True):
                read = await session.value(f"open('{place}/name.txt').read()")
                assert read == repr(str(path.relative_to(tmp_path)))

    asyncio.run(scenario())


def test_without_a_sandbox_they_are_where_they_are(root: Path, tmp_path: Path) -> None:
    (tmp_path / "n.txt").write_text("n")

    async def scenario() -> None:
        async with opened(root, unsandboxed=True, access=Access(mounts=(tmp_path / "n.txt",))) as session:
            assert session.kernel.mounts == [str(tmp_path / "n.txt")]

    asyncio.run(scenario())


def test_what_is_no_longer_there_is_said_before_anything_starts(root: Path, tmp_path: Path) -> None:
    async def scenario() -> None:
        with pytest.raises(KernelError, match=f"{tmp_path}/gone cannot be mounted: No such file or directory"):
            async with opened(root, access=Access(mounts=(tmp_path / "gone",))):
                pass

    asyncio.run(scenario())
