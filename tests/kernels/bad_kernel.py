"""A Jupyter kernel that does wrong in the way that it is told: ``python bad_kernel.py WAY CONNECTION_FILE``.

It behaves until the cell ``go`` comes, but for the ways that concern its start.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import signal
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import zmq


class Kernel:
    def __init__(self, way: str, info: dict[str, Any]) -> None:
        self.way = way
        self.key = info["key"].encode()
        self.late: list[tuple[str, Any]] = []
        context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.sockets = {}
        kinds = {"shell": zmq.ROUTER, "iopub": zmq.PUB, "stdin": zmq.ROUTER, "control": zmq.ROUTER, "hb": zmq.REP}
        for channel, kind in kinds.items():
            self.sockets[channel] = context.socket(kind)
            self.sockets[channel].sndhwm = 0
            self.sockets[channel].bind(f"tcp://{info['ip']}:{info[f'{channel}_port']}")

    def send(self, channel: str, to: list[bytes], kind: str, content: Any, *, parent: Any, key: bytes = b"") -> None:
        header = {"msg_id": uuid.uuid4().hex, "session": "s", "username": "k", "date": "", "msg_type": kind}
        header["version"] = "5.3"
        parts = [json.dumps(part).encode() for part in (header, parent, {}, content)]
        signature = hmac.new(key or self.key, b"".join(parts), hashlib.sha256).hexdigest().encode()
        self.sockets[channel].send_multipart([*to, b"<IDS|MSG>", signature, *parts])

    def publish(self, kind: str, content: Any, parent: Any) -> None:
        self.send("iopub", [kind.encode()], kind, content, parent=parent)

    def print(self, text: str, parent: Any) -> None:
        self.publish("stream", {"name": "stdout", "text": text}, parent)

    def serve(self) -> None:
        poller = zmq.Poller()
        for channel in ("shell", "control"):
            poller.register(self.sockets[channel], zmq.POLLIN)
        while True:
            events = dict(poller.poll())
            for channel in ("shell", "control"):
                if self.sockets[channel] in events:
                    frames = self.sockets[channel].recv_multipart()
                    place = frames.index(b"<IDS|MSG>")
                    self.take(channel, frames[:place], json.loads(frames[place + 2]), json.loads(frames[place + 5]))

    def take(self, channel: str, to: list[bytes], header: Any, content: Any) -> None:
        kind = header["msg_type"]
        if self.way == "silent" or (self.way == "deaf" and kind == "interrupt_request"):
            return
        self.publish("status", {"execution_state": "busy"}, header)
        if kind == "execute_request" and content["code"] == "go":
            self.go(to, header)
            return
        if self.late:
            self.print(*self.late.pop(0))
        self.send(channel, to, kind.replace("request", "reply"), {"status": "ok", "execution_count": 1}, parent=header)
        self.publish("status", {"execution_state": "idle"}, header)

    def go(self, to: list[bytes], header: Any) -> None:
        self.print("before\n", header)
        getattr(self, f"go_{self.way}")(to, header)

    def finish(self, to: list[bytes], header: Any) -> None:
        self.send("shell", to, "execute_reply", {"status": "ok", "execution_count": 1}, parent=header)
        self.publish("status", {"execution_state": "idle"}, header)

    def go_dies(self, _to: list[bytes], _header: Any) -> None:
        time.sleep(0.1)  # so that what was sent is on its way
        os._exit(7)

    def go_is_killed(self, _to: list[bytes], _header: Any) -> None:
        time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGKILL)

    def go_deaf(self, _to: list[bytes], _header: Any) -> None:
        return

    def go_hangs(self, _to: list[bytes], _header: Any) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True:
            time.sleep(60)

    def go_never_idle(self, to: list[bytes], header: Any) -> None:
        self.send("shell", to, "execute_reply", {"status": "ok", "execution_count": 1}, parent=header)

    def go_never_replies(self, _to: list[bytes], header: Any) -> None:
        self.publish("status", {"execution_state": "idle"}, header)

    def go_floods(self, _to: list[bytes], header: Any) -> None:
        while True:
            self.print("x" * (1 << 20), header)

    def go_floods_with_nothing(self, _to: list[bytes], header: Any) -> None:
        while True:
            self.print("", header)

    def go_talks_garbage(self, to: list[bytes], header: Any) -> None:
        iopub, shell = self.sockets["iopub"], self.sockets["shell"]
        self.send("iopub", [b"stream"], "stream", {"name": "stdout", "text": "forged"}, parent=header, key=b"wrong")
        iopub.send_multipart([b"x"])
        iopub.send_multipart([b"stream", b"<IDS|MSG>", b"", b"{", b"", b"\xff", b"[]"])
        shell.send_multipart([*to, b"<IDS|MSG>"])
        for content in (None, [], "text", 3, {}, {"name": "stdin", "text": 1}, {"name": "stdout", "text": None}):
            self.publish("stream", content, header)
        self.publish("execute_result", {"data": {"text/plain": ["a", 1]}}, header)
        self.publish("display_data", {"data": 3}, header)
        self.publish("error", {"traceback": "no list"}, header)
        self.publish("error", {"traceback": [None, {}]}, header)
        self.publish("status", {"execution_state": {"a": 1}}, header)
        self.publish("no_such_message", {}, header)
        self.print("\ud800 lone", header)
        self.print("after\n", header)
        self.finish(to, header)

    def go_is_late(self, to: list[bytes], header: Any) -> None:
        """Answer what is asked next in the middle of the outputs."""
        self.late = [(f"late {number}\n", header) for number in range(4)]
        self.finish(to, header)

    def go_replies_twice(self, to: list[bytes], header: Any) -> None:
        self.finish(to, header)
        self.finish(to, header)

    def go_answers_others(self, to: list[bytes], header: Any) -> None:
        self.finish(to, {**header, "msg_id": "another"})
        self.print("of another cell", {**header, "msg_id": "another"})
        self.finish(to, header)


def main(way: str, path: str) -> None:
    if way == "dies_on_start":
        sys.exit("there is no such library")
    if way == "slow":
        time.sleep(1)
    if way == "never_starts":
        time.sleep(600)
    Kernel(way, json.loads(Path(path).read_text())).serve()


main(*sys.argv[1:])
