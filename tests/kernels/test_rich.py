"""Pictures and tables that code shows: captured, made harmless, described, and limited."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest

from kowalski_jupyter.kernels.base import Rich
from kowalski_jupyter.kernels.outcome import output_of
from kowalski_jupyter.kernels.rich import rich_of

from .languages import need
from .support import opened

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


def test_figures(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            code = "import matplotlib.pyplot as plt\nplt.plot([1, 2, 3])"
            for shown in (code, f"{code}\nplt.show()", "figure, axes = plt.subplots()\naxes.bar([1], [2])\nfigure"):
                assert (await session(shown)).status == "ok", session.text()
                drawn = [output for output in session.outputs if output.rich]
                assert drawn
                assert {output.rich.mime for output in drawn if output.rich} == {"image/png"}
                assert "pixels, shown to the user]" in drawn[-1].text
                assert drawn[0].rich
                assert base64.b64decode(drawn[0].rich.data).startswith(b"\x89PNG")
            await session("1 + 1")
            assert [output.rich for output in session.outputs] == [None]

    asyncio.run(scenario())


def test_tables(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            await session("import pandas as pd\npd.DataFrame({'name': ['<b>x</b>', 'y'], 'n': [1, 2]})")
            (output,) = session.outputs
            assert output.kind == "result"
            assert "name" in output.text
            assert "<" not in output.text.replace("<b>x</b>", "")
            assert output.rich
            assert output.rich.mime == "text/html"
            assert "<th>name</th>" in output.rich.data
            assert "&lt;b&gt;x&lt;/b&gt;" in output.rich.data
            assert "style" not in output.rich.data

    asyncio.run(scenario())


def test_everything_else_that_can_be_displayed(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            await session(f"from IPython.display import HTML, SVG, Image, display\ndisplay(Image({PIXEL!r}))")
            (output,) = session.outputs
            assert output.text.endswith("[picture: 1 × 1 pixels, shown to the user]")  # noqa: RUF001 - a times sign
            await session("display(SVG('<svg xmlns=\"http://www.w3.org/2000/svg\"><rect/></svg>'))")
            assert session.outputs[0].rich
            assert session.outputs[0].rich.mime == "image/svg+xml"
            await session("HTML('<h1 onclick=alert(1)>Hi</h1><script>alert(2)</script><img src=http://x/y>')")
            assert session.outputs[0].rich == Rich("text/html", "<h1>Hi</h1>")
            await session("display({'text/html': '<i>only</i>'}, raw=True)")
            assert session.outputs[0].rich == Rich("text/html", "<i>only</i>")
            assert session.outputs[0].text == "[shown to the user]"

    asyncio.run(scenario())


def test_a_form_that_fails_is_left_out_in_silence(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            code = "class Odd:\n    def __repr__(self): return 'odd'\n    def _repr_html_(self): 1 / 0\nOdd()"
            assert (await session(code)).status == "ok"
            assert [(output.kind, output.text, output.rich) for output in session.outputs] == [("result", "odd", None)]
            code = "class Own:\n    def _ipython_display_(self): print('once')\nOwn()"
            await session(code)
            assert session.text().strip() == "once"

    asyncio.run(scenario())


def test_a_flood_of_pictures_is_cut(root: Path) -> None:
    async def scenario() -> None:
        async with opened(root) as session:
            large = (
                "from IPython.display import HTML\nfor i in range(40): display(HTML('<p>' + 'x' * 100_000 + '</p>'))"
            )
            assert (await session(large)).status == "ok"
            kept = [output for output in session.outputs if output.rich]
            assert 0 < len(kept) < 25
            assert len(session.outputs) == 40
            assert (await session("'still there'")).status == "ok"

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "bundle",
    [
        {"image/png": "not base64!"},
        {"image/png": base64.b64encode(b"GIF89a").decode()},
        {"image/png": base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()},
        {"image/png": 5},
        {"image/jpeg": base64.b64encode(PIXEL).decode()},
        {"image/svg+xml": "<html>"},
        {"text/html": "<script>alert(1)</script>"},
        {"text/html": "x" * (3 << 20)},
        {"application/javascript": "alert(1)"},
        {},
    ],
)
def test_what_is_not_what_it_says_is_not_shown(bundle: dict[str, object]) -> None:
    assert rich_of(bundle) == (None, "")


@pytest.mark.parametrize(
    "html",
    [
        "<a href='javascript:alert(1)'>x</a>",
        "<img src=x onerror=alert(1)>",
        "<svg onload=alert(1)>",
        "<iframe src='http://example.org'></iframe>",
        "<form action='http://example.org'><input name=password></form>",
        "<link rel=stylesheet href='http://example.org/x.css'>",
        "<meta http-equiv=refresh content='0;url=http://example.org'>",
        "<td style='background:url(http://example.org)' class='jp-Dialog' id=x>x</td>",
        "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
        "<table background='http://example.org'><tr><td>1</td></tr></table>",
    ],
)
def test_html_fetches_runs_and_poses_as_nothing(html: str) -> None:
    rich, _ = rich_of({"text/html": f"<p>before</p>{html}"})
    assert rich
    for word in (
        "example.org",
        "alert",
        "onerror",
        "onload",
        "style",
        "class",
        "href",
        "src=",
        "<img",
        "<form",
        "<svg",
    ):
        assert word not in rich.data


def test_a_kernel_that_sends_only_a_picture() -> None:
    message = {
        "msg_type": "display_data",
        "content": {
            "data": {"image/png": [base64.b64encode(PIXEL).decode()[:20], base64.b64encode(PIXEL).decode()[20:]]}
        },
        "metadata": {},
    }
    output = output_of(message)
    assert output
    assert output.rich
    assert output.text == "[picture: 1 × 1 pixels, shown to the user]"  # noqa: RUF001 - a times sign


@pytest.mark.parametrize(
    ("language", "code", "mime"),
    [
        ("javascript", "Deno.jupyter.html`<b>bold</b>`", "text/html"),
        (
            "java",
            "display(new java.awt.image.BufferedImage(3, 2, java.awt.image.BufferedImage.TYPE_INT_RGB));",
            "image/png",
        ),
        (
            "rust",
            'println!("EVCXR_BEGIN_CONTENT text/html\\n<b>bold</b>\\nEVCXR_END_CONTENT");',
            "text/html",
        ),
    ],
)
def test_other_languages(language: str, code: str, mime: str, root: Path) -> None:
    need(language)

    async def scenario() -> None:
        async with opened(root, language=language) as session:
            result = await session(code)
            assert result.status == "ok", session.text()
            assert [output.rich.mime for output in session.outputs if output.rich] == [mime], session.outputs

    asyncio.run(scenario())
