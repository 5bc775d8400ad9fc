"""exo's JSON: model cards, catalogue entries, shards, instances and devices, in its order of keys."""

from __future__ import annotations

import json
import time
from typing import Any, Final

from kowalski_jupyter.exo_sim.plan import Device, Model

_JSON: Final = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False)


def encode(value: object) -> bytes:
    """Write JSON as exo's server does: without spaces, text as it is."""
    return _JSON.encode(value).encode()


def card(model: Model) -> dict[str, Any]:
    """Return a model's card."""
    unset = ("temperature", "topP", "topK", "minP", "repetitionPenalty", "presencePenalty", "frequencyPenalty")
    return {
        "modelId": model.id,
        "storageSize": {"inBytes": model.size},
        "nLayers": model.layers,
        "hiddenSize": model.hidden,
        "supportsTensor": model.supports_tensor,
        "numKeyValueHeads": model.kv_heads,
        "tasks": ["TextGeneration"],
        "components": None,
        "family": model.family,
        "quantization": model.quantization,
        "baseModel": model.base,
        "capabilities": list(model.capabilities),
        "backends": ["MlxMetal", "MlxCuda", "MlxCpu"],
        "reasoningDialect": "none",
        "contextLength": model.context,
        "usesCfg": False,
        "trustRemoteCode": True,
        "isCustom": False,
        "vision": None,
        "samplingDefaults": dict.fromkeys((*unset, "thinking", "nonThinking")),
    }


def catalogue_entry(model: Model) -> dict[str, Any]:
    """Return a model as `/v1/models` has it."""
    return {
        "id": model.id,
        "object": "model",
        "created": int(time.time()),
        "owned_by": "exo",
        "hugging_face_id": model.id,
        "name": model.id.rsplit("/", 1)[-1],
        "description": "",
        "context_length": model.context,
        "tags": [],
        "storage_size_megabytes": model.size >> 20,
        "supports_tensor": model.supports_tensor,
        "tasks": ["TextGeneration"],
        "is_custom": False,
        "family": model.family,
        "quantization": model.quantization,
        "base_model": model.base,
        "capabilities": list(model.capabilities),
        "reasoning_dialect": "none",
    }


def shard(model: Model, sharding: str, rank: int, world: int, layers: tuple[int, int]) -> dict[str, Any]:
    """Return what one runner has of a model."""
    return {
        f"{sharding}ShardMetadata": {
            "modelCard": card(model),
            "deviceRank": rank,
            "worldSize": world,
            "immediateException": False,
            "shouldTimeout": None,
            "startLayer": layers[0],
            "endLayer": layers[1],
            "nLayers": model.layers,
        }
    }


def download(node_id: str, model: Model, received: int | None) -> dict[str, Any]:
    """Return one node's entry for a model: all of it (None), a part in bytes, or nothing yet (0)."""
    entry: dict[str, Any] = {
        "nodeId": node_id,
        "shardMetadata": shard(model, "Pipeline", 0, 1, (0, model.layers)),
        "modelDirectory": f"/Users/me/.exo/models/{model.id.replace('/', '--')}",
    }
    total = {"inBytes": model.size}
    if received is None:
        return {"DownloadCompleted": entry | {"total": total, "readOnly": False}}
    if received == 0:
        return {"DownloadPending": entry | {"downloaded": {"inBytes": 0}, "total": {"inBytes": 0}}}
    progress = {"total": total, "downloaded": {"inBytes": received}, "downloadedThisSession": {"inBytes": received}}
    speed = 50e6
    counts = {"completedFiles": 0, "totalFiles": 1, "speed": speed, "etaMs": int((model.size - received) / speed * 1e3)}
    files = {"model.safetensors": progress | counts | {"files": {}}}
    return {"DownloadOngoing": entry | {"downloadProgress": progress | counts | {"files": files}}}


def identity(device: Device) -> dict[str, Any]:
    """Return who a device says it is."""
    if not device.mac:
        known = {"modelId": "Unknown Model", "chipId": "Unknown Chip", "friendlyName": device.name}
        return known | {"osVersion": "Linux", "osBuildVersion": "Unknown"}
    known = {"modelId": device.model, "chipId": device.chip, "friendlyName": device.name}
    return known | {"osVersion": "26.3", "osBuildVersion": "25D125"}


def memory(device: Device, available: int) -> dict[str, Any]:
    """Return a device's memory."""
    swap = {"inBytes": 2 << 30 if device.mac else 0}
    ram = {"ramTotal": {"inBytes": device.memory}, "ramAvailable": {"inBytes": available}}
    return ram | {"swapTotal": swap, "swapAvailable": swap}


def system(device: Device, busy: float) -> dict[str, Any]:
    """Return a Mac's sensors; `busy` from 0 to 1 is what its runners do."""
    return {
        "gpuUsage": round(device.gpu + (0.97 - device.gpu) * busy, 3),
        "temp": round(device.temperature + 30 * busy, 1),
        "sysPower": round(device.power * (1 + 3 * busy), 1),
        "pcpuUsage": 0.12,
        "ecpuUsage": 0.31,
    }


def interfaces(device: Device, address: str) -> dict[str, Any]:
    """Return a device's network interfaces: the one its node is reached at, and what every machine has besides."""
    ethernet, kind = ("en0", "ethernet") if device.mac else ("eth0", "unknown")
    found = [("lo", "::1", "unknown"), (ethernet, address, kind), (ethernet, f"fe80::1%{ethernet}", kind)]
    return {"interfaces": [{"name": n, "ipAddress": a, "interfaceType": t} for n, a, t in found]}


def socket_edge(address: str, port: int) -> dict[str, Any]:
    """Return a way from one node to another."""
    where = {"address": f"/ip4/{address}/tcp/{port}", "address_type": "ip4", "ip_address": address, "port": port}
    return {"sinkMultiaddr": where}
