"""What all handlers of the API have in common."""

from __future__ import annotations

import hmac
import json
from typing import Any

from tornado.iostream import StreamClosedError
from tornado.web import HTTPError, RequestHandler

from kowalski_jupyter.models.base import ModelError
from kowalski_jupyter.rlm.steering import SteeringError
from kowalski_jupyter.service.request import BadRequestError
from kowalski_jupyter.service.service import Service, UnknownRunError

_STATUS = {BadRequestError: 400, SteeringError: 400, ModelError: 400, UnknownRunError: 404}
"""Our errors, whose text is for the user, and the statuses that they are sent with."""


class Handler(RequestHandler):
    """Base of the API's handlers: checks the token, turns our errors into JSON."""

    service: Service
    token: str

    def initialize(self, service: Service, token: str) -> None:
        """Take what the application gives to all handlers."""
        self.service = service
        self.token = token

    def prepare(self) -> None:
        """Refuse who does not show the token."""
        given = self.request.headers.get("Authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            raise HTTPError(403, reason="Wrong token")

    def write_error(self, status_code: int, **kwargs: Any) -> None:  # noqa: ARG002 (tornado's signature)
        """Send an error as JSON, with our own words where it is one of ours."""
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), None)
        if status is not None:
            self.set_status(status)
            self.finish({"error": str(error)})
        else:
            self.finish({"error": self._reason})

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log what is a fault, and not what the user is told."""
        if not isinstance(value, (*_STATUS, StreamClosedError)):
            super().log_exception(typ, value, tb)

    def body(self) -> Any:
        """Return the request's body, decoded."""
        try:
            return json.loads(self.request.body)
        except ValueError as error:
            raise BadRequestError(f"Not JSON: {error}.") from None
