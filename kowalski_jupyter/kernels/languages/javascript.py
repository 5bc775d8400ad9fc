"""JavaScript and TypeScript: Deno's own Jupyter kernel."""

from __future__ import annotations

import json
from collections.abc import Mapping

from kowalski_jupyter.kernels.base import Limits

from .language import Language, Opening, prelude

_RESERVED = """
arguments await break case catch class const continue debugger default delete do else enum eval export extends
false finally for function if implements import in instanceof interface let new null package private protected
public return static super switch this throw true try typeof var void while with yield Deno console
"""


class JavaScript(Language):
    """Deno speaks TCP only, and runs cells with all rights of its process, which here has none."""

    name = "javascript"
    title = "JavaScript"
    tags = ("javascript", "js", "node", "nodejs", "typescript", "ts")
    kernelspecs = ("deno",)
    reserved = frozenset(_RESERVED.split())
    trial = "6 * 7"
    interrupt = "message"  # its kernelspec says nothing, and a signal ends it
    late_outputs = True

    def environment(self, limits: Limits) -> Mapping[str, str]:
        """Keep the heap below the limit, so that too large a value is an error rather than the end."""
        heap = max(256, limits.memory // 2 >> 20)
        return {"DENO_NO_UPDATE_CHECK": "1", "NO_COLOR": "1", "DENO_V8_FLAGS": f"--max-old-space-size={heap}"}

    def process_limits(self, limits: Limits, data: int) -> Mapping[str, int]:
        """Leave V8 the gigabyte that it takes before it has done anything."""
        found = super().process_limits(limits, data)
        return {**found, "DATA": found["DATA"] + (1 << 30)}

    def diagnosis(self, code: str) -> str:
        """Let V8 say what Deno keeps to itself. It knows JavaScript only, so types and imports have no diagnosis."""
        return (
            f"try {{ new (async () => {{}}).constructor({json.dumps(code)}); "
            "console.log('SyntaxError: this is no TypeScript') } "
            "catch (error) { console.log(`${error.name}: ${error.message}`) }"
        )

    def opening(self, run: Opening) -> str:
        """Define everything in one cell."""
        return f"{prelude('javascript.js')}({run.json()}); undefined"
