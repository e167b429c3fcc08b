"""The kinds of calls that a user makes: how each is made on a child LLM, and what the engine learns from its result.

A kind knows nothing of routing. Its four verbs (call, acall, stream, astream) take the child that was chosen and the
messages to send; that is all in which the router's modes differ.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any

from llama_index.core.base.llms.generic_utils import (
    astream_completion_response_to_chat_response,
    completion_response_to_chat_response,
    stream_completion_response_to_chat_response,
)
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, MessageRole
from llama_index.core.bridge.pydantic import BaseModel
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.llm import LLMChatEndEvent, LLMCompletionEndEvent
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM, ToolSelection
from llama_index.core.prompts import BasePromptTemplate, ChatPromptTemplate, PromptTemplate
from llama_index_instrumentation import get_dispatcher

from llama_index_rar.filled import Filled, parsed
from llama_index_rar.hiding import OwnHandler
from llama_index_rar.messages import as_completion, as_prompt, model_name, says_something, to_reply, usage_of
from llama_index_rar.shapes import format_shape, schema_shape, tool_shape
from llama_index_rar.usage import ASKED, aclose, ajoined, asks, close, joined
from rar.errors import ConfigurationError, EmptyReplyError, UnparsedReplyError
from rar.keys import task_of
from rar.values import Reply, ToolCall, Usage

Messages = list[ChatMessage]


def can_call_tools(child: LLM) -> bool:
    return isinstance(child, FunctionCallingLLM) and child.metadata.is_function_calling_model


class Kind(ABC):
    """One kind of call. `filled` is the template it came of, to which the child's own settings for prompts apply."""

    arguments: Mapping[str, Any] = MappingProxyType({})
    filled: Filled | None = None
    needs_tools: bool = False
    has_turns: bool = False  # whether later calls may go on with what this one began

    @property
    def shapes(self) -> Sequence[Any]:
        """The tools that a call brings, as a task knows them."""
        return ()

    @property
    def schema(self) -> Any:
        """The form that its arguments want the answer in; None for free text."""
        return None

    @property
    def task(self) -> str:
        return self.task_of()

    def task_of(self, work: str = "answer", tools: Sequence[Any] = (), schema: Any = None) -> str:
        """The task of a call of this kind, whose prompt says what work it is, and may name tools and a form as well."""
        return task_of(work=work, tools=self.shapes or tools, schema=schema if self.schema is None else self.schema)

    def with_arguments(self, arguments: Mapping[str, Any]) -> Kind:
        """The same kind of call with other arguments."""
        return replace(self, arguments=arguments)  # type: ignore[type-var]  # each kind is a dataclass

    @abstractmethod
    def call(self, child: LLM, messages: Messages) -> Any: ...

    @abstractmethod
    async def acall(self, child: LLM, messages: Messages) -> Any: ...

    @abstractmethod
    def stream(self, child: LLM, messages: Messages) -> Iterator[Any]: ...

    @abstractmethod
    async def astream(self, child: LLM, messages: Messages) -> AsyncIterator[Any]: ...

    def solid(self, child: LLM, result: Any) -> bool:
        """Whether a response, or a chunk of one, holds an answer or the beginning of one."""
        return says_something(result)

    def nothing(self, role: str) -> Exception:
        """What is wrong with a result that holds nothing solid."""
        return EmptyReplyError(role)

    def stamped(self, result: Any, facts: Mapping[str, Any], tokens: Mapping[str, int] = MappingProxyType({})) -> Any:
        """A copy of `result` that carries the decision: results may be shared, for example by a cache.

        Args:
            tokens: Counts to show in place of its own.
        """
        carried = {**result.additional_kwargs, **tokens, "rar": dict(facts)}
        return result.model_copy(update={"additional_kwargs": carried})

    def add_costs(self, chunk: Any, costs: Mapping[str, Any], tokens: Mapping[str, int]) -> None:
        """Complete the last chunk of a stream, which its reader has by now: what it cost is known at its end only."""
        chunk.additional_kwargs["rar"].update(costs)
        chunk.additional_kwargs.update(tokens)

    def reply(self, role: str, child: LLM, result: Any) -> Reply:
        """What the engine learns from: the whole result, or the last chunk of a stream, which holds the whole text."""
        return to_reply(role, result, model_name(child))


@dataclass(frozen=True)
class Chat(Kind):
    """A chat call, with tools or without. A template is completed by a model that does not chat, as it would itself."""

    arguments: Mapping[str, Any] = field(default_factory=dict)
    filled: Filled | None = None
    has_turns = True

    @property
    def shapes(self) -> Sequence[Any]:
        return [tool_shape(tool) for tool in self.arguments.get("tools") or self.arguments.get("functions") or ()]

    @property
    def schema(self) -> Any:
        return format_shape(self.arguments)

    def call(self, child: LLM, messages: Messages) -> ChatResponse:
        if self._completes(child):
            completion = child.complete(as_prompt(messages), formatted=True, **self.arguments)
            response = completion_response_to_chat_response(completion)
        else:
            response = child.chat(messages, **self.arguments)
        return parsed(child, response) if self.filled else response

    async def acall(self, child: LLM, messages: Messages) -> ChatResponse:
        if self._completes(child):
            completion = await child.acomplete(as_prompt(messages), formatted=True, **self.arguments)
            response = completion_response_to_chat_response(completion)
        else:
            response = await child.achat(messages, **self.arguments)
        return parsed(child, response) if self.filled else response

    def stream(self, child: LLM, messages: Messages) -> Iterator[ChatResponse]:
        if self._completes(child):
            chunks = child.stream_complete(as_prompt(messages), formatted=True, **self.arguments)
            return stream_completion_response_to_chat_response(chunks)
        return _streamed(child, partial(child.stream_chat, messages), self.arguments)

    async def astream(self, child: LLM, messages: Messages) -> AsyncIterator[ChatResponse]:
        if self._completes(child):
            chunks = await child.astream_complete(as_prompt(messages), formatted=True, **self.arguments)
            return astream_completion_response_to_chat_response(chunks)
        return await _astreamed(child, partial(child.astream_chat, messages), self.arguments)

    def _completes(self, child: LLM) -> bool:
        return self.filled is not None and not child.metadata.is_chat_model


@dataclass(frozen=True)
class Tools(Kind):
    """A chat with tools, prepared by the child itself: every provider has a format of its own."""

    tools: Sequence[Any]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    has_turns = True

    @property
    def needs_tools(self) -> bool:  # type: ignore[override]
        return bool(self.tools)

    @property
    def shapes(self) -> Sequence[Any]:
        return [tool_shape(tool) for tool in self.tools]

    @property
    def schema(self) -> Any:
        return format_shape(self.arguments)

    def call(self, child: LLM, messages: Messages) -> ChatResponse:
        return _able(child).chat_with_tools(self.tools, chat_history=messages, **self.arguments)

    async def acall(self, child: LLM, messages: Messages) -> ChatResponse:
        return await _able(child).achat_with_tools(self.tools, chat_history=messages, **self.arguments)

    def stream(self, child: LLM, messages: Messages) -> Iterator[ChatResponse]:
        stream = partial(_able(child).stream_chat_with_tools, self.tools, chat_history=messages)
        return _streamed(child, stream, self.arguments)

    async def astream(self, child: LLM, messages: Messages) -> AsyncIterator[ChatResponse]:
        stream = partial(_able(child).astream_chat_with_tools, self.tools, chat_history=messages)
        return await _astreamed(child, stream, self.arguments)

    def solid(self, child: LLM, result: Any) -> bool:
        return says_something(result) or bool(self._selected(child, result))

    def reply(self, role: str, child: LLM, result: Any) -> Reply:
        selections = self._selected(child, result)
        calls = tuple(ToolCall(selection.tool_name, selection.tool_kwargs) for selection in selections)
        return _with_calls(to_reply(role, result, model_name(child)), calls)

    def _selected(self, child: LLM, result: Any) -> list[ToolSelection]:
        return _able(child).get_tool_calls_from_response(result, error_on_no_tool_call=False)


def _with_calls(reply: Reply, calls: tuple[ToolCall, ...]) -> Reply:
    finish = "tool_calls" if calls and reply.finish == "stop" else reply.finish
    return replace(reply, tool_calls=calls, finish=finish)


def _able(child: LLM) -> FunctionCallingLLM:
    if not isinstance(child, FunctionCallingLLM):
        raise ConfigurationError(
            f"{type(child).__name__} cannot call tools: it is no FunctionCallingLLM. Use one for weak or strong."
        )
    return child


@dataclass(frozen=True)
class Complete(Kind):
    """A completion. A chat model is asked by one user message, as its own `complete` would."""

    formatted: bool = False
    arguments: Mapping[str, Any] = field(default_factory=dict)
    filled: Filled | None = None

    @property
    def schema(self) -> Any:
        return format_shape(self.arguments)

    def call(self, child: LLM, messages: Messages) -> CompletionResponse:
        if child.metadata.is_chat_model:
            response = as_completion(child.chat(messages, **self.arguments))
        else:
            response = child.complete(as_prompt(messages), formatted=self.formatted, **self.arguments)
        return parsed(child, response) if self.filled else response

    async def acall(self, child: LLM, messages: Messages) -> CompletionResponse:
        if child.metadata.is_chat_model:
            response = as_completion(await child.achat(messages, **self.arguments))
        else:
            response = await child.acomplete(as_prompt(messages), formatted=self.formatted, **self.arguments)
        return parsed(child, response) if self.filled else response

    def stream(self, child: LLM, messages: Messages) -> Iterator[CompletionResponse]:
        if child.metadata.is_chat_model:
            return _completions(_streamed(child, partial(child.stream_chat, messages), self.arguments))
        return child.stream_complete(as_prompt(messages), formatted=self.formatted, **self.arguments)

    async def astream(self, child: LLM, messages: Messages) -> AsyncIterator[CompletionResponse]:
        if child.metadata.is_chat_model:
            return _acompletions(await _astreamed(child, partial(child.astream_chat, messages), self.arguments))
        return await child.astream_complete(as_prompt(messages), formatted=self.formatted, **self.arguments)


def _completions(chunks: Iterator[ChatResponse]) -> Iterator[CompletionResponse]:
    try:
        for chunk in chunks:
            yield as_completion(chunk)
    finally:
        close(chunks)


async def _acompletions(chunks: AsyncIterator[ChatResponse]) -> AsyncIterator[CompletionResponse]:
    try:
        async for chunk in chunks:
            yield as_completion(chunk)
    finally:
        await aclose(chunks)


def _streamed(
    child: LLM, stream: Callable[..., Iterator[ChatResponse]], arguments: Mapping[str, Any]
) -> Iterator[ChatResponse]:
    """`stream(**arguments)`, its tokens asked for where that is safe: the same chunks as without."""
    return joined(stream(**arguments, **ASKED)) if asks(child, arguments) else stream(**arguments)


async def _astreamed(
    child: LLM, stream: Callable[..., Awaitable[AsyncIterator[ChatResponse]]], arguments: Mapping[str, Any]
) -> AsyncIterator[ChatResponse]:
    return ajoined(await stream(**arguments, **ASKED)) if asks(child, arguments) else await stream(**arguments)


@dataclass(frozen=True)
class Structured(Kind):
    """A structured prediction, left to the child, which may have a native way of making one."""

    output_cls: type[BaseModel]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def schema(self) -> Any:
        return schema_shape(self.output_cls)

    def call(self, child: LLM, messages: Messages) -> _Object:
        with _collected() as responses:
            return _Object(child.structured_predict(**self._arguments(child, messages)), responses)

    async def acall(self, child: LLM, messages: Messages) -> _Object:
        with _collected() as responses:
            return _Object(await child.astructured_predict(**self._arguments(child, messages)), responses)

    def stream(self, child: LLM, messages: Messages) -> Iterator[_Object]:
        responses: list[Response] = []
        chunks = child.stream_structured_predict(**self._arguments(child, messages))
        try:
            while True:
                with _collected(responses):  # not across a `yield`: the context is the consumer's
                    chunk = next(chunks, _END)
                if chunk is _END:
                    return
                yield _Object(chunk, responses)
        finally:
            close(chunks)

    async def astream(self, child: LLM, messages: Messages) -> AsyncIterator[_Object]:
        with _collected() as responses:
            chunks = await child.astream_structured_predict(**self._arguments(child, messages))
        return self._aobjects(chunks, responses)

    async def _aobjects(self, chunks: AsyncIterator[Any], responses: list[Response]) -> AsyncIterator[_Object]:
        try:
            while True:
                with _collected(responses):
                    chunk = await anext(chunks, _END)
                if chunk is _END:
                    return
                yield _Object(chunk, responses)
        finally:
            await aclose(chunks)

    def _arguments(self, child: LLM, messages: Messages) -> dict[str, Any]:
        # Filled-in messages as a template without variables, as the framework's own StructuredLLM does it.
        prompt: BasePromptTemplate = ChatPromptTemplate(message_templates=messages)
        if not child.metadata.is_chat_model and [message.role for message in messages] == [MessageRole.USER]:
            prompt = PromptTemplate("{prompt}", prompt=as_prompt(messages))  # which is text alone too
        return {"output_cls": self.output_cls, "prompt": prompt, "llm_kwargs": dict(self.arguments)}

    def solid(self, child: LLM, result: Any) -> bool:
        value = result.value
        if isinstance(value, list):
            return bool(value)
        # Until something is parsed, streams give an object of another class with nothing in it.
        return isinstance(value, BaseModel) and (isinstance(value, self.output_cls) or bool(value.model_fields_set))

    def nothing(self, role: str) -> Exception:
        return UnparsedReplyError(role)

    def stamped(self, result: Any, facts: Mapping[str, Any], tokens: Mapping[str, int] = MappingProxyType({})) -> Any:
        return result.value  # the user's own class, with no place for the decision

    def add_costs(self, chunk: Any, costs: Mapping[str, Any], tokens: Mapping[str, int]) -> None:
        pass

    def reply(self, role: str, child: LLM, result: Any) -> Reply:
        usage = sum((usage_of(response) for response in result.responses), Usage())
        text, name = result.value.model_dump_json(), model_name(child)
        last = to_reply(role, result.responses[-1], name) if result.responses else Reply(role, text, model_id=name)
        return replace(last, text=text, tool_calls=(), usage=usage, native=result.value)


_END = object()
Response = ChatResponse | CompletionResponse


@dataclass(frozen=True)
class _Object:
    value: Any
    responses: list[Response]


_responses: ContextVar[list[Response] | None] = ContextVar("rar_responses", default=None)


@contextmanager
def _collected(responses: list[Response] | None = None) -> Iterator[list[Response]]:
    """Collect the responses of the LLM calls that are made inside: structured prediction does not return them."""
    responses = [] if responses is None else responses
    token = _responses.set(responses)
    try:
        yield responses
    finally:
        _responses.reset(token)


class _Collector(OwnHandler):
    @classmethod
    def class_name(cls) -> str:
        return "rar.ResponseCollector"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        responses = _responses.get()
        if responses is not None and isinstance(event, LLMChatEndEvent | LLMCompletionEndEvent) and event.response:
            responses.append(event.response)


# The dispatcher through which the callback decorators of all integrations speak.
get_dispatcher("llama_index.core.llms.callbacks").add_event_handler(_Collector())
