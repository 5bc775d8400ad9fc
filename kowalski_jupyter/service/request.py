"""A request for a run, as the notebook side sends it and the service reads it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kowalski_jupyter.kernels.base import DataItem


class BadRequestError(Exception):
    """The request cannot be understood or allowed. The message says why."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a run needs: the question, the packed variables, and the options of this run alone.

    `options` may hold ``model``, ``url``, ``max_turns``, ``timeout`` (seconds) and ``seed``. With `detach`
    the run goes on when the one who asked goes away.
    """

    question: str
    data: tuple[DataItem, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    detach: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the request as JSON-ready data."""
        return {
            "question": self.question,
            "data": [_item_to_json(item) for item in self.data],
            "options": self.options,
            "detach": self.detach,
        }

    @classmethod
    def from_json(cls, body: Any, *, data_root: Path) -> RunRequest:
        """Read a request.

        Args:
            body: decoded JSON.
            data_root: packed data may only lie in folders of it, which the service removes after the run.

        Raises:
            BadRequestError: something is missing, of the wrong type, or outside `data_root`.
        """
        try:
            data = tuple(_item_from_json(item, data_root) for item in body.get("data", []))
            options = {key: _OPTIONS[key](value) for key, value in body.get("options", {}).items()}
            request = cls(str(body["question"]), data, options, bool(body.get("detach", False)))
        except KeyError as missing:
            raise BadRequestError(f"A run does not know {missing}.") from None
        except (AttributeError, TypeError, ValueError) as error:
            raise BadRequestError(f"Not a request for a run: {error}.") from error
        if not request.question.strip():
            raise BadRequestError("The question is empty. Write it below the %%rlm line.")
        return request


_OPTIONS = {"model": str, "url": str, "max_turns": int, "timeout": float, "seed": int}


def _item_to_json(item: DataItem) -> dict[str, Any]:
    record = dataclasses.asdict(item)
    for key in ("path", "source"):
        record[key] = None if record[key] is None else str(record[key])
    return record


def _item_from_json(record: dict[str, Any], data_root: Path) -> DataItem:
    paths = {key: None if record.get(key) is None else Path(record[key]) for key in ("path", "source")}
    if paths["path"] is not None and paths["path"].resolve().parent.parent != data_root.resolve():
        raise BadRequestError(f"Packed data must lie in a folder of its own in {data_root}.")
    return DataItem(**{**record, **paths})
