"""A service in a thread of this process, for where there is no Jupyter server."""

from __future__ import annotations

import asyncio
import atexit
import threading

from kowalski_jupyter.service.config import Kowalski
from kowalski_jupyter.service.service import Service
from kowalski_jupyter.service.socket.api import ApiServer
from kowalski_jupyter.service.socket.wire import ServiceError


class ThreadHost:
    """A service with its API on a thread and an event loop of its own, until `close` or the process's end."""

    def __init__(self, config: Kowalski) -> None:
        self._config = config
        self._ready: threading.Event = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self.socket = ""
        self.token = ""
        self._thread = threading.Thread(target=self._main, name="kowalski-service", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self._failure is not None:
            raise ServiceError(f"The kowalski service did not start: {self._failure}") from self._failure
        atexit.register(self.close)

    def close(self) -> None:
        """End runs, kernels and models, and the thread. May be called twice."""
        atexit.unregister(self.close)
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        if self._failure is not None:
            raise ServiceError(f"The kowalski service ended badly: {self._failure}") from self._failure

    def _main(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        except BaseException as failure:  # noqa: BLE001 (told to the thread that waits)
            self._failure = failure
        finally:
            self._loop.close()
            self._ready.set()

    async def _serve(self) -> None:
        service = Service(self._config, host="this kernel")
        api = ApiServer(service)
        self.socket, self.token = str(api.socket), api.token
        self._ready.set()
        await self._stop.wait()
        await api.close()
        await service.close()
