"""What a look at one place has found: a model to ask, or what keeps it from being one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from kowalski_jupyter.models.urls import ServerKind

UNKNOWN_WIDTH: Final = 32
"""Requests at a time for a server that does not say how many it works on: those that batch take more, and one that
does not will queue them."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A model that can be asked."""

    url: str
    model: str
    kind: ServerKind
    context_tokens: int | None = None
    width: int = UNKNOWN_WIDTH


@dataclass(frozen=True, slots=True)
class Found:
    """One place that was looked at.

    Attributes:
        name: of what is, or may be, there: ``exo``.
        where: in words: ``exo at localhost:52415``.
        there: whether anything is there at all.
        ready: whether a model there can be asked.
        detail: its state in words.
        fix: the command that makes it ready; empty if it is.
        offer: what to ask; None also for the embedded model, which is yet to be started.
        models: the ids of those that can be asked there instead.
    """

    name: str
    where: str
    there: bool
    ready: bool
    detail: str
    fix: str = ""
    offer: Offer | None = None
    models: Sequence[str] = ()


def unready(name: str, where: str, detail: str, fix: str, models: Sequence[str] = ()) -> Found:
    """Make the `Found` of a server that answers, but has no model to ask."""
    return Found(name, where, there=True, ready=False, detail=detail, fix=fix, models=models)
