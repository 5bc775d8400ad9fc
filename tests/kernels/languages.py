"""What the tests run in each language: the same things, said in its own words."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from kowalski_jupyter.kernels.installed import find
from kowalski_jupyter.kernels.languages import FOREIGN, LANGUAGES

ALL_WANTED = "KOWALSKI_TEST_ALL_LANGUAGES"
"""Set where no language may be left out: in continuous integration."""


def missing(language: str) -> str:
    """Why a language cannot be tested here, or ""."""
    if find(language) is None:
        return f"no kernel for {LANGUAGES[language].title}: jupyter kowalski kernels add {language}"
    return LANGUAGES[language].problem()


def need(language: str) -> None:
    """Skip the test where the language is missing; fail it where none may be."""
    if reason := missing(language):
        if os.environ.get(ALL_WANTED):
            pytest.fail(reason)
        pytest.skip(reason)


@dataclass(frozen=True)
class Cell:
    """A cell, how it has to end, and what its outputs have to hold."""

    code: str
    shows: str = ""
    status: str = "ok"


@dataclass(frozen=True)
class Words:
    """One language's words."""

    cells: Mapping[str, Cell]
    setup: str
    """Gives ``kept`` the value 41, and ``turns`` the value 0."""
    kept: str
    """Shows ``kept``."""
    loop: str
    """Counts without end, in ``turns``."""
    crash: str
    flood: str
    """Prints some 3 MB in lines of x, then END."""
    count: str
    """Shows how many letters a the text ``big`` has."""
    bomb: str
    """Takes memory without end."""
    threads: str
    """Starts processes or threads without end."""
    keeps: bool = True
    """Whether an interrupted cell leaves the variables."""
    turns: str = ""
    """Shows ``turns``."""
    attacks: Mapping[str, str] = field(default_factory=dict)


JAVASCRIPT = Words(
    cells={
        "state": Cell("let a = 40; a + 1", "41"),
        "state in a later cell": Cell("a += 2; a", "42"),
        "function": Cell("function twice(x: number) { return 2 * x }; twice(21)", "42"),
        "class": Cell(
            "class Point { constructor(public x: number) {} up() { return this.x + 1 } }; new Point(41).up()", "42"
        ),
        "compile error": Cell("let b = ;", "SyntaxError", "error"),
        "run time error": Cell("undefined.foo", "TypeError", "error"),
        "state after an error": Cell("a", "42"),
        "unicode": Cell("console.log('größer 日本 🦀')", "größer 日本 🦀"),
        "standard error": Cell("console.error('oh')", "oh"),
        "input": Cell("prompt('name?')", "Nobody is there", "error"),
        "text": Cell("[notes.length, notes.split('\\n')[1], context.notes === notes]", '[ 19, "zwei Äpfel", true ]'),
        "table": Cell("table[1].city + table.length", "Bern2"),
        "plain data": Cell("data.list[2] + data.name", "3n"),
        "llm_query": Cell("llm_query('hi')", "reply to hi"),
        "llm_query_batched": Cell("llm_query_batched(['a', 'b'])[1]", "reply to b"),
        "share": Cell("share('x', { n: [1, 'ü'] }); shared('x').n[1]", "ü"),
        "shared by Python": Cell("shared('from python').k", "7"),
        "FINAL": Cell("FINAL({ n: [1, 2.5], $: 'ü' }); console.log('never')", "", "final"),
    },
    setup="let kept = 41; let turns = 0",
    kept="kept",
    loop="while (true) turns++",
    turns="turns",
    crash="Deno.exit(3)",
    flood="for (let i = 0; i < 3000; i++) console.log('x'.repeat(1000)); console.log('END')",
    count="big.split('a').length - 1",
    bomb="const hoard = []; while (true) hoard.push(new Uint8Array(1 << 26).fill(1))",
    threads="",
    attacks={
        "network": "try { await Deno.connect({ port: PORT }); 'connected' } catch (e) { 'refused' }",
        "read": "try { Deno.readTextFileSync('PATH') } catch (e) { 'refused' }",
    },
)

BASH = Words(
    cells={
        "state": Cell("a=40; echo $((a + 1))", "41"),
        "state in a later cell": Cell("a=$((a + 2)); echo $a", "42"),
        "function": Cell("twice() { echo $((2 * $1)); }; twice 21", "42"),
        "folder": Cell("cd /tmp && mkdir -p here && cd here && pwd", "/tmp/here"),
        "folder in a later cell": Cell("pwd; cd /tmp/work", "/tmp/here"),
        "compile error": Cell("if [ 1", "syntax error", "error"),
        "run time error": Cell("nosuchcommand", "command not found", "error"),
        "set -e": Cell("set -euo pipefail\nfalse\necho never", "exit status 1", "error"),
        "exit": Cell("echo bye; exit 3", "exit status 3", "error"),
        "state after an error": Cell("echo $a", "42"),
        "unicode": Cell("cat <<E\ngrößer 日本 🦀\nE", "größer 日本 🦀"),
        "standard error": Cell("echo oh >&2", "oh"),
        "closed pipe": Cell("yes | head -n 1; echo ${PIPESTATUS[0]}", "y\n141"),
        "input": Cell('read name; echo "<$name>"', "<>"),
        "text": Cell('wc -c < "$notes_file"; echo "${notes#*$\'\\n\'}"', "20\nzwei Äpfel"),
        "table": Cell('cut -d, -f1 "$table_file"', "city\nOslo\nBern"),
        "plain data": Cell('cat "$data_file"', '{"name":"n","list":[1,2,3]}'),
        "llm_query": Cell("llm_query hi; echo ho | llm_query", "reply to hi\nreply to ho"),
        "llm_query_batched": Cell("llm_query_batched a b | tail -n 1", "reply to b"),
        "share": Cell('share x \'{"n": [1, "ü"]}\'; shared x', '{"n": [1, "ü"]}'),
        "shared by Python": Cell("shared 'from python'", '{"k": 7}'),
        "FINAL": Cell('FINAL \'{"n": [1, 2.5], "$": "ü"}\'; echo never', "", "final"),
    },
    setup="kept=41; turns=0",
    kept="echo $kept",
    loop="while :; do turns=$((turns + 1)); done",
    turns="echo $turns",
    crash="kill -KILL $$",
    flood="for i in {1..3000}; do printf 'x%.0s' {1..1000}; echo; done; echo END",
    count='tr -cd a < "$big_file" | wc -c',
    bomb='hoard=x; while :; do hoard="$hoard$hoard"; done',
    threads="for i in {1..300}; do sleep 60 & done; echo made",
    attacks={
        "network": "(exec 3<>/dev/tcp/127.0.0.1/PORT) 2>/dev/null && echo connected || echo refused",
        "read": "cat PATH 2>/dev/null || echo refused",
    },
)

JAVA = Words(
    cells={
        "state": Cell("int a = 40; a + 1", "41"),
        "state in a later cell": Cell("a += 2; a", "42"),
        "function": Cell("int twice(int x) { return 2 * x; }", ""),
        "function in a later cell": Cell("twice(21)", "42"),
        "class": Cell(
            "class Point { int x; Point(int x) { this.x = x; } int up() { return x + 1; } }\nnew Point(41).up()", "42"
        ),
        "record": Cell('record Pair(int a, String b) {}\nnew Pair(1, "z")', "Pair[a=1, b=z]"),
        "compile error": Cell('int b = "text";', "incompatible types", "error"),
        "run time error": Cell("List.of().get(0)", "IndexOutOfBounds", "error"),
        "state after an error": Cell("a", "42"),
        "unicode": Cell('System.out.println("größer 日本 🦀")', "größer 日本 🦀"),
        "standard error": Cell('System.err.println("oh")', "oh"),
        "input": Cell("new Scanner(System.in).nextLine()", "NoSuchElement", "error"),
        "text": Cell('notes.length() + notes.split("\\n")[1]', "19zwei Äpfel"),
        "table": Cell('table.get(1).get("city") + "" + table.size()', "Bern2"),
        "plain data": Cell('((List<?>) data.get("list")).get(2) + "" + data.get("name")', "3n"),
        "llm_query": Cell('llm_query("hi")', "reply to hi"),
        "llm_query_batched": Cell('llm_query_batched(List.of("a", "b")).get(1)', "reply to b"),
        "share": Cell('share("x", Map.of("n", List.of(1, "ü"))); shared("x")', "{n=[1, ü]}"),
        "shared by Python": Cell('Map<String, Object> got = shared("from python"); got.get("k")', "7"),
        "FINAL": Cell(
            'FINAL(new TreeMap<>(Map.of("n", List.of(1, 2.5), "$", "ü"))); System.out.println("never")', "", "final"
        ),
    },
    setup="int kept = 41; int turns = 0;",
    kept="kept",
    loop="while (true) turns++;",
    turns="turns",
    crash="System.exit(3)",
    flood='for (int i = 0; i < 3000; i++) System.out.println("x".repeat(1000)); System.out.println("END");',
    count="big.chars().filter(c -> c == 'a').count()",
    bomb="List<byte[]> hoard = new ArrayList<>(); while (true) hoard.add(new byte[1 << 26]);",
    threads="""
int made = 0;
try {
    for (; made < 2000; made++) {
        Thread thread = new Thread(() -> { try { Thread.sleep(60000); } catch (InterruptedException e) {} });
        thread.setDaemon(true);
        thread.start();
    }
} catch (Throwable e) {}
made < 200""",
    attacks={
        "network": 'try { new Socket("127.0.0.1", PORT); System.out.println("connected"); }'
        ' catch (Exception e) { System.out.println("refused"); }',
        "read": 'try { System.out.println(Files.readString(Path.of("PATH"))); }'
        ' catch (Exception e) { System.out.println("refused"); }',
    },
)

RUST = Words(
    cells={
        "state": Cell("let mut a: i32 = 40; a + 1", "41"),
        "state in a later cell": Cell("a += 2; a", "42"),
        "a type that is found out": Cell("let list = vec![1, 2, 3]; list.len()", "3"),
        "function": Cell("fn twice(x: i32) -> i32 { 2 * x }\ntwice(21)", "42"),
        "struct": Cell(
            "#[derive(Debug, Clone)]\nstruct P { x: i32 }\nimpl P { fn up(&self) -> i32 { self.x + 1 } }", ""
        ),
        "struct in a later cell": Cell("P { x: 41 }.up()", "42"),
        "compile error": Cell('let b: i32 = "text";', "mismatched types", "error"),
        "run time error": Cell("let v: Vec<i32> = vec![]; v[a as usize]", "index out of bounds", "error"),
        "state after an error": Cell("a", "42"),
        "unicode": Cell('println!("größer 日本 🦀");', "größer 日本 🦀"),
        "input": Cell(
            "let mut line = String::new(); std::io::stdin().read_line(&mut line).unwrap();", "Nobody is there", "error"
        ),
        "text": Cell('println!("{} {}", notes.chars().count(), notes.lines().nth(1).unwrap());', "19 zwei Äpfel"),
        "table": Cell('println!("{}{}", table[1]["city"].as_str().unwrap(), table.len());', "Bern2"),
        "plain data": Cell('println!("{}{}", data["list"][2], data["name"]);', '3"n"'),
        "llm_query": Cell('llm_query("hi")', "reply to hi"),
        "llm_query_batched": Cell('llm_query_batched(&["a", "b"])[1]', "reply to b"),
        "share": Cell('share("x", vec!["ü"]); println!("{}", shared("x"));', '["ü"]'),
        "shared by Python": Cell('println!("{}", shared("from python")["k"]);', "7"),
        "FINAL": Cell(
            "use std::collections::BTreeMap;\n"
            'FINAL(BTreeMap::from([("$", "ü".to_json()), ("n", (1, 2.5).to_json())])); println!("never");',
            "",
            "final",
        ),
    },
    setup="let kept: i32 = 41;",
    kept="kept",
    loop="loop {}",
    crash="std::process::exit(3);",
    flood='for _ in 0..3000 { println!("{}", "x".repeat(1000)); } println!("END");',
    count="big.bytes().filter(|b| *b == b'a').count()",
    bomb="let mut hoard: Vec<Vec<u8>> = Vec::new(); loop { hoard.push(vec![1; 1 << 26]); }",
    threads="""
let mut made = 0;
let nap = || std::thread::sleep(std::time::Duration::from_secs(60));
while made < 2000 && std::thread::Builder::new().spawn(nap).is_ok() { made += 1; }
println!("{}", made < 200);""",
    keeps=False,
    attacks={
        "network": 'println!("{}", if std::net::TcpStream::connect("127.0.0.1:PORT").is_ok() { "connected" }'
        ' else { "refused" });',
        "read": 'println!("{}", std::fs::read_to_string("PATH").unwrap_or("refused".into()));',
    },
)

WORDS: Mapping[str, Words] = {"rust": RUST, "java": JAVA, "javascript": JAVASCRIPT, "bash": BASH}
assert tuple(WORDS) == FOREIGN
