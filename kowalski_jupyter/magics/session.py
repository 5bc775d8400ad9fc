"""What the magics of one shell share: the way to the service, and the last result."""

from __future__ import annotations

from IPython.core.interactiveshell import InteractiveShell

from kowalski_jupyter.magics.result import RlmResult
from kowalski_jupyter.service.client import ServiceClient
from kowalski_jupyter.service.config import Kowalski
from kowalski_jupyter.service.connect import connect


class Session:
    """One shell's use of the service.

    Attributes:
        shell: the user's shell.
        last: the result of the last run that answered.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self.shell = shell
        self.last: RlmResult | None = None
        self._config = Kowalski(config=shell.config)
        self._client: ServiceClient | None = None

    def client(self) -> ServiceClient:
        """Return a client of a service that answers, saying so in one line where it is not the server's."""
        if self._client is not None and self._client.alive():
            return self._client
        self._client, line = connect(self._config)
        if line:
            print(line)  # noqa: T201 (a line for the user)
        return self._client
