"""Jupyter's messages, packed and signed (https://jupyter-client.readthedocs.io/en/stable/messaging.html).

Jupyter's `Session` takes as long for one as everything else together that is done for a short cell.
"""

from __future__ import annotations

import hmac
import itertools
import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from .lines import encoded

VERSION = "5.3"
"""Of the protocol that is spoken here."""
_DELIMITER = b"<IDS|MSG>"
_NOTHING: Mapping[str, Any] = {}


class BadMessageError(Exception):
    """A message is not signed with the key, or is none."""


class Messages:
    """One side of the conversation with a kernel.

    Args:
        key: signs the messages.
        username: names the side.
    """

    def __init__(self, key: bytes, username: str) -> None:
        self._keyed = hmac.new(key, digestmod="sha256")
        self._username = username
        self._session = uuid.uuid4().hex
        self._numbers = itertools.count(1)

    def pack(
        self,
        message_type: str,
        content: Mapping[str, Any],
        *,
        parent: Mapping[str, Any] = _NOTHING,
        metadata: Mapping[str, Any] = _NOTHING,
    ) -> tuple[str, list[bytes]]:
        """Return the id of a new message, and its parts for ZMQ; `parent` is the header of what it answers."""
        name = f"{self._session}_{next(self._numbers)}"
        header = {
            "msg_id": name,
            "msg_type": message_type,
            "username": self._username,
            "session": self._session,
            "date": datetime.now(UTC).isoformat(),
            "version": VERSION,
        }
        parts = [encoded(part) for part in (header, parent, metadata, content)]
        return name, [_DELIMITER, self._signature(parts), *parts]

    def read(self, frames: Sequence[bytes]) -> tuple[Sequence[bytes], dict[str, Any]]:
        """Return the identities that a message came with, and the message.

        Raises:
            BadMessageError: it is not well signed or not well formed.
        """
        try:
            start = frames.index(_DELIMITER) + 1
            signature, *parts = frames[start : start + 5]
            if not hmac.compare_digest(signature, self._signature(parts)):
                raise BadMessageError("not signed with the key")
            header, parent, metadata, content = map(json.loads, parts)
            message = {"header": header, "msg_type": header["msg_type"], "parent_header": parent}
        except (ValueError, LookupError, TypeError, RecursionError) as error:  # whatever a hostile one makes of itself
            raise BadMessageError(str(error)) from None
        if not isinstance(content, dict) or not isinstance(parent, dict):
            raise BadMessageError("a part is no object")
        return frames[: start - 1], message | {"metadata": metadata, "content": content}

    def _signature(self, parts: Sequence[bytes]) -> bytes:
        signature = self._keyed.copy()
        signature.update(b"".join(parts))
        return signature.hexdigest().encode()
