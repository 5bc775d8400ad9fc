"""The languages that a reply's code may be in: their fence tags, and a guess for code that names none."""

from __future__ import annotations

import re

from kowalski_jupyter.kernels.languages import LANGUAGES as _TABLE

TAGS: dict[str, tuple[str, ...]] = {name: language.tags for name, language in _TABLE.items()}
"""Each language by its canonical name, with the fence tags that mean it."""

LANGUAGES = tuple(TAGS)
"""The canonical names."""

_LANGUAGE_OF = {tag: language for language, tags in TAGS.items() for tag in tags}

_INFO_WORD = re.compile(r"[{.\s]*([^\s{}.,;:=]+)")

# The first pattern that is found wins, so the telling ones come first. Only for hints to the model: what
# has no tag is never run.
_SIGNS = (
    ("bash", re.compile(r"\A#!\S*\b(?:ba)?sh\b")),
    ("java", re.compile(r"\bpublic\s+(?:static|class|final)\b|\bSystem\.out\.print")),
    (
        "rust",
        re.compile(r"^\s*(?:pub\s+)?fn\s+\w+|\blet\s+mut\b|\bprintln!\s*\(|^\s*use\s+\w+::", re.MULTILINE),
    ),
    (
        "javascript",
        re.compile(
            r"\bconsole\.log\s*\(|^\s*(?:const|let|var)\s+[\w{\[]|^\s*function\s+\w+\s*\(|=>\s*\{",
            re.MULTILINE,
        ),
    ),
    (
        "python",
        re.compile(
            r"^\s*(?:import\s+[\w.]+(?:\s+as\s+\w+)?\s*$|from\s+[\w.]+\s+import\s|def\s+\w+\s*\(|class\s+\w+[(:]"
            r"|for\s+.{1,80}\sin\s.{1,80}:\s*$|with\s+open\s*\(|[a-z_]\w*(?:\[[^\]\n]{0,80}\])?\s*[-+*/|]?=\s*\S"
            r"|(?:print|FINAL|llm_query\w*|rlm_query\w*)\s*\()",
            re.MULTILINE,
        ),
    ),
    (
        "bash",
        re.compile(r"^\s*(?:\$\s+\S|(?:ls|cat|grep|head|tail|wc|awk|sed|echo|cd|find|curl)\s+\S)", re.MULTILINE),
    ),
)
_LOOK_AT = 2000


def fence_tag(info: str) -> str:
    """Return the tag in a fence's info string, in lower case: ``python`` in ``{.Python #x}`` or ``python a=b``."""
    match = _INFO_WORD.match(info)
    return match[1].lower() if match else ""


def language_of(tag: str) -> str:
    """Return the canonical language that a fence tag means, or "" if it means none that can run."""
    return _LANGUAGE_OF.get(tag, "")


def guess_language(code: str) -> str:
    """Return the language that untagged text looks like, judged by its beginning, or ""."""
    beginning = code[:_LOOK_AT]
    return next((language for language, sign in _SIGNS if sign.search(beginning)), "")
