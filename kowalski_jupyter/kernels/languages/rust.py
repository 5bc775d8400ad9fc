"""Rust: evcxr, which compiles each cell into a library and loads it."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import platformdirs

from kowalski_jupyter.kernels.base import Limits, Output
from kowalski_jupyter.kernels.sandbox import Mount

from .language import Language, Opening, first_line, prelude

_RESERVED = """
as async await break const continue crate dyn else enum extern false fn for gen if impl in let loop match mod
move mut pub ref return self static struct super trait true type union unsafe use where while abstract become
box do final macro override priv try typeof unsized virtual yield kowalski share shared
"""


class Rust(Language):
    """Evcxr speaks TCP only, and runs cells in a child process of its own, which an interrupt ends."""

    name = "rust"
    title = "Rust"
    tags = ("rust", "rs")
    kernelspecs = ("rust", "evcxr")
    trial = 'println!("{}", 6 * 7);'
    reserved = frozenset(_RESERVED.split())
    interrupt = "end"
    least_memory = 768 << 20  # the compiler and what tells it types; with 640 MB the second cell is the last
    late_outputs = True

    def environment(self, limits: Limits) -> Mapping[str, str]:
        """Lead to the compiler, past rustup's proxies: those want a home."""
        del limits
        root = _sysroot()
        return {
            "PATH": f"{root}/bin:/usr/local/bin:/usr/bin:/bin" if root else "/usr/local/bin:/usr/bin:/bin",
            "CARGO_HOME": "/tmp/.cargo",  # noqa: S108 - the sandbox's own /tmp
            "CARGO_NET_OFFLINE": "true",
            "CARGO_TERM_COLOR": "never",
            "EVCXR_TMPDIR": "/tmp/.evcxr",  # noqa: S108 - as well
        }

    def refusal(self, code: str) -> str:
        """Keep code from standard input, by which evcxr sends its own commands: it would wait for ever."""
        if re.search(r"(?<!\.)\bstdin\s*\(", code):
            return "Nobody is there to answer stdin(): the data is in variables, and code must go on by itself."
        return ""

    def understood(self, output: Output) -> Output:
        """Take a panic, of which evcxr makes nothing, for an error; the prelude's hook tells of it."""
        if output.kind == "stdout" and output.text.startswith(_PANIC):
            return Output("error", f"panicked: {output.text.removeprefix(_PANIC).strip()}")
        return output

    def lost(self, error: str) -> bool:
        """Notice the end of the process that holds the variables."""
        return error.startswith("Subprocess terminated")

    def mounts(self, command: Sequence[str]) -> list[Mount]:
        """Show the toolchain."""
        root = _sysroot()
        shown = [Mount(Path(root), root)] if root and Path(root).parts[1] != "usr" else []
        if vendored().is_dir():
            shown += [Mount(vendored() / "vendor", _VENDORED), Mount(vendored() / "config.toml", "/.cargo/config.toml")]
        return [*super().mounts(command), *shown]

    def opening(self, run: Opening) -> str:
        """Define everything in one cell. Data is borrowed for ever, so that every cell may use it and none moves it."""
        code = prelude("rust.rs").replace("/*SOCKET*/", run.socket).replace("/*TOKEN*/", run.token)
        lines = ["kowalski::tell_of_panics();"]
        if "llm_query" in run.functions:
            lines.append("use kowalski::{llm_query, llm_query_batched};")
        for item in run.items:
            kind, function = _KINDS[item.form]
            lines.append(f'let {item.name}: {kind} = {function}("{item.path}");')
            lines.append(f'let {item.name}_file: &\'static str = "{item.path}";')
        if len(run.items) == 1 and run.items[0].name != "context":
            lines.append(f"let context: {_KINDS[run.items[0].form][0]} = {run.items[0].name};")
        return "\n".join([code, *lines])

    def version(self, argv: Sequence[str]) -> str:
        """Return the compiler's: evcxr does not tell its own."""
        del argv
        return first_line(["rustc", "--version"])

    def complete(self) -> bool:
        """Look for what tells the types of variables."""
        return (vendored() / "vendor").is_dir() and not rust_source_is_missing()

    def problem(self) -> str:
        """Look for the toolchain and a linker."""
        if not (shutil.which("cargo") and _sysroot()):
            return "there is no Rust toolchain here: install one from https://rustup.rs."
        if not shutil.which("cc"):
            return "there is no linker here (`cc`): `sudo apt-get install gcc`, or as your system calls it."
        return ""


_VENDORED = "/opt/kowalski/rust"
_PANIC = "KOWALSKI_PANIC "
_KINDS: Mapping[str, tuple[str, str]] = {
    "text": ("&'static str", "kowalski::text"),
    "bytes": ("&'static [u8]", "kowalski::bytes"),
    "json": ("&'static Json", "kowalski::json"),
    "path": ("&'static std::path::Path", "std::path::Path::new"),
}


def vendored() -> Path:
    """Return the folder of the crates that Rust's own library is made of, where `kernels add rust` has put them.

    Evcxr finds out the types of variables with rust-analyzer, which reads the library's source and asks cargo about it.
    Without these crates cargo would ask the network, and ``let words = vec![1]`` would need its type written out.
    """
    return platformdirs.user_data_path("kowalski-jupyter") / "rust"


def vendor() -> list[str]:
    """Return the command that fills `vendored`, having written what leads cargo there in the sandbox."""
    folder = vendored()
    folder.mkdir(parents=True, exist_ok=True)
    config = f'[source.crates-io]\nreplace-with = "vendored"\n\n[source.vendored]\ndirectory = "{_VENDORED}"\n'
    (folder / "config.toml").write_text(config, encoding="utf-8")
    flags = ["--quiet", "--versioned-dirs", "--locked", "--manifest-path", _library()]
    # The library uses features that only a nightly cargo reads, and the compiler's own.
    return ["env", "RUSTC_BOOTSTRAP=1", "cargo", "vendor", *flags, f"{folder}/vendor"]


@cache
def _sysroot() -> str:
    """Return the folder of the toolchain that `rustc` stands for, "" if there is none."""
    return first_line(["rustc", "--print", "sysroot"])


def rust_source_is_missing() -> bool:
    """Return whether the toolchain lacks the source of Rust's own library."""
    return not Path(_library()).is_file()


def _library() -> str:
    return f"{_sysroot()}/lib/rustlib/src/rust/library/Cargo.toml"
