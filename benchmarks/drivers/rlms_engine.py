"""What the drivers of rlms share."""

from __future__ import annotations

from typing import Any

from line import arguments
from rlm import RLM


def make_engine(environment: str, **settings: Any) -> RLM:
    """Return an engine in one of its environments, with the limits asked for."""
    url, options = arguments()
    return RLM(
        backend="openai",
        backend_kwargs={"model_name": "scripted", "base_url": f"{url}/v1", "api_key": "none"},
        environment=environment,
        environment_kwargs=settings,
        max_depth=options.get("depth", 1),
        max_iterations=options.get("max_turns", 30),  # its own default
        max_timeout=options.get("timeout"),
        max_errors=options.get("max_errors"),
    )
