"""What any LlamaIndex LLM should do. The framework has no such suite; give this class a fixture `llm` and run it.

    class TestMine(LlamaIndexLLMContract):
        @pytest.fixture
        def llm(self) -> LLM:
            return MyLLM(model="small")

It asks short questions and checks the shape of what comes back, not its wording, so that real models can be held to it.
Capability flags leave out what a model does not claim to do. `secret` is a string that must not be seen in any event.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import pytest
from llama_index.core.base.llms.base import BaseLLM
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    LLMMetadata,
    MessageRole,
    TextBlock,
)
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.callbacks.schema import CBEventType
from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index.core.instrumentation.events import BaseEvent
from llama_index.core.instrumentation.events.llm import (
    LLMChatEndEvent,
    LLMChatStartEvent,
    LLMCompletionEndEvent,
    LLMCompletionStartEvent,
)
from llama_index.core.llms.function_calling import FunctionCallingLLM
from llama_index.core.llms.llm import LLM, ToolSelection
from llama_index.core.prompts import ChatPromptTemplate, PromptTemplate
from llama_index.core.rate_limiter import BaseRateLimiter
from llama_index.core.tools import FunctionTool
from llama_index_instrumentation import get_dispatcher
from pydantic import BaseModel, ConfigDict, Field

STARTS = (LLMChatStartEvent, LLMCompletionStartEvent)
ENDS = (LLMChatEndEvent, LLMCompletionEndEvent)


class City(BaseModel):
    """A city."""

    model_config = ConfigDict(title="city")  # which the prompt below asks for by name

    name: str
    inhabitants: int


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


MULTIPLY = FunctionTool.from_defaults(multiply)
CITY_PROMPT = PromptTemplate("Describe the city '{city}', which has {inhabitants} inhabitants.")
CITY: dict[str, Any] = {"city": "Ulm", "inhabitants": "130000"}


def user(text: str) -> ChatMessage:
    return ChatMessage(role=MessageRole.USER, content=text)


class Recorded(BaseEventHandler):
    """Records the instrumentation's events while it is attached."""

    events: list[Any] = Field(default_factory=list)

    @classmethod
    def class_name(cls) -> str:
        return "Recorded"

    def handle(self, event: BaseEvent, **kwargs: Any) -> None:
        self.events.append(event)

    def of(self, *kinds: type[BaseEvent]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kinds)]


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """All instrumentation events of one test."""
    root, handler = get_dispatcher(), Recorded(events=[])
    root.add_event_handler(handler)
    yield handler
    root.event_handlers.remove(handler)


class CountingLimiter(BaseRateLimiter):
    def __init__(self) -> None:
        self.acquired = self.acquired_async = 0

    def acquire(self, num_tokens: int = 0) -> None:
        self.acquired += 1

    async def async_acquire(self, num_tokens: int = 0) -> None:
        self.acquired_async += 1


class LlamaIndexLLMContract:
    supports_tools: ClassVar[bool] = True
    supports_structured_streaming: ClassVar[bool] = True
    keeps_callers_history: ClassVar[bool] = True  # many integrations append to the `chat_history` they are given
    secret: ClassVar[str | None] = None

    @pytest.fixture
    def llm(self) -> LLM:
        raise NotImplementedError

    @pytest.fixture
    def caller(self, llm: LLM) -> FunctionCallingLLM:
        if not self.supports_tools:
            pytest.skip("does not claim to call tools")
        assert isinstance(llm, FunctionCallingLLM)
        return llm

    # --- what it says of itself -------------------------------------------------------------------------------------

    def test_is_an_llm(self, llm: LLM) -> None:
        assert BaseLLM.__name__ in [base.__name__ for base in type(llm).__mro__]
        assert llm.class_name()

    def test_metadata_has_a_window_and_a_name(self, llm: LLM) -> None:
        assert isinstance(llm.metadata, LLMMetadata)
        assert llm.metadata.context_window > 0
        assert llm.metadata.model_name != "unknown"
        assert llm.metadata.is_function_calling_model == self.supports_tools

    # --- chat and completion ----------------------------------------------------------------------------------------

    def test_chat_answers_as_the_assistant(self, llm: LLM) -> None:
        self.check_chat(llm.chat([user("Say hello.")]))

    async def test_achat_answers_as_the_assistant(self, llm: LLM) -> None:
        self.check_chat(await llm.achat([user("Say hello.")]))

    def test_stream_chat_grows_to_the_whole_answer(self, llm: LLM) -> None:
        stream = llm.stream_chat([user("Count to three.")])
        assert isinstance(stream, Generator)
        self.check_chunks(list(stream))

    async def test_astream_chat_is_a_coroutine_of_an_async_generator(self, llm: LLM) -> None:
        stream = await llm.astream_chat([user("Count to three.")])
        assert isinstance(stream, AsyncGenerator)
        self.check_chunks([chunk async for chunk in stream])

    def test_complete_answers_a_prompt(self, llm: LLM) -> None:
        response = llm.complete("Say hello.")
        assert isinstance(response, CompletionResponse)
        assert response.text

    async def test_acomplete_answers_a_prompt(self, llm: LLM) -> None:
        assert (await llm.acomplete("Say hello.")).text

    def test_stream_complete_grows_to_the_whole_text(self, llm: LLM) -> None:
        stream = llm.stream_complete("Count to three.")
        assert isinstance(stream, Generator)
        chunks = list(stream)
        assert "".join(chunk.delta or "" for chunk in chunks) == chunks[-1].text != ""

    async def test_astream_complete_grows_to_the_whole_text(self, llm: LLM) -> None:
        stream = await llm.astream_complete("Count to three.")
        assert isinstance(stream, AsyncGenerator)
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.delta or "" for chunk in chunks) == chunks[-1].text != ""

    def test_a_stream_may_be_left_early(self, llm: LLM) -> None:
        stream = llm.stream_chat([user("Count to three.")])
        assert next(stream).message.role == MessageRole.ASSISTANT
        stream.close()
        # The openai client's own stream refers to itself, so that only the garbage collector closes it; where that
        # happens while httpcore's pool holds its lock, the process stands still.
        gc.collect()
        self.check_chat(llm.chat([user("Say hello.")]))

    async def test_an_async_stream_may_be_left_early(self, llm: LLM) -> None:
        stream = await llm.astream_chat([user("Count to three.")])
        assert (await anext(stream)).message.role == MessageRole.ASSISTANT
        await stream.aclose()
        self.check_chat(await llm.achat([user("Say hello.")]))

    def test_conversations_with_a_system_message_are_answered(self, llm: LLM) -> None:
        messages = [
            ChatMessage(role=MessageRole.SYSTEM, content="You are brief."),
            user("Hello."),
            ChatMessage(role=MessageRole.ASSISTANT, content="Hello!"),
            user("What is 1 + 1?"),
        ]
        before = [message.model_copy(deep=True) for message in messages]

        self.check_chat(llm.chat(messages))
        assert messages == before

    def test_content_may_be_blocks_and_any_script(self, llm: LLM) -> None:
        blocks = [TextBlock(text="Wie heißt die Hauptstadt"), TextBlock(text="von 日本? 🗾")]
        self.check_chat(llm.chat([ChatMessage(role=MessageRole.USER, blocks=blocks)]))

    # --- prompts ----------------------------------------------------------------------------------------------------

    def test_predict_fills_in_a_template(self, llm: LLM) -> None:
        assert llm.predict(PromptTemplate("What is {what}?"), what="a llama")

    async def test_apredict_fills_in_a_template(self, llm: LLM) -> None:
        prompt = ChatPromptTemplate.from_messages([("system", "Be brief."), ("user", "What is {what}?")])
        assert await llm.apredict(prompt, what="a llama")

    def test_stream_gives_tokens(self, llm: LLM) -> None:
        assert "".join(llm.stream(PromptTemplate("What is {what}?"), what="a llama"))

    async def test_astream_gives_tokens(self, llm: LLM) -> None:
        stream = await llm.astream(PromptTemplate("What is {what}?"), what="a llama")
        assert "".join([token async for token in stream])

    # --- structured prediction --------------------------------------------------------------------------------------

    def test_structured_predict_gives_the_class(self, llm: LLM) -> None:
        assert isinstance(llm.structured_predict(City, CITY_PROMPT, **CITY), City)

    async def test_astructured_predict_gives_the_class(self, llm: LLM) -> None:
        assert isinstance(await llm.astructured_predict(City, CITY_PROMPT, **CITY), City)

    def test_stream_structured_predict_ends_with_the_whole_object(self, llm: LLM) -> None:
        if not self.supports_structured_streaming:
            pytest.skip("does not claim to stream objects")
        *_, last = llm.stream_structured_predict(City, CITY_PROMPT, **CITY)
        assert isinstance(City.model_validate(last.model_dump()), City)

    async def test_astream_structured_predict_ends_with_the_whole_object(self, llm: LLM) -> None:
        if not self.supports_structured_streaming:
            pytest.skip("does not claim to stream objects")
        stream = await llm.astream_structured_predict(City, CITY_PROMPT, **CITY)
        objects = [partial async for partial in stream]
        assert isinstance(City.model_validate(objects[-1].model_dump()), City)

    def test_as_structured_llm_puts_the_object_into_raw(self, llm: LLM) -> None:
        assert isinstance(llm.as_structured_llm(City).chat([user(CITY_PROMPT.format(**CITY))]).raw, City)

    async def test_as_structured_llm_works_async(self, llm: LLM) -> None:
        response = await llm.as_structured_llm(City).achat([user(CITY_PROMPT.format(**CITY))])
        assert isinstance(response.raw, City)

    # --- tools ------------------------------------------------------------------------------------------------------

    def test_chat_with_tools_calls_a_required_tool(self, caller: FunctionCallingLLM) -> None:
        response = caller.chat_with_tools([MULTIPLY], user_msg="multiply 3 by 3", tool_required=True)
        self.check_call(caller, response)

    async def test_achat_with_tools_calls_a_required_tool(self, caller: FunctionCallingLLM) -> None:
        response = await caller.achat_with_tools([MULTIPLY], user_msg="multiply 3 by 3", tool_required=True)
        self.check_call(caller, response)

    def test_tool_calls_can_be_read_from_every_chunk(self, caller: FunctionCallingLLM) -> None:
        stream = caller.stream_chat_with_tools([MULTIPLY], user_msg="multiply 3 by 3", tool_required=True)
        selections: list[ToolSelection] = []
        for chunk in stream:
            selections = caller.get_tool_calls_from_response(chunk, error_on_no_tool_call=False)
        assert [selection.tool_name for selection in selections] == ["multiply"]

    async def test_tool_calls_can_be_read_from_every_async_chunk(self, caller: FunctionCallingLLM) -> None:
        stream = await caller.astream_chat_with_tools([MULTIPLY], user_msg="multiply 3 by 3", tool_required=True)
        selections: list[ToolSelection] = []
        async for chunk in stream:
            selections = caller.get_tool_calls_from_response(chunk, error_on_no_tool_call=False)
        assert [selection.tool_name for selection in selections] == ["multiply"]

    def test_a_missing_tool_call_is_an_error_if_one_is_expected(self, caller: FunctionCallingLLM) -> None:
        response = caller.chat([user("Say hello.")])
        assert caller.get_tool_calls_from_response(response, error_on_no_tool_call=False) == []
        with pytest.raises(ValueError, match="tool call"):
            caller.get_tool_calls_from_response(response, error_on_no_tool_call=True)

    def test_prepared_arguments_can_be_given_to_chat(self, caller: FunctionCallingLLM) -> None:
        prepared = caller._prepare_chat_with_tools([MULTIPLY], user_msg="multiply 3 by 3", tool_required=True)
        self.check_call(caller, caller.chat(**prepared))

    def test_tool_results_are_answered(self, caller: FunctionCallingLLM) -> None:
        question = user("multiply 3 by 3")
        asked = caller.chat_with_tools([MULTIPLY], chat_history=[question], tool_required=True)
        (selection,) = caller.get_tool_calls_from_response(asked)
        result = ChatMessage(role=MessageRole.TOOL, content="9", additional_kwargs={"tool_call_id": selection.tool_id})

        response = caller.chat_with_tools([MULTIPLY], chat_history=[question, asked.message, result])
        self.check_chat(response)

    def test_callers_history_is_left_alone(self, caller: FunctionCallingLLM) -> None:
        if not self.keeps_callers_history:
            pytest.skip("appends to the caller's history")
        history = [user("Hello."), ChatMessage(role=MessageRole.ASSISTANT, content="Hello!")]
        before = [message.model_copy(deep=True) for message in history]

        caller.chat_with_tools([MULTIPLY], user_msg="multiply 3 by 3", chat_history=history)
        list(caller.stream_chat_with_tools([MULTIPLY], user_msg="multiply 3 by 3", chat_history=history))
        assert history == before

    def test_predict_and_call_returns_the_tools_output(self, caller: FunctionCallingLLM) -> None:
        (source,) = caller.predict_and_call([MULTIPLY], user_msg="multiply 3 by 3", tool_required=True).sources
        assert source.tool_name == "multiply"
        assert source.raw_output == source.raw_input["kwargs"]["a"] * source.raw_input["kwargs"]["b"]

    async def test_apredict_and_call_returns_the_tools_output(self, caller: FunctionCallingLLM) -> None:
        response = await caller.apredict_and_call([MULTIPLY], user_msg="multiply 3 by 3", tool_required=True)
        assert [source.tool_name for source in response.sources] == ["multiply"]

    # --- observability ----------------------------------------------------------------------------------------------

    def test_each_call_is_one_pair_of_events(self, llm: LLM, recorded: Recorded) -> None:
        llm.chat([user("Say hello.")])
        llm.complete("Say hello.")
        list(llm.stream_chat([user("Say hello.")]))
        list(llm.stream_complete("Say hello."))

        assert len(recorded.of(*STARTS)) == len(recorded.of(*ENDS)) == 4

    async def test_each_async_call_is_one_pair_of_events(self, llm: LLM, recorded: Recorded) -> None:
        await llm.achat([user("Say hello.")])
        await llm.acomplete("Say hello.")
        assert [chunk async for chunk in await llm.astream_chat([user("Say hello.")])]
        assert [chunk async for chunk in await llm.astream_complete("Say hello.")]

        assert len(recorded.of(*STARTS)) == len(recorded.of(*ENDS)) == 4

    def test_callback_handlers_see_each_call_once(self, llm: LLM) -> None:
        handler = LlamaDebugHandler(print_trace_on_end=False)
        llm.callback_manager = CallbackManager([handler])

        llm.chat([user("Say hello.")])
        list(llm.stream_chat([user("Say hello.")]))
        assert len(handler.get_event_pairs(CBEventType.LLM)) == 2

    def test_events_show_no_secret(self, llm: LLM, recorded: Recorded) -> None:
        if self.secret is None:
            pytest.skip("has no secret")
        llm.chat([user("Say hello.")])

        assert recorded.of(*STARTS)
        assert all(self.secret not in str(event.model_dump()) for event in recorded.of(*STARTS, *ENDS))
        assert self.secret not in str(llm.to_payload())

    # --- load -------------------------------------------------------------------------------------------------------

    def test_threads_may_share_it(self, llm: LLM) -> None:
        with ThreadPoolExecutor(16) as pool:
            responses = list(pool.map(lambda n: llm.chat([user(f"Say {n}.")]), range(32)))
        for response in responses:
            self.check_chat(response)

    async def test_tasks_may_share_it(self, llm: LLM) -> None:
        for response in await asyncio.gather(*(llm.achat([user(f"Say {n}.")]) for n in range(32))):
            self.check_chat(response)

    async def test_rate_limiter_is_asked_once_a_call(self, llm: LLM) -> None:
        limiter = llm.rate_limiter = CountingLimiter()

        llm.chat([user("Say hello.")])
        list(llm.stream_complete("Say hello."))
        await llm.achat([user("Say hello.")])
        assert [chunk async for chunk in await llm.astream_chat([user("Say hello.")])]
        assert (limiter.acquired, limiter.acquired_async) == (2, 2)

    # --- what an answer looks like ----------------------------------------------------------------------------------

    def check_chat(self, response: ChatResponse) -> None:
        assert isinstance(response, ChatResponse)
        assert response.message.role == MessageRole.ASSISTANT
        assert response.message.content

    def check_chunks(self, chunks: list[ChatResponse]) -> None:
        assert len(chunks) > 1
        whole = chunks[-1].message.content
        assert "".join(chunk.delta or "" for chunk in chunks) == whole
        assert whole
        lengths = [len(chunk.message.content or "") for chunk in chunks]
        assert lengths == sorted(lengths)

    def check_call(self, llm: FunctionCallingLLM, response: ChatResponse) -> None:
        (selection,) = llm.get_tool_calls_from_response(response)
        assert selection.tool_name == "multiply"
        assert set(selection.tool_kwargs) == {"a", "b"}
