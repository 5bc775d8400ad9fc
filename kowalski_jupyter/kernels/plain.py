"""Plain data as a pickle that only a sandbox reads.

Pickle keeps exact types, shared references and speed. What makes it dangerous is reading it, and that
happens in the child kernel alone. Writing lets nothing through that a child kernel could not read:
its Python has the same libraries, but none of the user's own modules.
"""

from __future__ import annotations

import io
import pickle
import types
from hashlib import blake2b
from typing import IO, Any

_LIBRARIES = frozenset(
    {"builtins", "collections", "copyreg", "datetime", "decimal", "fractions", "ipaddress", "pathlib", "uuid"}
    | {"zoneinfo", "numpy", "pandas", "pyarrow", "polars", "_codecs", "dateutil", "pytz"}
)

WHAT_CAN = (
    "text, bytes, numbers, dates, lists, dicts, sets, pandas, polars and pyarrow tables, NumPy arrays and pathlib.Path"
)


class PackError(Exception):
    """A variable cannot be passed to a run. One line, for the user."""


def dump(name: str, value: Any, file: IO[bytes], *, same: bool = False) -> None:
    """Write `value`, which belongs to the variable `name`, to `file`.

    Args:
        name: of the variable.
        value: what it holds.
        file: takes the bytes.
        same: write equal values as the same bytes, only to be compared.

    Raises:
        PackError: it is, or holds, something that is not plain data.
    """
    try:
        (_SamePickler if same else _PlainPickler)(file, protocol=5).dump(value)
    except _ForeignError as error:
        what = f"is a {error}" if isinstance(value, error.kind) else f"holds a {error}"
        raise PackError(f"{name} {what}, which cannot be passed. These can: {WHAT_CAN}.") from None
    except OSError:
        raise
    except RecursionError:
        raise PackError(f"{name} is nested too deeply to be passed.") from None
    except Exception as error:  # noqa: BLE001 - whatever somebody's __reduce__ raises
        kind = type(value).__name__
        raise PackError(f"{name} ({kind}) cannot be passed: {error}. These can: {WHAT_CAN}.") from None


class _ForeignError(Exception):
    """Something else than plain data."""

    def __init__(self, kind: type) -> None:
        super().__init__(kind.__qualname__)
        self.kind = kind


class _PlainPickler(pickle.Pickler):
    """Refuses whatever does not come from the libraries that a child kernel has."""

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, types.ModuleType | types.GeneratorType) or type(obj) is object or not _is_known(obj):
            raise _ForeignError(type(obj))
        return NotImplemented


class _SamePickler(_PlainPickler):
    """Writes equal values as the same bytes, whatever the order of their sets is and which objects they share."""

    def __init__(self, file: Any, protocol: int) -> None:
        super().__init__(file, protocol)
        self.fast = True  # what stands in a value twice is written twice, as if it were not one object

    def persistent_id(self, obj: Any) -> Any:
        if type(obj) not in (set, frozenset):
            return None
        return type(obj).__name__, sorted(map(_digest, obj))


def _digest(item: Any) -> bytes:
    file = io.BytesIO()
    _SamePickler(file, 5).dump(item)
    return blake2b(file.getbuffer(), digest_size=16).digest()


def _is_known(obj: Any) -> bool:
    """Return whether `obj` is of, or is, a class or function of a library that the child kernel has.

    Classes and functions come here because values are rebuilt with them. A function of the user's own
    has the module ``__main__``.
    """
    module = getattr(obj, "__module__", None) or type(obj).__module__
    return str(module).split(".")[0] in _LIBRARIES
