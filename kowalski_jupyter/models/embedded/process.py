"""The process that holds the embedded model: llama.cpp's own OpenAI server, on the loopback interface.

Run as ``python -m kowalski_jupyter.models.embedded.process``, with `Options` as one line of JSON on
standard input. Prints one line of JSON when it serves, ``{"url": …}``; llama.cpp's log goes to standard
error. Serves until standard input closes, which happens however the parent ends, and then ends at once.
"""

from __future__ import annotations

import ctypes
import dataclasses
import json
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import xllamacpp

_PR_SET_PDEATHSIG: Final = 1


@dataclasses.dataclass(frozen=True, slots=True)
class Options:
    """How to serve.

    Attributes:
        file: path of the GGUF file.
        name: the id that the model gets.
        api_key: what requests must carry. It comes on standard input, as anyone may read a command line.
        context_tokens: the window, shared by the requests in work.
        slots: requests in work at a time.
        threads: of computation.
        cache_mib: memory for the prompts of chats that are not in work at the moment. It is what lets a
            root's chat go on after its sub-calls without being read again, however few the slots.
        readings: folder for what was read once (readings.py).
    """

    file: str
    name: str
    api_key: str
    context_tokens: int
    slots: int
    threads: int
    cache_mib: int
    readings: str

    def to_json(self) -> str:
        """Return one line."""
        return json.dumps(dataclasses.asdict(self))


def main() -> None:
    """Serve until standard input closes."""
    options = Options(**json.loads(sys.stdin.readline()))
    # Before the model is loaded, which takes seconds: the parent may be gone by then.
    _end_with_parents_thread()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    server = _serve(options)
    sys.stdout.write(json.dumps({"url": server.listening_address}) + "\n")
    sys.stdout.flush()
    threading.Event().wait()


def _end_with_parents_thread() -> None:
    """Have Linux kill this process when the thread that started it ends, even while a load holds the interpreter."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


def _serve(options: Options) -> xllamacpp.Server:
    import xllamacpp  # noqa: PLC0415 - an optional extra, and it takes its time

    params = xllamacpp.CommonParams()
    params.model.path = options.file
    params.model_alias = {options.name}
    params.api_keys = [options.api_key]
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.cors_origins = ""
    params.ui = False
    params.endpoint_slots = False
    params.n_ctx = options.context_tokens
    params.n_parallel = options.slots
    params.kv_unified = True
    params.cache_ram_mib = options.cache_mib
    params.slot_save_path = f"{options.readings}/"
    params.warmup = False
    for cpu in (params.cpuparams, params.cpuparams_batch):
        cpu.n_threads = options.threads
        cpu.poll = 0
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
