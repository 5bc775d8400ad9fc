"""`%%rlm --allow net` and `--mount PATH`: the user widens a run's sandbox, and is shown what it allows."""

from __future__ import annotations

import ast
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kowalski_jupyter import RLM
from kowalski_jupyter.api.bundle import MIME_TYPE
from kowalski_jupyter.kernels.languages import FOREIGN
from kowalski_jupyter.kernels.prelude import landlock
from tests.kernels.languages import WORDS, need
from tests.magics.conftest import Run, block, bundle_of, check_mistakes, error_of
from tests.support.scripted_server import Request, ScriptedServer

DIAL = """
import socket
def dial(port):
    try:
        return socket.create_connection(("127.0.0.1", port), timeout=10).recv(10).decode()
    except OSError as error:
        return type(error).__name__
"""


@contextmanager
def greeter() -> Iterator[int]:
    """A server of the host's that says "hello" to everyone; yields its port."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"hello")

    thread = threading.Thread(target=serve, name="greeter")
    thread.start()
    try:
        yield server.getsockname()[1]
    finally:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def document_of(cell: Any) -> dict[str, Any]:
    document: dict[str, Any] = bundle_of(cell)[MIME_TYPE]
    return document


def test_the_network_is_there_for_the_run_that_is_allowed_it_and_for_no_other(notebook: Run) -> None:
    with greeter() as port, ScriptedServer(lambda _: block(f"{DIAL}\nFINAL(dial({port}))")) as server:
        book = notebook(
            server,
            "notes = 'x'",
            "%%rlm notes --allow net -o answer\nWhat?",
            "answer",
            "%%rlm notes -o answer\nWhat?",
            "answer",
        )
        asked = server.requests[0].last("user")

    allowed, closed = document_of(book.cells[2]), document_of(book.cells[4])
    assert [book.cells[place].outputs[0].data["text/plain"] for place in (3, 5)] == [
        "'hello'",
        "'PermissionError'" if "TCP" in landlock.parts("nothing") else "'ConnectionRefusedError'",
    ]
    assert allowed["sandbox"].partition(": ")[2].startswith("the network, this machine's own services")
    assert closed["sandbox"].partition(": ")[2].startswith("no network, no files of yours")
    assert "Code can use the internet." in asked
    assert "the network" in bundle_of(book.cells[2])["text/html"]


def test_files_are_mounted_to_be_read_and_the_model_is_told_where(notebook: Run, tmp_path: Path) -> None:
    papers = tmp_path / "my papers"
    papers.mkdir()
    (papers / "a.txt").write_text("first")
    (tmp_path / "notes").write_text("beside")
    (papers / "out").symlink_to(tmp_path / "notes")
    code = """
from pathlib import Path
found = []
for path in ("/data/my papers/a.txt", "/data/notes-2", "/data/my papers/out"):
    for attempt in (Path.read_text, lambda path: path.write_text("changed")):
        try:
            found.append(attempt(Path(path)))
        except OSError as error:
            found.append(error.strerror)
FINAL(found)
"""
    with ScriptedServer([block(code)]) as server:
        ask = f"%%rlm notes --mount '{papers}' --mount {tmp_path}/notes --mount '{papers}/.' -o answer\nWhat?"
        book = notebook(server, "notes = 'x'", ask, "answer")
        asked = server.requests[0].last("user")

    refused = "Read-only file system"
    nothing = "No such file or directory"
    found = ast.literal_eval(book.cells[3].outputs[0].data["text/plain"])
    assert found == ["first", refused, "beside", refused, nothing, nothing]
    assert (papers / "a.txt").read_text() == "first"
    assert "Code can read the user's files at `/data/my papers`, `/data/notes-2`." in asked
    assert f"no files of yours but {papers}, {tmp_path}/notes (read-only" in document_of(book.cells[2])["sandbox"]


def test_a_run_may_be_about_what_is_mounted_alone(notebook: Run, tmp_path: Path) -> None:
    (tmp_path / "n.csv").write_text("a\n1\n2\n")
    with ScriptedServer([block("FINAL(open('/data/n.csv').read().split())")]) as server:
        book = notebook(server, f"%%rlm --mount {tmp_path}/n.csv -o answer\nHow many?", "answer")

    assert book.cells[2].outputs[0].data["text/plain"] == "['a', '1', '2']"


@pytest.mark.parametrize("language", FOREIGN)
def test_every_language_finds_what_the_run_may_reach(language: str, notebook: Run, tmp_path: Path) -> None:
    need(language)
    (tmp_path / "n.txt").write_text("forty-two")
    attacks = WORDS[language].attacks
    with greeter() as port:
        cells = [attacks["read"].replace("PATH", "/data/n.txt"), attacks["network"].replace("PORT", str(port))]
        replies = [*(f"```{language}\n{code}\n```" for code in cells), block("FINAL(1)")]
        with ScriptedServer(replies) as server:
            book = notebook(server, f"%%rlm --allow net --mount {tmp_path}/n.txt\nWhat?")

    parts = [part for turn in document_of(book.cells[1])["turns"] for part in turn["parts"] if part["kind"] == "cell"]
    said = ["".join(output["text"] for output in part["outputs"]) for part in parts]
    assert "forty-two" in said[0], said
    assert "connected" in said[1], said


def test_child_runs_and_a_run_that_is_gone_through_again_have_the_same_sandbox(notebook: Run, tmp_path: Path) -> None:
    (tmp_path / "n.txt").write_text("forty-two")
    read = "open('/data/n.txt').read()"

    def reply(request: Request) -> str:
        if "child" in request.last("user"):
            return block(f"FINAL('child: ' + {read})")
        return block(f"FINAL([{read}, rlm_query('the child asks', context)])")

    replay = """
from kowalski_jupyter import RLM
rlm = RLM()
run = rlm.status()["runs"][-1]["id"]
rlm.replay(run, {"notes": "x"}).value
"""
    branch = "get_ipython().run_line_magic('rlm', f'resume {run} --turn 1 -o again')\nagain"
    gone = f"import os; os.remove('{tmp_path}/n.txt')\n{branch}"
    with ScriptedServer(reply) as server:
        ask = f"%%rlm notes --mount {tmp_path}/n.txt --depth 2 -o answer\nWhat?"
        book = notebook(server, "notes = 'x'", ask, "answer", replay, branch, gone, allow_errors=True)

    both = "['forty-two', 'child: forty-two']"
    assert [book.cells[place].outputs[-1].data["text/plain"] for place in (3, 4, 5)] == [both] * 3, book.cells
    assert error_of(book.cells[6]).strip().endswith(f"{tmp_path}/n.txt cannot be mounted: No such file or directory.")


MISTAKES = [
    ("--allow everything", "allow must be a list of what the sandbox is opened for: net, not ['everything']."),
    ("--mount /no/such/place", "/no/such/place cannot be mounted: No such file or directory."),
    ("--mount /dev/null", "/dev/null cannot be mounted: it is neither a file nor a folder."),
    ("--mount", "expected one argument"),
]


def test_what_cannot_be_allowed_is_one_line(notebook: Run) -> None:
    cells = [(f"%%rlm notes {options}\nWhat?", said) for options, said in MISTAKES]
    check_mistakes(notebook, "notes = 'x'", cells)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_the_user_may_not_read_cannot_be_mounted(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    with pytest.raises(ValueError, match=f"{closed} cannot be mounted: you may not read it"):
        RLM(mounts=[closed])


@pytest.mark.parametrize("given", [{"allow": "net"}, {"allow": ["files"]}, {"mounts": "/tmp"}, {"mounts": [1]}])
def test_the_api_checks_them_like_other_settings(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be a list"):
        RLM(**given)
