"""One chat completion inside the cluster."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass, field
from typing import Any

from kowalski_jupyter.exo_sim.answer import Answer
from kowalski_jupyter.exo_sim.records import Record
from kowalski_jupyter.exo_sim.replies import text_of

DEFAULT_MAX_TOKENS = 32168


@dataclass(frozen=True, slots=True)
class RequestFault:
    """What goes wrong with a request after so many tokens, and with which: of a node, of a model."""

    kind: str
    after: int = 0
    node: int | None = None
    model: str | None = None


@dataclass(eq=False, slots=True)
class Job:
    """A request on its way through the cluster.

    `status` is that of its task in `/state`; `arrived` is the loop's time.
    """

    record: Record
    payload: dict[str, Any]
    answer: Answer
    arrived: float
    fault: RequestFault | None = None
    status: str = "Pending"
    task_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    abandoned: bool = False

    @property
    def max_tokens(self) -> int:
        """Return the limit, or exo's own."""
        limit = self.payload.get("max_tokens")
        return limit if isinstance(limit, int) and limit > 0 else DEFAULT_MAX_TOKENS

    def count_prompt(self) -> int:
        """Return roughly how many tokens the prompt takes."""
        text = " ".join(text_of(m.get("content")) for m in self.payload["messages"] if isinstance(m, dict))
        return max(1, len(re.findall(r"\w+|[^\w\s]", text)))

    def crash_reason(self) -> str | None:
        """Return what exo's runner says when this request kills it; exo has such words, and fails at no messages."""
        if not self.payload["messages"]:
            return "list index out of range"
        for message in self.payload["messages"]:
            if isinstance(message, dict) and message.get("role") != "system":
                text = text_of(message.get("content"))
                if "EXO RUNNER MUST FAIL" in text:
                    return "Artificial runner exception - for testing purposes only."
                if "EXO RUNNER MUST OOM" in text:
                    return "Runner shutdown before completing command (signal=9 (Killed))"
                break
        return None

    def task(self) -> dict[str, Any]:
        """Return the task as `/state` has it, prompt and all."""
        given = self.payload.get
        messages = self.payload["messages"]
        params = {
            "model": self.record.model,
            "input": [{"role": m.get("role"), "content": m.get("content")} for m in messages if isinstance(m, dict)],
            "instructions": None,
            "max_output_tokens": given("max_tokens"),
            "temperature": given("temperature"),
            "top_p": given("top_p"),
            "stream": self.record.stream,
            "tools": given("tools"),
            "bench": False,
            "use_prefix_cache": False,
            "top_k": given("top_k"),
            "stop": given("stop"),
            "seed": given("seed"),
            "chat_template_messages": messages,
            "reasoning_effort": given("reasoning_effort"),
            "enable_thinking": given("enable_thinking"),
            "logprobs": bool(given("logprobs")),
            "top_logprobs": given("top_logprobs"),
            "min_p": given("min_p"),
            "repetition_penalty": given("repetition_penalty"),
            "repetition_context_size": given("repetition_context_size"),
            "presence_penalty": given("presence_penalty"),
            "frequency_penalty": given("frequency_penalty"),
            "images": [],
            "image_hashes": {},
            "prefill_endpoint": None,
        }
        head = {"taskId": self.task_id, "taskStatus": self.status, "instanceId": self.record.instance}
        rest = {"commandId": self.record.id, "taskParams": params, "errorType": None, "errorMessage": None}
        return {"TextGeneration": head | rest}
