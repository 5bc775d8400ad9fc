"""A service in a process of its own, as a Jupyter server has one, until standard input ends."""

from __future__ import annotations

import json
import sys

from kowalski_jupyter.service.config import Kowalski
from kowalski_jupyter.service.host import ThreadHost

url, settings = sys.argv[1:]
host = ThreadHost(Kowalski(url=url, embedded=False, **json.loads(settings)))
print(json.dumps({"socket": host.socket, "token": host.token}), flush=True)
sys.stdin.read()
host.close()
