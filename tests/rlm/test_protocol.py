from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kowalski_jupyter.rlm.protocol import Block, Final, Problem, ProblemKind, parse_reply

LOOK = Block("python", "look()")


def python(*codes: str) -> tuple[Block, ...]:
    return tuple(Block("python", code) for code in codes)


FENCES = {
    "in a list": ("1. First:\n\n    ```python\n    if x:\n        look()\n    ```\n", python("if x:\n    look()")),
    "on a bullet": ("- ```python\n  look()\n  ```\n", python("look()")),
    "indented code holds no fence": ("Text.\n\n    ```python\n    look()\n    ```\n", ()),
    "attributes": ("```{.python .numbered}\nlook()\n```", python("look()")),
    "title": ("```python title=x.py\nlook()\n```", python("look()")),
    "glued to prose": ("Look: ```python\nlook()\n```", python("look()")),
    "quoted is not an order": ("> ```python\n> look()\n> ```", ()),
    "longer tilde": ("~~~~py\nlook()\n~~~\n~~~~", python("look()\n~~~")),
    "tildes do not close back-ticks": ("```text\n~~~\n```\n```py\nlook()\n```", python("look()")),
    "inner fence of data": ("````markdown\n```python\nno()\n```\n````\n```py\nlook()\n```", python("look()")),
    "other languages": (
        "```rs\nfn main() {}\n```\n```js\n1\n```\n```java\nint x;\n```\n```sh\nls\n```",
        (Block("rust", "fn main() {}"), Block("javascript", "1"), Block("java", "int x;"), Block("bash", "ls")),
    ),
    "doc comment in Rust": ("```rust\n/// ```\n/// x\nfn f() {}\n```", (Block("rust", "/// ```\n/// x\nfn f() {}"),)),
    "fence in a string": (
        '```python\np = """\n```json\n{}\n```\n"""\nlook(p)\n```\nThen.',
        python('p = """\n```json\n{}\n```\n"""\nlook(p)'),
    ),
    "string never closed": ('```python\np = """x\n```\nThen.\n```python\nlook()\n```', python('p = """x', "look()")),
    "back-ticks in a comment": ("```python\nlook()  # not ```\n```", python("look()  # not ```")),
    "forgotten closing fence": ("```python\na()\n```python\nb()\n```", python("a()", "b()")),
    "closing fence glued to a call, then prose": ("```repl\nlook()``` Next.\n", python("look()")),
    "cell magic": ("```python\n%%bash\necho '''\n```\n", python("%%bash\necho '''")),
    "token of the chat template": ("```python\nlook()\n```<|im_end|>", python("look()")),
    "blank lines around": ("```python\n\n\n  \nlook()\n\n```", python("look()")),
    "lone carriage returns": ("```python\rlook()\r```\r", python("look()")),
}  # fmt: skip


@pytest.mark.parametrize(("text", "blocks"), FENCES.values(), ids=FENCES.keys())
def test_fences(text: str, blocks: tuple[Block, ...]) -> None:
    assert parse_reply(text).blocks == blocks


THOUGHTS = {
    "think": ("<think>\n```py\nno()\n```\n</think>\n```py\nlook()\n```", python("look()")),
    "thinking": ("<thinking>```py\nno()\n```</thinking>\n```py\nlook()\n```", python("look()")),
    "[THINK]": ("[THINK]```py\nno()\n```[/THINK]```py\nlook()\n```", python("look()")),
    "attributes": ("<think type='x'>\n```py\nno()\n```\n", ()),
    "Kimi": ("◁think▷\n```py\nno()\n```\n◁/think▷\n```py\nlook()\n```", python("look()")),
    "Kimi's opening mark swallowed": ("Hm.\n```py\nno()\n```\n◁/think▷```py\nlook()\n```", python("look()")),
    "Seed": ("<seed:think>\n```py\nno()\n```\n</seed:think>```py\nlook()\n```", python("look()")),
    "Command": ("<|START_THINKING|>```py\nno()\n```\n<|END_THINKING|>\n```py\nlook()\n```", python("look()")),
    "Gemma": ("<|channel>thought\n```py\nno()\n```\n<channel|>```py\nlook()\n```", python("look()")),
    "opening tag swallowed": ("Hm.\n```py\nno()\n```\n</think>\n```py\nlook()\n```", python("look()")),
    "several": ("<think>a</think><think>b</think>\n```py\nlook()\n```", python("look()")),
    "spoken of": ("Write `<think>` or a <think> tag.\n```py\nlook()\n```", python("look()")),
    "in code": ("```py\nx = '''\n<think>\n'''\n```", python("x = '''\n<think>\n'''")),
    "harmony": (
        "<|channel|>analysis<|message|>```py\nno()\n```<|end|><|channel|>final<|message|>```py\nlook()\n```",
        python("look()"),
    ),
}


@pytest.mark.parametrize(("text", "blocks"), THOUGHTS.values(), ids=THOUGHTS.keys())
def test_code_in_thoughts_does_not_run(text: str, blocks: tuple[Block, ...]) -> None:
    assert parse_reply(text).blocks == blocks


FINALS: dict[str, tuple[str, Final | None]] = {
    "apostrophes": ("FINAL(It's Bob's (again))", Final("text", "It's Bob's (again)")),
    "quote is an inch mark": ('FINAL(a 5" pipe (steel))', Final("text", 'a 5" pipe (steel)')),
    "escaped quotes": (r'FINAL("say \"hi\"")', Final("text", 'say "hi"')),
    "sum of strings": ("FINAL('a' + 'b')", Final("text", "'a' + 'b'")),
    "adjoining strings": ("FINAL('a' 'b')", Final("expr", "'ab'")),
    "quoted number": ('FINAL("1984")', Final("text", "1984")),
    "quoted list": ("FINAL('[1, 2]')", Final("text", "[1, 2]")),
    "thousands separators": ("FINAL(-1,234,567.5)", Final("expr", "-1234567.5")),
    "several numbers": ("FINAL(1984, 1985)", Final("expr", "[1984, 1985]")),
    "several strings": ('FINAL("a", "b")', Final("expr", "['a', 'b']")),
    "several expressions": ("FINAL(len(rows), max(rows))", Final("expr", "[len(rows), max(rows)]")),
    "tuple": ("FINAL((1, 2))", Final("expr", "(1, 2)")),
    "leading zeros": ("FINAL(007)", Final("text", "007")),
    "money": ("FINAL($1,234)", Final("text", "$1,234")),
    "numeral with a comment": ("FINAL(42 # items)", Final("expr", "42")),
    "JSON": ('FINAL({"a": true, "b": null})', Final("expr", "{'a': True, 'b': None}")),
    "JSON constant": ("FINAL(false)", Final("expr", "False")),
    "not quite JSON": ('FINAL({"a": NaN, "b": true})', Final("text", '{"a": NaN, "b": true}')),
    "last counts": ("FINAL(1)\nNo, wait.\nFINAL(2)", Final("expr", "2")),
    "spoken of at the start of a line": ("FINAL(x) ends the run.", None),
    "spoken of after the real one": ("FINAL(42)\nFINAL(x) ends the run, I know.", Final("expr", "42")),
    "planned in a list": ("1. Count.\n2. FINAL(count)", None),
    "indented code": ("So:\n\n    FINAL(42)", None),
    "in an untagged fence": ("```\nFINAL(42)\n```", None),
    "after a thought": ("<think>hm</think>FINAL(42)", Final("expr", "42")),
    "token of the chat template": ("FINAL(42)<|im_end|>", Final("expr", "42")),
    "empty string": ("FINAL('')", None),
    "expression over a variable": ("FINAL(len(rows))", Final("expr", "len(rows)")),
    "f-string over a variable": ('FINAL(f"{rows} rows")', Final("expr", "f'{rows} rows'")),
    "unknown name in an expression": ("FINAL(len(lines))", Final("text", "len(lines)")),
    "undefined variable": ("FINAL_VAR(lines)", None),
    "prose for a variable": ("FINAL_VAR(The answer is 42)", Final("text", "The answer is 42")),
    "unclosed before code": ("FINAL(see\n```py\nlook()\n```", None),
    "ellipsis": ("FINAL(...)", None),
    "angle brackets": ("FINAL(<answer>)", None),
}


@pytest.mark.parametrize(("text", "final"), FINALS.values(), ids=FINALS.keys())
def test_finals(text: str, final: Final | None) -> None:
    assert parse_reply(text, defined=("rows",)).final == final


PROBLEMS: dict[str, tuple[str, list[Problem]]] = {
    "empty": (" \n", [Problem(ProblemKind.EMPTY)]),
    "empty block": ("```repl\n```", [Problem(ProblemKind.EMPTY)]),
    "only reasoning": ("<think>hm</think>", [Problem(ProblemKind.ONLY_REASONING)]),
    "only prose": ("I will look at the data.", [Problem(ProblemKind.NO_ACTION)]),
    "unknown tag": ("```ruby\nputs 1\n```", [Problem(ProblemKind.UNKNOWN_TAG, "ruby")]),
    "unknown tag beside code": (
        "```ruby\nputs 1\n```\n```py\nlook()\n```",
        [Problem(ProblemKind.UNKNOWN_TAG, "ruby")],
    ),
    "data beside code": ("```json\n{}\n```\n```\na b\n```\n```py\nlook()\n```", []),
    "untagged": ("```\nimport os\nos.listdir()\n```", [Problem(ProblemKind.UNTAGGED_FENCE, "python")]),
    "inline": ("Try `print(1)`.", [Problem(ProblemKind.INLINE_CODE, "python")]),
    "indented": ("Try:\n\n    import os\n    os.getcwd()\n", [Problem(ProblemKind.INDENTED_CODE, "python")]),
    "bare": ("let mut x = 1;\nprintln!()", [Problem(ProblemKind.BARE_CODE, "rust")]),
    "placeholder": ("FINAL(your answer)", [Problem(ProblemKind.FINAL_PLACEHOLDER, "your answer")]),
    "undefined": ("FINAL_VAR(nope)", [Problem(ProblemKind.FINAL_UNDEFINED, "nope")]),
    "misplaced": ("The answer: FINAL(42)", [Problem(ProblemKind.FINAL_MISPLACED)]),
    "beside code": ("```py\nlook()\n```\nFINAL(42)", [Problem(ProblemKind.FINAL_BESIDE_CODE)]),
    "unknown tool": (
        '<tool_call>{"name": "search", "arguments": {"query": "x"}}</tool_call>',
        [Problem(ProblemKind.UNKNOWN_TOOL, "search")],
    ),
}


@pytest.mark.parametrize(("text", "problems"), PROBLEMS.values(), ids=PROBLEMS.keys())
def test_problems(text: str, problems: list[Problem]) -> None:
    assert list(parse_reply(text).problems) == problems


def test_a_language_without_a_kernel_is_reported_and_not_run() -> None:
    reply = parse_reply("```bash\nls\n```\n```py\nlook()\n```", languages=("python",))
    assert reply.blocks == (LOOK,)
    assert reply.problems == (Problem(ProblemKind.UNAVAILABLE_LANGUAGE, "bash"),)


@pytest.mark.parametrize("finish_reason", ["length", "max_tokens"])
def test_what_the_token_limit_cut_is_not_run(finish_reason: str) -> None:
    text = "```py\nlook()\n```\n```py\nrm = "
    reply = parse_reply(text, finish_reason=finish_reason)
    assert reply.blocks == (LOOK,)
    assert reply.problems == (Problem(ProblemKind.CODE_CUT, "python"),)


TOOL_CALL = {"function": {"name": "run_python", "arguments": '{"code": "look()"}'}}
MESSAGES: dict[str, Any] = {
    "text": "```py\nlook()\n```",
    "parts": [{"type": "text", "text": "```py\n"}, "look()", {"type": "image_url"}, {"type": "text", "text": "\n```"}],
    "mapping": {"role": "assistant", "content": "```py\nlook()\n```", "tool_calls": None},
    "object": SimpleNamespace(content="```py\nlook()\n```"),
    "parts in a message": {"content": [{"type": "text", "text": "```py\nlook()\n```"}]},
    "tool call": {"content": None, "tool_calls": [TOOL_CALL]},
    "tool call as object": SimpleNamespace(
        content=None,
        tool_calls=[SimpleNamespace(function=SimpleNamespace(name="python", arguments={"code": "look()"}))],
    ),
    "tool call with bare code": {"content": "", "tool_calls": [{"function": {"name": "repl", "arguments": "look()"}}]},
    "Hermes tool call": '<tool_call>\n{"name": "python", "arguments": {"code": "look()"}}\n</tool_call>',
    "tool call never closed": '<tool_call>\n{"name": "python", "arguments": {"code": "look()"}}',
}  # fmt: skip


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES.keys())
def test_shapes_of_messages(message: object) -> None:
    assert parse_reply(message).blocks == (LOOK,)


@pytest.mark.parametrize("message", [None, [], "", {"content": None}, {}, SimpleNamespace(content=None)])
def test_nothing_is_an_empty_reply(message: object) -> None:
    reply = parse_reply(message)
    assert [problem.kind for problem in reply.problems] == [ProblemKind.EMPTY]


@pytest.mark.parametrize("message", [42, b"text", object()])
def test_anything_else_is_an_error_that_says_what_is_due(message: object) -> None:
    with pytest.raises(TypeError, match="content parts"):
        parse_reply(message)


def test_reasoning_is_kept_apart_from_wherever_it_comes() -> None:
    reply = parse_reply({"content": "<think>b</think>\nText.\n```py\nlook()\n```", "reasoning_content": "a"})
    assert (reply.reasoning, reply.prose) == ("a\n\nb", "Text.")
