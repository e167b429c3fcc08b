"""Bad days: in every mode another model answers as long as nothing solid was passed on, and no pause counts as one."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langgraph.errors import GraphInterrupt
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    ContentBlock,
    ImageBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.bridge.pydantic import Field
from llama_index.core.llms.llm import LLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from openai import APIError, APIStatusError
from workflows.errors import WorkflowCancelledByUser
from workflows.events import HumanResponseEvent
from workflows.runtime.types.results import AddWaiter, WaitingForEvent

from llama_index_rar import RouterLLM
from rar.errors import ModelTimeoutError
from tests.contract.llama_index_llm import CITY, CITY_PROMPT, MULTIPLY, City, user
from tests.fake_openai import FakeOpenAI, Reply
from tests.llama_index.conftest import Observer

OUT_OF_ORDER = Reply("out of order", status=500)
Mode = Callable[[RouterLLM], Awaitable[Any]]


async def _all(chunks: Any) -> Any:
    return [chunk async for chunk in await chunks][-1]


async def chat(llm: RouterLLM) -> Any:
    return llm.chat([user("Hello")])


async def achat(llm: RouterLLM) -> Any:
    return await llm.achat([user("Hello")])


async def stream_chat(llm: RouterLLM) -> Any:
    return list(llm.stream_chat([user("Hello")]))[-1]


async def astream_chat(llm: RouterLLM) -> Any:
    return await _all(llm.astream_chat([user("Hello")]))


async def complete(llm: RouterLLM) -> Any:
    return llm.complete("Hello")


async def acomplete(llm: RouterLLM) -> Any:
    return await llm.acomplete("Hello")


async def stream_complete(llm: RouterLLM) -> Any:
    return list(llm.stream_complete("Hello"))[-1]


async def astream_complete(llm: RouterLLM) -> Any:
    return await _all(llm.astream_complete("Hello"))


async def tools(llm: RouterLLM) -> Any:
    return llm.chat_with_tools([MULTIPLY], "Hello")


async def atools(llm: RouterLLM) -> Any:
    return await llm.achat_with_tools([MULTIPLY], "Hello")


async def stream_tools(llm: RouterLLM) -> Any:
    return list(llm.stream_chat_with_tools([MULTIPLY], "Hello"))[-1]


async def astream_tools(llm: RouterLLM) -> Any:
    return await _all(llm.astream_chat_with_tools([MULTIPLY], "Hello"))


async def structured(llm: RouterLLM) -> Any:
    return llm.structured_predict(City, CITY_PROMPT, **CITY)


async def astructured(llm: RouterLLM) -> Any:
    return await llm.astructured_predict(City, CITY_PROMPT, **CITY)


async def stream_structured(llm: RouterLLM) -> Any:
    return list(llm.stream_structured_predict(City, CITY_PROMPT, **CITY))[-1]


async def astream_structured(llm: RouterLLM) -> Any:
    return await _all(llm.astream_structured_predict(City, CITY_PROMPT, **CITY))


CHATS: list[Mode] = [chat, achat, stream_chat, astream_chat, tools, atools, stream_tools, astream_tools]
COMPLETIONS: list[Mode] = [complete, acomplete, stream_complete, astream_complete]
OBJECTS: list[Mode] = [structured, astructured, stream_structured, astream_structured]
STREAMS: list[Mode] = [stream_chat, astream_chat, stream_complete, astream_complete, stream_tools, astream_tools]

every_mode = pytest.mark.parametrize("mode", [*CHATS, *COMPLETIONS, *OBJECTS])
every_text = pytest.mark.parametrize("mode", [*CHATS, *COMPLETIONS])
every_chat = pytest.mark.parametrize("mode", CHATS)
every_object = pytest.mark.parametrize("mode", OBJECTS)


def text(answer: Any) -> str:
    return (answer.message.content if isinstance(answer, ChatResponse) else answer.text) or ""


def failed_over(answer: Any) -> list[str]:
    failed: list[str] = answer.additional_kwargs["rar"]["failed_over"]
    return failed


def asked_of(fake: FakeOpenAI) -> list[str]:
    return [sent.model for sent in fake.calls()]


class Says(MockFunctionCallingLLM):
    """Answers with the given blocks, or raises; streamed in one chunk after an empty one."""

    name: str = "small"
    content: list[ContentBlock] = Field(default_factory=list)
    extras: dict[str, Any] = Field(default_factory=dict)
    raises: Any = None

    @property
    def metadata(self) -> Any:
        return super().metadata.model_copy(update={"model_name": self.name, "is_chat_model": True})

    def _answer(self) -> ChatResponse:
        if self.raises is not None:
            raise self.raises
        message = ChatMessage(role="assistant", blocks=self.content, additional_kwargs=self.extras)
        return ChatResponse(message=message, delta=message.content)

    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        return self._answer()

    async def achat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        return self._answer()

    def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
        yield ChatResponse(message=ChatMessage("", role="assistant"), delta="")
        yield self._answer()

    async def astream_chat(self, messages: Any, **kwargs: Any) -> Any:
        async def chunks() -> Any:
            yield ChatResponse(message=ChatMessage("", role="assistant"), delta="")
            yield self._answer()

        return chunks()


def pair(weak: LLM, **options: Any) -> RouterLLM:
    large = Says(name="large", content=[TextBlock(text="Paris")])
    return RouterLLM(weak, large, memory=None, strategy=lambda _: "weak", **options)


@every_text
async def test_the_strong_model_answers_when_the_weak_one_raises(
    mode: Mode, router: RouterLLM, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", OUT_OF_ORDER)

    answer = await mode(router)
    assert (text(answer), failed_over(answer)) == ("You said: Hello", ["weak"])


@every_mode
async def test_an_error_of_the_strong_model_is_the_users(
    mode: Mode, router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
) -> None:
    observer.routes = ["strong"]
    fake_openai.script("large", OUT_OF_ORDER)

    with pytest.raises(APIStatusError, match="out of order"):
        await mode(router)
    assert asked_of(fake_openai) == ["large"]


@every_text
async def test_the_strong_model_answers_when_the_weak_one_returns_nothing(
    mode: Mode, router: RouterLLM, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", "")

    answer = await mode(router)
    assert (text(answer), failed_over(answer)) == ("You said: Hello", ["weak"])


@every_text
async def test_nothing_from_both_models_is_passed_on_as_it_is(
    mode: Mode, router: RouterLLM, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", "")
    fake_openai.script("large", "")

    answer = await mode(router)
    assert (text(answer), failed_over(answer)) == ("", ["weak"])


THOUGHTS: list[list[ContentBlock]] = [
    [],
    [TextBlock(text="")],
    [TextBlock(text=" \n")],
    [ThinkingBlock(content="Let me see.")],
    [ThinkingBlock(content="Hm.", additional_information={"signature": "c2ln"}), TextBlock(text="")],
]


@every_chat
@pytest.mark.parametrize("content", THOUGHTS)
async def test_thoughts_and_empty_blocks_are_no_answer(mode: Mode, content: list[ContentBlock]) -> None:
    extras = {"reasoning_content": "Hm.", "thinking": "Hm."}

    answer = await mode(pair(Says(content=content, extras=extras)))
    assert (text(answer), failed_over(answer)) == ("Paris", ["weak"])


@every_chat
@pytest.mark.parametrize(
    ("content", "extras"),
    [
        ([ToolCallBlock(tool_name="multiply", tool_kwargs={"a": 1, "b": 2})], {}),
        ([ImageBlock(url="http://127.0.0.1/cat.png")], {}),
        ([], {"tool_calls": [{"id": "1", "function": {"name": "multiply", "arguments": "{}"}}]}),
        ([], {"refusal": "I cannot help with that."}),
    ],
    ids=["tool", "image", "older tool", "refusal"],
)
async def test_what_is_no_text_may_be_an_answer(
    mode: Mode, content: list[ContentBlock], extras: dict[str, Any]
) -> None:
    assert failed_over(await mode(pair(Says(content=content, extras=extras)))) == []


@every_object
@pytest.mark.parametrize("reply", ["", "no object at all", "[]", "null", "{}"])
async def test_an_object_that_was_not_given_comes_from_the_strong_model(
    mode: Mode, reply: str, router: RouterLLM, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", reply)

    assert (await mode(router)).model_dump() == {"name": "Ulm", "inhabitants": 130000}
    assert asked_of(fake_openai) == ["small", "large"]


@every_object
@pytest.mark.parametrize("value", [None, [], "no object"])
async def test_a_child_that_gives_no_object_is_followed_by_the_strong_one(
    mode: Mode, value: Any, openai: Callable[..., LLM], fake_openai: FakeOpenAI
) -> None:
    class Gives(Says):
        def structured_predict(self, *args: Any, **kwargs: Any) -> Any:
            return value

        async def astructured_predict(self, *args: Any, **kwargs: Any) -> Any:
            return value

        def stream_structured_predict(self, *args: Any, **kwargs: Any) -> Any:
            yield value

        async def astream_structured_predict(self, *args: Any, **kwargs: Any) -> Any:
            async def chunks() -> Any:
                yield value

            return chunks()

    router = RouterLLM(Gives(), openai("large"), memory=None, strategy=lambda _: "weak")
    assert (await mode(router)).model_dump()["name"] == "Ulm"
    assert asked_of(fake_openai) == ["large"]


@pytest.mark.parametrize("mode", STREAMS)
@pytest.mark.parametrize("cut_after", [-1, 0], ids=["at once", "after the empty first chunk"])
async def test_a_stream_that_breaks_before_its_first_content_falls_over(
    mode: Mode, cut_after: int, router: RouterLLM, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", Reply("never seen", cut_after=cut_after))

    answer = await mode(router)
    assert (text(answer), failed_over(answer)) == ("You said: Hello", ["weak"])


@pytest.mark.parametrize("mode", STREAMS)
async def test_a_stream_that_breaks_after_content_is_the_users_to_handle(
    mode: Mode, router: RouterLLM, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", Reply("one two three", cut_after=1))

    with pytest.raises(Exception, match="incomplete|peer closed") as caught:
        await mode(router)
    assert not isinstance(caught.value, APIError)
    assert asked_of(fake_openai) == ["small"]


async def test_a_stream_is_planned_and_opened_before_it_is_read(
    router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", OUT_OF_ORDER)
    stream, astream = router.stream_chat([user("Hello")]), await router.astream_chat([user("Hello")])

    assert len(observer.requests) == 2
    stream.close()
    await astream.aclose()
    assert asked_of(fake_openai).count("large") == 0


@every_mode
async def test_a_weak_model_that_hangs_falls_over_after_the_time_limit(
    mode: Mode, openai: Callable[..., LLM], fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", Reply("too late", gate=threading.Event()))
    router = RouterLLM(openai("small"), openai("large"), memory=None, strategy=lambda _: "weak", timeout=0.3)

    assert await mode(router)
    assert asked_of(fake_openai) == ["small", "large"]


@every_mode
async def test_a_strong_model_that_hangs_is_a_named_error(
    mode: Mode, openai: Callable[..., LLM], fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("large", Reply("too late", gate=threading.Event()))
    router = RouterLLM(openai("small"), openai("large"), memory=None, strategy=lambda _: "strong", timeout=0.3)

    with pytest.raises(ModelTimeoutError, match=r"The strong model said nothing for 0\.3 s"):
        await mode(router)


@every_text
async def test_a_time_limit_that_is_kept_changes_nothing(mode: Mode, openai: Callable[..., LLM]) -> None:
    router = RouterLLM(openai("small"), openai("large"), memory=None, strategy=lambda _: "weak", timeout=30.0)

    answer = await mode(router)
    assert (text(answer), failed_over(answer)) == ("You said: Hello", [])


@every_chat
@pytest.mark.parametrize(
    "pause",
    [
        WorkflowCancelledByUser(),
        WaitingForEvent(AddWaiter(waiter_id="w", event_type=HumanResponseEvent)),
        GraphInterrupt(()),
    ],
    ids=lambda pause: type(pause).__name__,
)
async def test_what_pauses_a_workflow_is_no_failure(mode: Mode, pause: Exception) -> None:
    with pytest.raises(type(pause)):
        await mode(pair(Says(raises=pause)))
