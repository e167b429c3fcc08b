"""What `RouterLLM` may be told beside its models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.rate_limiter import BaseRateLimiter
from llama_index.core.types import BaseOutputParser, PydanticProgramMode

from llama_index_rar.keys import QueryExtractor
from rar.options import RouterOptions
from rar.router import Router


class RouterLLMOptions(RouterOptions, total=False):
    """The router's options, this wrapper's and those of any LlamaIndex LLM."""

    router: Router | None
    query_extractor: QueryExtractor | None
    namespaces: Literal["any", "fixed"]
    usage: Literal["served", "all"]

    callback_manager: CallbackManager
    system_prompt: str | None
    messages_to_prompt: Callable[[Sequence[ChatMessage]], str] | None
    completion_to_prompt: Callable[[str], str] | None
    query_wrapper_prompt: BasePromptTemplate | None
    output_parser: BaseOutputParser | None
    pydantic_program_mode: PydanticProgramMode
    rate_limiter: BaseRateLimiter | None
