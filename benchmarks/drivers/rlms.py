"""Asks rlms, in its environment ``ipython`` with a kernel in a process of its own."""

from __future__ import annotations

import sys

from line import serve
from rlm import RLM

engine = RLM(
    backend="openai",
    backend_kwargs={"model_name": "scripted", "base_url": f"{sys.argv[1]}/v1", "api_key": "none"},
    environment="ipython",
    environment_kwargs={"kernel_mode": "subprocess"},
)

serve(lambda question, context: engine.completion(context, root_prompt=question).response)
