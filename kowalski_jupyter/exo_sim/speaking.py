"""How a runner says a reply: at its pace, to its end or to the point where something goes wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from kowalski_jupyter.exo_sim.job import Job
from kowalski_jupyter.exo_sim.plan import Model, Reply
from kowalski_jupyter.exo_sim.replies import tokens

KILLED: Final = "Runner shutdown before completing command (signal=9 (Killed))"
"""What exo says to the requests of a runner that was killed."""

CANCEL_EVERY: Final = 100
"""Tokens between two looks of a runner whether anybody still wants its reply."""

Until = Callable[[float, float], Awaitable[float]]
"""Waits until so many seconds after a moment of the loop's time, and returns that moment."""


class Speech:
    """One reply being said. `slow` multiplies its times, `prompt` is how many tokens the question has."""

    def __init__(self, job: Job, model: Model, reply: Reply, slow: float, prompt: int) -> None:
        self._prompt = prompt
        self._job = job
        self._model = model
        self._reply = reply
        self._delay = reply.delay * slow
        self._period = slow / reply.tokens_per_second if reply.tokens_per_second else 0.0
        self._thoughts = tokens(reply.reasoning)
        pieces = tokens(reply.text)
        limit = max(1, job.max_tokens - len(self._thoughts))
        self._cut_short = len(pieces) >= limit
        self._pieces, self._last = (pieces[: limit - 1], pieces[limit - 1]) if self._cut_short else (pieces, "")

    async def say(self, began: float, until: Until) -> float:
        """Say it; return when it ended by its own pace, in the loop's time."""
        prompt, answer, fault = self._prompt, self._job.answer, self._job.fault
        at = await until(began, self._delay)
        answer.prefill(max(0, prompt - 1), prompt)
        answer.prefill(prompt, prompt)
        if not self._period and fault is None:
            answer.tokens(*self._thoughts, reasoning=True)
            answer.tokens(*self._pieces)
        else:
            words = [(thought, True) for thought in self._thoughts] + [(piece, False) for piece in self._pieces]
            for said, (word, reasoning) in enumerate(words):
                if fault is not None and said == fault.after:
                    break
                at = await until(at, self._period)
                if self._job.abandoned and said % CANCEL_EVERY == 0:
                    return at
                answer.tokens(word, reasoning=reasoning)
        if fault is not None:
            self._fail(fault.kind)
            return at
        at = await until(at, self._period)
        self._finish(at - began)
        return at

    def _fail(self, kind: str) -> None:
        match kind:
            case "zombie_stream":
                self._job.answer.zombify()
            case "empty_200":
                self._job.answer.empty()
            case "partial_json":
                self._job.answer.cut()
            case _:
                self._job.answer.error(KILLED)

    def _finish(self, took: float) -> None:
        prompt = self._prompt + 1
        count = len(self._thoughts) + len(self._pieces) + 1
        usage: dict[str, Any] = {
            "prompt_tokens": prompt,
            "completion_tokens": count,
            "total_tokens": prompt + count,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {
                "reasoning_tokens": len(self._thoughts),
                "audio_tokens": 0,
                "accepted_prediction_tokens": 0,
                "rejected_prediction_tokens": 0,
            },
        }
        stats: dict[str, Any] = {
            "prompt_tps": prompt / max(self._delay, 1e-3),
            "generation_tps": count / max(took - self._delay, 1e-3),
            "prompt_tokens": prompt,
            "generation_tokens": count,
            "peak_memory_usage": {"in_bytes": self._model.size},
            "prefix_cache_hit": "none",
        }
        self._job.answer.finish(self._last, "length" if self._cut_short else self._reply.finish, usage, stats)
