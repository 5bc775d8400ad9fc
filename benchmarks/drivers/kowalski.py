"""Asks ours as ``%%rlm`` does: packs the data, asks a service in another process over its socket, follows the run."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any

from line import arguments, serve

from kowalski_jupyter.kernels.pack import pack
from kowalski_jupyter.rlm.trace import Trace
from kowalski_jupyter.service.request import RunRequest
from kowalski_jupyter.service.socket.client import ServiceClient

_CANCEL_SECONDS = 5.0

url, options = arguments()
settings = {name: options.pop(name) for name in ("cell_timeout",) if name in options}  # the service's, not a run's
host = subprocess.Popen(
    [sys.executable, Path(__file__).with_name("service_host.py"), url, json.dumps(settings)],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
)
assert host.stdout
client = ServiceClient(**json.loads(host.stdout.readline()))


def ask(question: str, context: str) -> Any:
    """Run once; the trace is folded as it comes, as for a cell's display."""
    folder = client.info.data_root / f"pack-{secrets.token_hex(8)}"
    folder.mkdir(mode=0o700, parents=True)
    data = (pack("context", context, folder),)
    trace = Trace()
    try:
        with client.run(RunRequest(question, data, options)) as batches:
            for batch in batches:
                for event in batch:
                    trace.apply(event)
                trace.document()
    except KeyboardInterrupt:
        client.ended(trace.run, within=_CANCEL_SECONDS)
        raise
    if trace.state != "done":
        raise RuntimeError(trace.error)
    return client.answer(trace.run)


serve(ask)
client.close()
host.communicate()
