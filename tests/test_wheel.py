"""The wheel, built from a clean copy and installed where there is no Node.js: what a user of a release gets."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def call(*words: str | Path, path: str | None = None) -> str:
    """Run a command and return what it printed; fail with it if it failed."""
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "KOWALSKI", "VIRTUAL"))
    }
    environment["PIP_COMPILE"] = "0"  # what is used once need not be quick to import
    if path is not None:
        environment["PATH"] = path
    done = subprocess.run(words, env=environment, text=True, capture_output=True, check=False, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return re.sub(r"\x1b\[\d*m", "", done.stdout + done.stderr)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("node") is None:
        pytest.skip("Node.js is not here: it is needed to build the wheel (not to install it)")
    source = tmp_path_factory.mktemp("source")
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, names):
        target = source / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, target)
    call(sys.executable, "-m", "build", "--wheel", "--outdir", source / "dist", source)
    (built,) = (source / "dist").glob("*.whl")
    return built


@pytest.mark.timeout(900)
def test_the_wheel_is_all_a_user_needs_without_node(wheel: Path, tmp_path: Path) -> None:
    home = tmp_path / "venv"
    venv.create(home)
    bin_ = home / "bin"
    path = f"{bin_}:/usr/sbin:/sbin:{_without_node(tmp_path)}"
    pip = (sys.executable, "-m", "pip", "--python", bin_ / "python")  # one that is there already
    call(*pip, "install", "--quiet", wheel, path=path)

    assert shutil.which("node", path=path) is None
    assert "kowalski-jupyter v0.1.0 enabled OK" in " ".join(
        call(bin_ / "jupyter", "labextension", "list", path=path).split()
    )
    assert "kowalski_jupyter enabled" in " ".join(
        call(bin_ / "jupyter", "server", "extension", "list", path=path).split()
    )
    said = call(bin_ / "python", "-c", _DOCTOR, path=path)
    assert "ok       browser extension" in said
    assert "ok       server extension" in said
    assert "kowalski-jupyter[embedded]" in said
    assert (bin_ / "jupyter-lab").is_file()


_DOCTOR = "import sys; from kowalski_jupyter.cli import main; main(['doctor'])"


def _without_node(folder: Path) -> Path:
    """Return a folder with links to the machine's programs, Node.js left out."""
    programs = folder / "programs"
    programs.mkdir()
    for place in ("/usr/bin", "/bin"):
        for program in Path(place).iterdir():
            link = programs / program.name
            if program.name not in ("node", "nodejs", "npm", "npx") and not link.exists():
                link.symlink_to(program)
    return programs
