"""Entry point: ``__main__.py CONNECTION_FILE REQUESTS_FD REACH [SITE …]``, or ``… --zygote SOCKET_FD PROGRAMS``.

Started by path, so that the folder above becomes the place where the package `prelude` is found.
"""

import importlib
import json
import sys
from pathlib import Path

# ipykernel imports the debugger if it finds it: 8 MB and a fifth of the start, for nothing.
sys.modules["debugpy"] = None  # type: ignore[assignment]
sys.path[0] = str(Path(__file__).resolve().parent.parent)
if sys.argv[1] == "--zygote":
    importlib.import_module("prelude.zygote").serve(int(sys.argv[2]), json.loads(sys.argv[3]))
else:
    importlib.import_module("prelude.launch").main(sys.argv[1:])
