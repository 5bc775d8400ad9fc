"""Asks rlms, in its default environment ``local``."""

from __future__ import annotations

from line import serve
from rlms_engine import make_engine

engine = make_engine("local")
serve(lambda question, context: engine.completion(context, root_prompt=question).response)
