from __future__ import annotations

from pathlib import Path

import pytest
from IPython.core.error import UsageError

from kowalski_jupyter.magics.arguments import parse_line


def test_names_output_and_options_in_any_order() -> None:
    read = parse_line("df --max-turns 5 notes -o answer --model 'a b' --timeout 1.5 --seed 3")

    assert read.names == ("df", "notes")
    assert read.output == "answer"
    assert read.options == {"max_turns": 5, "model": "a b", "timeout": 1.5, "seed": 3}
    assert not read.detach


def test_every_option_of_a_run_can_be_given(tmp_path: Path) -> None:
    file = tmp_path / "mine.md"
    file.write_text("## system\nBe brief.\n")
    read = parse_line(
        f"df --sub-model s --max-subcalls 9 --max-tokens-in 1000 --max-tokens-out 200 --depth 2 --schema Letter --step "
        f"--fresh --reuse --detach --prompt '{file}'"
    )

    assert read.options == {
        "sub_model": "s",
        "max_subcalls": 9,
        "max_prompt_tokens": 1000,
        "max_completion_tokens": 200,
        "depth": 2,
        "fresh": True,
        "reuse": True,
        "prompt": "## system\nBe brief.\n",
    }
    assert (read.schema, read.step, read.detach) == ("Letter", True, True)


def test_an_empty_line_names_nothing() -> None:
    assert parse_line("").names == ()


def test_a_name_given_twice_is_passed_once() -> None:
    assert parse_line("df df").names == ("df",)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("my-data", "'my-data' is not a variable's name"),
        ("df --max-turns 0", "0 is not above zero"),
        ("df --what", "There is no --what"),
        ("df --max-turns x", "--max-turns: 'x' is not a whole number"),
        ("df --timeout x", "--timeout: 'x' is not a number"),
        ("df -o", "expected one argument"),
        ("'df", "No closing quotation"),
        ("df --max-subcalls -1", "-1 is not above zero"),
        ("df --schema 1x", "'1x' is not a variable's name"),
        ("df --prompt /nowhere/p.md", "/nowhere/p.md cannot be read: No such file"),
        ("df --prompt /etc/hostname --profile x", "not allowed with"),
    ],
)
def test_what_cannot_be_read_is_one_short_line(line: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_line(line)

    assert said in str(caught.value)
    assert str(caught.value).endswith(". `%rlm help` lists all options.")
    assert "\n" not in str(caught.value)
