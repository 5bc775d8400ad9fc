"""What a run shares: with all runs of its service, and with the child runs below it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from kowalski_jupyter.kernels.base import DataItem, Kernels, Value
from kowalski_jupyter.rlm.budget import Budget
from kowalski_jupyter.rlm.calls.memo import Memo
from kowalski_jupyter.rlm.endpoints import Endpoints, OpenModel
from kowalski_jupyter.rlm.log import EventLog


@dataclass(frozen=True, slots=True)
class Resources:
    """What all runs of a service share.

    Attributes:
        open_model: makes a model ready.
        kernels: where child kernels come from.
        host: which process this is, in words.
        new_log: returns the log of a child run of that id, so that whoever keeps runs keeps it too.
        pack: makes data for a kernel, under a name, out of a value that comes from another.
            Raises PackError, ValueError or OSError: there can be none of this one.
        discard: removes what `pack` has made.
        keep: keeps the answer of the run of that id; nobody is told of it before.
        open_root: makes a run's root model ready, where that is done in another way: a rerun's knows the record.
    """

    open_model: OpenModel
    kernels: Kernels
    host: str
    new_log: Callable[[str], EventLog]
    pack: Callable[[str, Value], DataItem]
    discard: Callable[[DataItem], None]
    keep: Callable[[str, Value], Awaitable[None]]
    open_root: OpenModel | None = None


@dataclass(frozen=True, slots=True)
class Tree:
    """What the first run and all runs below it share: one purse, one set of models, one memory, one seed."""

    resources: Resources
    budget: Budget
    endpoints: Endpoints
    memo: Memo
    seed: int
