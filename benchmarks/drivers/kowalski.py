"""Asks ours as ``%%rlm`` does: packs the data, asks a service in another process over its socket, follows the run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from line import serve

from kowalski_jupyter.magics.variables import pack_all
from kowalski_jupyter.rlm.trace import Trace
from kowalski_jupyter.service.client import ServiceClient
from kowalski_jupyter.service.request import RunRequest

host = subprocess.Popen(
    [sys.executable, Path(__file__).with_name("service_host.py"), sys.argv[1]],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
)
assert host.stdout
client = ServiceClient(**json.loads(host.stdout.readline()))


def ask(question: str, context: str) -> Any:
    """Run once; the trace is folded as it comes, as for a cell's display."""
    data = pack_all(["context"], {"context": context}, client.info.data_root)
    trace = Trace()
    with client.run(RunRequest(question, data)) as batches:
        for batch in batches:
            for event in batch:
                trace.apply(event)
            trace.document()
    if trace.state != "done":
        raise RuntimeError(trace.error)
    return client.answer(trace.run)


serve(ask)
client.close()
host.communicate()
