"""`generate` and `agenerate` of a router: one call for each prompt, and a result as the chosen model's own would be."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any, cast

from langchain_core.callbacks import (
    AsyncCallbackManagerForLLMRun,
    BaseCallbackHandler,
    CallbackManagerForLLMRun,
    Callbacks,
)
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult, LLMResult
from langchain_core.outputs.run_info import RunInfo
from langchain_core.runnables import RunnableConfig, ensure_config

from langchain_rar.children import Child, bare
from langchain_rar.messages import DECISION


class Heard(BaseCallbackHandler):
    """Keeps what the model runs under it ended with, which has more than a message."""

    run_inline = True

    def __init__(self) -> None:
        self.results: list[LLMResult] = []

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        self.results.append(response)

    def generation(self, message: AIMessage) -> ChatGeneration:
        info = self.results[-1].generations[0][0].generation_info if self.results else None
        return ChatGeneration(message=message, generation_info=info)


def configs(
    count: int,
    *,
    callbacks: Callbacks,
    tags: list[str] | None,
    metadata: dict[str, Any] | None,
    run_name: str | None,
    run_id: uuid.UUID | None,
) -> list[tuple[RunnableConfig, Heard]]:
    """The configs of as many calls, and what hears each of them. An id names the first run."""
    found = []
    around = ensure_config({"callbacks": callbacks}).get("callbacks")
    for at in range(count):
        heard = Heard()
        if around is None or isinstance(around, list):
            heeded: Any = [*(around or ()), heard]
        else:
            heeded = around.copy()
            heeded.add_handler(heard, inherit=True)
        config = RunnableConfig(callbacks=heeded, tags=tags or [], metadata=metadata or {})
        config["run_id"] = run_id if run_id is not None and at == 0 else uuid.uuid4()
        if run_name is not None:
            config["run_name"] = run_name
        found.append((config, heard))
    return found


def result(
    messages: Sequence[AIMessage], calls: Sequence[tuple[RunnableConfig, Heard]], children: Mapping[str, Child]
) -> LLMResult:
    """What the calls gave; `llm_output` as the model that answered last sums it up."""
    outputs = [heard.results[-1].llm_output if heard.results else None for _, heard in calls]
    generations = [[heard.generation(message)] for message, (_, heard) in zip(messages, calls, strict=True)]
    answered = [bare(children[message.response_metadata[DECISION]["model"]]) for message in messages]
    model = next((model for model in reversed(answered) if isinstance(model, BaseChatModel)), None)
    summed = {} if model is None else model._combine_llm_outputs(outputs)  # noqa: SLF001
    runs = [RunInfo(run_id=run_id) for config, _ in calls if (run_id := config.get("run_id")) is not None]
    return LLMResult(generations=generations, llm_output=summed, run=runs or None)  # type: ignore[arg-type]


class OlderWays(BaseChatModel):
    """The other ways into a chat model, which wrappers and older chains use, all through its newer ones."""

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        made = self.generate([messages], stop, **kwargs)
        return ChatResult(generations=cast("list[ChatGeneration]", made.generations[0]), llm_output=made.llm_output)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        made = await self.agenerate([messages], stop, **kwargs)
        return ChatResult(generations=cast("list[ChatGeneration]", made.generations[0]), llm_output=made.llm_output)

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in self.stream(messages, stop=stop, **kwargs):
            yield ChatGenerationChunk(message=chunk)

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        async for chunk in self.astream(messages, stop=stop, **kwargs):
            yield ChatGenerationChunk(message=chunk)
