"""The limits of a run and how its models are asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kowalski_jupyter.kernels.base import Access


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Times in seconds; `*_tokens` in tokens of the model; `output_chars` is what a turn's outputs may take.

    A limit of None is no limit, but for `max_subcalls`, where it means a hundred for each request that the model
    works on at a time. Sub-calls, tokens and time count for a run and its child runs together; `max_turns` is for each
    run, and `max_errors` for failed turns in a row of one.

    `depth` is how deep models may ask models: 1 lets a run's code ask for plain completions, 2 lets it start
    child runs, whose code may do what is left. `sub_model` is the id of the model that answers sub-calls, or empty for
    the root's own. `prompt` is the text of an opening of the user's own, or empty for the one of `profile`, which is
    chosen by the model's name where it is empty. `images` says whether the root model sees pictures; None to go by its
    name. `judged` says that whoever asked follows the run and has a word on its answer. `allow` (``net``) and `mounts`
    (paths) widen the sandbox.
    """

    max_turns: int = 20
    max_seconds: float = 900.0
    max_subcalls: int | None = None
    max_prompt_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_errors: int = 8
    depth: int = 1
    seed: int = 0
    temperature: float = 0.2
    reply_tokens: int | None = None
    subcall_tokens: int = 512
    output_chars: int | None = None
    sub_model: str = ""
    profile: str = ""
    prompt: str = ""
    images: bool | None = None
    step: bool = False
    judged: bool = False
    fresh: bool = False
    allow: tuple[str, ...] = ()
    mounts: tuple[str, ...] = ()

    @property
    def access(self) -> Access:
        """What the run's code may reach besides its data."""
        return Access("net" in self.allow, tuple(map(Path, self.mounts)))
