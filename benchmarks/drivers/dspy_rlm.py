"""Asks ``dspy.RLM``, with its interpreter in a process of its own (its default needs Deno)."""

from __future__ import annotations

from functools import partial

import dspy
from dspy.primitives.local_interpreter import LocalInterpreter
from line import arguments, serve

url, options = arguments()
dspy.configure(lm=dspy.LM("openai/scripted", api_base=f"{url}/v1", api_key="none", cache=False))
engine = dspy.RLM(
    "context, question -> answer",
    max_iters=options.get("max_turns", 20),  # its own default, as is that of the calls
    max_llm_calls=options.get("max_subcalls", 50),
    interpreter_factory=partial(LocalInterpreter, execution_timeout=options.get("cell_timeout")),
)
serve(lambda question, context: engine(context=context, question=question).answer)
