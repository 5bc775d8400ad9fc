"""A Linux with a systemd of its own, as a process: User Mode Linux, over this machine's files, which it only reads.

Where a container has no user manager and root's control groups of version 1, it has what a user's desktop has.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
MARK = "GUEST "
"""What lines of a command's output begin with that are wanted outside."""
_INIT_MODULE = 313
"""The system call ``finit_module`` (x86_64, as User Mode Linux itself)."""
_SYSTEMD = Path("/lib/systemd/systemd")
_NEEDED = (_SYSTEMD, Path("/usr/bin/dbus-daemon"), Path("/etc/pam.d/common-session"))
_MASKED = ("udevd", "udev-trigger", "remount-fs", "timesyncd", "journal-flush", "random-seed", "hwdb-update", "binfmt")
_TARGET = """
[Unit]
Requires=basic.target dbus.service systemd-logind.service user.service
After=basic.target
"""
_SESSION = """
[Unit]
After=basic.target dbus.service systemd-logind.service systemd-user-sessions.service
Wants=systemd-user-sessions.service
[Service]
Type=oneshot
User=guest
PAMName=login
WorkingDirectory=~
{commands}
ExecStopPost=+/bin/systemctl poweroff --force --force
StandardOutput=tty
StandardError=inherit
TTYPath=/dev/console
TimeoutStartSec=infinity
"""


def missing() -> str:
    """Return why there can be no guest here; empty if there can be one."""
    if os.getuid() != 0:
        return "mounting for a guest takes root"
    if not shutil.which("linux.uml"):
        return "User Mode Linux is not installed (Debian: user-mode-linux)"
    if lacks := [str(path) for path in _NEEDED if not path.exists()]:
        return f"a guest needs {', '.join(lacks)}"
    return "" if "pam_systemd" in _NEEDED[2].read_text() else "a guest needs pam_systemd (Debian: libpam-systemd)"


def run(commands: Sequence[Sequence[str]], folder: Path, *, seconds: float) -> list[str]:
    """Run commands one after the other, each in a session of a normal user's; return the marked line of each."""
    program = shutil.which("linux.uml")
    assert program is not None, missing()
    lines = "\n".join(f"ExecStart={shlex.join(command)}".replace("%", "%%").replace("$", "$$") for command in commands)
    (folder / "user.service").write_text(_SESSION.format(commands=lines))
    (modules,) = Path(program).resolve().parents[1].glob("lib/uml/modules/*/kernel/fs/overlayfs/overlay.ko")
    init = [str(Path(__file__).resolve()), str(modules), str(folder)]
    guest = [program, "mem=2G", "root=none", "rootfstype=hostfs", "rootflags=/", "ro", "con=null", "con0=fd:0,fd:1"]
    # Its disks are this machine's files: so that nothing can write them, they are read-only for itself as well.
    only_read = 'mount --make-rprivate / && mount -o remount,bind,ro / && "$@"'
    apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c", only_read, "sh"]
    with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
        done = subprocess.run(
            [*apart, *guest, f"init={sys.executable}", "--", *init],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
            timeout=seconds,
            env={"PATH": os.environ["PATH"], "HOME": memory, "TMPDIR": memory},
        )
    marked = [line.strip().removeprefix(MARK) for line in done.stdout.splitlines() if line.startswith(MARK)]
    assert len(marked) == len(commands), done.stdout[-5000:]
    return marked


def _become_systemd(module: str, folder: str) -> None:
    """Lay a file system in memory over this machine's, with a user and a unit, and become its systemd."""
    for kind, place in (("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/mnt")):
        _call("mount", "-n", "-t", kind, kind, place)
    with Path(module).open("rb") as file:
        ctypes.CDLL(None).syscall(_INIT_MODULE, file.fileno(), b"", 0)
    root = Path("/mnt/root")
    for place in ("upper", "work", "root"):
        Path("/mnt", place).mkdir()
    _call(
        "mount", "-n", "-t", "overlay", "-o", "lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work", "overlay", str(root)
    )
    units = root / "etc/systemd/system"
    shutil.rmtree(units)
    units.mkdir()
    for name in _MASKED:
        (units / f"systemd-{name}.service").symlink_to("/dev/null")
    (units / "default.target").write_text(_TARGET)
    shutil.copy(Path(folder, "user.service"), units)
    (root / "etc/tmpfiles.d/tmp.conf").symlink_to("/dev/null")  # it would empty /tmp
    for name, line in {
        "passwd": "guest:x:1500:1500::/home/guest:/bin/sh",
        "group": "guest:x:1500:",
        "shadow": "guest:*:19000::::::",
    }.items():
        with (root / "etc" / name).open("a") as file:
            file.write(f"{line}\n")
    (root / "home/guest").mkdir()
    os.chown(root / "home/guest", 1500, 1500)
    for place in (REPOSITORY, Path(sys.prefix), Path(sys.base_prefix)):
        for parent in (root / str(each).lstrip("/") for each in place.parents):
            parent.chmod(parent.stat().st_mode | 0o011)
    for place in ("/sys", "/proc"):
        _call("umount", "-n", place)
    os.chdir(root)
    _call("mount", "-n", "--move", ".", "/")
    os.chroot(".")
    os.execv(_SYSTEMD, [str(_SYSTEMD), "--log-target=null", "--show-status=no"])  # noqa: S606 - as the first process


def _call(*command: str) -> None:
    subprocess.run(command, check=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})


if __name__ == "__main__":
    _become_systemd(*sys.argv[1:3])  # more comes from the guest itself
