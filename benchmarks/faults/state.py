"""What the code's variables must do from turn to turn, and what the data must be."""

from __future__ import annotations

from benchmarks.faults.case import Case, Root, answers, codes
from benchmarks.implementations import Implementation
from tests.support.scripted_server import Reply

_FINAL_NAMES = {"ours": "FINAL", "rlms": "answer", "rlms-local": "answer", "dspy": "SUBMIT", "fabric": "SUBMIT"}


def _overwritten(implementation: Implementation) -> list[Reply]:
    overwrite = f"{_FINAL_NAMES[implementation.name]} = {{'note': 'a name like any other'}}"
    return [Reply(implementation.write(code)) for code in (overwrite, implementation.finish("'right'"))]


def _in_bare_except() -> Root:
    def root(implementation: Implementation) -> list[Reply]:
        finish = implementation.finish("'first'").replace("\n", "\n    ")
        code = f"try:\n    {finish}\nexcept:\n    pass\n"
        return [Reply(implementation.write(code)), Reply(implementation.write(implementation.finish("'second'")))]

    return root


CASES = (
    Case(
        "stale-globals",
        "A function sees what a later turn has assigned to a global.",
        codes("k = 1\ndef f():\n    return k", "k = 2", finish="f()"),
        answers("2"),
    ),
    Case(
        "underscore-names",
        "A name with a leading underscore lives on in the next turn.",
        codes("_kept = 5", value="_kept"),
        answers("5"),
    ),
    Case(
        "deleted-names",
        "A name that was deleted is gone in the next turn.",
        codes("x = 1", "del x", value="x"),
        answers("lost"),
    ),
    Case(
        "names-after-exception",
        "What a cell had assigned before it raised is there in the next turn.",
        codes("kept = 3\nraise ValueError('half-way')", value="kept"),
        answers("3"),
    ),
    Case(
        "sys-exit",
        "`sys.exit()` in a cell does not end the run.",
        codes("import sys\nsys.exit()", finish="'still here'"),
        answers("still here"),
    ),
    Case(
        "crlf",
        "Line ends of the data arrive as they are.",
        codes(finish="len(context)"),
        answers("4"),
        context="a\r\nb",
    ),
    Case(
        "overwritten-final",
        "Code that assigns to the name by which a run ends does not take the end away for good.",
        _overwritten,
        answers("right"),
    ),
    Case(
        "final-in-bare-except",
        "An answer given inside `try: … except: pass` counts.",
        _in_bare_except(),
        answers("first"),
    ),
)
