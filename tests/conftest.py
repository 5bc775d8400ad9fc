from __future__ import annotations

import atexit
import gc
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from kowalski_jupyter.kernels.languages import FOREIGN, LANGUAGES
from kowalski_jupyter.kernels.sandbox import Python
from kowalski_jupyter.kernels.zygote import Zygote
from tests.kernels.languages import missing
from tests.support.leaks import is_owned
from tests.support.zygotes import lent_zygote

# A shell has what it starts in the background ignore Ctrl+C, which some tests press.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which languages were left out, and why."""
    left_out = {name: reason for name in FOREIGN if (reason := missing(name))}
    ran = [LANGUAGES[name].title for name in FOREIGN if name not in left_out]
    terminalreporter.write_line(f"Languages besides Python with a kernel here: {', '.join(ran) or 'none'}.")
    for name, reason in left_out.items():
        terminalreporter.write_line(f"Left out: {LANGUAGES[name].title} ({reason})")


@pytest.fixture(scope="session", autouse=True)
def temporary_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give the tests, and all that they start, a folder for temporary files in which nothing is left at the end."""
    tmp_path_factory.getbasetemp()  # pytest's own folder, which it keeps for looking at, is made elsewhere
    folder = tempfile.mkdtemp(prefix="t-")  # a short name: sockets are made in folders below it
    atexit.register(shutil.rmtree, folder)  # when what this process owns there has been removed at its end
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TMPDIR", folder)
        patch.setattr(tempfile, "tempdir", folder)
        yield
    gc.collect()
    left = [path.name for path in Path(folder).iterdir() if not is_owned(path)]
    assert not left, f"left behind in the temporary folder: {sorted(left)}"


@pytest.fixture(autouse=True)
def own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep what tests store, also those in other processes, out of the user's own folders."""
    path = tmp_path / "store" / "runs.sqlite"
    monkeypatch.setenv("KOWALSKI_STORE", str(path))
    monkeypatch.setenv("KOWALSKI_KNOWN_DEVICES", str(tmp_path / "store" / "devices.json"))
    return path


@pytest.fixture
def of_killed() -> Iterator[Path]:
    """Return a folder for the temporary files of processes that a test kills, as their TMPDIR; it is removed."""
    with tempfile.TemporaryDirectory(prefix="k-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def zygote() -> Iterator[Callable[[Python], Zygote]]:
    """Return what tests/support/zygotes.py says. Folders where most tests open pools of kernels have them use it."""
    with lent_zygote() as lend:
        yield lend
