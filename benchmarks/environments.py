"""The peers' own virtual environments, each as its package index gives it, so that nothing of theirs is in ours."""

from __future__ import annotations

import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent
_FOLDER = ROOT / ".venv-bench"
_REQUIREMENTS = {
    "rlms": "rlms==0.1.3 ipykernel==7.4.0 jupyter_client==8.10.0",
    "dspy": "dspy==3.4.1",
    "fabric": "fabric-rlm==0.6.9",
}


def our_python() -> Path:
    """Return the interpreter that has us."""
    return Path(sys.executable)


def peer_python(peer: str) -> Path:
    """Return the interpreter that has one of the peers; installs it the first time."""
    folder, requirements = _FOLDER / peer, _REQUIREMENTS[peer]
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    if not stamp.exists() or stamp.read_text() != requirements:
        print(f"Installing {peer} into {folder.relative_to(ROOT)} …", file=sys.stderr)
        venv.create(folder, clear=True, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements.split()], check=True)
        stamp.write_text(requirements)
    return python
