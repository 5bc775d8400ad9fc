"""Cells are run in few steps where IPython would do the same: here both ways, cell by cell, with one outcome."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

from .support import Session, opened

AS_IPYTHON = "\n# await"
"""A word with which a cell is left to IPython."""
WAY = "import sys; print(sys._getframe(1).f_code.co_filename.rsplit('/')[-1])"

CELLS = (
    "",
    "# nothing",
    "a = 1\na + 1",
    "_",
    "a;",
    "a  # ;",
    "a, a",
    "None",
    "'ü' * 3",
    "print('x'); a",
    "for i in range(3):\n    i",
    "if a:\n    a",
    "def twice(x):\n    return 2 * x\ntwice(21)",
    "class Point:\n    x: int = 1\nPoint().x",
    "@staticmethod\ndef f():\n    pass",
    "import math as m, os\nm.floor(2.5)",
    "b = 1\nreturn b",  # what stands before it is run
    "b",
    "c = 1\nbreak",
    "c",
    "d = 1\nthis is no Python",
    "d",
    "  e = 1\ne",
    "if True:\nf = 1",
    "x = '\\d'\ny = 1 is 1\nx",
    "null = '\0'",
    "lone = '\ud800'\nlen(lone)",
    "(" * 300 + ")" * 300,
    "-" * 5000 + "1",
    "1 / 0",
    "def deep(n):\n    return deep(n - 1) if n else 1 / 0\ndeep(3)",
    "try:\n    1 / 0\nexcept ZeroDivisionError as error:\n    raise ValueError('no') from error",
    "raise ExceptionGroup('both', [ValueError(1), TypeError(2)])",
    "raise KeyboardInterrupt",
    "raise SystemExit",
    "import sys\nsys.exit('bye')",
    "exit()",
    "quit.__name__",
    "undefined_name",
    "def outer():\n    g = undefined_name\nouter()",
    "import json\njson.loads('{')",
    "from __future__ import annotations\ndef annotated(x: NotThere): ...\nannotated.__annotations__",
    "def later(x: NotThere): ...\nlater.__annotations__",
    "h = 1\nfrom __future__ import annotations\nh",
    "display(a)\ndisplay({'text/plain': 'plain'}, raw=True)",
    "get_ipython().user_ns is globals()",
    "import warnings\nwarnings.warn('again')\nwarnings.warn('again')",
    "warnings.warn('again')",
    "sys.displayhook = print\na",
    "a",
    "import builtins\nbuiltins.get_ipython is get_ipython",
    "__name__, __builtins__ is builtins",
    "globals() is locals()",
    "(lambda: a)()",
    "[a for _ in range(2)]",
    "exec('k = 3')\nk",
    "eval('k')",
    "import asyncio\nasyncio.iscoroutinefunction(twice)",
    "async def ask():\n    return a\nawait ask()",
    "%who_ls int",
    "!echo shell",
    "len?",
    ">>> 6 * 7",
    "get_ipython().ast_node_interactivity = 'all'\na",
    "a\n2\n3",
    "get_ipython().ast_node_interactivity = 'last_expr'",
    "shell = get_ipython()",
    "def told(info):\n    print('told of', len(info.raw_cell) > 0)\nshell.events.register('pre_run_cell', told)",
    "a",
    "shell.events.unregister('pre_run_cell', told)",
    "shell.events.register('post_execute', lambda: print('after'))",
    "a",
    "1 / 0",
    "import ast\nclass Up(ast.NodeTransformer):\n  def visit_Constant(self, node): return ast.Constant(node.value + 1)",
    "shell.ast_transformers.append(up := Up())",
    "41",
    "shell.ast_transformers.remove(up)",
    "41",
    "def caught(*_, **__): print('caught')\nshell.set_custom_exc((ZeroDivisionError,), caught)",
    "1 / 0",
)


def shown(session: Session) -> list[tuple[str, str]]:
    """Return kind and text of what a cell has put out; on a slow machine a stream comes in several pieces."""
    groups = itertools.groupby(session.outputs, lambda output: output.kind)
    return [(kind, "".join(output.text for output in outputs)) for kind, outputs in groups]


def test_a_cell_does_what_it_does_in_ipython(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root / "ours") as ours, opened(root / "ipython") as theirs:
            for session, way, cell in (ours, "running.py", WAY), (theirs, "interactiveshell.py", WAY + AS_IPYTHON):
                assert (await session(cell)).status == "ok"
                assert session.text().strip() == way
            for cell in CELLS:
                result, expected = await ours(cell), await theirs(cell + AS_IPYTHON)
                found = (result.status, result.reason, result.names, shown(ours))
                assert found == (expected.status, expected.reason, expected.names, shown(theirs)), cell

    asyncio.run(scenario())
