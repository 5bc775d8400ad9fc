"""What the wall inside a sandbox holds where the sandbox itself would let code through."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import pytest

from kowalski_jupyter.kernels import sandbox
from kowalski_jupyter.kernels.base import Access, Limits
from kowalski_jupyter.kernels.languages import LANGUAGES
from kowalski_jupyter.kernels.prelude import landlock
from kowalski_jupyter.kernels.sandbox import HOST, Mount, Python
from kowalski_jupyter.kernels.zygote import supported

from .attempts.table import Attempt, words_for
from .languages import need
from .support import opened
from .test_attempts import FULL, make_folder, tried
from .user import REPOSITORY, contained_as_user

COMPLETE = pytest.mark.skipif(landlock.version() < landlock.COMPLETE, reason="this system's Landlock knows less")
STARTS = [*((language, False) for language in LANGUAGES), ("python", True), ("bash", True)]
"""Languages, and whether their kernels are forked."""
OPEN, DEVICE = "/open", "/device"
"""Where a sandbox that leaves too much open has a folder of the host's and a device."""
COMMANDED = next((path for path in ("/dev/fuse", "/dev/net/tun") if os.access(path, os.R_OK | os.W_OK)), "")
"""Such a device, if there is one: the rest that anybody may open, every sandbox has."""
ATTEMPTS = {
    "writing": [
        Attempt("make a file", "try_write", (OPEN,)),
        Attempt("write into a file", "try_write", (f"{OPEN}/there",)),
        Attempt("empty a file", "try_truncate", (f"{OPEN}/there",)),
        Attempt("make a link", "try_link_in", (OPEN,)),
        Attempt("rename", "try_rename", (f"{OPEN}/there",)),
        Attempt("remove", "try_remove", (f"{OPEN}/there",)),
    ],
    "TCP": [Attempt("listen", "try_listen", ("0",)), Attempt("connect", "try_tcp", ("127.0.0.1", "PORT"))],
    "signals": [Attempt("kill the sandbox's first process", "try_signal", ("1", "9"))],
    "abstract sockets": [Attempt("connect", "try_abstract", ("ABSTRACT",))],
}
"""What each part keeps code from, and nothing else in a sandbox that has the network and is left open."""
REFUSED = re.compile(r"refused: .*(permission ?denied|not permitted|access ?denied|not ?capable)", re.IGNORECASE)
"""Rather than gone wrong, as where nobody listens."""


@pytest.fixture(autouse=True)
def one_zygote() -> None:
    """Let each pool have its own: one from before sees nothing of what is left open."""


@contextmanager
def left_open(folder: Path) -> Iterator[None]:
    """Have sandboxes show a folder of the host's so that it may be written, and to what is not forked a device."""
    files = sandbox._files

    def leaky(python: Python, mounts: Sequence[Mount], limits: Limits, within: str) -> list[str]:
        line = files(python, mounts, limits, within)
        if any(mount.target == HOST for mount in mounts):  # what the zygote sees
            return [*line, "--bind", str(folder), f"{HOST}{folder}"]
        device = ["--dev-bind", COMMANDED, DEVICE] if COMMANDED and not within else []
        return ["--bind", f"{within}{folder}", OPEN, *device, *line]

    view = (*sandbox._READ_ONLY_HOST, "--bind", str(folder), str(folder))
    with patch.object(sandbox, "_files", leaky), patch.object(sandbox, "_READ_ONLY_HOST", view):
        yield


@contextmanager
def listening() -> Iterator[dict[str, str]]:
    """A port and an abstract socket of the host's, as words of attempts."""
    name = f"kowalski-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(f"\0{name}")
        unix.listen()
        yield {"PORT": str(tcp.getsockname()[1]), "ABSTRACT": name}


async def held(root: Path, language: str, *, forks: bool, net: bool) -> None:
    """Try what only Landlock keeps code from. Called by root and by a normal user."""
    folder = root / "open"
    make_folder(folder)
    (folder / "there").write_text("first")
    kept = {"writing", "signals", "abstract sockets" if net else "TCP"}
    with left_open(folder), listening() as words:
        async with opened(root / "own", language=language, forks=forks, access=Access(net), limits=FULL) as session:
            provisioner = session.kernel._process.provisioner  # type: ignore[attr-defined]
            assert (provisioner.zygote is not None) == (forks and supported())
            through = f"/proc/{provisioner.inside}/root{OPEN}/new"
            os.mkdir(through)  # noqa: PTH102 - quick enough to wait for; the way is open
            os.rmdir(through)  # noqa: PTH106
            assert (await session(words_for(language))).status == "ok", session.text()
            for part, attempts in ATTEMPTS.items():
                for attempt, said in (await tried(session, attempts, words)).items():
                    if part in kept:
                        assert REFUSED.match(said), (attempt, said)
                    elif net:
                        assert said.startswith("gained"), (attempt, said)
    assert [path.name for path in folder.iterdir()] == ["there"]
    assert (folder / "there").read_text() == "first"


@COMPLETE
@pytest.mark.parametrize(
    ("language", "forks", "net"),
    [*((*start, False) for start in STARTS), *((language, False, True) for language in LANGUAGES)],
)
def test_it_holds_what_the_sandbox_leaves_open(root: Path, language: str, *, forks: bool, net: bool) -> None:
    if language != "python":
        need(language)
    asyncio.run(held(root, language, forks=forks, net=net))


@COMPLETE
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user; this user is tested already")
@pytest.mark.parametrize(("language", "forks"), STARTS)
@pytest.mark.timeout(600)
def test_it_holds_a_normal_user(folder: Path, language: str, *, forks: bool) -> None:
    if language != "python":
        need(language)
    contained_as_user(
        "test_landlock", "held", {"language": language, "forks": forks, "net": False}, folder, seconds=500
    )


@COMPLETE
@pytest.mark.skipif(not COMMANDED, reason="there is no device here that is for others than kernels")
def test_a_device_takes_no_commands(root: Path, tmp_path: Path) -> None:
    code = """
import errno, fcntl, os

def asked(path):
    with open(path, "rb") as device:
        try:
            fcntl.ioctl(device, 0x5401, bytes(64))
        except OSError as error:
            return errno.errorcode[error.errno]

def written(path):
    try:
        with open(path, "wb") as device:
            device.write(b"x")
    except OSError as error:
        return errno.errorcode[error.errno]

[try_(path) for path in ("/dev/zero", "DEVICE") for try_ in (asked, written)]
"""

    async def scenario() -> None:
        with left_open(tmp_path):
            async with opened(root, forks=False) as session:
                assert await session.value(code.replace("DEVICE", DEVICE)) == "['ENOTTY', None, 'EACCES', 'EACCES']"

    asyncio.run(scenario())


@pytest.mark.parametrize("forks", [False, True], ids=["cold", "forked"])
def test_a_kernel_has_what_is_its_own(root: Path, *, forks: bool) -> None:
    """Its places, devices, terminals and processes."""
    code = """
import multiprocessing, os, pty, signal, socket, subprocess, tempfile
from pathlib import Path

os.makedirs("/tmp/a/b")
Path("/tmp/a/b/c").write_text("moved")
os.rename("/tmp/a/b", "/tmp/b")
os.link("/tmp/b/c", "/tmp/work/c")
os.mkfifo("/tmp/work/pipe")
os.truncate("/tmp/work/c", 2)
with socket.socket(socket.AF_UNIX) as unix, socket.socket(socket.AF_UNIX) as abstract:
    unix.bind("/tmp/work/socket")
    abstract.bind("\\0own")
    abstract.listen()
    with socket.socket(socket.AF_UNIX) as other:
        other.connect("\\0own")
with tempfile.TemporaryFile(dir="/dev/shm") as file:
    file.write(b"x")
with multiprocessing.Pool(2) as pool:
    assert pool.map(abs, [-1]) == [1]
ours, theirs = pty.openpty()
assert os.isatty(theirs) and os.ttyname(theirs).startswith("/dev/pts/")
done = subprocess.run("echo a > /dev/stderr; echo b > /dev/stdout; cat <(echo c)",
                      shell=True, executable="/bin/bash", capture_output=True, check=True)
sleeper = subprocess.Popen(["sleep", "600"])
sleeper.kill()
Path("/tmp/b/c").read_text(), done.stdout, done.stderr, sleeper.wait()
"""

    async def scenario() -> None:
        async with opened(root, forks=forks) as session:
            assert await session.value(code) == "('mo', b'b\\nc\\n', b'a\\n', -9)"

    asyncio.run(scenario())


@COMPLETE
@pytest.mark.parametrize("reach", ["nothing", "network", "everything"])
@pytest.mark.parametrize("version", range(landlock.version() + 1))
def test_less_is_held_where_the_system_knows_less(version: int, reach: str) -> None:
    """No call of a version that is not there; what is missing is missing, and the rest is held."""
    code = f"""
        import ctypes, os, socket, sys
        from pathlib import Path
        sys.path.insert(0, {str(REPOSITORY)!r})
        from kowalski_jupyter.kernels.prelude import landlock
        call, known = landlock._call, []
        def version(number, *arguments):
            return {version} or call(-1) if arguments[-1] == landlock._GIVE_VERSION else call(number, *arguments)
        landlock._call = version
        ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
        landlock.confine({reach!r}, ports=[1])
        tries = {{
            "move": lambda: os.rename("a/x", "b/x"),
            "truncate": lambda: os.truncate("file", 0),
            "write": lambda: Path("file").open("a").close(),
            "bind": lambda: socket.create_server(("127.0.0.1", 0)).close(),
            "signal": lambda: os.kill(os.getppid(), 0),
            "an own port": lambda: socket.create_connection(("127.0.0.1", 1)),
        }}
        for name, attempt in tries.items():
            try:
                attempt()
            except ConnectionRefusedError:
                pass
            except OSError:
                print(name)
        print(*landlock.parts({reach!r}), sep=", ")
    """
    with tempfile.TemporaryDirectory(dir="/var/tmp") as place:
        for name in ("a", "b"):
            Path(place, name).mkdir()
        for name in ("a/x", "file"):
            Path(place, name).touch()
        line = [sys.executable, "-c", textwrap.dedent(code)]
        done = subprocess.run(line, capture_output=True, text=True, check=True, cwd=place)
    *refused, told = done.stdout.splitlines()
    since = {"move": 2, "truncate": 3, "write": 2, "bind": 4, "signal": 6}
    words = {"writing": 2, "TCP": 4, "signals": 6, "abstract sockets": 6}
    if reach == "network":
        del since["bind"], words["TCP"]
    if reach == "everything":
        since, words = {}, {}
    assert refused == [name for name, first in since.items() if first <= version]
    assert told == ", ".join(part for part, first in words.items() if first <= version)


@COMPLETE
def test_a_system_that_refuses_is_told_of_in_a_line() -> None:
    """One process may be confined 16 times."""
    code = f"""
        import ctypes, sys
        sys.path.insert(0, {str(REPOSITORY)!r})
        from kowalski_jupyter.kernels.prelude.landlock import confine
        ctypes.CDLL(None).prctl(38, 1, 0, 0, 0)
        for _ in range(17):
            confine("nothing")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Landlock, which is a part of the sandbox, fails here (Argument list too long).")
    assert len(done.stderr.splitlines()) == 1
