"""Which parts of a config may steer a call: those that the developer writes, and not a client."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any
from uuid import UUID

from langchain_core.runnables import RunnableConfig

from rar.overrides import NAMES

# What a LangGraph server puts into a run's config, whose other parts its clients post with the request.
_SERVER = ("langgraph_request_id", "langgraph_auth_user", "langgraph_auth_user_id", "assistant_id", "graph_id")


def trusted(config: RunnableConfig, *, metadata: bool) -> list[Mapping[str, Any]]:
    """The parts of `config` whose overrides count, the first one first.

    Args:
        metadata: The developer says that no client writes any part of it.
    """
    configurable: Mapping[str, Any] = config.get("configurable") or {}
    noted: Mapping[str, Any] = config.get("metadata") or {}
    if metadata:
        return [configurable, noted]
    deployed = any(name in configurable or name in noted for name in _SERVER)
    # The framework copies what is configurable into the metadata.
    if any(name in noted and (deployed or name not in configurable) for name in NAMES):
        _say_ignored()
    return [] if deployed else [configurable]


def thread_of(config: RunnableConfig) -> str | None:
    """The conversation that a run belongs to, as LangGraph names it."""
    thread = (config.get("configurable") or {}).get("thread_id")
    return str(thread) if isinstance(thread, (str, int, UUID)) and str(thread) else None


@cache
def _say_ignored() -> None:
    """Say once that overrides were passed over."""
    logging.getLogger("rar").warning(
        "Overrides (rar_...) in config['metadata'], and in the config of a deployed graph, do not count, since clients "
        "can write them. Pass them as keyword arguments or in config['configurable'], or trust_metadata=True to the "
        "router."
    )
