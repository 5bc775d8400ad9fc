"""What a user can set: `c.Kowalski.*` in a Jupyter or IPython configuration, or the environment."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import platformdirs
from traitlets import Bool, Dict, Float, Int, List, TraitError, Unicode, default, validate
from traitlets.config import LoggingConfigurable

from kowalski_jupyter.cluster.cluster import Cluster
from kowalski_jupyter.cluster.routing.score import Weights
from kowalski_jupyter.kernels.base import CPU_SECONDS, Limits
from kowalski_jupyter.rlm.chat.prompts import PROFILES
from kowalski_jupyter.rlm.settings import RunSettings
from kowalski_jupyter.service.finding import EMBEDDED, addresses
from kowalski_jupyter.service.store.upkeep import Room

_GIB = 1 << 30


class Kowalski(LoggingConfigurable):
    """Settings of the service. A run's own options (`%%rlm --max-turns 5`) go before these."""

    url = Unicode(
        help="Base URL of an OpenAI-compatible or exo server, or several, with commas or spaces, that are asked as "
        "one; 'embedded' stands for the embedded model there. Default: KOWALSKI_URL, else whatever is found on your "
        "devices, else the embedded model."
    ).tag(config=True)
    model = Unicode(help="Model id, or path of a .gguf file to embed. Default: KOWALSKI_MODEL.").tag(config=True)
    sub_model = Unicode(
        help="Id of the model that answers sub-calls. Default: KOWALSKI_SUB_MODEL, else the model."
    ).tag(config=True)
    depth = Int(
        1, min=0, help="How deep models may ask models: 0 not at all, 1 by plain sub-calls, from 2 on by child runs."
    ).tag(config=True)
    embedded = Bool(default_value=True, help="Whether the embedded model may be started.").tag(config=True)
    devices = List(
        Unicode(),
        help="Addresses of devices that run exo, such as http://192.168.1.20:52415. One of a cluster is enough, and "
        "none where exo runs on this machine or was found before. Default: KOWALSKI_DEVICES, with commas.",
    ).tag(config=True)
    known_devices = Unicode(
        help="File of the addresses where devices have been found. Default: KOWALSKI_KNOWN_DEVICES, else in your state "
        "folder."
    ).tag(config=True)
    routing_weights = Dict(
        Float(),
        help="How much each figure counts where a request may go to several places: speed, load, latency, staleness, "
        "prefix. 1 takes it as it was measured, 0 leaves it out. Default: all 1.",
    ).tag(config=True)
    add_replicas = Bool(
        default_value=False,
        help="Whether exo is asked to load a model on further, idle devices while many requests wait for it. They are "
        "unloaded a minute after the last request.",
    ).tag(config=True)
    hedging = Bool(
        default_value=True,
        help="Whether a sub-call that takes far longer than others did is asked for at a second place too, where "
        "there is room.",
    ).tag(config=True)
    max_turns = Int(20, min=1, help="Replies the root model may give in a run.").tag(config=True)
    max_subcalls = Int(
        0, min=0, help="Sub-calls a run may make. 0: a hundred for each that its model works on at a time."
    ).tag(config=True)
    timeout = Float(900.0, min=0.1, help="Seconds a run may take.").tag(config=True)
    temperature = Float(0.2, min=0.0, help="How freely replies are sampled.").tag(config=True)
    cell_timeout = Float(30.0, min=0.1, help="Seconds a code block may run, sub-calls not counted.").tag(config=True)
    cpu_time = Float(
        CPU_SECONDS,
        min=1.0,
        help="Seconds of processor time of all that one child kernel runs, between code blocks too.",
    ).tag(config=True)
    memory = Float(4.0, min=0.5, help="Memory of one child kernel, in GiB.").tag(config=True)
    processes = Int(64, min=8, help="Processes and threads of one child kernel.").tag(config=True)
    spares = Int(1, min=0, help="Warm child kernels kept ready.").tag(config=True)
    kernels = Dict(
        value_trait=Unicode(),
        key_trait=Unicode(),
        help="Names of kernelspecs by language, where another one shall serve it than would be chosen: "
        "{'java': 'rapaio-jupyter-kernel'}.",
    ).tag(config=True)
    unsandboxed = Bool(
        default_value=False,
        help="Run the model's code without a sandbox, with your rights and your files, where there is no "
        "sandbox. Every run then says so.",
    ).tag(config=True)
    data_root = Unicode(help="Folder for the data of runs that are going on. It needs room for it.").tag(config=True)

    store = Unicode(
        help="File that runs are kept in: questions, code, outputs, replies and answers, but not your data. "
        "':memory:' keeps them only while the service runs. Default: KOWALSKI_STORE, else your data folder."
    ).tag(config=True)
    keep_runs = Int(1000, min=1, help="Runs that are kept. The oldest are dropped first.").tag(config=True)
    keep_size = Float(1.0, min=0.01, help="How much room the kept runs may take, in GiB.").tag(config=True)
    reuse = Bool(
        default_value=False,
        help="Whether a sub-call may be answered by the reply that an equal one got in another run.",
    ).tag(config=True)

    @validate("routing_weights")
    def _check_weights(self, proposal: dict[str, Any]) -> dict[str, float]:
        try:
            Weights.of(proposal["value"])
        except ValueError as error:
            raise TraitError(str(error)) from None
        return dict(proposal["value"])

    @default("url")
    def _default_url(self) -> str:
        return os.environ.get("KOWALSKI_URL", "")

    @default("model")
    def _default_model(self) -> str:
        return os.environ.get("KOWALSKI_MODEL", "")

    @default("sub_model")
    def _default_sub_model(self) -> str:
        return os.environ.get("KOWALSKI_SUB_MODEL", "")

    @default("store")
    def _default_store(self) -> str:
        return os.environ.get("KOWALSKI_STORE") or str(platformdirs.user_data_path("kowalski-jupyter") / "runs.sqlite")

    @default("devices")
    def _default_devices(self) -> list[str]:
        return [each.strip() for each in os.environ.get("KOWALSKI_DEVICES", "").split(",") if each.strip()]

    @default("known_devices")
    def _default_known_devices(self) -> str:
        given = os.environ.get("KOWALSKI_KNOWN_DEVICES")
        return given or str(platformdirs.user_state_path("kowalski-jupyter") / "devices.json")

    @default("data_root")
    def _default_data_root(self) -> str:
        return str(platformdirs.user_cache_path("kowalski-jupyter") / "runs")

    def limits(self) -> Limits:
        """Return what one child kernel may use."""
        return Limits(
            memory=int(self.memory * _GIB),
            processes=self.processes,
            cell_seconds=self.cell_timeout,
            cpu_seconds=self.cpu_time,
        )

    def room(self) -> Room:
        """Return how much is kept of the runs that have ended."""
        return Room(self.keep_runs, int(self.keep_size * _GIB))

    def open_cluster(self) -> Cluster:
        """Return the user's devices, not yet under watch."""
        return Cluster(
            Path(self.known_devices), [*self.devices, *(each for each in addresses(self.url) if each != EMBEDDED)]
        )

    def run_settings(self, options: Mapping[str, Any]) -> RunSettings:
        """Return the settings of one run, whose own `options` go before the configured ones."""
        configured = {
            "max_turns": self.max_turns,
            "max_seconds": self.timeout,
            "max_subcalls": self.max_subcalls or None,
            "temperature": self.temperature,
            "sub_model": self.sub_model,
            "depth": self.depth,
        }
        own = {name: value for option, value in options.items() for name, value in _as_settings(option, value).items()}
        own |= {name: tuple(own[name]) for name in ("allow", "mounts") if name in own}  # lists, on the wire
        return RunSettings(**{**configured, **own})

    def set_by(self, option: str) -> Collection[str]:
        """Return the names of the `RunSettings` that an option of a run says."""
        return _as_settings(option, "")


def _as_settings(option: str, value: Any) -> dict[str, Any]:
    """Return what an option of a run says about its settings; nothing if it is about something else."""
    if option == "profile":  # its name, or the text of a prompt
        known = value in PROFILES
        return {"profile": value if known else "", "prompt": "" if known else value}
    name = "max_seconds" if option == "timeout" else option
    return {name: value} if name in _SETTINGS else {}


_SETTINGS = frozenset(field.name for field in dataclasses.fields(RunSettings))


def runtime_folder() -> Path:
    """Return a new private folder for sockets, whose path is short enough for one (108 bytes on Linux)."""
    return Path(tempfile.mkdtemp(prefix="kowalski-"))
