"""Asks rlms, in its environment ``ipython`` with a kernel in a process of its own."""

from __future__ import annotations

from line import arguments, serve
from rlms_engine import make_engine

_, options = arguments()
engine = make_engine("ipython", kernel_mode="subprocess", cell_timeout=options.get("cell_timeout"))
serve(lambda question, context: engine.completion(context, root_prompt=question).response)
