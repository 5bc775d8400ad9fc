"""Whatever code in a sandbox tries, in whichever language, nothing outside is seen, changed, reached or worn out."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import re
import shutil
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from unittest.mock import patch

import psutil
import pytest

from kowalski_jupyter.kernels import seccomp, watch
from kowalski_jupyter.kernels.base import Access, Limits, Output, Value
from kowalski_jupyter.kernels.child import ChildKernel
from kowalski_jupyter.kernels.deadline import Deadline
from kowalski_jupyter.kernels.languages import LANGUAGES

from .attempts.table import BEGUN, ESCAPES, EXCESSES, Attempt, Excess, call, document, ways, words_for
from .languages import need
from .support import FakeRun, Session, opened, until
from .user import REPOSITORY, contained_as_user

LANGUAGE = pytest.mark.parametrize("language", LANGUAGES)
SECRET = "hush-4711"  # noqa: S105 - it is the bait
FULL = Limits(memory=1 << 30, processes=100, disk=48 << 20, cell_seconds=120)
TIGHT = dataclasses.replace(FULL, memory=512 << 20)
TIGHT_FOR = {"rust": dataclasses.replace(TIGHT, memory=1 << 30)}
"""The compiler needs its memory."""
COMPILED = ("rust", "java")
"""Languages whose attempts take a while to begin."""
LONGEST = 200.0
"""Seconds that compiling and the attempt may take."""
LANES = 2
"""How many kernels try at once to use everything up."""
FILES = 20_000
"""How many files there may be, in place of ten times as many, which take seconds to make."""
MOST_MEMORY = 4 << 30
"""Bytes: far more than the limit with what runtimes take, far less than what is asked for."""
ALLOWED = (
    Attempt("read", "try_read", ("/usr/bin/env",)),
    Attempt("write into a folder", "try_write", ("/tmp/work",)),
    Attempt("make a file", "try_write", ("/tmp/work/own",)),
    Attempt("write into a file", "try_write", ("/tmp/work/own",)),
    Attempt("list", "try_list", ("/usr",)),
    Attempt("link to a file", "try_symlink", ("/data/papers/a.txt",)),
    Attempt("hard link", "try_hardlink", ("/tmp/work/own",)),
    Attempt("make a link", "try_link_in", ("/tmp/work",)),
    Attempt("change a mode", "try_chmod", ("/tmp/work/own",)),
    Attempt("set a time", "try_touch", ("/tmp/work/own",)),
    Attempt("empty", "try_truncate", ("/tmp/work/own",)),
    Attempt("rename", "try_rename", ("/tmp/work/own",)),
    Attempt("remove", "try_remove", ("/tmp/work/own.moved",)),
    Attempt("connect", "try_tcp", ("127.0.0.1", "PORT")),
    Attempt("resolve", "try_resolve", ("localhost",)),
    Attempt("send", "try_udp", ("127.0.0.1", "UDP")),
    Attempt("listen", "try_listen", ("0",)),
    Attempt("connect to its run", "try_unix", ("/run/kernel/calls.sock",)),
    Attempt("make a socket", "try_socket", ("1", "1", "0")),
    Attempt("signal a process of its own", "try_signal", ("2", "0")),
    Attempt("run", "try_run", ("true",)),
    Attempt("call the system", "try_call", ("39",) if os.uname().machine == "x86_64" else ("172",)),
    Attempt(
        "speak", "try_speak", ("/run/kernel/calls.sock", '{"token":"TOKEN","call":"shared","name":"small"}', "", "0")
    ),
)
"""What is allowed where the user has allowed the network: without these a way that never works would look contained."""
DENIED = {"javascript": {"try_call", "try_run", "try_signal"}}
"""What a language's own wall keeps from code whatever the sandbox allows: Deno has given these permissions away."""


@dataclasses.dataclass
class Baits:
    """What there is outside to be had."""

    words: Mapping[str, str]
    papers: Path
    listeners: tuple[socket.socket, ...]
    victim: psutil.Popen

    def check(self) -> None:
        """See that nobody was here."""
        for listener in self.listeners:
            with pytest.raises(BlockingIOError):
                listener.recvfrom(1) if listener.type == socket.SOCK_DGRAM else listener.accept()
        assert self.victim.poll() is None, "a process of the user's is gone"
        file = self.papers / "a.txt"
        assert (file.read_text(), file.stat().st_mode & 0o777, file.stat().st_nlink) == ("first", 0o640, 1)
        assert file.stat().st_mtime > 1e9
        assert sorted(path.name for path in self.papers.iterdir()) == ["a.txt", "chain", "out"]


@contextmanager
def baits(folder: Path) -> Iterator[Baits]:
    """Lay out what code could want. The files are outside of the system's temporary folder's own names."""
    papers = folder / "papers"
    papers.mkdir()
    (papers / "a.txt").write_text("first")
    (papers / "a.txt").chmod(0o640)
    (papers / "out").symlink_to(folder / "secret.txt")
    (papers / "chain").symlink_to("out")
    (folder / "secret.txt").write_text(SECRET)
    tcp, unix, abstract = socket.create_server(("127.0.0.1", 0)), *(socket.socket(socket.AF_UNIX) for _ in range(2))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    unix.bind(str(folder / "u"))
    abstract.bind(f"\0kowalski-test-{os.getpid()}")
    for listener in (unix, abstract):
        listener.listen()
    listeners = (tcp, unix, abstract, udp)
    for listener in listeners:
        listener.setblocking(False)
    victim = psutil.Popen(["sleep", "600"], env={"KOWALSKI_TEST_VICTIM": SECRET})
    os.environ["KOWALSKI_TEST_SECRET"] = SECRET
    words = {
        "SECRET": str(folder / "secret.txt"),
        "FOLDER": str(folder),
        "HOME": str(Path.home()),
        "PROJECT": str(REPOSITORY),
        "PREFIX": sys.prefix,
        "PORT": str(tcp.getsockname()[1]),
        "UDP": str(udp.getsockname()[1]),
        "UNIX": str(folder / "u"),
        "ABSTRACT": f"kowalski-test-{os.getpid()}",
        "VICTIM": str(victim.pid),
        "SERVICE": str(os.getpid()),
    }
    try:
        yield Baits(words, papers, listeners, victim)
    finally:
        del os.environ["KOWALSKI_TEST_SECRET"]
        victim.kill()
        victim.wait()
        for listener in listeners:
            listener.close()
        shutil.rmtree(papers)


def make_folder(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True)


def forget_peak() -> int:
    """Begin to look for the most memory that this process, the service, uses; return what it uses now."""
    Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    (most,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(most) << 10


def run_with_values() -> FakeRun:
    run = FakeRun()
    run.shelf["small"] = Value("json", "int", "1", b"1")
    run.shelf["large"] = Value("bytes", "bytes", "", bytes(64 << 20))
    return run


@asynccontextmanager
async def trying(
    root: Path, language: str, bait: Baits, wanted: Collection[str] = (), *, net: bool = False
) -> AsyncIterator[Session]:
    """A kernel that knows how its language tries to escape, or `wanted` ways of excess. It has a mounted folder."""
    access, limits = Access(net, (bait.papers,)), TIGHT_FOR.get(language, TIGHT) if wanted else FULL
    async with opened(
        root, {"text": "abc"}, run=run_with_values(), language=language, limits=limits, access=access
    ) as it:
        result = await it(words_for(language, wanted))
        assert result.status == "ok", it.text()
        yield it


async def tried(session: Session, attempts: Iterable[Attempt], words: Mapping[str, str]) -> dict[Attempt, str]:
    """Return what came of each attempt that the kernel's language has words for."""
    language = session.kernel.language
    made = {number: each for number, each in enumerate(attempts) if each.way in ways(language)}
    pattern = re.compile(r"\b(" + "|".join(words) + r")\b")
    lines = [
        call(language, each.way, tuple(pattern.sub(lambda found: words[found[1]], word) for word in each.words), number)
        for number, each in made.items()
    ]
    result = await session("\n".join(lines))
    assert result.status == "ok", (result, session.text())
    said = {int(number): text for number, text in re.findall(r"^'?#(\d+) (.*)$", session.text("stdout"), re.MULTILINE)}
    untried = [each.name for number, each in made.items() if number not in said]
    assert not untried, session.text()[-2000:]
    return {each: said[number] for number, each in made.items()}


async def escaped(language: str, root: Path) -> None:
    """Try all escapes. Called by root and by a normal user."""
    make_folder(root)
    with baits(root) as bait:
        async with (
            opened(root / "other") as other,
            trying(root / "own", language, bait) as session,
        ):
            theirs = other.kernel._process.provisioner.folder  # type: ignore[attr-defined]
            words = {
                **bait.words,
                "RUNS": str(root / "own"),
                "OTHER": str(theirs),
                "TOKEN": session.kernel._calls.token,  # type: ignore[attr-defined]
                "THEIRS": other.kernel._calls.token,  # type: ignore[attr-defined]
            }
            assert (theirs / "connection.json").exists()
            before = forget_peak()
            outcomes = await tried(session, ESCAPES, words)
            for attempt, said in outcomes.items():
                if attempt.verdict == "refused":
                    assert said.startswith("refused: "), (attempt, said)
                assert SECRET not in said, (attempt, said)
            assert peak() - before < 1 << 30
            bait.check()
            assert await other.value("llm_query('still there')") == "'reply to still there'"
            assert (await session(call(language, "try_read", ("/usr/bin/env",), 0))).status == "ok"


async def allowed(language: str, root: Path) -> None:
    """Try what is allowed, by the same ways."""
    make_folder(root)
    with baits(root) as bait:
        async with trying(root / "own", language, bait, net=True) as session:
            token = session.kernel._calls.token  # type: ignore[attr-defined]
            for attempt, said in (await tried(session, ALLOWED, {**bait.words, "TOKEN": token})).items():
                expected = "refused" if attempt.way in DENIED.get(language, ()) else "gained"
                assert said.startswith(expected), (attempt, said)


async def exceeded(language: str, root: Path) -> None:
    """Try to use everything up, in one kernel after the other. Called by root and by a normal user."""
    make_folder(root)
    groups: list[list[Excess]] = [[]]
    for excess in EXCESSES:
        if excess.way in ways(language):
            groups[-1].append(excess)
        if excess.last:
            groups.append([])
    with baits(root) as bait, patch.object(watch, "MOST_FILES", FILES):
        async with opened(root / "other") as other:
            one_cell = asyncio.Lock()

            async def unharmed() -> None:
                bait.check()
                async with one_cell:
                    assert await other.value("llm_query('still there')") == "'reply to still there'"

            async def lane() -> None:
                while groups:
                    left = groups.pop(0)
                    while left:
                        place = root / f"{left[0].way}-{len(groups)}"
                        async with trying(place, language, bait, {excess.way for excess in left}) as session:
                            left = await _exceed_in_turn(session, left, unharmed)

            async with asyncio.TaskGroup() as lanes:
                for _ in range(LANES):
                    lanes.create_task(lane())


async def escaped_and_exceeded(language: str, root: Path) -> None:
    """Try both in one process: a new user's first kernel of Java takes a while."""
    await escaped(language, root / "e")
    if language != "rust":  # minutes of compiling for what Python and bash show too: the limits are the processes'
        await exceeded(language, root / "x")


async def _exceed_in_turn(
    session: Session, excesses: Sequence[Excess], unharmed: Callable[[], Awaitable[None]]
) -> list[Excess]:
    """Try in one kernel for as long as it lives; return what is left for another."""
    left = [*excesses]
    while left and session.kernel.alive:  # type: ignore[attr-defined]
        excess = left.pop(0)
        await _exceed(session, excess)
        await unharmed()
    return left


async def _exceed(session: Session, excess: Excess) -> None:
    language, kernel = session.kernel.language, session.kernel
    assert isinstance(kernel, ChildKernel)
    outputs: list[Output] = []

    def listen(output: Output) -> None:
        outputs.append(output)
        if BEGUN in output.text and kernel._cell is not None:  # it has been compiled: its time begins
            kernel._cell.deadline.cancel()
            kernel._cell.deadline = Deadline(excess.seconds, kernel._on_deadline)

    kernel._limits = dataclasses.replace(
        kernel._limits, cell_seconds=LONGEST if language in COMPILED else excess.seconds
    )
    before = psutil.virtual_memory()
    result = await kernel.execute(call(language, excess.way, excess.words), listen)
    after = psutil.virtual_memory()
    mine = [child for child in psutil.Process().children(recursive=True) if child.is_running()]
    said = "".join(output.text for output in outputs)
    counts = re.findall(r"made (\d+)", said)
    assert result.status in ("ok", "error", "timeout", "died"), (excess, result)
    assert result.seconds < LONGEST, f"{excess} has not begun: {said[-1000:]}"
    assert all(int(count) <= excess.most for count in counts), (excess, counts)
    assert sum(_threads(child) for child in mine) < 300 * LANES, excess
    assert before.available - after.available < MOST_MEMORY, excess
    assert len(said) < 4 * TIGHT.output
    # What ends well has counted, or was quicker than the end of its own kernel.
    if result.status == "ok" and not counts:
        with contextlib.suppress(TimeoutError):
            await until(lambda: not kernel.alive)
        assert not kernel.alive, (excess, said)
    assert kernel.alive or not excess.harmless, (excess, result, said)


def _threads(process: psutil.Process) -> int:
    try:
        return process.num_threads()
    except psutil.NoSuchProcess:
        return 0


def test_the_documentation_has_them_all() -> None:
    assert len({attempt.name for attempt in (*ESCAPES, *EXCESSES)}) == len(ESCAPES) + len(EXCESSES) >= 60
    assert document() in (REPOSITORY / "docs" / "kernels.md").read_text()


@LANGUAGE
def test_what_is_allowed_works(language: str, root: Path) -> None:
    if language != "python":
        need(language)
    asyncio.run(allowed(language, root))


@pytest.mark.skipif(not seccomp.program(), reason="there is no filter of system calls for this machine")
@LANGUAGE
def test_no_escape(language: str, root: Path) -> None:
    if language != "python":
        need(language)
    asyncio.run(escaped(language, root))


@LANGUAGE
def test_nothing_is_used_up(language: str, root: Path) -> None:
    if language != "python":
        need(language)
    asyncio.run(exceeded(language, root))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user; this user is tested already")
@pytest.mark.skipif(not seccomp.program(), reason="there is no filter of system calls for this machine")
@LANGUAGE
@pytest.mark.timeout(900)
def test_as_a_normal_user(language: str, folder: Path) -> None:
    """The same, without root's rights and without a control group."""
    if language != "python":
        need(language)
    contained_as_user("test_attempts", "escaped_and_exceeded", {"language": language}, folder, seconds=800)
