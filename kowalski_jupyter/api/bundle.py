"""A run as a notebook output: one MIME bundle that reads everywhere, with or without our extension.

JupyterLab with the extension shows the JSON as a live tree. Everything else (GitHub, nbviewer, nbconvert,
VS Code) shows the HTML, which is plain elements without script or style, or the Markdown.
"""

from __future__ import annotations

import re
from html import escape
from typing import Any

MIME_TYPE = "application/vnd.kowalski.run+json"

Document = dict[str, Any]


def run_bundle(document: Document) -> dict[str, Any]:
    """Return the MIME bundle of a run (docs/run-format.md)."""
    return {
        MIME_TYPE: document,
        "text/html": to_html(document),
        "text/markdown": to_markdown(document),
        "text/plain": to_text(document),
    }


def headline(document: Document) -> str:
    """Return the run in one line: state, turns, sub-calls, time, model."""
    usage = document["usage"]
    parts = [document["state"], _count(usage["turns"], "turn")]
    if usage["subcalls"]:
        parts.append(_count(usage["subcalls"], "sub-call"))
    parts.append(f"{document['seconds']:.1f} s")
    if document["model"]:
        parts.append(f"{document['model']['name']}, {document['model']['where']}")
    return " · ".join(parts)


def _answer_title(document: Document) -> str:
    """Return what a run's answer is called: a limit leaves only the best there was."""
    return "Best answer so far" if document["answer"]["partial"] else "Answer"


def _origin(document: Document) -> list[str]:
    """Return where the run comes from, and what it waits for, a line each."""
    lines = []
    if document["parent"]:
        lines.append(f"Asked by run {document['parent']}")
    if document["origin"]:
        lines.append(f"Made from run {document['origin']}")
    if document["approval"]:
        lines.append(f"Block {document['approval']['cell']} waits for your word")
    return lines


def _fold_title(fold: Document) -> str:
    turns = f"Turns 1–{fold['turns']}" if fold["turns"] > 1 else "Turn 1"  # noqa: RUF001 (a range takes an en dash)
    return f"{turns} folded (summary) · {fold['seconds']:.1f} s"


def _subcalls_title(cell: Document) -> str:
    remembered = sum(call["remembered"] for call in cell["subcalls"])
    return _count(cell["subcalls_total"], "sub-call") + (f", {remembered} remembered" if remembered else "")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def to_text(document: Document) -> str:
    """Return the run for a terminal: the headline and the answer or the error."""
    lines = [f"rlm {document['id']}: {headline(document)}", *document["notices"]]
    if document["error"]:
        lines.append(document["error"])
    if document["answer"]:
        lines.append(f"{_answer_title(document)}: {document['answer']['text']}")
    return "\n".join(lines)


def to_html(document: Document) -> str:
    """Return the run as self-contained HTML: headline, question, answer, and the trace to open."""
    parts = [
        f"<p><b>rlm</b> · {escape(headline(document))}</p>",
        f"<blockquote><p>{_html_text(document['question'])}</p></blockquote>",
        *(f"<p><small>{escape(line)}</small></p>" for line in [*_origin(document), *document["notices"]]),
    ]
    if document["error"]:
        parts.append(f"<p><b>Failed:</b> {_html_text(document['error'])}</p>")
    if document["answer"]:
        answer = document["answer"]
        parts.append(f"<p><b>{_answer_title(document)}</b> ({escape(answer['type'])})</p>{_html_output(answer)}")
    parts.extend(_html_turn(turn) for turn in document["turns"])
    if document["sandbox"]:
        parts.append(f"<p><small>Code ran in: {escape(document['sandbox'])}</small></p>")
    return f"<div>{''.join(parts)}</div>"


def _html_turn(turn: Document) -> str:
    inside = []
    if turn["reasoning"]:
        inside.append(f"<details><summary>Reasoning</summary><pre>{escape(turn['reasoning'])}</pre></details>")
    inside += [
        _html_cell(part) if part["kind"] == "cell" else f"<p>{_html_text(part['text'])}</p>" for part in turn["parts"]
    ]
    if turn["feedback"]:
        inside.append(f"<p><i>Told to the model:</i> {_html_text(turn['feedback'])}</p>")
    return _html_fold(turn["fold"]) + (
        f"<details><summary>Turn {turn['number']} · {escape(turn['state'])} · {turn['seconds']:.1f} s</summary>"
        f"{''.join(inside)}</details>"
    )


def _html_fold(fold: Document | None) -> str:
    if fold is None:
        return ""
    kept = "".join(f"<li>{_html_text(fact)}</li>" for fact in fold["kept"])
    return (
        f"<details><summary>{_fold_title(fold)}</summary><p>{_html_text(fold['summary'])}</p>"
        f"{f'<p>Kept besides:</p><ul>{kept}</ul>' if kept else ''}</details>"
    )


def _html_subcall(call: Document) -> str:
    state = ", ".join(
        [
            call["state"],
            *(["remembered"] if call["remembered"] else []),
            *([f"run {call['run']}"] if call["run"] else []),
        ]
    )
    return (
        f"<tr><td>{call['id']}</td><td>{escape(state)}</td><td>{_html_text(call['prompt'])}</td>"
        f"<td>{_html_text(call['reply'])}</td></tr>"
    )


def _html_cell(cell: Document) -> str:
    parts = [
        f"<p><small>{escape(cell['language'])} · {escape(cell['state'])}</small></p>",
        f"<pre><code>{escape(cell['code'])}</code></pre>",
        *(_html_output(output) for output in cell["outputs"]),
    ]
    if cell["subcalls"]:
        rows = "".join(_html_subcall(call) for call in cell["subcalls"])
        parts.append(
            f"<details><summary>{_subcalls_title(cell)}</summary><table><thead><tr><th>#</th>"
            f"<th>State</th><th>Prompt</th><th>Reply</th></tr></thead><tbody>{rows}</tbody></table></details>"
        )
    return "".join(parts)


def _html_output(output: Document) -> str:
    """Return an output's picture or table where it has one, else its text. Its HTML was cleaned when it came."""
    rich = output["rich"]
    if rich is None:
        return f"<pre>{escape(output['text'])}</pre>"
    if rich["mime"] == "text/html":
        return f"<div>{rich['data']}</div>"
    return f'<p><img src="data:{rich["mime"]};base64,{rich["data"]}" alt="{escape(output["text"])}"></p>'


def _html_text(text: str) -> str:
    return escape(text).replace("\n", "<br>")


def to_markdown(document: Document) -> str:
    """Return the run as Markdown: headline, question, answer, then the trace."""
    parts = [f"**rlm** · {_md_text(headline(document))}", _md_quote(document["question"])]
    parts.extend(f"*{_md_text(line)}*" for line in [*_origin(document), *document["notices"]])
    if document["error"]:
        parts.append(f"**Failed:** {_md_text(document['error'])}")
    if document["answer"]:
        parts.append(f"**{_answer_title(document)}** ({_md_text(document['answer']['type'])})")
        parts.append(_md_fence(document["answer"]["text"]))
    for turn in document["turns"]:
        if turn["fold"]:
            parts.append(f"**{_fold_title(turn['fold'])}**")
            parts.append(_md_quote("\n".join([turn["fold"]["summary"], *turn["fold"]["kept"]])))
        parts.append(f"**Turn {turn['number']}** · {turn['state']} · {turn['seconds']:.1f} s")
        for part in turn["parts"]:
            if part["kind"] == "prose":
                parts.append(_md_text(part["text"]))
                continue
            parts.append(_md_fence(part["code"], part["language"]))
            parts.extend(_md_fence(output["text"]) for output in part["outputs"])
            if part["subcalls_total"]:
                parts.append(f"*{_subcalls_title(part)}*")
    return "\n\n".join(parts)


def _md_text(text: str) -> str:
    return re.sub(r"([\\`*_\[\]<>#|$])", r"\\\1", text)


def _md_quote(text: str) -> str:
    return "\n".join(f"> {_md_text(line)}" for line in text.splitlines())


def _md_fence(text: str, language: str = "") -> str:
    """Return `text` in a fence longer than any that it holds."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{re.sub(r'[^a-z0-9+-]', '', language)}\n{text}\n{fence}"
