from __future__ import annotations

import subprocess
import sys

import pytest

from benchmarks import scenarios as sc
from benchmarks.bare import seconds_of_bare_calls
from benchmarks.drivers.line import make_context
from benchmarks.implementations import ALL, OURS, RLMS, Implementation
from benchmarks.memory import PeakMemory
from benchmarks.parsing import make_reply, seconds_to_parse
from benchmarks.report import to_markdown
from benchmarks.session import open_session
from tests.support.scripted_server import Reply, Request, ScriptedServer


def request(started: float, ended: float) -> Request:
    return Request(1, {}, {}, started, ended)


TRIAL = sc.Trial(
    spawned=1.0,
    asked=10.0,
    answered=11.0,
    root=[request(10.2, 10.25), request(10.5, 10.5), request(10.9, 10.96)],
    subcalls=[request(10.3 + i / 500, 10.3 + i / 500 + 0.001) for i in range(sc.CALLS)],
    added_memory=123_000_000,
)


def read(figures: tuple[sc.Figure, ...]) -> list[float]:
    return [pytest.approx(figure.read(TRIAL)) for figure in figures]


def test_figures_are_read_from_the_servers_clock() -> None:
    assert read((sc.FIRST_START, sc.COLD_RUN)) == [9.2, 1.0]
    assert read(sc.WARM) == [1.0, 200.0, 325.0, 40.0]
    assert read(sc.SEQUENCE) == [2.0, 1.0]
    assert read(sc.BATCH) == [0.25, 0.199]
    assert read(sc.CONTEXT) == [0.2, 400.0, 1.0]
    assert read(sc.MEMORY) == [123.0]


def test_what_was_not_measured_is_a_dash() -> None:
    figure = sc.Figure("alone", "ms", target=5)
    row = to_markdown({figure: {"ours": [4.0]}}, [OURS, RLMS], rounds=1).splitlines()[-1]
    assert row == "| alone | 4 (4) ms | - | - | 5 ms | met |"


def test_the_first_and_the_last_gaps_of_many_turns_are_told_apart() -> None:
    ends = [0.001] * 10 + [0.002] * 30 + [0.003] * 10
    root = [request(float(turn), turn + 1 - gap) for turn, gap in enumerate(ends)] + [request(50.0, 50.1)]
    trial = sc.Trial(spawned=0.0, asked=0.0, answered=51.0, root=root, subcalls=[])
    assert [figure.read(trial) for figure in sc.FIFTY] == [pytest.approx(1.0), pytest.approx(3.0)]


def test_a_bare_loop_makes_all_calls_and_no_more_at_a_time_than_it_may() -> None:
    with ScriptedServer(lambda _: Reply("ok", delay=0.01)) as server:
        assert seconds_of_bare_calls(server.port, 25, width=5) >= 0.05
        assert (len(server.requests), server.max_in_flight) == (25, 5)


def test_a_client_that_leaves_early_is_seen_in_the_words_written() -> None:
    with open_session(OURS, {"max_turns": 5}) as session:
        trial = session.run(sc.TALKATIVE)
    assert 0 < sum(request.chunks for request in trial.root) < sc.TALKATIVE.chatter


@pytest.mark.parametrize("megabytes", [1, 2])
def test_the_reply_to_parse_has_its_size_and_is_parsed(megabytes: int) -> None:
    assert len(make_reply(megabytes * sc.MEGABYTE)) == megabytes * sc.MEGABYTE
    assert seconds_to_parse(megabytes) > 0


def test_the_report_sets_ratios_and_verdicts_beside_the_medians() -> None:
    late, near, soon = (sc.Figure(name, "ms", float, target=5) for name in ("late", "near", "soon"))
    values = {
        late: {"ours": [7.0, 9.0, 8.0], "rlms": [16.0]},
        near: {"ours": [4.0, 8.0, 6.0], "rlms": [3.0]},
        soon: {"ours": [4.0], "rlms": [2.0]},
    }
    rows = to_markdown(values, [OURS, RLMS], rounds=3).splitlines()[-3:]
    assert rows == [
        "| late | 8 (7) ms | 16 (16) ms | 2.0 | 5 ms | **missed** |",
        "| near | 6 (4) ms | 3 (3) ms | 0.5 | 5 ms | **missed** (minimum meets it) |",
        "| soon | 4 (4) ms | 2 (2) ms | 0.5 | 5 ms | met |",
    ]


@pytest.mark.parametrize("size", [1000, 3 * sc.MEGABYTE])
def test_a_context_has_its_size_and_a_needle_in_every_million(size: int) -> None:
    context = make_context(size)
    assert (len(context), context.count("needle")) == (size, max(1, size // sc.MEGABYTE))


@pytest.mark.parametrize("implementation", ALL, ids=lambda each: each.name)
def test_replies_hold_their_code_and_finish_with_the_value(implementation: Implementation) -> None:
    assert "\nf(x)\n" in implementation.write("f(x)")
    assert "f(x)" in implementation.finish("f(x)")
    compile(implementation.finish("f(x)"), "finish", "exec")


def test_memory_counts_what_a_child_adds_after_the_start() -> None:
    code = "import sys; input(); a = bytearray(b'x') * 30_000_000; print('ready', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        memory = PeakMemory(process.pid)
        with memory:
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "ready\n"
        process.stdin.write("\n")
    assert 29_000_000 < memory.added < 60_000_000
