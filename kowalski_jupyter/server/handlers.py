"""The browser's endpoints (docs/run-format.md). Jupyter's own login guards all of them."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from jupyter_server.auth.decorator import ws_authenticated
from jupyter_server.base.handlers import APIHandler, JupyterHandler
from jupyter_server.base.websocket import WebSocketMixin
from tornado import web
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from kowalski_jupyter.rlm.steering import SteeringError
from kowalski_jupyter.server.status import browser_status
from kowalski_jupyter.service.devices import trends_document
from kowalski_jupyter.service.service import Service, UnknownRunError
from kowalski_jupyter.service.steering import steer

_SHORTEST_PAUSE = 0.25
_LONGEST_PAUSE = 2.0
_DAY = 86_400.0


class _ServiceHandler(APIHandler):
    """Base of the plain endpoints."""

    @property
    def service(self) -> Service:
        service: Service = self.settings["kowalski_service"]
        return service


class StatusHandler(_ServiceHandler):
    """`GET status`: runs, model and machine."""

    @web.authenticated
    def get(self) -> None:
        """Send an `IStatus`."""
        self.finish(json.dumps(browser_status(self.service)))


class RunHandler(_ServiceHandler):
    """`GET runs/<id>`: one run."""

    @web.authenticated
    def get(self, run_id: str) -> None:
        """Send an `IRun`."""
        try:
            self.finish(json.dumps(self.service.find(run_id).trace.document()))
        except UnknownRunError as error:
            raise web.HTTPError(404, str(error)) from None


class CancelHandler(_ServiceHandler):
    """`POST runs/<id>/cancel`: stop a run."""

    @web.authenticated
    async def post(self, run_id: str) -> None:
        """Stop it and answer when it has ended."""
        try:
            await self.service.cancel(run_id)
        except UnknownRunError as error:
            raise web.HTTPError(404, str(error)) from None
        self.set_status(204)


class SteerHandler(_ServiceHandler):
    """`POST runs/<id>/steer`: the user's word on a run that goes on."""

    @web.authenticated
    def post(self, run_id: str) -> None:
        """Do it at once, or say why not."""
        try:
            steer(self.service.find(run_id), self.request.body)
        except UnknownRunError as error:
            raise web.HTTPError(404, str(error)) from None
        except SteeringError as error:
            self.set_status(400)
            self.finish(json.dumps({"error": str(error)}))
        else:
            self.set_status(204)


class TrendsHandler(_ServiceHandler):
    """`GET devices/trends?seconds=N`: how the devices were lately."""

    @web.authenticated
    def get(self) -> None:
        """Send the trends of all devices."""
        try:
            seconds = min(_DAY, max(1.0, float(self.get_query_argument("seconds", "600"))))
        except ValueError:
            raise web.HTTPError(400, "seconds is not a number") from None
        self.finish(json.dumps(trends_document(self.service.cluster, seconds)))


class EventsHandler(WebSocketMixin, WebSocketHandler, JupyterHandler):
    """`WS events`: an `IStatus` at once, at every change, and every two seconds."""

    _sending: asyncio.Task[None] | None = None

    @property
    def service(self) -> Service:
        """The service of this server."""
        service: Service = self.settings["kowalski_service"]
        return service

    @ws_authenticated
    async def get(self, *args: Any, **kwargs: Any) -> None:
        """Upgrade to a websocket, for a user who is logged in."""
        await super().get(*args, **kwargs)

    def open(self, *_: str, **__: str) -> None:
        """Start sending."""
        super().open()
        self.set_nodelay(True)
        self._sending = asyncio.create_task(self._send())

    def on_message(self, message: str | bytes) -> None:
        """Take nothing: the socket only tells."""

    def on_close(self) -> None:
        """Stop sending."""
        if self._sending is not None:
            self._sending.cancel()
        super().on_close()

    async def _send(self) -> None:
        changed = asyncio.Event()
        unwatch = self.service.watch(changed.set)
        try:
            with self.service.cluster.looking():
                while True:
                    changed.clear()
                    await self.write_message(json.dumps(browser_status(self.service)))
                    await asyncio.sleep(_SHORTEST_PAUSE)
                    await _wait(changed, _LONGEST_PAUSE - _SHORTEST_PAUSE)
        except WebSocketClosedError:
            return
        finally:
            unwatch()


async def _wait(changed: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await changed.wait()
    except TimeoutError:
        return


_RUN = r"kowalski/api/runs/([\w-]+)"

HANDLERS: list[tuple[str, type[JupyterHandler]]] = [
    ("kowalski/api/status", StatusHandler),
    (_RUN, RunHandler),
    (f"{_RUN}/cancel", CancelHandler),
    (f"{_RUN}/steer", SteerHandler),
    ("kowalski/api/devices/trends", TrendsHandler),
    ("kowalski/api/events", EventsHandler),
]
