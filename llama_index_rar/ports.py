"""The engine's access to child LLMs: calls that nobody but the engine sees, and replies that are played back."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ChatResponseAsyncGen,
    ChatResponseGen,
    CompletionResponse,
    CompletionResponseAsyncGen,
    CompletionResponseGen,
    LLMMetadata,
    MessageRole,
    TextBlock,
    ToolCallBlock,
)
from llama_index.core.bridge.pydantic import BaseModel, Field
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM

from llama_index_rar.authors import Audience
from llama_index_rar.calls import Chat, Complete, Kind
from llama_index_rar.filled import extended
from llama_index_rar.hiding import unseen
from llama_index_rar.messages import model_name, to_engine, to_native
from llama_index_rar.sampling import arguments_for, sampled
from rar.injection import messages_of, notes_first
from rar.sampling import Sampling
from rar.values import Call, Reply

KIND = "llama_index.kind"  # where `Request.options` holds how the user made the call
AUDIENCE = "llama_index.audience"  # and who may read what of the conversation
_KEPT = 8  # samplings whose copies of a child are kept


def kind_of(call: Call) -> Kind:
    """How to make `call`: as the user's own was made, or as a plain chat where the engine made it up."""
    kind = call.request.options.get(KIND)
    return kind if isinstance(kind, Kind) else Chat()


def sent(call: Call, child: LLM) -> list[ChatMessage]:
    """What `call` sends to `child`, as a list of its own: children append to the list they are given."""
    filled, audience = kind_of(call).filled, call.request.options.get(AUDIENCE)
    metadata = child.metadata
    chats = metadata.is_chat_model
    if filled is not None:
        own = filled.messages_for(child) if call.messages is None else to_native(call.messages, metadata.system_role)
        call = replace(call, messages=to_engine(extended(own, child) if chats else own))
    asked = messages_of(call)
    if not chats and (filled is not None or isinstance(kind_of(call), Complete)):
        asked = tuple(map(notes_first, asked))
    messages = to_native(asked, metadata.system_role)
    if isinstance(audience, Audience):
        messages = audience.readable(messages, child)
    if filled is not None and not chats:
        messages = [ChatMessage(filled.text_for(child, messages), role=MessageRole.USER)]
    return messages


class Port:
    """A child LLM as a `rar.drive.Model`: called in an empty context, seen by no callback, event or span handler."""

    source = "llama_index"

    def __init__(self, child: LLM) -> None:
        self._child = child
        self._copies: dict[Sampling | None, LLM] = {}

    def __repr__(self) -> str:
        return f"Port({self.id!r})"

    @property
    def id(self) -> str:
        return model_name(self._child)

    def call(self, call: Call) -> Reply:
        return contextvars.Context().run(self._call, call)

    async def acall(self, call: Call) -> Reply:
        # `create_task(context=...)` is newer than Python 3.10.
        loop = asyncio.get_running_loop()
        return await contextvars.Context().run(loop.create_task, self._acall(call))

    def _call(self, call: Call) -> Reply:
        kind, child = self._prepared(call)
        with unseen():
            return kind.reply(call.model, child, kind.call(child, sent(call, child)))

    async def _acall(self, call: Call) -> Reply:
        kind, child = self._prepared(call)
        with unseen():
            return kind.reply(call.model, child, await kind.acall(child, sent(call, child)))

    def _prepared(self, call: Call) -> tuple[Kind, LLM]:
        kind, child = kind_of(call), self._silent(call.sampling)
        if call.sampling is None:
            return kind, child
        return kind.with_arguments(arguments_for(child, kind.arguments, call.sampling)), child

    def _silent(self, sampling: Sampling | None) -> LLM:
        # Kept, because a copy that has not called yet opens a connection of its own.
        known = self._copies.get(sampling)
        if known is None:
            if len(self._copies) >= _KEPT:
                self._copies.clear()
            known = silent(self._child)
            known = self._copies[sampling] = known if sampling is None else sampled(known, sampling)
        return known


def silent(child: LLM) -> LLM:
    """A copy of `child` that has no callback handlers."""
    manager = CallbackManager([])
    manager.handlers = []  # an empty list given above is taken for "the global ones"
    return child.model_copy(update={"callback_manager": manager})


class PlaybackLLM(FunctionCallingLLM):
    """An LLM that gives a reply which is already had, so that what the user gets was seen by callbacks, once."""

    reply: Any = Field(exclude=True, repr=False)
    played: LLMMetadata

    @classmethod
    def class_name(cls) -> str:
        return "rar_playback"

    @property
    def metadata(self) -> LLMMetadata:
        return self.played

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return _chat_response(self.reply)

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        return _chat_response(self.reply)

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        yield _chat_response(self.reply, streamed=True)

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        async def chunks() -> ChatResponseAsyncGen:
            yield _chat_response(self.reply, streamed=True)

        return chunks()

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return _completion_response(self.reply)

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return _completion_response(self.reply)

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        yield _completion_response(self.reply, streamed=True)

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        async def chunks() -> CompletionResponseAsyncGen:
            yield _completion_response(self.reply, streamed=True)

        return chunks()

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[Any],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        **kwargs: Any,
    ) -> dict[str, Any]:
        return {"messages": chat_history or []}

    def structured_predict(self, output_cls: Any, prompt: Any, llm_kwargs: Any = None, **prompt_args: Any) -> Any:
        self.chat(prompt.format_messages())
        return _structured(self.reply, output_cls)

    async def astructured_predict(
        self, output_cls: Any, prompt: Any, llm_kwargs: Any = None, **prompt_args: Any
    ) -> Any:
        await self.achat(prompt.format_messages())
        return _structured(self.reply, output_cls)

    def stream_structured_predict(
        self, output_cls: Any, prompt: Any, llm_kwargs: Any = None, **prompt_args: Any
    ) -> Any:
        yield self.structured_predict(output_cls, prompt)

    async def astream_structured_predict(
        self, output_cls: Any, prompt: Any, llm_kwargs: Any = None, **prompt_args: Any
    ) -> Any:
        async def objects() -> AsyncIterator[Any]:
            yield await self.astructured_predict(output_cls, prompt)

        return objects()


def _chat_response(reply: Reply, streamed: bool = False) -> ChatResponse:
    native = reply.native
    if not isinstance(native, ChatResponse):
        calls = [ToolCallBlock(tool_name=call.name, tool_kwargs=dict(call.arguments)) for call in reply.tool_calls]
        message = ChatMessage(role=MessageRole.ASSISTANT, blocks=[TextBlock(text=reply.text), *calls])
        native = ChatResponse(message=message, raw=getattr(native, "raw", None))
    return native.model_copy(update={"delta": reply.text}) if streamed else native


def _completion_response(reply: Reply, streamed: bool = False) -> CompletionResponse:
    native = reply.native
    if not isinstance(native, CompletionResponse):
        native = CompletionResponse(text=reply.text, raw=getattr(native, "raw", None))
    return native.model_copy(update={"delta": reply.text}) if streamed else native


def _structured(reply: Reply, output_cls: type[BaseModel]) -> BaseModel:
    return reply.native if isinstance(reply.native, output_cls) else output_cls.model_validate_json(reply.text)
