"""Recursive language models over your own data, in a notebook, on your own machines."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kowalski_jupyter._version import __version__

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["__version__", "load_ipython_extension"]


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
