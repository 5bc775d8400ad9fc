"""The languages that a run's code may be in: one table of what each needs (one file for each but Python)."""

from __future__ import annotations

from collections.abc import Mapping

from .bash import Bash
from .java import Java
from .javascript import JavaScript
from .language import Language, Python
from .rust import Rust

LANGUAGES: Mapping[str, Language] = {
    language.name: language for language in (Python(), Rust(), Java(), JavaScript(), Bash())
}
"""Each language by its canonical name."""

FOREIGN = tuple(name for name in LANGUAGES if name != "python")
"""All but Python, whose kernel is our own and always there."""

__all__ = ["FOREIGN", "LANGUAGES", "Language"]
