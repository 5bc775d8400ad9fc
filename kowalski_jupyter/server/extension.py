"""The server extension: owns the service while the Jupyter server runs."""

from __future__ import annotations

import os
from typing import Any

from jupyter_server.extension.application import ExtensionApp

from kowalski_jupyter.server.activity import Activity
from kowalski_jupyter.server.handlers import HANDLERS
from kowalski_jupyter.server.metrics import Metrics
from kowalski_jupyter.service.config import Kowalski
from kowalski_jupyter.service.connect import SOCKET_VARIABLE, TOKEN_VARIABLE
from kowalski_jupyter.service.service import Service
from kowalski_jupyter.service.socket.api import ApiServer


class KowalskiExtension(ExtensionApp):
    """Starts the service with the server, announces it to kernels, and ends it with the server."""

    name = "kowalski_jupyter"
    extension_url = "/lab"
    load_other_extensions = True
    classes = [Kowalski]  # noqa: RUF012 (traitlets' own declaration)

    _api: ApiServer | None = None
    _service: Service | None = None
    _activity: Activity | None = None
    _metrics: Metrics | None = None

    def initialize_handlers(self) -> None:
        """Add the browser's endpoints."""
        self.handlers.extend(HANDLERS)

    async def _start_jupyter_server_extension(self, serverapp: Any) -> None:
        """Start the service. jupyter_server calls this once its event loop runs.

        Kernels, and terminals, inherit the environment: that is how they learn of the socket.
        """
        settings = serverapp.web_app.settings
        self._service = Service(Kowalski(parent=self), host="jupyter server")
        self._api = ApiServer(self._service)
        self._activity = Activity(self._service, settings)
        self._service.cluster.start()
        self._metrics = Metrics(self._service)
        settings["kowalski_service"] = self._service
        os.environ[SOCKET_VARIABLE] = str(self._api.socket)
        os.environ[TOKEN_VARIABLE] = self._api.token

    async def stop_extension(self) -> None:
        """End runs, kernels and models. jupyter_server calls this while it shuts down, and may do so twice."""
        os.environ.pop(SOCKET_VARIABLE, None)
        os.environ.pop(TOKEN_VARIABLE, None)
        metrics, activity, api, service = self._metrics, self._activity, self._api, self._service
        self._metrics = self._activity = self._api = self._service = None
        if metrics is not None:
            metrics.close()
        if activity is not None:
            activity.close()
        if api is not None:
            await api.close()
        if service is not None:
            await service.close()
