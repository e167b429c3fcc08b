"""What `RouterChatModel` and `RARMiddleware` may be told beside their models."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from langchain_core.caches import BaseCache
from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.language_models import ModelProfile
from langchain_core.rate_limiters import BaseRateLimiter

from langchain_rar.keys import QueryExtractor
from rar.options import RouterOptions
from rar.router import Router


class RouterChatModelOptions(RouterOptions, total=False):
    """The router's options, this wrapper's, any chat model's, and what most providers' models take.

    `RouterChatModel` takes more for models given by name. A type checker lets these pass as `**{"reasoning": "low"}`.
    """

    router: Router | None
    query_extractor: QueryExtractor | None
    record_queries: bool
    trust_metadata: bool
    namespaces: Literal["any", "fixed"]
    tools_to_strong: bool
    usage: Literal["served", "all"]

    temperature: float | None
    max_tokens: int | None
    stop: list[str] | None
    streaming: bool
    disable_streaming: bool | Literal["tool_calling"]
    output_version: str | None
    rate_limiter: BaseRateLimiter | None
    cache: BaseCache | bool | None
    callbacks: list[BaseCallbackHandler] | BaseCallbackManager | None
    tags: list[str] | None
    metadata: dict[str, Any] | None
    verbose: bool
    name: str | None
    profile: ModelProfile | None
    custom_get_token_ids: Callable[[str], list[int]] | None

    api_key: Any
    base_url: str | None
    max_retries: int | None
    model_provider: str
    top_p: float | None
