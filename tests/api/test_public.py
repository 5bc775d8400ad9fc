"""What is public: names, signatures, and what importing them costs."""

from __future__ import annotations

import inspect
import subprocess
import sys

import kowalski_jupyter
from kowalski_jupyter import RLM, Result, RlmError

METHODS = {
    "run": "(self, question: 'str', context: 'Any' = None, /, **data: 'Any') -> 'Result'",
    "arun": "(self, question: 'str', context: 'Any' = None, /, **data: 'Any') -> 'Result'",
    "stream": "(self, question: 'str', context: 'Any' = None, /, **data: 'Any') -> 'AsyncIterator[Event]'",
    "batch": "(self, tasks: 'Iterable[Task]', *, max_parallel: 'int' = 4, "
    "priorities: 'Sequence[int] | None' = None, name: 'str | None' = None, "
    "on_progress: 'Callable[[Progress], None] | None' = None) -> 'Results'",
    "start": "(self, question: 'str', context: 'Any' = None, /, **data: 'Any') -> 'str'",
    "attach": "(self, run_id: 'str') -> 'Result'",
    "resume": "(self, run_id: 'str', data: 'Mapping[str, Any] | None' = None, *, turn: 'int | None' = None, "
    "reply: 'str | None' = None) -> 'Result'",
    "replay": "(self, run_id: 'str', data: 'Mapping[str, Any] | None' = None) -> 'Result'",
    "cancel": "(self, run_id: 'str') -> 'None'",
    "tell": "(self, run_id: 'str', note: 'str') -> 'None'",
    "allow": "(self, run_id: 'str', **limits: 'float') -> 'None'",
    "decide": "(self, run_id: 'str', decision: \"Literal['run', 'edit', 'skip']\", code: 'str' = '') -> 'None'",
    "events": "(self, run_id: 'str') -> 'list[Event]'",
    "document": "(self, run_id: 'str') -> 'Document'",
    "export": "(self, run_id: 'str', form: \"Literal['notebook', 'jsonl']\") -> 'bytes'",
    "devices": "(self) -> 'dict[str, Any]'",
    "models": "(self) -> 'list[dict[str, Any]]'",
    "load": "(self, model: 'str', *, sharding: \"Literal['auto', 'pipeline', 'tensor']\" = 'auto', "
    "min_nodes: 'int' = 1, on_progress: 'OnProgress | None' = None) -> 'dict[str, Any]'",
    "unload": "(self, model: 'str') -> 'int'",
    "connect": "(self) -> 'str'",
    "status": "(self) -> 'dict[str, Any]'",
    "close": "(self) -> 'None'",
}

SETTINGS = [
    *("model", "url", "sub_model", "max_turns", "timeout", "max_subcalls", "max_prompt_tokens"),
    *("max_completion_tokens", "depth", "seed", "schema", "profile", "prompt", "images", "fresh", "reuse"),
    *("allow", "mounts", "step", "on_update"),
]
HEAVY = {"IPython", "jupyter_client", "jupyter_server", "jsonschema", "pandas", "tornado", "zmq"}


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_the_public_names() -> None:
    assert kowalski_jupyter.__all__ == ["RLM", "Result", "RlmError", "__version__", "load_ipython_extension"]
    assert set(kowalski_jupyter.__all__) <= set(dir(kowalski_jupyter))
    assert public(RLM) == set(METHODS)
    assert public(Result) == {"document", "run", "seconds", "text", "usage", "value"}
    assert public(RlmError) - public(Exception) == set()
    assert vars(RlmError("no")) == {"partial": None, "document": None}


def test_the_public_signatures() -> None:
    assert {name: str(inspect.signature(getattr(RLM, name))) for name in METHODS} == METHODS
    assert list(inspect.signature(RLM).parameters) == SETTINGS
    positional = [p.name for p in inspect.signature(RLM).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional == ["model", "url"]
    assert all(p.default in (None, False) for p in inspect.signature(RLM).parameters.values())


def test_every_public_thing_says_what_it_is() -> None:
    assert all(inspect.getdoc(getattr(RLM, name)) for name in METHODS)
    said = inspect.getdoc(RLM) or ""
    assert all(f"{setting}:" in said for setting in SETTINGS)


def test_importing_takes_what_it_needs_and_no_more() -> None:
    code = (
        "import sys, kowalski_jupyter\n"
        "before = set(sys.modules)\n"
        "from kowalski_jupyter import RLM\n"
        "RLM()\n"
        "print(*sorted(m for m in before if m.startswith('kowalski_jupyter')))\n"
        f"print(*{HEAVY} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert said.splitlines() == ["kowalski_jupyter kowalski_jupyter._version", ""]


def test_a_name_that_is_not_there_is_told() -> None:
    assert not hasattr(kowalski_jupyter, "rlm_run")
