"""What the code of a run shares between its languages."""

from __future__ import annotations

from kowalski_jupyter.kernels.base import Value
from kowalski_jupyter.rlm.calls.options import SubcallError

MOST_BYTES = 256 << 20
MOST_VALUES = 1000


class Shelf:
    """Values by name, in memory, as long as the run goes on."""

    def __init__(self) -> None:
        self._values: dict[str, Value] = {}

    def put(self, name: str, value: Value) -> None:
        """Keep `value`, in the place of what had its name.

        Raises:
            SubcallError: there is no room for it.
        """
        if value.kind not in ("json", "bytes"):
            raise SubcallError(f"Share text, JSON or bytes, not {value.kind}.")
        others = {other: kept for other, kept in self._values.items() if other != name}
        size = sum(len(kept.data) + len(other) for other, kept in others.items()) + len(value.data) + len(name)
        if size > MOST_BYTES or len(others) >= MOST_VALUES:
            raise SubcallError(
                f"A run may share {MOST_VALUES:,} values of {MOST_BYTES >> 20} MB together, and that would be "
                f"{len(others) + 1:,} of {size / (1 << 20):,.0f} MB. Share less, or under names that are taken."
            )
        self._values = {**others, name: value}

    def get(self, name: str) -> Value:
        """Return the value of that name.

        Raises:
            SubcallError: there is none.
        """
        if name not in self._values:
            known = ", ".join(repr(other) for other in list(self._values)[-20:])
            raise SubcallError(
                f"Nothing is shared as {name!r}. " + (f"Shared are: {known}." if known else "Share it first.")
            )
        return self._values[name]
