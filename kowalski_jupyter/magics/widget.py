"""`%rlm watch`: the devices in the notebook, live, as ipywidgets."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from IPython.core.error import UsageError

from kowalski_jupyter.api.result import RlmError
from kowalski_jupyter.api.rlm import RLM
from kowalski_jupyter.magics.devices import NO_DEVICES, alert_line, condition, facts, instance_line

_PACE: Final = 2.0
"""Seconds between two looks."""

_HOUR: Final = 3600.0
"""After which a widget that nobody may look at any more stops by itself."""

_ICONS: Final = {"ok": "✓", "stale": "▲", "unreachable": "▲", "lost": "✗"}


class DeviceWidget:
    """The devices of the exo cluster: a line of words and a bar of memory each. Shown by a cell that ends with it.

    Attributes:
        text: what is shown, as lines.

    Args:
        rlm: asks the service.

    Raises:
        UsageError: there is no ipywidgets here.
        RlmError: there is no service.
    """

    def __init__(self, rlm: RLM) -> None:
        try:
            import ipywidgets  # noqa: PLC0415 (an extra)
        except ImportError:
            raise UsageError("%rlm watch needs ipywidgets: pip install 'kowalski-jupyter[widgets]'") from None
        self._widgets = ipywidgets
        self._rlm = rlm
        self._box = ipywidgets.VBox()
        self._stop = threading.Event()
        self.text = ""
        self._show(rlm.devices())
        self._thread = threading.Thread(target=self._keep, name="kowalski-devices", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking; what is shown stays."""
        self._stop.set()
        self._thread.join()

    def _repr_mimebundle_(self, **how: Any) -> Any:
        return self._box._repr_mimebundle_(**how)

    def __repr__(self) -> str:
        return self.text

    def _keep(self) -> None:
        until = time.monotonic() + _HOUR
        while not self._stop.wait(_PACE) and time.monotonic() < until:
            try:
                self._show(self._rlm.devices())
            except RlmError as error:
                self._put([self._line(f"✗ {error}")])
                return
        self._box.children = (*self._box.children, self._line("Not live any more. Watch again: %rlm watch"))

    def _show(self, document: Mapping[str, Any]) -> None:
        """Show what is new. Words are labels, which know no markup: names come from other people's machines."""
        lines = [line for device in document["devices"] for line in _lines(device)]
        alerts = [alert_line(alert) for alert in document["alerts"] if alert["until"] is None]
        text = "\n".join([*lines, *alerts]) or NO_DEVICES
        if text == self.text:
            return
        self.text = text
        if document["devices"]:
            rows = [row for device in document["devices"] for row in self._rows(device)]
            self._put([*map(self._line, alerts), *rows])
        else:
            self._put([self._line(NO_DEVICES)])

    def _put(self, rows: list[Any]) -> None:
        """Show rows in place of those that were there, which would be kept for ever if they were not closed."""
        before, self._box.children = self._box.children, tuple(rows)
        for row in before:
            row.close()

    def _rows(self, device: Mapping[str, Any]) -> Iterator[Any]:
        title, *rest = _lines(device)
        yield self._line(title)
        total, free = device["memory_total"], device["memory_available"]
        if total and free is not None and device["condition"] != "lost":
            yield self._widgets.FloatProgress(1 - free / total, min=0.0, max=1.0, description="Memory")
        yield from map(self._line, rest)

    def _line(self, text: str) -> Any:
        return self._widgets.Label(text)


def _lines(device: Mapping[str, Any]) -> list[str]:
    title = f"{_ICONS.get(device['condition'], '')} {device['name']}: {condition(device)}"
    return [title, " · ".join(facts(device)), *map(instance_line, device["instances"])]
