"""Write a packed variable as JSON or CSV to standard output: ``export.py KIND FORM PATH META [SITE …]``.

Runs by itself, in a sandbox, for kernels that are not Python.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main(kind: str, form: str, path: str, meta: str, *sites: str) -> None:
    """Read the file at `path` as load.py does, and write it."""
    sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]
    sys.path += sites
    load = importlib.import_module("prelude.load").load
    plain = importlib.import_module("prelude.plain")
    value = load({"kind": kind, "path": path, "meta": {meta: True} if meta else {}})
    plain.write(plain.as_csv(value) if form == "csv" else plain.as_json(value))


if __name__ == "__main__":
    main(*sys.argv[1:])
