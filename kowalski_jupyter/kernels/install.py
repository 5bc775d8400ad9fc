"""Install the kernel of a language, by the ordinary way of its ecosystem, into the user's environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from jupyter_client.kernelspec import KernelSpecManager

from .base import KernelError
from .languages import LANGUAGES
from .languages.rust import rust_source_is_missing, vendor
from .sandbox import PRELUDES

Say = Callable[[str], None]


def install(language: str, say: Say) -> None:
    """Install what is missing for `language`; the programs that do it show their own progress.

    Raises:
        KernelError: something could not be installed, or has to be installed by the user; says what and how.
    """
    if problem := LANGUAGES[language].problem():
        raise KernelError(f"{LANGUAGES[language].title} cannot be added: {problem}")
    _INSTALLERS[language](say)


def _bash(say: Say) -> None:
    spec = {
        "argv": [sys.executable, "-I", str(PRELUDES / "bash_kernel.py"), "{connection_file}"],
        "display_name": "Bash (Kowalski)",
        "language": "bash",
        "interrupt_mode": "message",
        "metadata": {"kowalski": {"direct": True}},
    }
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        Path(folder, "kernel.json").write_text(json.dumps(spec, indent=1), encoding="utf-8")
        _adopt(Path(folder), "kowalski-bash", say)


def _javascript(say: Say) -> None:
    if _program("deno") is None:
        _run([sys.executable, "-m", "pip", "install", "deno"], say)
    deno = _program("deno")
    if deno is None:
        raise KernelError("Deno was installed, but its program is not to be found: put it on the PATH.")
    _let_install([deno, "jupyter", "--install"], "deno", say)


def _java(say: Say) -> None:
    _run([sys.executable, "-m", "pip", "install", "--pre", "jjava"], say)


def _rust(say: Say) -> None:
    if rust_source_is_missing():
        if shutil.which("rustup") is None:
            raise KernelError("Rust's own source is missing: install your system's package for it (rust-src).")
        _run(["rustup", "component", "add", "rust-src"], say)
    _run(vendor(), say)
    if _program("evcxr_jupyter") is None:
        say("Building evcxr takes 15 minutes of one processor core.")
        _run(["cargo", "install", "--locked", "evcxr_jupyter"], say)
    evcxr = _program("evcxr_jupyter")
    if evcxr is None:
        raise KernelError(
            "evcxr was installed, but its program is not to be found: put cargo's bin folder on the PATH."
        )
    _let_install([evcxr, "--install"], "rust", say)


_INSTALLERS: Mapping[str, Callable[[Say], None]] = {
    "rust": _rust,
    "java": _java,
    "javascript": _javascript,
    "bash": _bash,
}


def _program(name: str) -> str | None:
    """Return the path of a program, looked for where pip and cargo put theirs as well."""
    cargo = Path(os.environ.get("CARGO_INSTALL_ROOT") or os.environ.get("CARGO_HOME") or "~/.cargo").expanduser()
    places = [os.environ.get("PATH", os.defpath), str(Path(sys.prefix, "bin")), str(cargo / "bin")]
    return shutil.which(name, path=os.pathsep.join(places))


def _run(command: Sequence[str], say: Say, environment: Mapping[str, str] | None = None) -> None:
    say(f"$ {' '.join(command)}")
    try:
        subprocess.run(command, check=True, env=None if environment is None else {**os.environ, **environment})
    except (OSError, subprocess.CalledProcessError) as error:
        raise KernelError(f"`{' '.join(command)}` did not succeed ({error}). See above for what it said.") from None


def _let_install(command: Sequence[str], name: str, say: Say) -> None:
    """Let a kernel install its kernelspec, which all want to do in the user's home, and move it to the environment."""
    with tempfile.TemporaryDirectory() as home:
        _run(command, say, {"HOME": home, "XDG_DATA_HOME": f"{home}/share", "JUPYTER_PATH": f"{home}/jupyter"})
        found = next(Path(home).rglob("kernel.json"), None)
        if found is None:
            raise KernelError(f"`{' '.join(command)}` has installed no kernelspec.")
        _adopt(found.parent, name, say)


def _adopt(folder: Path, name: str, say: Say) -> None:
    """Install a kernelspec where this Python's environment keeps them, or for the user if that may not be written."""
    own = os.access(sys.prefix, os.W_OK)
    manager = KernelSpecManager()
    place = manager.install_kernel_spec(str(folder), name, user=not own, prefix=sys.prefix if own else None)
    say(f"The kernelspec is {place}")
