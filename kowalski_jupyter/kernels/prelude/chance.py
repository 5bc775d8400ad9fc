"""What code leaves to chance, made the same whenever a run is gone through again."""

from __future__ import annotations

import importlib.util
import random
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

_NUMPY = "numpy.random"


def seed(number: int) -> None:
    """Seed `random`, and NumPy's global generator as soon as code imports it."""
    random.seed(number)
    if _NUMPY in sys.modules:
        _seed(sys.modules[_NUMPY], number)
    else:
        sys.meta_path.insert(0, _Finder(number))


class _Finder(MetaPathFinder):
    """Waits for NumPy's generators to be imported, which takes longer than a kernel may take to start."""

    def __init__(self, number: int) -> None:
        self._number = number

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Have the module found as always, and seeded when it is there."""
        del path, target
        if fullname != _NUMPY:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_seed(module: ModuleType) -> None:
                execute(module)
                _seed(module, self._number)

            spec.loader.exec_module = execute_and_seed  # type: ignore[method-assign]
        return spec


def _seed(numpy_random: ModuleType, number: int) -> None:
    numpy_random.seed(number % (1 << 32))
