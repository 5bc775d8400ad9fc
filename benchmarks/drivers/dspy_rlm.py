"""Asks ``dspy.RLM``, with its interpreter in a process of its own (its default needs Deno)."""

from __future__ import annotations

import sys

import dspy
from dspy.primitives.local_interpreter import LocalInterpreter
from line import serve

dspy.configure(lm=dspy.LM("openai/scripted", api_base=f"{sys.argv[1]}/v1", api_key="none", cache=False))
engine = dspy.RLM("context, question -> answer", max_llm_calls=10_000, interpreter_factory=LocalInterpreter)

serve(lambda question, context: engine(context=context, question=question).answer)
