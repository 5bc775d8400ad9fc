"""What a run and its child runs may spend, and the end of their work when it is spent."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from kowalski_jupyter.models.base import Usage
from kowalski_jupyter.rlm.settings import RunSettings

_SUBCALLS_PER_PLACE = 100


class LimitReachedError(Exception):
    """A limit of the run is reached. The message says which and how to allow more.

    Attributes:
        which: the limit, in words for whoever cannot allow more.
    """

    def __init__(self, what: str, most: float, how: str) -> None:
        super().__init__(f"No answer: the limit of {what} is reached ({most:,.10g}). {how}")
        self.which = f"{what} ({most:,.10g})"


class SubcallsRefusedError(Exception):
    """More sub-calls than are left. The message is for the model's code, with the arithmetic."""


@dataclass(slots=True)
class _Limits:
    """The limits in force, None where there is none. The user may raise them while the run goes on."""

    max_turns: float
    max_seconds: float
    max_subcalls: float
    max_prompt_tokens: float | None
    max_completion_tokens: float | None
    max_errors: float


_COUNTED = {
    "max_turns": ("turns", "--max-turns N"),
    "max_seconds": ("seconds", "--timeout SECONDS"),
    "max_subcalls": ("sub-calls", "--max-subcalls N"),
    "max_prompt_tokens": ("prompt tokens", "--max-tokens-in N"),
    "max_completion_tokens": ("generated tokens", "--max-tokens-out N"),
    "max_errors": ("failed turns in a row", ""),
}
"""What each limit counts, and the option that allows more if there is one, by the names of `RunSettings`."""


class Budget:
    """The one purse of a run and all runs below it. Belongs to one event loop.

    Args:
        settings: the limits.
        again: the command behind which an option allows more, once a limit has ended the run.
        on_reached: called, once, as soon as a limit is reached while work is in flight: it stops that work.

    Attributes:
        reached: what ended the run, or None.
    """

    def __init__(self, settings: RunSettings, again: str, on_reached: Callable[[], None]) -> None:
        self._limits = _Limits(
            settings.max_turns,
            settings.max_seconds,
            settings.max_subcalls or math.inf,
            settings.max_prompt_tokens,
            settings.max_completion_tokens,
            settings.max_errors,
        )
        self._asks_models = settings.depth > 0
        self._again = again
        self._on_reached = on_reached
        self._subcalls = 0
        self._prompt_tokens = 0
        self._completion_tokens = 0
        self._loop = asyncio.get_running_loop()
        self._spent_before = 0.0
        self._running_since: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.reached: LimitReachedError | None = None

    def set_width(self, width: int) -> None:
        """Derive the limit of sub-calls, where the user has set none, from what the model works on at a time."""
        if self._limits.max_subcalls == math.inf:
            self._limits.max_subcalls = _SUBCALLS_PER_PLACE * width

    # -- time ------------------------------------------------------------------------------------------

    def start_clock(self) -> None:
        """Begin, or go on, to count seconds."""
        self._running_since = self._loop.time()
        self._arm()

    def stop_clock(self) -> None:
        """Count no further seconds."""
        self._spent_before = self.seconds
        self._running_since = None
        if self._timer is not None:
            self._timer.cancel()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let time pass that is not the run's, as that in which it waits for the user."""
        self.stop_clock()
        try:
            yield
        finally:
            self.start_clock()

    @property
    def seconds(self) -> float:
        """What the run has taken so far."""
        running = 0.0 if self._running_since is None else self._loop.time() - self._running_since
        return self._spent_before + running

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        left = max(0.0, self._limits.max_seconds - self.seconds)
        self._timer = self._loop.call_later(left, self._reach, "max_seconds")

    # -- spending --------------------------------------------------------------------------------------

    def check_turn(self, turn: int, errors: int) -> None:
        """Say whether a run may begin its turn number `turn` after so many failed ones in a row.

        Raises:
            LimitReachedError: it may not.
        """
        if turn > self._limits.max_turns:
            raise self._error("max_turns")
        if errors >= self._limits.max_errors:
            raise self._error("max_errors")

    def book_subcalls(self, number: int) -> None:
        """Take sub-calls out of the budget before the first of them is sent.

        Raises:
            SubcallsRefusedError: there are fewer left; none is taken.
        """
        left = int(self._limits.max_subcalls) - self._subcalls
        if number > left:
            raise SubcallsRefusedError(
                f"That is {number:,} model calls, and this run has {left:,} of {self._limits.max_subcalls:,.0f} left: "
                f"{number - left:,} too many. Do it with code alone, put several texts into one prompt, or pick the "
                "few parts that need judgement with code first."
            )
        self._subcalls += number

    def count_piece(self) -> None:
        """Count a piece of a reply that is coming in as a token, until `spend` is told the true number."""
        self._completion_tokens += 1
        self._check_tokens()

    def spend(self, usage: Usage, pieces: int) -> None:
        """Count the tokens of a reply of which so many pieces were counted while it came."""
        self._prompt_tokens += usage.prompt_tokens
        self._completion_tokens += usage.completion_tokens - pieces
        self._check_tokens()

    @property
    def spent(self) -> Usage:
        """The tokens that were counted so far, in all runs of the tree."""
        return Usage(self._prompt_tokens, self._completion_tokens)

    def _check_tokens(self) -> None:
        for name, spent in (
            ("max_prompt_tokens", self._prompt_tokens),
            ("max_completion_tokens", self._completion_tokens),
        ):
            limit = getattr(self._limits, name)
            if limit is not None and spent >= limit:
                self._reach(name)

    def raise_limits(self, limits: Mapping[str, float]) -> None:
        """Put higher limits in force.

        Raises:
            ValueError: one of them is unknown or not higher.
        """
        for name, value in limits.items():
            what, option = _COUNTED.get(name, ("", ""))
            if not option:
                raise ValueError(f"A run has no limit {name!r} that can be raised.")
            now = getattr(self._limits, name)
            if now is None:
                raise ValueError(f"This run has no limit of {what}, so there is none to raise.")
            if now == math.inf:
                raise ValueError(f"The limit of {what} depends on the model, which is not ready yet. Raise it then.")
            if value <= now:
                raise ValueError(f"The limit of {what} is {now:,.10g} already. Give a higher one.")
        for name, value in limits.items():
            setattr(self._limits, name, value)
        if self._running_since is not None:
            self._arm()

    # -- what is left ----------------------------------------------------------------------------------

    def turns_left(self, turn: int) -> int:
        """Return how many turns may follow the one of that number."""
        return max(0, int(self._limits.max_turns) - turn)

    def left(self, turn: int) -> str:
        """Return in one line what is left after a turn, for the model."""
        limits = self._limits
        tokens = [
            f"{limit - spent:,.0f} {name} tokens"
            for limit, spent, name in (
                (limits.max_prompt_tokens, self._prompt_tokens, "prompt"),
                (limits.max_completion_tokens, self._completion_tokens, "generated"),
            )
            if limit is not None
        ]
        calls = [f"{limits.max_subcalls - self._subcalls:,.0f} model calls"] if self._asks_models else []
        parts = [
            f"{self.turns_left(turn)} turns",
            *calls,
            *tokens,
            f"{max(0.0, limits.max_seconds - self.seconds):.0f} s",
        ]
        return f"Left: {', '.join(parts)}."

    # -- the end ---------------------------------------------------------------------------------------

    def _reach(self, name: str) -> None:
        if self.reached is None:
            self.reached = self._error(name)
            self._on_reached()

    def _error(self, name: str) -> LimitReachedError:
        what, option = _COUNTED[name]
        how = f"`{self._again} {option}` allows more." if option else "Ask for less at once, or use a larger model."
        return LimitReachedError(what, getattr(self._limits, name), how)
