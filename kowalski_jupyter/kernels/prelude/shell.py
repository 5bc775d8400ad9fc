"""IPython's shell with outputs that go to the recorder."""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, cast

from ipykernel.compiler import XCachingCompiler
from ipykernel.zmqshell import ZMQInteractiveShell
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import DisplayPublisher
from IPython.core.error import UsageError
from IPython.core.formatters import DisplayFormatter
from traitlets import Type

from .namespace import Finished
from .output import Recorder, Rich
from .tracebacks import cut, describe

LONGEST_REPR = 1 << 20
FORMS = ("image/png", "image/jpeg", "image/svg+xml", "text/html")
"""What is shown to the user besides text."""

_PLAIN = {bool, int, float, complex, str, bytes, bytearray, list, tuple, dict, set, frozenset, type, range}
"""Types that have no other form than text, to save the time of looking."""


class Compiler(XCachingCompiler):
    """Names cells as a traceback should show them."""

    cell = 0

    def get_code_name(self, _raw_code: str, _code: str, _number: int) -> str:
        """Return ``<cell 3>`` for the third cell."""
        return f"<cell {self.cell}>"


class Hook(DisplayHook):
    """Shows the value of a cell's last expression."""

    recorder: Recorder
    before_result: Callable[[], None]
    cell = ""

    def __call__(self, result: Any = None) -> None:
        """Record `result` as text unless it is None or the cell ends with a semicolon."""
        if result is None or self.semicolon_at_end_of_expression(self.cell):  # type: ignore[no-untyped-call]
            return
        self.before_result()
        shell = cast("Shell", self.shell)
        shell.user_ns["_"] = result
        text = as_text(shell, result)
        # What shows itself has no text, and would do so again.
        self.recorder.write("result", text, as_rich(shell, result) if text else {})


class Publisher(DisplayPublisher):
    """Shows what ``display()`` is given."""

    recorder: Recorder

    def publish(self, data: dict[str, Any], *_args: Any, **_options: Any) -> None:
        """Record a display bundle."""
        rich = _rich(data)
        if (text := data.get("text/plain")) or rich:
            self.recorder.write("display", str(text or " "), rich)

    def clear_output(self, wait: bool = False) -> None:
        """Do nothing: what was sent has been read."""


class Shell(ZMQInteractiveShell):
    """The interactive shell of a run."""

    displayhook_class = Type(Hook)  # type: ignore[assignment]
    display_pub_class = Type(Publisher)  # type: ignore[assignment]
    _quiet = False

    def attach(self, recorder: Recorder, before_result: Callable[[], None]) -> None:
        """Send all outputs to `recorder`; call `before_result` before a value is shown."""
        self.recorder = recorder
        hook, publisher = cast("Hook", self.displayhook), cast("Publisher", self.display_pub)
        hook.before_result = before_result
        hook.recorder = publisher.recorder = recorder
        self.builtin_trap.__enter__()  # for good: what is put into builtins stays from cell to cell
        cast("DisplayFormatter", self.display_formatter).active_types = ["text/plain", *FORMS]

    def quietly_formatted(self, value: Any) -> dict[str, Any]:
        """Format `value` in all forms but text, without a word about those that it cannot be formatted in."""
        self._quiet = True
        try:
            data, _metadata = cast("DisplayFormatter", self.display_formatter).format(value, include=FORMS)
        finally:
            self._quiet = False
        return cast("dict[str, Any]", data)

    def init_environment(self) -> None:
        """Leave the environment alone: ipykernel would ask programs for colours."""

    def set_parent(self, parent: Any) -> None:
        """Do nothing: outputs go to the recorder, which knows the cell."""

    def showtraceback(
        self,
        exc_tuple: tuple[type[BaseException], BaseException, TracebackType] | None = None,
        *_args: Any,
        **_options: Any,
    ) -> None:
        """Record the error that is being handled."""
        error = exc_tuple[1] if exc_tuple else sys.exc_info()[1]
        if error is None or self._quiet or isinstance(error, Finished):
            return
        if isinstance(error, SystemExit):
            code = "" if error.code is None else f"({error.code})"
            text = f"SystemExit{cut(code, 1000)}: the cell ended here; its variables are kept."
        elif isinstance(error, UsageError):
            text = f"UsageError: {error}"
        else:
            text = describe(error)
        self.recorder.write_always("error", text)

    def showsyntaxerror(self, *_args: Any, **_options: Any) -> None:
        """Record the syntax error that is being handled."""
        self.showtraceback()

    showindentationerror = showsyntaxerror


def as_text(shell: Any, value: Any) -> str:
    """Return what Jupyter would show for `value`, without making a second copy of a huge one."""
    if type(value) in {str, bytes, bytearray} and len(value) > LONGEST_REPR:
        half = LONGEST_REPR // 2
        left_out = f"… {len(value) - 2 * half:,} left out …"
        return f"{value[:half]!r}\n{left_out}\n{value[-half:]!r}"
    data, _metadata = shell.display_formatter.format(value, include={"text/plain"})
    return str(data.get("text/plain", ""))


def as_rich(shell: Any, value: Any) -> Rich:
    """Return what Jupyter would show for `value` besides text. A form that fails is left out: the text is there."""
    if type(value) in _PLAIN:
        return {}
    return _rich(shell.quietly_formatted(value))


def _rich(data: Mapping[str, Any]) -> Rich:
    """Return the forms that are shown, as text."""
    found = {form: data[form] for form in FORMS if isinstance(data.get(form), (str, bytes)) and data[form]}
    return {
        form: base64.b64encode(value).decode() if isinstance(value, bytes) else value for form, value in found.items()
    }
