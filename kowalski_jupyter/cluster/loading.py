"""Waits for an instance to become ready: exo's 200 proves nothing, only its state does."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from kowalski_jupyter.cluster.downloads import Download, read_download
from kowalski_jupyter.cluster.exo.client import NodeSilentError, NoSuchPartError
from kowalski_jupyter.cluster.snapshot import InstanceHealth, Snapshot
from kowalski_jupyter.models.base import ModelRefusedError, ModelStalledError, Report

if TYPE_CHECKING:
    from kowalski_jupyter.cluster.cluster import Cluster
    from kowalski_jupyter.cluster.exo.views import Instance

_PAUSES: Final = (0.05, 0.3)
"""Seconds between two looks, at first and later."""

_APPEAR_SECONDS: Final = 20.0
"""Within which an instance must be in the state: an election may come between."""

_STALL_SECONDS: Final = 300.0
"""Without any change after which a load is given up."""

_DOWNLOAD_EVERY: Final = 2.0
"""Seconds between two looks at downloads, which are large."""


class NewMasterError(ModelRefusedError):
    """A new master has forgotten what was being loaded."""


async def wait_until_ready(
    cluster: Cluster, key: str, instance: Instance, report: Report, where: str
) -> InstanceHealth:
    """Return an instance once it is ready.

    Args:
        cluster: under watch.
        key: of the cluster that it is in.
        instance: as it was placed.
        report: told how far it is.
        where: the devices, in words.

    Raises:
        ModelRefusedError: exo has not placed it, or has given it up; the text says what it said last.
        NewMasterError: it may be placed again.
        ModelStalledError: nothing has changed for minutes.
    """
    model, session = instance.model, cluster.snapshot.clusters[key].session
    begun = changed = time.monotonic()
    appeared, said, error = False, "", ""
    download_next, download = 0.0, None
    with cluster.looking():
        while True:
            snapshot = await cluster.look()
            now = time.monotonic()
            _check_session(snapshot, key, session, model)
            health = snapshot.instances.get(instance.id)
            if health is None:
                if appeared:
                    raise ModelRefusedError(_gave_up(model, where, error))
                if now - begun > _APPEAR_SECONDS:
                    raise ModelRefusedError(_never_came(model, where))
            else:
                appeared, error = True, health.instance.failed or error
                if health.ready:
                    report(f"{model} is ready {where}", None, None)
                    return health
                if not any(runner.state for runner in health.instance.runners) and now >= download_next:
                    download_next = now + _DOWNLOAD_EVERY
                    download = await _download(cluster, snapshot, key, health.instance)
                text, done, total = _progress(health, where, download)
                if (now_said := f"{text} {done}") != said:
                    said, changed = now_said, now
                    report(text, done, total)
                if now - changed > _STALL_SECONDS:
                    raise ModelStalledError(
                        f"{model} has been {text} for {_STALL_SECONDS / 60:.0f} minutes without a change. Look at "
                        "exo's log on the device; `%rlm unload` takes it back."
                    )
            shortest, longest = _PAUSES
            await asyncio.sleep(min(longest, max(shortest, (now - begun) / 10)))


def _progress(health: InstanceHealth, where: str, download: Download | None) -> tuple[str, int, int]:
    """Return how far it is, in bytes: of the download, then of the weights in memory."""
    instance = health.instance
    if download is not None and not any(runner.state for runner in instance.runners):
        return f"downloading {instance.model} {where}", download.done, download.total
    text = f"loading {instance.model} {where}"
    if not any(runner.state == "Loading" for runner in instance.runners):
        text += f": {health.problem}"
    total = max(1, instance.size)
    return text, int(instance.loaded * total), total


async def _download(cluster: Cluster, snapshot: Snapshot, key: str, instance: Instance) -> Download | None:
    """Return how far the download of a model is on all of its devices."""
    url = snapshot.clusters[key].url
    if url is None:
        return None
    found = []
    for node in instance.nodes:
        try:
            part = await cluster.exo.state(url, f"downloads/{node}")
        except (NoSuchPartError, NodeSilentError):
            continue
        found.append(read_download(part.value, instance.model))
    known = [each for each in found if each is not None]
    for each in known:
        if each.error:
            raise ModelRefusedError(f"The download of {instance.model} failed: {each.error}. Try again later.")
    return Download(sum(each.done for each in known), sum(each.total for each in known)) if known else None


def _check_session(snapshot: Snapshot, key: str, session: int, model: str) -> None:
    now = snapshot.clusters.get(key)
    if now is not None and now.session != session:
        raise NewMasterError(f"exo has chosen a new master while {model} was loaded, and forgot it. Load it once more.")


def _gave_up(model: str, where: str, error: str) -> str:
    said = f" It said last: {error}." if error else ""
    return f"exo has given up loading {model} {where}.{said} Look at its log there; a smaller model may fit."


def _never_came(model: str, where: str) -> str:
    return (
        f"exo took the command to load {model} {where}, and did not do it: most often the memory has become too short "
        "meanwhile. `%rlm devices` shows what is free."
    )
