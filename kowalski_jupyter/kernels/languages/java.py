"""Java: JJava, a JShell as a Jupyter kernel."""

from __future__ import annotations

import asyncio
import hashlib
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import platformdirs

from kowalski_jupyter.kernels.base import FUNCTIONS, KernelError, Limits
from kowalski_jupyter.kernels.sandbox import PRELUDES, Mount

from .archive import Archive
from .language import Language, Opening, Shown, first_line

OLDEST = 17
"""The Java version from which the run's socket can be reached (16) and JJava runs."""

_RESERVED = """
abstract assert boolean break byte case catch char class const continue default do double else enum extends
final finally float for goto if implements import instanceof int interface long native new package private
protected public return short static strictfp super switch synchronized this throw throws transient try var
void volatile while true false null record yield
"""

_IMPORTS = "\n".join(
    f"import {name};"
    for name in (
        "java.nio.charset.StandardCharsets",
        "java.nio.file.*",
        "java.util.function.*",
        "java.util.stream.*",
        "static kowalski.Kowalski.*",
    )
)
"""Besides what JJava imports itself: java.io, math, net, time, util, util.concurrent, util.regex."""
_ARCHIVE = "-XX:SharedArchiveFile="


class Java(Language):
    """JJava speaks TCP only. Its launcher, a second JVM, is left out: it costs two seconds and passes flags on."""

    name = "java"
    title = "Java"
    tags = ("java",)
    kernelspecs = ("java", "jjava")
    reserved = frozenset(_RESERVED.split())
    trial = "6 * 7"
    stopping = "kowalski.Kowalski.stop();"  # an interrupt only makes the kernel stop waiting for the cell

    def command(self, argv: Sequence[str], limits: Limits) -> list[str]:
        """Start the kernel itself, with flags for a quick start and a small heap."""
        program, *rest = super().command(argv, limits)
        jar = _jar(argv)
        if not jar:
            return [program, *rest]
        archive = Archive(program, jar).path
        flags = [
            *([f"{_ARCHIVE}{archive}"] if archive else []),
            f"-Xmx{limits.memory * 3 // 4 >> 20}m",
            f"-XX:MaxDirectMemorySize={limits.memory // 8 >> 20}m",
            "-XX:TieredStopAtLevel=1",
            "-XX:+UseSerialGC",
            "-Xshare:auto",
            "-XX:-UsePerfData",
            "-Xlog:disable",
            "--add-opens=jdk.jshell/jdk.jshell=ALL-UNNAMED",
        ]
        return [program, *flags, "-jar", jar, "{connection_file}"]

    def environment(self, limits: Limits) -> Mapping[str, str]:
        """Show cells the run's functions, which are compiled already, and import them before anybody waits for it."""
        del limits
        return {"JJAVA_CLASSPATH": str(_compiled()), "JJAVA_STARTUP_SCRIPT": _IMPORTS}

    async def prepare(self, argv: Sequence[str]) -> None:
        """Compile the run's functions, and make an archive of the JVM's classes, each once on a machine."""
        await asyncio.to_thread(self._prepare, argv)

    def _prepare(self, argv: Sequence[str]) -> None:
        _compiled()
        if jar := _jar(argv):
            limits = Limits()
            command = self.command(argv, limits)
            cells = [self.opening(Opening("", "", FUNCTIONS, ())), 'System.out.println("6 * 7");', self.trial]
            Archive(command[0], jar).make(command, self.environment(limits), cells)

    def process_limits(self, limits: Limits, data: int) -> Mapping[str, int]:
        """Leave the JVM room besides the heap."""
        found = super().process_limits(limits, data)
        return {**found, "DATA": found["DATA"] + (1 << 30)}

    def mounts(self, command: Sequence[str]) -> list[Mount]:
        """Show the JDK, and its settings, to which Debian's point from there."""
        home = Path(command[0]).resolve().parent.parent
        shown = [] if home.parts[1] == "usr" else [Mount(home, str(home))]
        settings = [Mount(path, str(path)) for path in sorted(Path("/etc").glob("java*"))]
        archives = [Path(part.removeprefix(_ARCHIVE)) for part in command if part.startswith(_ARCHIVE)]
        made = [Mount(path, str(path)) for path in (_compiled(), *archives)]
        return [*super().mounts(command), *shown, *settings, *made]

    def opening(self, run: Opening) -> str:
        """Tell the functions of their run, and declare each item with a type of its own."""
        code = f"kowalski.Kowalski.begin({_quoted(run.json())});"
        if "llm_query" in run.functions:
            code += "\nimport static kowalski.Queries.*;"
        lines = [f"{_declared(item)};\nString {item.name}_file = {_quoted(item.path)};" for item in run.items]
        names = [item.name for item in run.items]
        if len(names) == 1 and names != ["context"]:
            lines.append(f"var context = {names[0]};")
        elif names and "context" not in names:
            pairs = "".join(f'context.put("{name}", {name}); ' for name in names)
            lines.append(f"Map<String, Object> context = new LinkedHashMap<>();\n{pairs}")
        return "\n".join([code, *lines])

    def version(self, argv: Sequence[str]) -> str:
        """Return the JDK's."""
        return first_line([argv[0], "--version"])

    def problem(self) -> str:
        """Look for a JDK: a JRE has no compiler."""
        found = shutil.which("javac")
        version = _version(found) if found else None
        if version is not None and version >= OLDEST:
            return ""
        what = f"the JDK here is version {version}" if version else "there is no JDK here"
        return f"{what}, and Java needs one of version {OLDEST} or later: {_how_to_install()}."


@cache
def _compiled() -> Path:
    """Return the folder of the compiled functions; compile them if they are not there.

    Raises:
        KernelError: the compiler refused.
    """
    sources = sorted((PRELUDES / "java").glob("*.java"))
    mark = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    folder = platformdirs.user_cache_path("kowalski-jupyter") / f"java-{mark}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = tempfile.mkdtemp(prefix="java-", dir=folder.parent)
        line = ["javac", "--release", str(OLDEST), "-d", made, *map(str, sources)]
        done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)
        if done.returncode:
            shutil.rmtree(made)
            raise KernelError(f"Java's part of the kernel could not be compiled: {done.stderr.strip()[:300]}")
        Path(made).chmod(0o755)
        try:
            Path(made).rename(folder)
        except OSError:  # another process was faster
            shutil.rmtree(made)
    return folder


def _jar(argv: Sequence[str]) -> str:
    """Return the path of the kernel itself in its kernelspec's command line, "" if that is another kernel's."""
    return next((part for part in argv if part.endswith("jjava.jar")), "")


def _declared(item: Shown) -> str:
    """Return the declaration of a variable, of a type that code can use as it is."""
    path = _quoted(item.path)
    if item.form == "text":
        return f"String {item.name} = read({path})"
    if item.form == "bytes":
        return f"byte[] {item.name} = Files.readAllBytes(Path.of({path}))"
    if item.form == "path":
        return f"Path {item.name} = Path.of({path})"
    kind = {"[{": "List<Map<String, Object>>", "[]": "List<Object>"}.get(item.start) or {
        "[": "List<Object>",
        "{": "Map<String, Object>",
        '"': "String",
    }.get(item.start[:1], "Object")
    return f"{kind} {item.name} = ({kind}) parse(read({path}))"


def _quoted(text: str) -> str:
    """Return `text` as Java's string literal."""
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


@cache
def _version(javac: str) -> int | None:
    match = re.search(r"javac (\d+)", first_line([javac, "-version"]))
    return int(match[1]) if match else None


def _how_to_install() -> str:
    lines = {
        "apt-get": "`sudo apt-get install openjdk-17-jdk-headless`",
        "dnf": "`sudo dnf install java-latest-openjdk-devel`",
        "pacman": "`sudo pacman -S jdk-openjdk`",
        "brew": "`brew install openjdk`",
    }
    return next(
        (line for manager, line in lines.items() if shutil.which(manager)), "install it with your package manager"
    )
