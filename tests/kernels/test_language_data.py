"""What reaches kernels of other languages, and how kernels are found, chosen and refused."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from kowalski_jupyter.cli import main
from kowalski_jupyter.kernels.base import KernelError, Limits, Output
from kowalski_jupyter.kernels.installed import available, find
from kowalski_jupyter.kernels.limiter import Limiter
from kowalski_jupyter.rlm.calls.options import SubcallError
from kowalski_jupyter.rlm.calls.shelf import Shelf

from .languages import need
from .support import opened

READERS = {
    "javascript": (
        "JSON.stringify({name})",
        "new TextDecoder().decode(raw)",
        "Deno.readTextFileSync(folder + '/in.txt')",
    ),
    "bash": ('cat "${name}_file"', 'cat "$raw_file"', 'cat "$folder/in.txt"'),
}


@pytest.mark.parametrize("language", READERS)
def test_every_kind_of_value_is_readable(language: str, root: Path, tmp_path: Path) -> None:
    need(language)
    polars = pytest.importorskip("polars")
    numpy = pytest.importorskip("numpy")
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "in.txt").write_text("from a file")
    data: dict[str, Any] = {
        "number": 3,
        "nested": {"a": [1, None, 2.5], "ü": True},
        "odd": {1: {2}, "t": (1, float("nan"))},
        "array": numpy.arange(4).reshape(2, 2),
        "arrow": pa.table({"x": [1, 2], "y": ["a", None]}),
        "polar": polars.DataFrame({"x": [1, 2]}),
        "empty": "",
        "raw": b"bytes",
        "folder": tmp_path / "files",
    }
    tables = {"arrow": [{"x": 1, "y": "a"}, {"x": 2, "y": None}], "polar": [{"x": 1}, {"x": 2}]}
    values: dict[str, Any] = {
        "number": 3,
        "nested": {"a": [1, None, 2.5], "ü": True},
        "odd": {"1": [2], "t": [1, None]},
        "array": [[0, 1], [2, 3]],
    }
    one, raw, file = READERS[language]

    async def scenario() -> None:
        async with opened(root, data, language=language) as session:

            async def shown(code: str) -> str:
                assert (await session(code)).status == "ok", session.text()
                text = session.text().strip()
                return text[1:-1] if language == "javascript" and text[:1] in "'\"" else text

            for name, value in values.items():
                assert json.loads((await shown(one.replace("{name}", name))).replace("\\'", "'")) == value, name
            if language == "bash":
                assert await shown('cat "$arrow_file" "$polar_file"') == "x,y\n1,a\n2,\nx\n1\n2"
            else:
                for name, value in tables.items():
                    assert json.loads(await shown(one.replace("{name}", name))) == value, name
            assert await shown(raw) == "bytes"
            assert await shown(file) == "from a file"

    asyncio.run(scenario())


@pytest.mark.parametrize("language", READERS)
def test_without_a_sandbox_it_runs_with_a_warning(language: str, root: Path) -> None:
    need(language)

    async def scenario() -> None:
        async with opened(root, {"data": [1, 2]}, language=language, unsandboxed=True) as session:
            assert session.kernel.sandbox.startswith("none")
            await session({"bash": 'cat "$data_file"', "javascript": "JSON.stringify(data)"}[language])
            assert "[1,2]" in session.text()
            await session({"bash": "llm_query x", "javascript": "llm_query('x')"}[language])
            assert "reply to x" in session.text()

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("language", "code"),
    [
        ("bash", 'echo "$PATH_ $gr__e ${#PATH}"'),
        ("javascript", "console.log(new_, größe)"),
        ("java", 'System.out.println(new_ + " " + größe)'),
    ],
)
def test_names_that_a_language_does_not_take_are_changed(language: str, code: str, root: Path) -> None:
    need(language)

    async def scenario() -> None:
        async with opened(root, {"new": "text", "größe": "other", "PATH": "text"}, language=language) as session:
            assert (await session(code)).status == "ok", session.text()
            assert session.text().startswith("text other")

    asyncio.run(scenario())


def test_code_that_keeps_a_kernel_busy_after_its_cell(root: Path) -> None:
    need("javascript")

    async def scenario() -> None:
        async with opened(root, language="javascript", limits=Limits(cell_seconds=1)) as session:
            result = await session("setTimeout(() => { while (true) {} }, 0); 'done'")
            assert result.status in ("ok", "timeout"), result
            result = await session("'next'")
            assert result.status in ("ok", "timeout", "died"), result

    asyncio.run(scenario())


def test_a_value_that_has_no_form_is_refused_in_one_line(root: Path) -> None:
    need("bash")
    deep: list[Any] = []
    for _ in range(300):
        deep = [deep]

    async def scenario() -> None:
        with pytest.raises(KernelError, match=r"deep cannot be given to this language.*nested too deeply") as caught:
            async with opened(root, {"deep": deep}, language="bash"):
                pass
        assert "\n" not in str(caught.value)

    asyncio.run(scenario())


def kernelspec(folder: Path, name: str, **spec: Any) -> None:
    (folder / "kernels" / name).mkdir(parents=True)
    (folder / "kernels" / name / "kernel.json").write_text(json.dumps({"display_name": name, **spec}))


@pytest.fixture
def specs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of kernelspecs, and nowhere else are any."""
    for module in ("jupyter_client.kernelspec", "kowalski_jupyter.kernels.installed"):
        monkeypatch.setattr(f"{module}.jupyter_path", lambda *_: [str(tmp_path / "kernels")])
    monkeypatch.setattr("jupyter_core.paths.SYSTEM_JUPYTER_PATH", [])
    return tmp_path


def test_kernels_are_found_by_name_then_by_language(specs: Path) -> None:
    assert find("java") is None
    kernelspec(specs, "some", argv=["{resource_dir}/x", "{connection_file}"], language="java")
    kernelspec(specs, "java", argv=["x"], language="kotlin")
    found = find("java")
    assert found is not None
    assert found.name == "some"
    assert found.argv[0].endswith("/kernels/some/x")
    kernelspec(specs, "jjava", argv=["y"], language="java")
    assert getattr(find("java"), "name", "") == "jjava"
    assert getattr(find("java", "some"), "name", "") == "some"
    assert find("java", "nowhere") is None


def test_a_broken_kernelspec_is_no_kernel(specs: Path) -> None:
    (specs / "kernels" / "deno").mkdir(parents=True)
    (specs / "kernels" / "deno" / "kernel.json").write_text("{")
    assert find("javascript") is None
    assert available({}) == ("python",)


def test_the_command_says_what_is_there_and_how_to_add_the_rest(
    specs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert specs.exists()
    assert main(["kernels"]) == 0
    said = capsys.readouterr().out
    assert "Python" in said
    assert said.count("not installed: jupyter kowalski kernels add") == 4


def test_the_command_wants_a_language(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["kernels", "add"])
    assert "--all" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["kernels", "add", "cobol"])
    assert "rust" in capsys.readouterr().err


def test_a_language_that_cannot_be_added_says_what_is_missing(
    specs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert specs.exists()
    monkeypatch.setenv("PATH", "/nonexistent")
    assert main(["kernels", "add", "java"]) == 1
    assert "JDK" in capsys.readouterr().out


def test_what_a_run_shares_is_limited() -> None:
    from kowalski_jupyter.kernels.base import Value  # noqa: PLC0415 - only here

    shelf = Shelf()
    large = Value("bytes", "bytes", "", bytes(200 << 20))
    shelf.put("a", large)
    shelf.put("a", large)
    with pytest.raises(SubcallError, match="256 MB"):
        shelf.put("b", large)
    with pytest.raises(SubcallError, match="'a'"):
        shelf.get("b")
    with pytest.raises(SubcallError, match="not pandas"):
        shelf.put("c", Value("pandas", "DataFrame", "", b""))
    small = Value("json", "int", "1", b"1")
    for number in range(999):
        shelf.put(str(number), small)
    with pytest.raises(SubcallError, match="1,000 values"):
        shelf.put("one more", small)


def test_the_limiter_counts_what_it_leaves_out() -> None:
    for pieces in (["x" * 100_000], ["y" * 10] * 10_000, ["", "ab"] * 5, ["z" * 1000 + "\n"] * 100):
        sent: list[Output] = []
        limiter = Limiter(1000, sent.append)
        for piece in pieces:
            limiter.add(Output("stdout", piece))
        limiter.end()
        assert sum(len(output.text) + output.omitted for output in sent) == len("".join(pieces))
        assert "".join(pieces).endswith(sent[-1].text)
        assert sum(len(output.text) for output in sent) < 1000 + (1 << 14) + 1000


def test_limits_of_other_languages_follow_the_runs(root: Path) -> None:
    need("bash")

    async def scenario() -> None:
        async with opened(root, language="bash", limits=Limits(memory=1 << 30, disk=8 << 20)) as session:
            await session("ulimit -d; ulimit -f; ulimit -c; ulimit -n")
            assert session.text().split() == [str(1 << 20), str(8 << 10), "0", "1024"]

    asyncio.run(scenario())
