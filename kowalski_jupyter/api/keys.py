"""By what a batch's tasks are known to be the same in a later call."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from kowalski_jupyter.api.batch import Task, read_task
from kowalski_jupyter.api.result import RlmError
from kowalski_jupyter.kernels.fingerprint import Fingerprint, PackError, fingerprint


def task_keys(tasks: Sequence[Task], options: Mapping[str, Any]) -> list[str]:
    """Return a key for each task; equal ones have the same."""
    seen: dict[int, Fingerprint] = {}  # many tasks may be about the same large value
    keys = []
    for task in tasks:
        said = json.dumps([_known(task, seen), options], sort_keys=True, default=str)
        keys.append(blake2b(said.encode(), digest_size=16).hexdigest())
    return keys


def _known(task: Task, seen: dict[int, Fingerprint]) -> list[Any]:
    """Return what there is to know of a task; of one that cannot be run, why."""
    try:
        question, data = read_task(task)
        for name, value in data.items():
            if id(value) not in seen:
                seen[id(value)] = fingerprint(name, value)
    except (RlmError, PackError, OSError) as error:
        return [str(error)]
    return [question, [[name, seen[id(value)]] for name, value in data.items()]]
