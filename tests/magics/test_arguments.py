from __future__ import annotations

import pytest
from IPython.core.error import UsageError

from kowalski_jupyter.magics.arguments import parse_line


def test_names_output_and_options_in_any_order() -> None:
    read = parse_line("df --max-turns 5 notes -o answer --model 'a b' --timeout 1.5 --seed 3")

    assert read.names == ("df", "notes")
    assert read.output == "answer"
    assert read.options == {"max_turns": 5, "model": "a b", "timeout": 1.5, "seed": 3}
    assert not read.detach


def test_an_empty_line_names_nothing() -> None:
    assert parse_line("").names == ()


def test_a_name_given_twice_is_passed_once() -> None:
    assert parse_line("df df").names == ("df",)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("my-data", "'my-data' is not a variable's name"),
        ("df --max-turns none", "invalid number value: 'none'"),
        ("df --max-turns 0", "0 is not above zero"),
        ("df --what", "unrecognized arguments: --what"),
        ("df -o", "expected one argument"),
        ("'df", "No closing quotation"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_the_usage(line: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_line(line)

    assert said in str(caught.value)
    assert "Usage: %%rlm" in str(caught.value)
    assert "\n" not in str(caught.value)
