"""The one seam between a run and whatever answers its prompts.

Everything that can complete a chat (an OpenAI-compatible URL, exo, Ollama, the embedded model, a
script in a test) is a `ChatModel`. Nothing above this line knows HTTP; nothing below knows runs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a chat. `images` are data URLs, for models that see pictures."""

    role: Role
    content: str
    images: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the server counted them."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Delta:
    """A piece of a streamed reply.

    Only the last delta of a reply has a `finish_reason` (``stop``, ``length`` …); `usage` may come
    with it or be missing altogether, since some servers never send it. `reply_id` is the server's name for the
    reply, where it gives one. With `restarted`, all that came before is void: the reply begins anew elsewhere. A delta
    may hold nothing at all: then the server has got on with reading the prompt.
    """

    text: str = ""
    reasoning: str = ""
    finish_reason: str | None = None
    usage: Usage | None = None
    reply_id: str = field(default="", compare=False)
    restarted: bool = False


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to sample one reply. Always sent in full: servers' own defaults differ wildly.

    exo, for one, defaults to 32168 tokens and to seed 42 for every request.
    """

    max_tokens: int = 1024
    temperature: float = 0.2
    seed: int = 0
    stop: tuple[str, ...] = ()


class ChatModel(Protocol):
    """One model on one server, ready to be asked."""

    @property
    def name(self) -> str:
        """The model's id, as its server knows it."""
        ...

    @property
    def where(self) -> str:
        """Where it runs, in words for the user: ``this machine (embedded)``, ``exo at localhost:52415``."""
        ...

    @property
    def context_tokens(self) -> int | None:
        """The served context window in tokens, or None if the server does not say."""
        ...

    @property
    def width(self) -> int:
        """How many requests the server really works on at a time. More would only queue there."""
        ...

    def stream(self, messages: Sequence[Message], sampling: Sampling) -> AsyncGenerator[Delta, None]:
        """Send one request and yield the reply as it comes.

        A reply has succeeded when a delta with a `finish_reason` was yielded; every other end is a
        `ModelError`. Closing the generator (or cancelling the task that iterates it) closes the HTTP
        stream at once, so that the server stops generating.

        Raises:
            ModelError: the reply failed; the text says what to do next.
        """
        ...

    async def aclose(self) -> None:
        """Close connections and stop what was started for this model. The service calls it at its end."""
        ...


@runtime_checkable
class ReadsAhead(Protocol):
    """A model that is slow to read and remembers what it has read, so that it pays to begin before a chat comes."""

    async def read_ahead(self, messages: Sequence[Message], report: Report) -> None:
        """Read the messages that every chat will start with. Never raises: it is for speed alone."""
        ...


JobKind = Literal["root", "subcall", "fold"]
"""What a reply is for: a turn of the loop, a sub-call, a summary of the chat."""


def _unheard(_: str) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a request is for, and who wants to know what becomes of it.

    Attributes:
        kind: decides where it is sent, and what comes first where it has to wait.
        sent: called when it is sent the first time.
        tell: called with a line for the user.
    """

    kind: JobKind = "subcall"
    sent: Callable[[], None] = lambda: None
    tell: Callable[[str], None] = _unheard


@runtime_checkable
class Routes(Protocol):
    """A model that is several: it sends each request where there is room, and holds it while there is none."""

    @property
    def routes(self) -> bool:
        """Whether it really is; else it is asked like any other."""
        ...

    @property
    def gone(self) -> bool:
        """Whether nothing of it answers any more, so that a new run should look for another one."""
        ...

    def route(self, messages: Sequence[Message], sampling: Sampling, job: Job) -> AsyncGenerator[Delta, None]:
        """Do what `ChatModel.stream` does, however many are sent at a time."""
        ...


def routing(model: object) -> Routes | None:
    """Return a model that routes, or None for one that is asked like any other."""
    return model if isinstance(model, Routes) and model.routes else None


class ModelError(Exception):
    """A model could not be had or did not answer. The message is for the user: what and what next.

    Attributes:
        reason: what happened in half a line, where it is known better than by the kind of error; else empty.
        available: the models that can be asked instead, where that is known.
    """

    reason = ""
    available: Sequence[str] = ()


class ModelUnreachableError(ModelError):
    """Nothing answers at the address."""


class ModelRefusedError(ModelError):
    """The server answered with an error: wrong model id, prompt too long, bad key ….

    Attributes:
        status: of its answer; 0 where it has none.
    """

    status = 0


class ModelBusyError(ModelRefusedError):
    """The server has no room for the request now.

    Attributes:
        after: seconds after which it wants to be asked again; 0 where it does not say.
    """

    def __init__(self, message: str, after: float = 0.0) -> None:
        super().__init__(message)
        self.after = after


class ModelRejectedError(ModelRefusedError):
    """The request itself cannot be answered there, too long or not allowed: sent again, it would be refused again."""


class ModelTooLongError(ModelRejectedError):
    """The prompt does not fit the model's window.

    Args:
        text: what and what next, for who can ask about less.
        what: what happened alone.
        window: the window in tokens, as far as the server states it.
    """

    def __init__(self, text: str, what: str, window: int | None) -> None:
        super().__init__(text)
        self.what = what
        self.window = window


class ModelStalledError(ModelError):
    """The server went silent, or sends only keep-alives, for longer than its clock allows."""


class ModelCutOffError(ModelError):
    """The reply ended without a `finish_reason`: what came is not a whole reply."""


Report = Callable[[str, int | None, int | None], None]
"""Called with ``(text, done, total)`` while a model is made ready: a download in bytes, a load with None."""
