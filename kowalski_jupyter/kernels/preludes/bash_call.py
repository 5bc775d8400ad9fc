"""What bash's `llm_query`, `FINAL`, `share` … call: ``bash_call.py CALL [--OPTION VALUE …] [WORD …]``.

One process for each call, so it is kept quick: no site-packages, few imports. Where words are wanted and none are
given, standard input is read.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from typing import Any, NoReturn

_FLAGS = ("text", "json", "csv")
_FORMS = {
    "llm_query": "llm_query [--model M] [--schema JSON] [--max-tokens N] PROMPT (or the prompt on standard input)",
    "llm_query_batched": "llm_query_batched PROMPT … (or one prompt a line on standard input)",
    "final": "FINAL [--text|--json|--csv] VALUE (or the value on standard input)",
    "share": "share [--text|--json|--csv] NAME VALUE (or the value on standard input)",
    "shared": "shared NAME",
}


def main(call: str, *arguments: str) -> None:
    """Make one call and print its reply."""
    words, options, flag = _read(call, arguments)
    if call == "llm_query":
        prompt = " ".join(words) if words else _standard_input()
        reply, _ = ask(call, {"prompt": prompt, "options": options})
        print(reply if isinstance(reply, str) else json.dumps(reply, ensure_ascii=False))  # noqa: T201
    elif call == "llm_query_batched":
        prompts = words or [line for line in _standard_input().splitlines() if line.strip()]
        replies, _ = ask(call, {"prompts": prompts, "options": options})
        for number, reply in enumerate(replies, 1):
            if "error" in reply:
                sys.stderr.write(f"llm_query_batched: prompt {number}: {reply['error']}\n")
            text = reply.get("reply", "")
            text = text if isinstance(text, str) else json.dumps(text, ensure_ascii=False)
            print(" ".join(text.splitlines()))  # noqa: T201
    elif call == "shared":
        if len(words) != 1:
            fail(f"The form is {_FORMS[call]}")
        reply, data = ask(call, {"name": words[0]})
        _show(reply["kind"], data)
    else:
        name = [words.pop(0)] if call == "share" and words else []
        if call == "share" and not name:
            fail(f"The form is {_FORMS[call]}")
        text = " ".join(words) if words else _standard_input()
        value = _value(text, flag)
        said = text[:20000]
        data = json.dumps(value if call == "share" else _tagged(value)).encode()
        fields = {"kind": "json", "type": type(value).__name__, "text": said}
        ask(call, fields | ({"name": name[0]} if name else {}), data)


def ask(call: str, fields: dict[str, Any], payload: bytes = b"") -> tuple[Any, bytes]:
    """Return the run's reply and the bytes that belong to it, or end this process with the reason."""
    header = {"token": os.environ["KOWALSKI_TOKEN"], "call": call, "size": len(payload), **fields}
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.environ["KOWALSKI_SOCKET"])
            connection.sendall(json.dumps(header).encode() + b"\n" + payload)
            with connection.makefile("rb") as stream:
                reply = json.loads(stream.readline() or b'{"error": "it has ended"}')
                data = stream.read(reply.get("size", 0))
    except OSError as error:
        fail(f"The run cannot be reached: {error}")
    if "error" in reply:
        fail(reply["error"])
    return reply["reply"], data


def _read(call: str, arguments: tuple[str, ...]) -> tuple[list[str], dict[str, Any], str]:
    """Return the words, the options of a prompt, and how a value is to be read."""
    words: list[str] = []
    options: dict[str, Any] = {}
    flag = ""
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if word == "--":
            return [*words, *rest], options, flag
        if word.startswith("--") and word[2:] in _FLAGS and call in ("final", "share"):
            flag = word[2:]
        elif word in ("--model", "--schema", "--max-tokens", "--sample") and rest and call.startswith("llm"):
            value = rest.pop(0)
            try:
                options[word[2:].replace("-", "_")] = value if word == "--model" else json.loads(value)
            except ValueError:
                fail(f"{word} takes JSON, not {value!r}. The form is {_FORMS[call]}")
        elif word.startswith("--"):
            fail(f"There is no option {word}. The form is {_FORMS[call]}")
        else:
            words.append(word)
    return words, options, flag


def _value(text: str, flag: str) -> Any:
    """Return what a word means: JSON where it is some, else a text without the line end that commands add."""
    if flag == "csv":
        import csv  # noqa: PLC0415 - seldom

        return list(csv.DictReader(text.splitlines()))
    if flag != "text":
        try:
            return json.loads(text)
        except ValueError as error:
            if flag == "json":
                fail(f"That is not JSON: {error}")
    return text.removesuffix("\n")


def _tagged(value: Any) -> Any:
    """Return `value` with objects that have a key "$", which marks what JSON lacks, as lists of pairs."""
    if isinstance(value, list):
        return [_tagged(item) for item in value]
    if isinstance(value, dict):
        items = {key: _tagged(item) for key, item in value.items()}
        return {"$": "dict", "v": [list(pair) for pair in items.items()]} if "$" in value else items
    return value


def _show(kind: str, data: bytes) -> None:
    """Print bytes and texts as they are, tables as CSV, and other values as JSON."""
    value = None if kind == "bytes" else json.loads(data)
    if kind == "bytes":
        sys.stdout.buffer.write(data)
    elif isinstance(value, str):
        print(value)  # noqa: T201
    elif (
        isinstance(value, list)
        and value
        and all(isinstance(row, dict) and row.keys() == value[0].keys() for row in value)
    ):
        import csv  # noqa: PLC0415 - seldom

        writer = csv.DictWriter(sys.stdout, list(value[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(value)
    else:
        print(json.dumps(value, ensure_ascii=False))  # noqa: T201


def _standard_input() -> str:
    return sys.stdin.buffer.read().decode(errors="surrogateescape")


def fail(reason: str) -> NoReturn:
    """End this process with a reason for the model."""
    sys.stderr.write(f"{reason}\n")
    sys.stderr.flush()
    os._exit(1)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except KeyboardInterrupt:
        os._exit(130)
