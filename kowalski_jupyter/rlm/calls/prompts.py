"""The prompts that code has models asked, and what comes of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from kowalski_jupyter.models.base import Message, Sampling, Usage
from kowalski_jupyter.rlm.calls.options import SubcallError
from kowalski_jupyter.rlm.endpoints import Endpoint
from kowalski_jupyter.rlm.protocol.thoughts import strip_thoughts
from kowalski_jupyter.rlm.record import Outcome


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as the code gave it, and what is known of it before a model is asked.

    `message` is what is sent, `key` its name for the memo, `known` what it came to before, by the memo or the record of
    the run that is gone through, and `refusal` why it cannot be sent.
    """

    text: str
    message: str
    key: str
    known: Outcome | None
    refusal: str

    @property
    def is_sent(self) -> bool:
        """Whether a model is asked."""
        return self.known is None and not self.refusal


class Reply:
    """What a model has said.

    Args:
        text: what is known that it said.

    Attributes:
        text: its last reply, without thoughts.
        usage: the tokens of all its replies, if its server counts any.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self.usage: Usage | None = None

    async def read(
        self, endpoint: Endpoint, messages: Sequence[Message], sampling: Sampling, sent: Callable[[], None]
    ) -> None:
        """Ask for one reply. `sent` is called when that is sent.

        Raises:
            ModelError: it failed.
            SubcallError: it has thoughts and no words.
        """
        pieces: list[str] = []
        usage, thought = None, False
        async with aclosing(endpoint.stream(messages, sampling, "subcall", sent)) as deltas:
            async for delta in deltas:
                if delta.restarted:
                    pieces.clear()
                    thought = False
                pieces.append(delta.text)
                thought = thought or bool(delta.reasoning)
                usage = delta.usage or usage
        if usage is not None:
            before = self.usage or Usage(0, 0)
            self.usage = Usage(
                before.prompt_tokens + usage.prompt_tokens, before.completion_tokens + usage.completion_tokens
            )
        whole = "".join(pieces)
        self.text = strip_thoughts(whole).strip()
        if not self.text and (thought or whole.strip()):
            raise SubcallError(
                f"The model only thought, and gave no reply within {sampling.max_tokens:,} tokens. Allow more with "
                "max_tokens, or ask for less at once."
            )
