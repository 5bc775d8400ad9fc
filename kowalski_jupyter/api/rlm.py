"""`RLM`: ask questions over values, from a notebook, a script, or within an event loop."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kowalski_jupyter.api.batches import Batches
from kowalski_jupyter.api.connected import told
from kowalski_jupyter.api.data import discard, pack_all
from kowalski_jupyter.api.devices import Devices
from kowalski_jupyter.api.following import Following, OnUpdate, Step
from kowalski_jupyter.api.result import Result
from kowalski_jupyter.api.runs import Runs
from kowalski_jupyter.api.schema import Schema, as_json_schema
from kowalski_jupyter.rlm.events import Event
from kowalski_jupyter.service.request import AgainRequest


class RLM(Batches, Runs, Devices):
    """A recursive language model with its settings. Nothing is started before the first run.

    Runs happen in the Jupyter server if this is one of its kernels, else in a thread of this process. All values must
    be data: text, bytes, numbers, lists, dicts, tables, arrays, or the `pathlib.Path` of a file or folder.

    Args:
        model: the root model's id, or the path of a .gguf file to embed. By default what is configured or found.
        url: base URL of an OpenAI-compatible or exo server, or several with commas, which are asked as one.
        sub_model: id of the model that answers sub-calls; by default the root model.
        max_turns: replies that the root model may give.
        timeout: seconds that a run may take.
        max_subcalls: sub-calls that a run and its child runs may make.
        max_prompt_tokens: tokens that they may send to models.
        max_completion_tokens: tokens that models may generate for them.
        depth: how deep models may ask models. 0: not; 1: code asks for plain completions; 2: it starts child runs ….
        seed: makes sampling repeatable where the model's server can do so. Code's `random` and NumPy's global generator
            start from it.
        schema: what the answer must look like: a JSON Schema as a dict, or a pydantic model class, whose instance the
            answer then is.
        profile: name of a prompt profile; by default the one that suits the model.
        prompt: text of a prompt of your own, instead of a profile.
        images: whether the root model is shown the pictures that its code draws; by default where its name says that it
            sees.
        fresh: ask models again even where an equal sub-call was answered before.
        reuse: take replies to equal sub-calls of earlier runs too.
        allow: what else code may reach: ``["net"]`` opens the network, this machine's own services included.
        mounts: paths of further files and folders that code may read, as it finds them below ``/data``.
        step: called with language and code of each block before it runs; returns the code to run, or None to skip
            it. True: each block waits for `decide`. False: not even where the run that `resume` goes on with did.
        on_update: called with a run's document (docs/run-format.md) as it grows, about ten times a second, in the
            thread that asked (in one of its own for `batch`).

    Raises:
        ValueError: a setting is wrong; one line that says what is right.
    """

    def __init__(
        self,
        model: str | None = None,
        url: str | None = None,
        *,
        sub_model: str | None = None,
        max_turns: int | None = None,
        timeout: float | None = None,
        max_subcalls: int | None = None,
        max_prompt_tokens: int | None = None,
        max_completion_tokens: int | None = None,
        depth: int | None = None,
        seed: int | None = None,
        schema: Schema | None = None,
        profile: str | None = None,
        prompt: str | None = None,
        images: bool | None = None,
        fresh: bool | None = None,
        reuse: bool | None = None,
        allow: Sequence[str] | None = None,
        mounts: Sequence[str | Path] | None = None,
        step: Step | bool | None = None,
        on_update: OnUpdate | None = None,
    ) -> None:
        super().__init__(
            {
                "model": model,
                "url": url,
                "sub_model": sub_model,
                "max_turns": max_turns,
                "timeout": timeout,
                "max_subcalls": max_subcalls,
                "max_prompt_tokens": max_prompt_tokens,
                "max_completion_tokens": max_completion_tokens,
                "depth": depth,
                "seed": seed,
                "schema": None if schema is None else as_json_schema(schema),
                "profile": profile,
                "prompt": prompt,
                "images": images,
                "fresh": fresh,
                "reuse": reuse,
                "allow": allow,
                "mounts": mounts,
                "step": None if step is None else bool(step),
            },
            schema,
            step,
            on_update,
        )

    # -- asking ----------------------------------------------------------------------------------------

    def run(self, question: str, context: Any = None, /, **data: Any) -> Result:
        """Ask a question and wait for the answer. Ctrl+C stops the run.

        Args:
            question: taken as it is.
            context: a value that the model's code finds as `context`.
            data: further values, each under its own name. With no value at all the model is asked directly.

        Raises:
            RlmError: there is no answer; `partial` has the best that there was.
        """
        with told():
            client = self._connected()
            request = self._request(client, question, context, data)
            return self._follow(client, client.run(request), request.data)

    async def arun(self, question: str, context: Any = None, /, **data: Any) -> Result:
        """Do what `run` does without blocking the event loop. Cancelling the task stops the run."""
        following = Following(self._on_update, self._step, self._schema)
        sent = await self._to_end(following, question, context, data)
        with told():
            value = None if sent is None else sent.value()
        return following.conclude(value, self._schema)

    async def stream(self, question: str, context: Any = None, /, **data: Any) -> AsyncIterator[Event]:
        """Do what `run` does, giving the run's events as they happen (kowalski_jupyter/rlm/events.py).

        Leaving the iterator early cancels the run. The last event is a `RunFinished`; `attach` has the result.

        Raises:
            RlmError: the run could not be started, or its service went away.
        """
        following = Following(self._on_update, self._step, self._schema)
        async with self._opened(question, context, data, following) as (asked, batches):
            async for batch in batches:
                following.take(batch)
                for event in batch:
                    yield event
                await self._decide(asked, following)

    def start(self, question: str, context: Any = None, /, **data: Any) -> str:
        """Start a run that goes on by itself, and return its id at once; `attach` waits for it."""
        with told():
            client = self._connected()
            request = self._request(client, question, context, data, detach=True)
            following = Following(self._on_update)
            try:
                with client.run(request) as batches:
                    for batch in batches:
                        following.take(batch)
                        if following.run:
                            break
            except BaseException:
                if not following.run:
                    discard(request.data)
                raise
            return following.run

    # -- runs that there are ---------------------------------------------------------------------------

    def attach(self, run_id: str) -> Result:
        """Wait for a run and return its result; at once if it has ended. Ctrl+C stops waiting, not the run."""
        with told():
            client = self._connected()
            return self._follow(client, client.follow(run_id), (), cancels=False)

    def resume(
        self, run_id: str, data: Mapping[str, Any] | None = None, *, turn: int | None = None, reply: str | None = None
    ) -> Result:
        """Go on with a run that was interrupted, as a new run: what it had paid for is not paid again.

        Args:
            run_id: the recorded run.
            data: the values that it was asked about, by name; they are not kept with the record.
            turn: go on from this turn, asking the model anew, rather than from the first that has no reply.
            reply: with `turn`: branch off as if the model had said this in that turn.
        """
        with told():
            client = self._connected()
            packed = pack_all(data or {}, client.info.data_root)
            request = AgainRequest(packed, turn, reply, self._followed)
            return self._follow(client, client.resume(run_id, request), packed)

    def replay(self, run_id: str, data: Mapping[str, Any] | None = None) -> Result:
        """Go through a run again with the replies of its record, as a new run that asks no model.

        What differs from the record stands in the notices of the result's document.
        """
        with told():
            client = self._connected()
            packed = pack_all(data or {}, client.info.data_root)
            return self._follow(client, client.replay(run_id, AgainRequest(packed)), packed)
