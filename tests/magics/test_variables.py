from __future__ import annotations

import pytest
from IPython.core.error import UsageError

from kowalski_jupyter.magics.variables import pick, pick_schema


def test_the_named_variables_are_taken() -> None:
    assert pick(["b", "a"], {"a": 1, "b": None, "c": 3}) == {"b": None, "a": 1}


def test_a_name_that_is_not_there_is_one_line_with_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"There is no variable note here\. Did you mean notes\?") as caught:
        pick(["note"], {"notes": 1})

    assert "\n" not in str(caught.value)


def test_a_schema_that_is_not_there_is_told_of_as_one() -> None:
    with pytest.raises(UsageError, match=r"no variable Note here\. Did you mean Notes\? --schema takes .* JSON Schema"):
        pick_schema("Note", {"Notes": dict})
