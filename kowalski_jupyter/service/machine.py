"""This machine's load and memory, for the panel."""

from __future__ import annotations

from typing import Any

import psutil


def machine_status() -> dict[str, Any]:
    """Return CPU use of the whole machine (0 to 1, since the last call), cores, and memory in bytes.

    Reads two files of the kernel; never waits.
    """
    memory = psutil.virtual_memory()
    return {
        "load": round(psutil.cpu_percent(interval=None) / 100, 3),
        "cores": psutil.cpu_count() or 1,
        "memory_total": memory.total,
        "memory_available": memory.available,
    }
