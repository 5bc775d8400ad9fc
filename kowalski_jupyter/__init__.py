"""Recursive language models over your own data, in a notebook, on your own machines.

`RLM` asks questions; a `Result` or an `RlmError` comes of it. `%load_ext kowalski_jupyter` brings `%%rlm` and `%rlm`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from kowalski_jupyter._version import __version__

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from kowalski_jupyter.api.result import Result, RlmError
    from kowalski_jupyter.api.rlm import RLM

__all__ = ["RLM", "Result", "RlmError", "__version__", "load_ipython_extension"]

_HOMES = {
    "RLM": "kowalski_jupyter.api.rlm",
    "Result": "kowalski_jupyter.api.result",
    "RlmError": "kowalski_jupyter.api.result",
}


def __getattr__(name: str) -> Any:
    """Import what is public when it is first used: child kernels and `%load_ext` need none of it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Register `%%rlm` and `%rlm`; `%load_ext kowalski_jupyter` calls it."""
    from kowalski_jupyter.magics.magic import load_ipython_extension as load  # noqa: PLC0415 (loads what servers do not need)

    load(shell)


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Tell Jupyter where the prebuilt browser extension lies in this package."""
    return [{"src": "labextension", "dest": "kowalski-jupyter"}]


def _jupyter_server_extension_points() -> list[dict[str, Any]]:
    """Tell Jupyter which class is the server extension."""
    from kowalski_jupyter.server.extension import KowalskiExtension  # noqa: PLC0415 (kernels need no server)

    return [{"module": "kowalski_jupyter", "app": KowalskiExtension}]
