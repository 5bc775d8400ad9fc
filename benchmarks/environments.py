"""The peers' own virtual environment, so that nothing of theirs is in ours."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
_FOLDER = ROOT / ".venv-bench"
_REQUIREMENTS = "rlms==0.1.3\ndspy==3.4.1\nipykernel==7.4.0\njupyter_client==8.10.0\n"


def our_python() -> Path:
    """Return the interpreter that has us."""
    return Path(sys.executable)


def peers_python() -> Path:
    """Return the interpreter that has the peers; installs them the first time."""
    python, stamp = _FOLDER / "bin" / "python", _FOLDER / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != _REQUIREMENTS:
        print("Installing the peers into .venv-bench …", file=sys.stderr)
        venv.create(_FOLDER, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *_REQUIREMENTS.split()], check=True)
        stamp.write_text(_REQUIREMENTS)
    return python
