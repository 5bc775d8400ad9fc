"""`share` and `shared` in an exported notebook, where there is only Python."""

from __future__ import annotations

import copy
import json
from typing import Any

from kowalski_jupyter.kernels.prelude.plain import as_json

_shared: dict[str, Any] = {}


def share(name: str, value: Any) -> None:
    """Keep a value under a name, in the form in which code in other languages would have read it."""
    _shared[name] = bytes(value) if isinstance(value, bytes | bytearray | memoryview) else json.loads(as_json(value))


def shared(name: str) -> Any:
    """Return what is kept under a name."""
    if name not in _shared:
        raise NameError(f"Nothing is shared as {name!r}: code in other languages does not run in this notebook.")
    return copy.deepcopy(_shared[name])
