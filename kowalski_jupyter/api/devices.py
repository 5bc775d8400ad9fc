"""The user's devices and the models on them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from kowalski_jupyter.api.connected import Connected, told

OnProgress = Callable[[str, int | None, int | None], None]
"""Called with ``(text, done, total)`` while a model is loaded: a download in bytes, all else with None."""


class Devices(Connected):
    """Looks at devices, and loads models on them. See `Connected`."""

    def devices(self) -> dict[str, Any]:
        """Return all devices of the exo cluster as they are now, and alerts (docs/run-format.md, `IDevices`)."""
        with told():
            return self._connected().devices()

    def models(self) -> list[dict[str, Any]]:
        """Return all models that there are (docs/run-format.md, `IKnownModel`), of each place the loaded ones first."""
        with told():
            return self._connected().models()

    def load(
        self,
        model: str,
        *,
        sharding: Literal["auto", "pipeline", "tensor"] = "auto",
        min_nodes: int = 1,
        on_progress: OnProgress | None = None,
    ) -> dict[str, Any]:
        """Have exo load a model, and return its instance (docs/run-format.md, `IInstance`) when it is ready.

        Args:
            model: its id, or what stands behind the slash in it.
            sharding: how it is spread over devices.
            min_nodes: devices at least.
            on_progress: told how far it is.
        """
        with told():
            return self._connected().load(model, sharding, min_nodes, on_progress or (lambda *_: None))

    def unload(self, model: str) -> int:
        """Have exo unload a model, or one instance by its id; return how many instances that were."""
        with told():
            return self._connected().unload(model)
