"""Finds a model to ask: the address that was given, else exo, Ollama, or the embedded model."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from kowalski_jupyter.models.base import ChatModel, ModelError, ModelRefusedError, ModelUnreachableError, Report
from kowalski_jupyter.models.embedded import server as embedded
from kowalski_jupyter.models.embedded import weights
from kowalski_jupyter.models.found import Found
from kowalski_jupyter.models.openai import OpenAIModel
from kowalski_jupyter.models.probes import probe_exo, probe_ollama, probe_url

KEY_VARIABLE: Final = "KOWALSKI_API_KEY"


@dataclass(frozen=True, slots=True)
class ModelSettings:
    """What the user said about the model.

    Attributes:
        url: base URL of a server; None to look for one on this machine.
        model: the model's id there, or the path of a ``.gguf`` file to embed; None to choose.
        api_key: for the server; by default ``KOWALSKI_API_KEY``. Never shown.
        embedded: whether the embedded model may be started when nothing else is there.
        exo_url: where exo is looked for.
        ollama_url: where Ollama is looked for.
    """

    url: str | None = None
    model: str | None = None
    api_key: str | None = field(default_factory=lambda: os.environ.get(KEY_VARIABLE), repr=False)
    embedded: bool = True
    exo_url: str = "http://localhost:52415"
    ollama_url: str = "http://localhost:11434"

    @property
    def file(self) -> Path | None:
        """The model file that `model` names, if it names one."""
        named = self.model is not None and self.model.endswith(".gguf")
        return Path(self.model or "").expanduser() if named else None


async def find_model(settings: ModelSettings, report: Report) -> ChatModel:
    """Return the first model that is there, ready to be asked.

    The order: the given address and no other; a given model file, embedded; exo with a model loaded; Ollama
    with a model; the embedded one.

    Args:
        settings: what the user said.
        report: told of a download and a load, and of what was passed over and why.

    Raises:
        ModelError: there is none; the text says what was tried and what to do.
    """
    if settings.file and not settings.url:
        return await embedded.start_embedded(report, settings.file)
    found = await survey(settings)
    chosen = next((each for each in found if each.ready), None)
    if chosen is None:
        raise _nothing(found, settings)
    for passed in found[: found.index(chosen)]:
        if passed.there:
            report(f"{passed.where} is not used: {passed.detail}", None, None)
    if chosen.offer is None:
        return await embedded.start_embedded(report)
    offer = chosen.offer
    return OpenAIModel(
        offer.url,
        offer.model,
        api_key=settings.api_key if settings.url else None,
        kind=offer.kind,
        context_tokens=offer.context_tokens,
        width=offer.width,
    )


async def survey(settings: ModelSettings) -> list[Found]:
    """Look at every place where a model may be, all at a time; in the order in which they are taken."""
    if settings.url:
        return [await probe_url(settings.url, settings.model, settings.api_key)]
    exo, ollama = await asyncio.gather(
        probe_exo(settings.exo_url, settings.model), probe_ollama(settings.ollama_url, settings.model)
    )
    return [exo, ollama, _embedded(settings)]


def _embedded(settings: ModelSettings) -> Found:
    name, where = "embedded", embedded.WHERE
    default = weights.DEFAULT_WEIGHTS
    if not settings.embedded:
        return Found(name, where, there=False, ready=False, detail="switched off", fix="set c.Kowalski.embedded = True")
    lack = embedded.missing()
    if lack:
        return Found(name, where, there=False, ready=False, detail=lack, fix=embedded.INSTALL_COMMAND)
    if settings.model not in {None, default.name}:
        return Found(
            name,
            where,
            there=False,
            ready=False,
            detail=f"is not {settings.model}",
            fix="unset KOWALSKI_MODEL",
            models=(default.name,),
        )
    file = weights.present()
    state = "its file is here" if file else f"its file ({default.size / 1e9:.1f} GB) is fetched on first use"
    return Found(name, where, there=True, ready=True, detail=f"{default.name}; {state}")


def _nothing(found: Sequence[Found], settings: ModelSettings) -> ModelError:
    error: ModelError
    if settings.url:
        only = found[0]
        kind = ModelRefusedError if only.there else ModelUnreachableError
        error = kind(f"{only.where} cannot be used: {only.detail}. What to do: {only.fix}.")
    else:
        tried = "\n".join(f"- {each.where}: {each.detail}. To change that: {each.fix}" for each in found)
        error = ModelError(
            "No model was found. Set KOWALSKI_URL to the address of an OpenAI-compatible server, or do one of these:"
            f"\n{tried}"
        )
    error.available = [model for each in found for model in each.models]
    return error
