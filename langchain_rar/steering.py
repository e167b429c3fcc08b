"""Which parts of a config may steer a call: those that the developer writes, and not a client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from langchain_core.runnables import RunnableConfig

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
    return [] if deployed else [configurable]
