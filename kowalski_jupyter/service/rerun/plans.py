"""What becomes of a recorded run that the user wants to go on with, to branch from or to replay."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kowalski_jupyter.kernels.base import DataItem, Value
from kowalski_jupyter.models.base import ChatModel, Report
from kowalski_jupyter.rlm.endpoints import OpenModel
from kowalski_jupyter.rlm.record import last_turn
from kowalski_jupyter.rlm.replay import RecordedModel, SilentModel
from kowalski_jupyter.rlm.settings import RunSettings
from kowalski_jupyter.service.config import Kowalski
from kowalski_jupyter.service.request import BadRequestError
from kowalski_jupyter.service.rerun.rerun import Past, Replay, Rerun

_OF_RERUN = ("turn", "reply", "replay", "judged")
"""Options that say how a run was gone through again, and whether somebody was there to judge it: they hold once."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run that goes through what is recorded of another one."""

    past: Past
    data: Sequence[DataItem]
    settings: RunSettings
    options: dict[str, Any]
    rerun: Rerun

    def root_opener(self, real: OpenModel | None) -> OpenModel:
        """Return what opens the root models of the new run and its child runs.

        They know the record, and go on with what `real` opens, if there is one.
        """

        async def open_root(name: str | None, report: Report) -> ChatModel:
            then = None if real is None else await real(name, report)
            return RecordedModel(then=then, name=name or self._recorded, ended=self.rerun.record_ended)

        return open_root

    def silent_opener(self) -> OpenModel:
        """Return what opens models that have said all they can say, for the sub-calls of a replay."""

        async def open_model(name: str | None, report: Report) -> ChatModel:
            del report
            return SilentModel(name or self._recorded)

        return open_model

    @property
    def _recorded(self) -> str:
        model = self.past.record.model
        return model.name if model else "a model"


def plan_resume(
    past: Past,
    data: Sequence[DataItem],
    config: Kowalski,
    *,
    turn: int | None,
    reply: str | None,
    options: Mapping[str, Any],
) -> Plan:
    """Plan to go on with a run, or to branch from it (see `Service.resume`).

    Raises:
        BadRequestError: that cannot be done.
    """
    record, started = past.record, past.record.started
    if started.parent:
        raise BadRequestError(f"Run {started.run} is a child of run {started.parent}. Resume that one.")
    if started.path == "direct":
        raise BadRequestError(f"Run {started.run} was one question without data: there are no turns. Ask it again.")
    if turn is None and reply is not None:
        raise BadRequestError("Say which turn's reply is to be another one.")
    if turn is None and record.finished is not None and record.finished.state == "done":
        raise BadRequestError(
            f"Run {started.run} has its answer. Go on from one of its turns with `%rlm resume {started.run} --turn N`."
        )
    base = {name: value for name, value in started.options.items() if name not in _OF_RERUN}
    merged = {**base, **options}
    settings = _settings(past, config, options)
    if turn is not None:
        turns = last_turn(past.course.replies)
        if not turns:
            raise BadRequestError(f"Run {started.run} has no reply, so no turn to go on from. Go on without one.")
        if not 1 <= turn <= turns:
            raise BadRequestError(f"Run {started.run} has the turns 1 to {turns}, not {turn}.")
        past.cut(turn, reply, fresh=settings.fresh)
        merged |= {"turn": turn, **({} if reply is None else {"reply": reply})}
    rerun = Rerun(past, judged=bool(options.get("judged")))
    return Plan(past, _in_order(past, data), settings, merged, rerun)


def plan_replay(past: Past, data: Sequence[DataItem], value: Value | None) -> Plan:
    """Plan to go through a run again without a model; `value` is its answer, if that is stored. Raises like above."""
    started = past.record.started
    if started.parent:
        raise BadRequestError(f"Run {started.run} is a child of run {started.parent}. Replay that one.")
    base = {name: given for name, given in started.options.items() if name not in _OF_RERUN}
    return Plan(past, _in_order(past, data), _settings(past, None, {}), {**base, "replay": True}, Replay(past, value))


def _in_order(past: Past, data: Sequence[DataItem]) -> Sequence[DataItem]:
    """Return the variables in the order in which the recorded run had them."""
    names = [item["name"] for item in past.record.started.data]
    given = {item.name: item for item in data}
    if set(names) != set(given):
        raise BadRequestError(
            f"Run {past.record.started.run} was about {', '.join(names) or 'no variables'}. Define "
            f"{'it' if len(names) == 1 else 'them'} as before; given: {', '.join(given) or 'none'}."
        )
    return [given[name] for name in names]


def _settings(past: Past, config: Kowalski | None, options: Mapping[str, Any]) -> RunSettings:
    """Return the recorded settings with what the user raised meanwhile, and gives now."""
    known = {field.name for field in dataclasses.fields(RunSettings)}
    recorded = {name: value for name, value in past.record.started.settings.items() if name in known}
    settings = {**recorded, **past.record.limits}
    if config is not None:
        now = dataclasses.asdict(config.run_settings(dict(options)))
        settings |= {name: now[name] for option in options for name in config.set_by(option)}
    settings |= {name: tuple(settings.get(name, ())) for name in ("allow", "mounts")}  # lists, in the record
    settings["judged"] = bool(options.get("judged") or past.judgments)
    return RunSettings(**settings)
