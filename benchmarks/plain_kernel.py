"""The same kernels as anybody starts them: jupyter_client, by the kernelspec, without a sandbox."""

from __future__ import annotations

import subprocess
import time
from typing import Any

from jupyter_client.asynchronous.client import AsyncKernelClient
from jupyter_client.manager import AsyncKernelManager

START_SECONDS = 60.0


class PlainKernel:
    """One kernel and its client."""

    def __init__(self, manager: AsyncKernelManager, client: AsyncKernelClient) -> None:
        self._manager = manager
        self._client = client

    @classmethod
    async def start(cls, kernelspec: str) -> PlainKernel:
        """Start a kernel and wait as jupyter_client does until it answers."""
        manager = AsyncKernelManager(kernel_name=kernelspec)
        await manager.start_kernel(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        client = manager.client()
        client.start_channels()
        await client.wait_for_ready(timeout=START_SECONDS)
        return cls(manager, client)

    @property
    def pid(self) -> int:
        """The process that was started."""
        return int(self._manager.provisioner.pid)  # type: ignore[union-attr]  # there is one as long as it runs

    async def execute(self, code: str) -> tuple[float, str]:
        """Run a cell; return the seconds until its reply, and what came before on stdout or as a result."""
        said: list[str] = []

        def take(message: dict[str, Any]) -> None:
            content = message["content"]
            said.append(content.get("text") or content.get("data", {}).get("text/plain", ""))

        started = time.perf_counter()
        reply = await self._client.execute_interactive(code, output_hook=take, allow_stdin=False, timeout=START_SECONDS)
        assert reply["content"]["status"] == "ok", reply
        return time.perf_counter() - started, "".join(said)

    async def close(self) -> None:
        """End it."""
        self._client.stop_channels()
        await self._manager.shutdown_kernel(now=True)
