"""Asks fabric-rlm, with its own engine."""

from __future__ import annotations

from fabric_rlm import RLM
from line import arguments, serve

url, options = arguments()
model = {"model": "openai/scripted", "api_base": f"{url}/v1", "api_key": "none", "cache": False}


def ask(question: str, context: str) -> str:
    """Run once; it returns failures rather than raising them."""
    engine = RLM.task(
        question,
        inputs={"context": context},
        outputs={"answer": str},
        lm=model,
        sub_lm=model,
        max_turns=options.get("max_turns", 20),  # its own default, as is the limit of a cell
        timeout=options.get("cell_timeout", 300.0),
    )
    result = engine.run()
    if not result.submitted or not result.payload:
        raise RuntimeError(f"no answer: {result.failure_reason}")
    return str(result.payload["answer"])


serve(ask)
