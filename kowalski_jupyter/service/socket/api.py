"""The service on a private unix socket: HTTP with a token, events as NDJSON.

The socket's file mode (0600) keeps other users out, the token keeps a process out that was merely given
the path. Closing the stream of a run cancels the run, unless it was detached.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import Literal

from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_unix_socket
from tornado.web import Application, RequestHandler

from kowalski_jupyter._version import __version__
from kowalski_jupyter.kernels.folders import OwnedFolder
from kowalski_jupyter.rlm.events import Answered, RunFinished
from kowalski_jupyter.service.config import runtime_folder
from kowalski_jupyter.service.request import AgainRequest, BadRequestError, RunRequest
from kowalski_jupyter.service.service import LiveRun, Service, UnknownRunError
from kowalski_jupyter.service.socket import devices
from kowalski_jupyter.service.socket.handler import Handler
from kowalski_jupyter.service.socket.wire import batch_line
from kowalski_jupyter.service.steering import steer

_PACE = 0.1
"""Seconds between two batches of events: what a notebook's display can take, ten updates a second."""
_FIRST_PACE = 0.02
"""Seconds between the first two: a run that has just begun is small to show, and somebody looks at it."""

_BODY_LIMIT = 64 << 20

_FORMS: dict[str, Literal["notebook", "jsonl"]] = {"notebook": "notebook", "jsonl": "jsonl"}


class _Streaming(Handler):
    """Base of what sends the events of a run."""

    async def stream(self, live: LiveRun, after: int = 0) -> None:
        """Send the run's events in batches, a line each, about ten a second; a small answer comes with the last.

        Ends early, without an error, when the other side has gone.
        """
        self.set_header("Content-Type", "application/x-ndjson")
        self.set_header("X-Kowalski-Run", live.id)
        now = asyncio.get_running_loop().time
        begun = now()
        try:
            await self.flush()
            async for batch in live.log.follow(after):
                if isinstance(batch[-1], RunFinished):  # it goes with the stream's end, in one piece
                    self.write(batch_line(live.id, batch, live.answer))
                    continue
                self.write(batch_line(live.id, batch, None))
                await self.flush()
                await live.log.wait_finished(min(_PACE, max(_FIRST_PACE, (now() - begun) / 5)))
        except StreamClosedError:
            return


class _Info(Handler):
    """What is here: version, host, and where a client may put packed data."""

    async def get(self) -> None:
        self.finish({"version": __version__, "host": self.service.host, "data_root": str(self.service.data_root)})
        await self.service.warm_up()


class _Status(Handler):
    """Runs, model and machine."""

    def get(self) -> None:
        self.finish(self.service.status())


class _Starting(_Streaming):
    """Base of what starts a run and follows it."""

    live: LiveRun | None = None
    detached = False

    async def follow(self, live: LiveRun) -> None:
        self.live = live
        await self.stream(live)
        self.on_connection_close()  # a stream that has ended early may have noticed it first

    def on_connection_close(self) -> None:
        """Stop means stop: who goes away while the run goes on cancels it."""
        if self.live is not None and not self.detached:
            self.live.cancel()


class _Runs(_Starting):
    """Start a run."""

    async def post(self) -> None:
        request = RunRequest.from_json(self.body(), data_root=self.service.data_root)
        self.detached = request.detach
        await self.follow(self.service.start_run(request))


class _Resume(_Starting):
    """Go on with a recorded run, or branch from it."""

    async def post(self, run_id: str) -> None:
        request = AgainRequest.from_json(self.body(), data_root=self.service.data_root)
        await self.follow(
            self.service.resume(run_id, request.data, turn=request.turn, reply=request.reply, options=request.options)
        )


class _Replay(_Starting):
    """Go through a recorded run again without a model."""

    async def post(self, run_id: str) -> None:
        request = AgainRequest.from_json(self.body(), data_root=self.service.data_root)
        await self.follow(self.service.replay(run_id, request.data))

    def get(self, run_id: str) -> None:
        """What was the same in a replay and what was not."""
        self.finish(self.service.replay_report(run_id))


class _Run(Handler):
    """One run: its document, or its end."""

    def get(self, run_id: str) -> None:
        self.finish(self.service.find(run_id).trace.document())

    async def delete(self, run_id: str) -> None:
        await self.service.cancel(run_id)
        self.set_status(204)


class _Events(_Streaming):
    """Follow a run that is going on or has ended. Going away cancels nothing."""

    async def get(self, run_id: str) -> None:
        await self.stream(self.service.find(run_id), int(self.get_query_argument("after", "0")))


class _Record(Handler):
    """The events of a run that there are so far."""

    def get(self, run_id: str) -> None:
        self.finish({"events": [event.to_json() for event in self.service.record(run_id)]})


class _Steer(Handler):
    """A word to a run that is going on."""

    def post(self, run_id: str) -> None:
        steer(self.service.find(run_id), self.request.body)
        self.set_status(204)


class _Export(Handler):
    """A run as a file."""

    def get(self, run_id: str) -> None:
        form = _FORMS.get(self.get_query_argument("format"))
        if form is None:
            raise BadRequestError(f"A run is exported as {' or '.join(_FORMS)}.")
        self.set_header("Content-Type", "application/octet-stream")
        self.finish(self.service.export(run_id, form))


class _Answer(Handler):
    """The answer's value as data; how it is encoded stands in a header."""

    def get(self, run_id: str) -> None:
        live = self.service.find(run_id)
        answer = live.answer
        if answer is None and any(isinstance(event, Answered) for event in live.log.events):
            again = f"`%rlm replay {run_id}` makes it again"
            raise UnknownRunError(f"Run {run_id} has an answer. Its value was too large to be kept; {again}.")
        if answer is None:
            raise UnknownRunError(f"Run {run_id} has no answer.")
        self.set_header("Content-Type", "application/octet-stream")
        self.set_header("X-Kowalski-Kind", answer.kind)
        self.finish(answer.data)


class ApiServer:
    """The API of one service, listening while this object is open.

    Attributes:
        socket: the socket's path, in a folder of its own with mode 0700.
        token: what a client must show.
    """

    def __init__(self, service: Service) -> None:
        # Owned, or another service would take it for the leftover of one that died, and remove it.
        self._folder = OwnedFolder(runtime_folder())
        self.socket = self._folder.path / "api.sock"
        self.token = secrets.token_urlsafe(24)
        context = {"service": service, "token": self.token}
        run = "/runs/([^/]*)"  # quoted; what is no id is told so by `find`
        self._server = HTTPServer(
            Application(
                [
                    ("/info", _Info, context),
                    ("/status", _Status, context),
                    ("/runs", _Runs, context),
                    (run, _Run, context),
                    (f"{run}/events", _Events, context),
                    (f"{run}/answer", _Answer, context),
                    (f"{run}/record", _Record, context),
                    (f"{run}/steer", _Steer, context),
                    (f"{run}/resume", _Resume, context),
                    (f"{run}/replay", _Replay, context),
                    (f"{run}/export", _Export, context),
                    *((path, handler, context) for path, handler in devices.HANDLERS),
                ],
                log_function=_no_log,
            ),
            max_body_size=_BODY_LIMIT,
        )
        self._server.add_socket(bind_unix_socket(str(self.socket), mode=0o600))

    async def close(self) -> None:
        """Stop listening, close what is open, remove the socket."""
        self._server.stop()
        await self._server.close_all_connections()
        self._folder.remove()


def _no_log(_: RequestHandler) -> None:
    """Log no requests: the service logs what matters, and a question is the user's own."""
