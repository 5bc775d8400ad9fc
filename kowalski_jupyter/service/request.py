"""What the notebook side asks of the service, as it is sent and as it is read."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kowalski_jupyter.kernels.base import DataItem
from kowalski_jupyter.service.options import check_options


class BadRequestError(Exception):
    """The request cannot be understood or allowed. The message says why."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What a run needs: the question, the packed variables, and the options of this run alone.

    `options` as in options.py. With `detach` the run goes on when the one who asked goes away.
    """

    question: str
    data: tuple[DataItem, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    detach: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the request as JSON-ready data."""
        return {"question": self.question, "options": self.options, "detach": self.detach, **_data_to_json(self.data)}

    @classmethod
    def from_json(cls, body: Any, *, data_root: Path) -> RunRequest:
        """Read a request.

        Args:
            body: decoded JSON.
            data_root: packed data may only lie in folders of it, which the service removes after the run.

        Raises:
            BadRequestError: something is missing, of the wrong type, or outside `data_root`.
        """
        with _reading("run"):
            request = cls(
                str(body["question"]),
                _data_from_json(body, data_root),
                check_options(body.get("options", {})),
                bool(body.get("detach", False)),
            )
        if not request.question.strip():
            raise BadRequestError("The question is empty.")
        return request


@dataclass(frozen=True, slots=True)
class AgainRequest:
    """What a recorded run needs to be gone through again: the variables that it was asked about.

    With `turn` and `reply` the reply of that turn is replaced, and the run branches off there.
    """

    data: tuple[DataItem, ...] = ()
    turn: int | None = None
    reply: str | None = None
    options: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the request as JSON-ready data."""
        return {"turn": self.turn, "reply": self.reply, "options": self.options, **_data_to_json(self.data)}

    @classmethod
    def from_json(cls, body: Any, *, data_root: Path) -> AgainRequest:
        """Read a request, like `RunRequest.from_json`."""
        with _reading("run that goes on"):
            turn, reply = body.get("turn"), body.get("reply")
            return cls(
                _data_from_json(body, data_root),
                None if turn is None else int(turn),
                None if reply is None else str(reply),
                check_options(body.get("options", {})),
            )


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Turn what goes wrong while a body is read into one line."""
    try:
        yield
    except KeyError as missing:
        raise BadRequestError(f"A {what} needs {missing}.") from None
    except ValueError as error:
        raise BadRequestError(str(error)) from None
    except (AttributeError, TypeError) as error:
        raise BadRequestError(f"Not a request for a {what}: {error}.") from error


def _data_to_json(data: Sequence[DataItem]) -> dict[str, Any]:
    records = [dataclasses.asdict(item) for item in data]
    for record in records:
        for key in ("path", "source"):
            record[key] = None if record[key] is None else str(record[key])
    return {"data": records}


def _data_from_json(body: dict[str, Any], data_root: Path) -> tuple[DataItem, ...]:
    return tuple(_item(record, data_root) for record in body.get("data", []))


def _item(record: dict[str, Any], data_root: Path) -> DataItem:
    paths = {key: None if record.get(key) is None else Path(record[key]) for key in ("path", "source")}
    if paths["path"] is not None and paths["path"].resolve().parent.parent != data_root.resolve():
        raise BadRequestError(f"Packed data must lie in a folder of its own in {data_root}.")
    return DataItem(**{**record, **paths})
