"""How far the download of a model is on one device."""

from __future__ import annotations

from dataclasses import dataclass

from kowalski_jupyter.models.instances import size, tag


@dataclass(frozen=True, slots=True)
class Download:
    """Bytes that are there, and in all; `error` if it failed."""

    done: int
    total: int
    error: str = ""


def read_download(downloads: object, model: str) -> Download | None:
    """Read a model's entry in ``/state/downloads/<node>``; None if there is none, or it says nothing."""
    for tagged in downloads if isinstance(downloads, list) else ():
        kind, body = tag(tagged)
        if _model(body.get("shardMetadata")) != model:
            continue
        if kind == "DownloadCompleted":
            total = size(body.get("total"))
            return Download(total, total)
        if kind == "DownloadFailed":
            said = body.get("errorMessage")
            return Download(0, 0, said.strip().partition("\n")[0][:300] if isinstance(said, str) else "no reason given")
        if kind == "DownloadOngoing":
            progress = body.get("downloadProgress")
            if isinstance(progress, dict):
                return Download(size(progress.get("downloaded")), size(progress.get("total")))
    return None


def _model(shard: object) -> object:
    card = tag(shard)[1].get("modelCard")
    return card.get("modelId") if isinstance(card, dict) else None
