"""What happens in a run, as a list of typed, numbered events.

The list is the run: the cell's output, the panel, the trace and the store are all read from it, and
nothing is shown that is not in it. Every event is a frozen dataclass that survives JSON.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar

from kowalski_jupyter.kernels.base import RichMime

RunState = Literal["starting", "running", "done", "failed", "cancelled"]

_TYPES: dict[str, type[Event]] = {}
_FIELDS: dict[str, tuple[str, ...]] = {}
_E = TypeVar("_E", bound="type[Event]")


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events. `seq` counts from 1 within the run; `time` is in seconds since the epoch."""

    type: ClassVar[str] = "event"
    seq: int = dataclasses.field(default=0, kw_only=True)
    time: float = dataclasses.field(default=0.0, kw_only=True)

    def stamp(self, seq: int, time: float) -> None:
        """Give an event that nobody has seen yet its number and time."""
        object.__setattr__(self, "seq", seq)
        object.__setattr__(self, "time", time)

    def to_json(self) -> dict[str, Any]:
        """Return the event as JSON-ready data, its type included."""
        return {"type": self.type, **{name: getattr(self, name) for name in _FIELDS[self.type]}}


def from_json(data: dict[str, Any]) -> Event | None:
    """Return the event that `data` describes, or None for a type that this version does not know.

    Keys that this version does not know are left out, so that an older reader follows a newer writer.
    """
    kind = _TYPES.get(data.get("type", ""))
    if kind is None:
        return None
    fields = {**data}
    del fields["type"]
    try:
        return kind(**fields)
    except TypeError:
        return kind(**{key: value for key, value in fields.items() if key in _FIELDS[kind.type]})


def _event(cls: _E) -> _E:
    """Register an event class under its `type`."""
    _TYPES[cls.type] = cls
    _FIELDS[cls.type] = tuple(each.name for each in dataclasses.fields(cls))
    return cls


@_event
@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """The first event.

    `data` holds name, type and summary of each variable; `path` is loop or direct. `settings` are those of
    `RunSettings`, `options` what the user gave for this run alone. `parent` is the run whose code asked for this
    one, at `depth` below the first; `origin` the run that this one continues, branches from or replays.
    """

    type: ClassVar[str] = "run_started"
    run: str
    question: str
    path: Literal["loop", "direct"]
    host: str
    data: list[dict[str, str]]
    max_turns: int
    max_seconds: float
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    parent: str = ""
    depth: int = 0
    origin: str = ""


@_event
@dataclass(frozen=True, slots=True)
class Progress(Event):
    """A model is being made ready: bytes of a download, or a load without figures."""

    type: ClassVar[str] = "progress"
    text: str
    done: int | None = None
    total: int | None = None


@_event
@dataclass(frozen=True, slots=True)
class Notice(Event):
    """One line the user should know."""

    type: ClassVar[str] = "notice"
    text: str


@_event
@dataclass(frozen=True, slots=True)
class ModelReady(Event):
    """The root model answers at `where`."""

    type: ClassVar[str] = "model_ready"
    name: str
    where: str


@_event
@dataclass(frozen=True, slots=True)
class KernelReady(Event):
    """A child kernel holds the data; `sandbox` says in words what confines it."""

    type: ClassVar[str] = "kernel_ready"
    language: str
    sandbox: str


@_event
@dataclass(frozen=True, slots=True)
class TurnStarted(Event):
    """The root model is asked for its next reply. Turns count from 1."""

    type: ClassVar[str] = "turn_started"
    turn: int


@_event
@dataclass(frozen=True, slots=True)
class ReplyDelta(Event):
    """A piece of the root model's reply, or of its reasoning."""

    type: ClassVar[str] = "reply_delta"
    turn: int
    text: str
    reasoning: bool = False


@_event
@dataclass(frozen=True, slots=True)
class ReplyRestarted(Event):
    """What has come of the root's reply is void: it was lost on its way, and is asked for again."""

    type: ClassVar[str] = "reply_restarted"
    turn: int


@_event
@dataclass(frozen=True, slots=True)
class ReplyFinished(Event):
    """The root's reply is whole. Tokens are as the server counted them, or about, where it does not say."""

    type: ClassVar[str] = "reply_finished"
    turn: int
    text: str
    finish_reason: str
    seconds: float
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None


@_event
@dataclass(frozen=True, slots=True)
class CellStarted(Event):
    """A code block starts in its child kernel. `cell` is ``turn.number``, unique in the run."""

    type: ClassVar[str] = "cell_started"
    turn: int
    cell: str
    language: str
    code: str


@_event
@dataclass(frozen=True, slots=True)
class CellOutput(Event):
    """A piece of a cell's output; `omitted` characters before it were cut out by the kernel.

    `mime` and `data` are what is shown in place of the text, if anything is; see `Rich` in kernels/base.py.
    """

    type: ClassVar[str] = "cell_output"
    cell: str
    kind: Literal["stdout", "stderr", "result", "display", "error"]
    text: str
    omitted: int = 0
    mime: RichMime | Literal[""] = ""
    data: str = ""


@_event
@dataclass(frozen=True, slots=True)
class CellFinished(Event):
    """A cell ended; `status` as in `CellResult`, `reason` in words where it is not ``ok``."""

    type: ClassVar[str] = "cell_finished"
    cell: str
    status: Literal["ok", "error", "final", "timeout", "died", "interrupted"]
    reason: str
    seconds: float


@_event
@dataclass(frozen=True, slots=True)
class SubcallStarted(Event):
    """Code asked a model; the call waits for a place. `call` counts from 1 in the run; `prompt` is whole.

    `key` names the prompt, or a child run's question and context, with all that shapes the reply (memo.py). `run` is
    the id of the child run that answers, if one does.
    """

    type: ClassVar[str] = "subcall_started"
    cell: str
    call: int
    model: str
    prompt: str
    key: str = ""
    run: str = ""


@_event
@dataclass(frozen=True, slots=True)
class SubcallSent(Event):
    """The sub-call has a place and was sent to its model."""

    type: ClassVar[str] = "subcall_sent"
    call: int


@_event
@dataclass(frozen=True, slots=True)
class SubcallFinished(Event):
    """A sub-call ended with `reply`, or with `error` in words; `seconds` since it was sent.

    `remembered` says that no model was asked: it was known from an equal call, or from the record of a run gone through
    again; `lasting`, that the same prompt would fail again. The tokens of a child run are those of its replies and of
    all that its code asked for, runs below it included.
    """

    type: ClassVar[str] = "subcall_finished"
    call: int
    reply: str
    error: str
    seconds: float
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    remembered: bool = False
    lasting: bool = False


@_event
@dataclass(frozen=True, slots=True)
class Folded(Event):
    """Turns up to `turn` left the root's chat; `summary` stands for them, with `kept` facts added that it lacked.

    Sizes in characters of the chat, before and after. `seconds` is the model's time.
    """

    type: ClassVar[str] = "folded"
    turn: int
    summary: str
    kept: list[str]
    before: int
    after: int
    seconds: float


@_event
@dataclass(frozen=True, slots=True)
class Told(Event):
    """The user added a note; the model reads it in its next turn."""

    type: ClassVar[str] = "told"
    text: str


@_event
@dataclass(frozen=True, slots=True)
class LimitsRaised(Event):
    """The user allowed the run more; `limits` holds the new values by the names of `RunSettings`."""

    type: ClassVar[str] = "limits_raised"
    limits: dict[str, float]


@_event
@dataclass(frozen=True, slots=True)
class ApprovalAsked(Event):
    """A run in steps waits for the user's word on a block that `cell` would run."""

    type: ClassVar[str] = "approval_asked"
    turn: int
    cell: str
    language: str
    code: str


@_event
@dataclass(frozen=True, slots=True)
class ApprovalGiven(Event):
    """The user's word: the block runs as it is, runs as `code`, or does not run."""

    type: ClassVar[str] = "approval_given"
    cell: str
    decision: Literal["run", "edit", "skip"]
    code: str = ""


@_event
@dataclass(frozen=True, slots=True)
class AnswerOffered(Event):
    """An answer that fulfils the schema waits for the word of whoever asked; `data` is its JSON, as in `Value`."""

    type: ClassVar[str] = "answer_offered"
    turn: int
    data: str


@_event
@dataclass(frozen=True, slots=True)
class AnswerJudged(Event):
    """The word on the answer of a turn: `error` says why it is not taken, and is empty if it is."""

    type: ClassVar[str] = "answer_judged"
    turn: int
    error: str


@_event
@dataclass(frozen=True, slots=True)
class Feedback(Event):
    """What the root model is told next, and whether it is about a reply that could not be used."""

    type: ClassVar[str] = "feedback"
    turn: int
    text: str
    trouble: bool


@_event
@dataclass(frozen=True, slots=True)
class Answered(Event):
    """The run's answer. `value_type` and `text` are for people; the value itself is kept by the run.

    With `partial` it is the best that there was when a limit ended the run, which counts as failed. `mime` and `data`
    are a picture to show in the text's place, as in `CellOutput`.
    """

    type: ClassVar[str] = "answered"
    value_type: str
    text: str
    partial: bool = False
    mime: RichMime | Literal[""] = ""
    data: str = ""


@_event
@dataclass(frozen=True, slots=True)
class RunFinished(Event):
    """The last event. `error` says what happened and what to do next where the run failed.

    The tokens are all that counted against the limits, in the runs below it too; None in these.
    """

    type: ClassVar[str] = "run_finished"
    state: Literal["done", "failed", "cancelled"]
    error: str
    seconds: float
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
