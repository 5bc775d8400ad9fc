"""The chat models in use, each made ready once and shared by all runs."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from typing import Any

from kowalski_jupyter.models.base import ChatModel, ReadsAhead, Report, routing
from kowalski_jupyter.models.discover import ModelSettings, find_model
from kowalski_jupyter.rlm.chat.prompts import choose_profile, opening
from kowalski_jupyter.rlm.endpoints import OpenModel

FindModel = Callable[[ModelSettings, Report], Awaitable[ChatModel]]


class ModelRack:
    """Opens models and keeps them open. Belongs to one event loop.

    Args:
        find: makes a model ready; tests give their own.
    """

    def __init__(self, find: FindModel = find_model) -> None:
        self._find = find
        self._opening: dict[ModelSettings, asyncio.Task[ChatModel]] = {}
        self._retired: list[ChatModel] = []
        self._reports: dict[ModelSettings, list[Report]] = {}
        self._latest: ModelSettings | None = None
        self._detail = ""

    async def open(self, settings: ModelSettings, report: Report) -> ChatModel:
        """Return the model for `settings`, making it ready if nobody has; every waiting run gets the reports.

        Raises:
            ModelError: there is none; the next call tries again.
        """
        self._latest = settings
        reports = self._reports.setdefault(settings, [])
        reports.append(report)
        try:
            task = self._opening.get(settings)
            if task is None or (task.done() and not self._serves(task)):
                task = asyncio.create_task(self._make(settings))
                self._opening[settings] = task
            return await asyncio.shield(task)
        finally:
            reports.remove(report)

    def _serves(self, task: asyncio.Task[ChatModel]) -> bool:
        """Tell whether what was made ready is there still; runs that wait for it to come back may go on doing so."""
        if task.cancelled() or task.exception() is not None:
            return False
        routes = routing(task.result())
        if routes is None or not routes.gone:
            return True
        self._retired.append(task.result())
        return False

    def opener(self, settings: ModelSettings) -> OpenModel:
        """Return what opens the models of one run: the one of `settings`, and others by their ids at the same end."""

        async def open_model(name: str | None, report: Report) -> ChatModel:
            return await self.open(settings if name is None else dataclasses.replace(settings, model=name), report)

        return open_model

    async def forget(self, settings: ModelSettings) -> None:
        """Close a model that no longer answers, so that the next run looks for one anew."""
        task = self._opening.pop(settings, None)
        if task is not None and task.done() and not task.cancelled() and task.exception() is None:
            await task.result().aclose()

    def status(self) -> dict[str, Any] | None:
        """Return name, where, state and detail of the model used last, or None before the first."""
        task = None if self._latest is None else self._opening.get(self._latest)
        if task is None:
            return None
        if not task.done():
            return {"name": "", "where": "", "state": "loading", "detail": self._detail}
        if task.cancelled() or task.exception() is not None:
            return {"name": "", "where": "", "state": "none", "detail": str(task.exception() or "stopped")}
        model = task.result()
        return {"name": model.name, "where": model.where, "state": "ready", "detail": ""}

    async def close(self) -> None:
        """Close every model and stop what is being made ready."""
        tasks = list(self._opening.values())
        self._opening.clear()
        for task in tasks:
            task.cancel()
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if not isinstance(outcome, BaseException):
                await outcome.aclose()
        for model in self._retired:
            await model.aclose()

    async def _make(self, settings: ModelSettings) -> ChatModel:
        def report(text: str, done: int | None, total: int | None) -> None:
            self._detail = text
            for each in list(self._reports[settings]):
                each(text, done, total)

        model = await self._find(settings, report)
        if isinstance(model, ReadsAhead):
            profile = choose_profile(model.name, model.context_tokens)
            await model.read_ahead(opening(profile.name), report)
        return model
