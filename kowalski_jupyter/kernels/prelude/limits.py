"""What a cell may put out besides its limit of characters: the same in every language (../limiter.py)."""

TAIL = 1 << 14
"""Characters of an overlong output's end that are kept for the end of the cell."""

COST = 32
"""Characters that any output counts at least, so that a million empty ones are a flood as well."""

RICH = 2 << 20
"""Characters of rich forms that a cell may show. They are not for the model, so they do not count as its output."""
