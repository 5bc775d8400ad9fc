"""What code in another language than Python tries against the machine, from within its sandbox."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from kowalski_jupyter.kernels.base import Limits
from kowalski_jupyter.kernels.languages import FOREIGN

from .languages import WORDS, missing, need
from .support import FakeRun, Session, opened
from .test_sandbox import REPOSITORY, as_user

ENVIRONMENT = {
    *("HOME", "PATH", "LANG", "USER", "PWD", "OLDPWD", "SHLVL", "_", "PS1", "PS2", "TERM", "SHELL", "HOSTNAME"),
    *("IPYTHONDIR", "JPY_PARENT_PID", "MPLBACKEND"),
}


@pytest.fixture(params=FOREIGN)
def language(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    need(name)
    return name


async def attacked(language: str, root: Path) -> None:
    """Try everything that a language has words for. Called by root and by a normal user."""
    attacks = WORDS[language].attacks
    secret = root.parent / f"secret-{language}.txt"
    secret.write_text("the user's secret")
    other = socket.socket(socket.AF_UNIX)
    other_path = root.parent / f"o-{language}"
    other.bind(str(other_path))
    other.listen()
    server = socket.create_server(("127.0.0.1", 0))
    os.environ["KOWALSKI_TEST_SECRET"] = "hush"  # noqa: S105 - it is the bait
    try:
        async with opened(root, {"text": "abc"}, language=language, limits=Limits(disk=64 << 20)) as session:

            async def attack(name: str, **words: object) -> str:
                code = attacks[name]
                for word, value in words.items():
                    code = code.replace(word, str(value))
                await session(code)
                return session.text()

            assert "refused" in await attack("network", PORT=server.getsockname()[1])
            readable = [secret, "/etc/passwd", "/etc/shadow", Path.home() / ".bashrc", REPOSITORY / "pyproject.toml"]
            for path in [*readable, other_path]:
                assert "refused" in await attack("read", PATH=path), path
            for folder in ("/usr", "/etc", "/", "/run/kernel", "/run/data", "/opt", sys.prefix, secret.parent):
                # What lies below /tmp has parents in the sandbox's own /tmp: a file there is seen by nobody else.
                assert "refused" in await attack("write", PATH=folder) or str(folder).startswith("/tmp/"), folder
                assert not os.path.lexists(f"{folder}/new"), folder  # noqa: ASYNC240 - nothing else runs
            seen = await attack("environment")
            assert "hush" not in seen
            assert "KOWALSKI_TEST_SECRET" not in seen
            # The sandbox's first process, the launcher, the kernel, and what runs the cell.
            assert 1 <= int((await attack("processes")).strip().splitlines()[-1]) <= 8
    finally:
        del os.environ["KOWALSKI_TEST_SECRET"]
        server.close()
        other.close()


def test_attacks(language: str, root: Path) -> None:
    asyncio.run(attacked(language, root))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user; this user is tested already")
def test_attacks_as_a_normal_user(folder: Path) -> None:
    """In bash and JavaScript, whose programs a normal user can reach wherever they are installed."""
    languages = [name for name in ("bash", "javascript") if not missing(name)]
    home = folder / "home"
    home.mkdir()
    os.chown(home, 12345, 12345)
    folder.chmod(0o755)
    code = f"""
        import asyncio, sys
        sys.path.insert(0, {str(REPOSITORY)!r})
        from pathlib import Path
        from tests.kernels.test_language_sandboxes import attacked
        for language in {languages!r}:
            asyncio.run(attacked(language, Path({str(home)!r}, language, "kernels")))
        print("contained")
    """
    for name in languages:
        (home / name).mkdir()
        os.chown(home / name, 12345, 12345)
    done = subprocess.run(
        as_user([sys.executable, "-c", textwrap.dedent(code)], home),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    shutil.rmtree(home)
    assert done.stdout == "contained\n", done.stderr


def test_memory_is_limited(language: str, root: Path) -> None:
    async def scenario() -> None:
        before = psutil.virtual_memory().available
        limits = Limits(memory=1 << 30, cell_seconds=60)
        async with opened(root, language=language, limits=limits) as session:
            result = await session(WORDS[language].bomb)
            assert result.status in ("error", "died"), (result, session.text())
            assert before - psutil.virtual_memory().available < 4 << 30

    asyncio.run(scenario())


def test_processes_and_threads_are_limited(language: str, root: Path) -> None:
    words = WORDS[language]
    if not words.threads:
        pytest.skip("its code starts neither processes nor threads of its own")

    async def scenario() -> None:
        limits = Limits(processes=100, cell_seconds=60)
        async with opened(root, language=language, limits=limits) as session:
            if os.geteuid() == 0 and not _has_group(session):
                pytest.skip("no control group may be made here, and RLIMIT_NPROC does not bind root")
            result = await session(words.threads)
            mine = psutil.Process().children(recursive=True)
            assert sum(child.num_threads() for child in mine if child.is_running()) < 200
            assert result.status in ("ok", "error", "died"), result
            assert "false" not in session.text().split()

    asyncio.run(scenario())


def test_another_runs_socket_is_not_there(language: str, root: Path) -> None:
    async def scenario() -> None:
        one, other = FakeRun(), FakeRun()
        async with opened(root / "1", run=one) as first, opened(root / "2", run=other, language=language) as second:
            theirs = first.kernel._provisioner.folder / "calls.sock"  # type: ignore[attr-defined]
            assert theirs.exists()
            await second(WORDS[language].attacks["read"].replace("PATH", str(theirs)))
            assert "refused" in second.text()
            await second(WORDS[language].cells["llm_query"].code)
            assert other.prompts[:1] == ["hi"]
            assert one.prompts == []

    asyncio.run(scenario())


def _has_group(session: Session) -> bool:
    return session.kernel._provisioner.cgroup is not None  # type: ignore[attr-defined]
