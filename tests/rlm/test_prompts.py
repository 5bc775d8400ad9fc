from __future__ import annotations

import re

import pytest

from kowalski_jupyter.rlm.chat.prompts import PROFILES, Profile, choose_profile, fit, opening, read_opening


@pytest.mark.parametrize(
    ("model", "window", "profile"),
    [
        ("qwen2.5-coder-1.5b-instruct", 8192, "small_coder"),
        ("mlx-community/Qwen3-Coder-480B-A35B-Instruct-4bit", 262_144, "large_coder"),
        ("mlx-community/Qwen3-30B-A3B-4bit", 40_960, "large_coder"),
        ("qwen2.5-coder:32b", 8192, "large_coder"),
        ("mlx-community/Qwen3-30B-A3B-Thinking-2507", 262_144, "reasoning"),
        ("deepseek-r1:14b", None, "reasoning"),
        ("mlx-community/gpt-oss-120b-MXFP4-Q8", 131_072, "reasoning"),
        ("gpt-oss:20b", 8192, "reasoning"),
        ("something-else", None, "small_coder"),
        ("mlx-community/Llama-3.3-70B-Instruct-8bit", None, "large_coder"),
    ],
)
def test_the_profile_follows_from_the_models_name_and_window(model: str, window: int | None, profile: str) -> None:
    assert choose_profile(model, window).name == profile


@pytest.mark.parametrize("profile", PROFILES.values())
def test_replies_and_outputs_leave_room_in_a_small_window(profile: Profile) -> None:
    fitted = fit(profile, 4096)

    assert fitted.reply_tokens + fitted.output_chars // 4 < 4096 * 0.6
    assert fit(profile, None) == fit(profile, 1_000_000) == profile


@pytest.mark.parametrize("profile", PROFILES)
def test_an_opening_begins_with_the_rules_and_alternates(profile: str) -> None:
    system, *shots = opening(profile, ("llm_query", "rlm_query", "helpers"))

    assert system.role == "system"
    assert "FINAL(" in system.content
    assert [shot.role for shot in shots] == ["user", "assistant"] * (len(shots) // 2)
    assert all("{" not in line[:1] for line in system.content.splitlines())


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("others", [(), ("languages", "rust", "java", "javascript", "bash")])
def test_functions_that_a_run_does_not_have_are_not_spoken_of(profile: str, others: tuple[str, ...]) -> None:
    alone = str(opening(profile, ("helpers", *others)))
    flat = str(opening(profile, ("helpers", "llm_query", *others)))

    assert not re.findall(r"\w+_query\w*|.{20}\bmodels?\b", alone)
    assert "llm_query" in flat
    assert "rlm_query" not in flat


@pytest.mark.parametrize("profile", ["large_coder", "reasoning"])
def test_child_runs_are_spoken_of_where_there_are_some(profile: str) -> None:
    assert "rlm_query" in opening(profile, ("llm_query", "rlm_query"))[0].content


def test_a_users_file_may_be_one_system_prompt() -> None:
    [message] = read_opening("Answer with FINAL(value).\n{rlm_query} You may use rlm_query.\n", ("llm_query",))

    assert (message.role, message.content) == ("system", "Answer with FINAL(value).")


def test_a_users_file_may_say_what_a_run_lacks_and_keep_messages_for_some_runs() -> None:
    text = "## system\nRules.\n{!rlm_query} No {children}.\n{bash} {!java} Bash.\n\n## user {rlm_query}\nHello?\n"

    assert [message.content for message in read_opening(text, ("bash",))] == ["Rules.\nNo {children}.\nBash."]
    assert [message.content for message in read_opening(text, ("rlm_query", "bash", "java"))] == ["Rules.", "Hello?"]


@pytest.mark.parametrize(
    "text", ["## system\r\nA\r\n## user\r\nB", "## System\nA\n## USER \t\nB", "\ufeff## system\nA\n## user\nB"]
)
def test_the_lines_that_name_roles_are_read_as_people_and_their_editors_write_them(text: str) -> None:
    assert [(message.role, message.content) for message in read_opening(text)] == [("system", "A"), ("user", "B")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no text"),
        ("<!-- only a comment -->", "no text"),
        ("before\n## system\nrules\n", r"\(before\) before .* ## system"),
    ],
)
def test_a_file_that_is_no_prompt_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_opening(text)
