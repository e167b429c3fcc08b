"""`RouterLLM` itself: what it is made of, what it stamps, whom it asks when a model fails, and what it learns from."""

from __future__ import annotations

import asyncio
import copy
import logging
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, ImageBlock, MessageRole, TextBlock
from llama_index.core.llms.llm import LLM
from llama_index.core.llms.mock import MockLLM
from llama_index.core.prompts import PromptTemplate
from llama_index.llms.openai import OpenAI
from openai import APIStatusError

from llama_index_rar import RouterLLM
from rar.errors import ConfigurationError, MissingModelError, RequestError, SameModelError, UnknownModelError
from rar.keys import query
from rar.router import Router
from rar.strategies import Cascade
from rar.values import Answer, Decision, Guide, Reply, Request, Route, ToolCall
from tests.contract.llama_index_llm import CITY, CITY_PROMPT, MULTIPLY, City, user
from tests.fake_openai import FakeOpenAI
from tests.fake_openai import Reply as Scripted
from tests.llama_index.conftest import SECRET, Observer

FAILS = Scripted("out of order", status=500)


class Lessons(Router):
    """A router that keeps what it is handed to learn from."""

    def __init__(self, strategy: Any, **options: Any) -> None:
        super().__init__(memory=None, strategy=strategy, **options)
        self.lessons: list[tuple[Decision, Reply]] = []

    def learn(self, decision: Decision, reply: Reply, models: Any = None) -> None:
        self.lessons.append((decision, reply))
        super().learn(decision, reply, models)

    @property
    def texts(self) -> list[str]:
        return [reply.text for _, reply in self.lessons]


@pytest.fixture
def lessons(observer: Observer) -> Lessons:
    return Lessons(observer)


@pytest.fixture
def taught(openai: Callable[..., LLM], lessons: Lessons) -> RouterLLM:
    return RouterLLM(openai("small"), openai("large"), router=lessons)


def rar(response: Any) -> dict[str, Any]:
    facts: dict[str, Any] = response.additional_kwargs["rar"]
    return facts


def guide(text: str) -> Guide:
    import numpy as np

    return Guide("g1", "default", "answer", text, np.ones(2, np.float32), author="large", origin="e1", state="active")


class TestConstruction:
    def test_missing_models_are_named(self, openai: Callable[..., LLM]) -> None:
        with pytest.raises(MissingModelError, match="No strong model"):
            RouterLLM(openai("small"), memory=None)
        with pytest.raises(MissingModelError, match="No weak model"):
            RouterLLM(strong=openai("large"), memory=None)

    def test_one_model_twice_is_refused(self, openai: Callable[..., LLM]) -> None:
        with pytest.raises(SameModelError, match="'small'"):
            RouterLLM(openai("small"), openai("small"), memory=None)

    def test_two_deployments_of_one_name_can_be_told_apart(self, openai: Callable[..., LLM]) -> None:
        router = RouterLLM(openai("small"), openai("small"), memory=None, strong_id="small@big-box")
        assert router.chat([user("Hello")]).message.content

    def test_what_is_no_llm_is_refused(self, openai: Callable[..., LLM]) -> None:
        weak: Any = "small"
        with pytest.raises(ConfigurationError, match=r"weak='small' is no model\. Pass a LlamaIndex LLM"):
            RouterLLM(weak, openai("large"), memory=None)

    def test_metadata_is_what_both_can_do(self, openai: Callable[..., LLM]) -> None:
        weak = openai("small", max_tokens=1000, is_function_calling_model=False)
        metadata = RouterLLM(weak, openai("large"), memory=None).metadata

        assert (metadata.context_window, metadata.num_output) == (8000, 1000)
        assert metadata.is_chat_model and metadata.is_function_calling_model
        assert metadata.model_name == "rar(small, large)"

    def test_unknown_arguments_are_refused(self, openai: Callable[..., LLM]) -> None:
        with pytest.raises(TypeError, match="qualty"):
            RouterLLM(openai("small"), openai("large"), memory=None, qualty=0.9)

    def test_a_shared_routers_arguments_cannot_be_given_beside_it(
        self, openai: Callable[..., LLM], lessons: Lessons
    ) -> None:
        with pytest.raises(ConfigurationError, match=r"\['quality'\] cannot be given beside `router=`"):
            RouterLLM(openai("small"), openai("large"), router=lessons, quality=0.8)
        with pytest.raises(SameModelError):
            RouterLLM(openai("small"), openai("small"), router=lessons)

    def test_a_router_may_be_shared(self, openai: Callable[..., LLM], lessons: Lessons) -> None:
        first, second = (RouterLLM(openai("small"), openai("large"), router=lessons) for _ in range(2))
        first.chat([user("One")])
        second.chat([user("Two")])

        assert first.router is second.router
        assert len(lessons.lessons) == 2

    @pytest.mark.parametrize("prefix", ["", "a"])
    @pytest.mark.parametrize("name", ["chat", "complete", "stream_chat", "stream_complete"])
    def test_no_method_reports_llm_events_of_its_own(self, prefix: str, name: str) -> None:
        """A decorated router would count every call twice: its child reports it already."""

        def defined_in(cls: type[LLM]) -> str:
            in_span = getattr(cls, prefix + name).__wrapped__
            return Path(in_span.__code__.co_filename).name

        assert defined_in(RouterLLM) == "llm.py"
        assert defined_in(OpenAI) == "callbacks.py"  # what a decorated one looks like


class TestSecrets:
    def test_no_dump_or_repr_shows_a_key(self, router: RouterLLM) -> None:
        router.chat([user("Hello")])

        for shown in (repr(router), str(router), str(router.to_dict()), router.to_json(), str(router.to_payload())):
            assert SECRET not in shown
        assert SECRET not in str(router.model_dump()) + str(router.dict())

    def test_dump_names_the_children(self, router: RouterLLM) -> None:
        dumped = router.to_dict()

        assert dumped["class_name"] == "RouterLLM"
        assert (dumped["weak"]["model"], dumped["strong"]["model"]) == ("small", "large")

    def test_a_dump_cannot_be_loaded_without_the_models(self, router: RouterLLM, openai: Callable[..., LLM]) -> None:
        with pytest.raises(ConfigurationError, match="holds no models"):
            RouterLLM.from_dict(router.to_dict())

        loaded = RouterLLM.from_dict(router.to_dict(), weak=openai("small"), strong=openai("large"), memory=None)
        assert loaded.metadata == router.metadata


class TestCopies:
    def test_deepcopy_shares_the_router(self, router: RouterLLM) -> None:
        copied = copy.deepcopy(router)

        assert copied.router is router.router
        assert copied.weak is not router.weak
        assert rar(copied.chat([user("Hello")]))["model"] == "weak"

    def test_pickle_makes_an_equal_router(self, openai: Callable[..., LLM]) -> None:
        router = RouterLLM(openai("small"), openai("large"), memory=None, system_prompt="Be brief.", namespace="mine")
        loaded = pickle.loads(pickle.dumps(router))

        assert (loaded.metadata, loaded.system_prompt, loaded.namespace) == (router.metadata, "Be brief.", "mine")
        assert loaded.router.memory is None
        assert rar(loaded.chat([user("Hello")]))["model"] == "strong"

    def test_what_cannot_be_pickled_is_an_error_and_not_left_out(self, openai: Callable[..., LLM]) -> None:
        router = RouterLLM(openai("small"), openai("large"), memory=None, strategy=lambda request: "weak")
        with pytest.raises((pickle.PicklingError, AttributeError), match="lambda"):
            pickle.dumps(router)

    def test_settings_changed_on_a_child_take_effect(
        self, router: RouterLLM, fake_openai: FakeOpenAI, openai: Callable[..., LLM]
    ) -> None:
        router.chat([user("Hello")])
        router.weak.temperature = 0.9  # type: ignore[attr-defined]
        router.chat([user("Hello")])
        router.weak = openai("tiny")
        router.chat([user("Hello")])

        assert [(sent.model, sent.body["temperature"]) for sent in fake_openai.calls()] == [
            ("small", 0.1),
            ("small", 0.9),
            ("tiny", 0.1),
        ]


class TestDecision:
    def test_every_response_carries_it(self, router: RouterLLM) -> None:
        facts = rar(router.chat([user("Hello")]))

        assert facts["model"] == "weak"
        assert facts["reason"] == "told"
        assert facts["key_source"] == "last_user_message"
        assert {"decision_id", "guide_id", "confidence"} <= facts.keys()
        assert rar(router.complete("Hello"))["model"] == "weak"

    async def test_every_streamed_response_carries_it(self, router: RouterLLM) -> None:
        chunks = [*router.stream_chat([user("Hello")]), *router.stream_complete("Hello")]
        achunks = [chunk async for chunk in await router.astream_chat([user("Hello")])]

        assert {rar(chunk)["model"] for chunk in [*chunks, *achunks]} == {"weak"}
        assert len({rar(chunk)["decision_id"] for chunk in achunks}) == 1

    async def test_a_response_says_what_it_cost(self, openai: Callable[..., LLM]) -> None:
        prices = {"weak": (1.0, 2.0), "strong": (10.0, 20.0)}
        router = RouterLLM(openai("small"), openai("large"), memory=None, strategy=lambda _: "weak", prices=prices)
        cost = {"usd": 25e-6, "strong_usd": 250e-6, "input_tokens": 11, "output_tokens": 7, "estimated": False}

        for response in (
            router.chat([user("Hello")]),
            await router.achat([user("Hello")]),
            router.complete("Hello"),
            router.chat_with_tools([MULTIPLY], user_msg="Hello"),
        ):
            assert {name: rar(response)[name] for name in cost} == pytest.approx(cost)

    async def test_the_last_chunk_of_a_stream_says_what_it_cost(self, openai: Callable[..., LLM]) -> None:
        prices = {"weak": (1.0, 2.0), "strong": (10.0, 20.0)}
        router = RouterLLM(openai("small"), openai("large"), memory=None, strategy=lambda _: "weak", prices=prices)

        for chunks in (
            list(router.stream_chat([user("Hello")])),
            [chunk async for chunk in await router.astream_chat([user("Hello")])],
            list(router.stream_complete("Hello")),
        ):
            *before, last = map(rar, chunks)
            assert last["usd"] > 0 and last["strong_usd"] == pytest.approx(10 * last["usd"])
            assert last["estimated"]  # this endpoint reports no tokens of streams
            assert all("usd" not in facts for facts in before)

    def test_it_is_stamped_on_a_copy(self, openai: Callable[..., LLM]) -> None:
        kept = ChatResponse(message=ChatMessage(role=MessageRole.ASSISTANT, content="cached"))

        class Caching(MockLLM):
            def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
                return kept

        router = RouterLLM(Caching(), openai("large"), memory=None, strategy=lambda request: "weak")
        assert rar(router.chat([user("Hello")]))["model"] == "weak"
        assert kept.additional_kwargs == {}


class TestOverrides:
    def test_force_beats_the_strategy(self, router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI) -> None:
        facts = rar(router.chat([user("Hello")], rar_force="strong"))

        assert (facts["model"], facts["reason"]) == ("strong", "forced")
        assert observer.requests == []
        assert fake_openai.calls()[0].model == "large"

    def test_force_of_an_unknown_model_is_named(self, router: RouterLLM) -> None:
        with pytest.raises(UnknownModelError, match="'medium'"):
            router.chat([user("Hello")], rar_force="medium")

    def test_query_namespace_and_learning_can_be_given(self, router: RouterLLM, observer: Observer) -> None:
        router.chat([user("Hello")], rar_query="a greeting", rar_namespace="tenant", rar_learn=False)

        request = observer.last
        assert (request.key, request.key_source) == ("a greeting", "given")
        assert (request.namespace, request.learn) == ("tenant", False)

    def test_predict_takes_overrides_beside_the_templates_variables(
        self, router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
    ) -> None:
        router.predict(PromptTemplate("What is {what}?"), what="a llama", rar_query="llamas")

        assert observer.last.key == "llamas"
        assert fake_openai.calls()[0].messages[-1]["content"] == "What is a llama?"

    def test_unknown_overrides_are_named(self, router: RouterLLM) -> None:
        with pytest.raises(RequestError, match="rar_fource"):
            router.chat([user("Hello")], rar_fource="strong")

    def test_a_query_block_names_the_question(self, router: RouterLLM, observer: Observer) -> None:
        with query("the real question"):
            router.chat([user("a prompt around it")])

        assert (observer.last.key, observer.last.key_source) == ("the real question", "query_block")

    def test_an_extractor_is_asked_where_no_variable_tells(
        self, openai: Callable[..., LLM], observer: Observer
    ) -> None:
        def after_colon(messages: Any) -> str | None:
            _, colon, tail = messages[-1].content.partition(": ")
            return tail if colon else None

        router = RouterLLM(
            openai("small"), openai("large"), memory=None, strategy=observer, query_extractor=after_colon
        )
        router.chat([user("Please answer: why?")])
        router.chat([user("Hello")])

        assert [(request.key, request.key_source) for request in observer.requests] == [
            ("why?", "query_extractor"),
            ("Hello", "last_user_message"),
        ]

    def test_only_the_callers_arguments_reach_the_model(self, router: RouterLLM, fake_openai: FakeOpenAI) -> None:
        router.chat([user("Hello")], rar_query="x", stop=["lo"], temperature=0.3)

        body = fake_openai.calls()[0].body
        assert (body["stop"], body["temperature"]) == (["lo"], 0.3)
        assert not any(name.startswith("rar") for name in body)


class TestInput:
    @pytest.mark.parametrize("messages", [[], ()])
    def test_no_messages_are_for_the_strong_models_client_to_answer(
        self, messages: Any, router: RouterLLM, fake_openai: FakeOpenAI
    ) -> None:
        fake_openai.script("large", "What do you mean?")

        response = router.chat(messages)

        assert response.message.content == "What do you mean?"
        assert response.additional_kwargs["rar"]["reason"] == "no_messages"

    def test_messages_without_text_have_no_key(self, router: RouterLLM, observer: Observer) -> None:
        image = ChatMessage(role=MessageRole.USER, blocks=[ImageBlock(url="http://127.0.0.1/cat.png")])
        assert router.chat([image]).message.role == MessageRole.ASSISTANT

        assert observer.last.key is None

    def test_a_megabyte_is_passed_on(self, router: RouterLLM, fake_openai: FakeOpenAI) -> None:
        fake_openai.script("small", "Long.")
        prompt = "Context information is below.\nQuery: " * 30_000

        assert router.complete(prompt).text == "Long."
        assert fake_openai.calls()[0].messages[-1]["content"] == prompt

    def test_lone_surrogates_do_not_stop_the_router(self, observer: Observer, openai: Callable[..., LLM]) -> None:
        router = RouterLLM(MockLLM(), openai("large"), memory=None, strategy=observer)

        response = router.chat_with_tools([], user_msg="half a \ud83d face")
        assert rar(response)["model"] == "weak"


class TestFailover:
    def test_strong_answers_when_weak_fails(self, taught: RouterLLM, lessons: Lessons, fake_openai: FakeOpenAI) -> None:
        fake_openai.script("small", FAILS)
        facts = rar(taught.chat([user("Hello")]))

        assert (facts["model"], facts["reason"], facts["failed_over"]) == ("strong", "weak_failed", ["weak"])
        assert [reply.model for _, reply in lessons.lessons] == ["strong"]

    async def test_strong_answers_when_weak_fails_async(self, router: RouterLLM, fake_openai: FakeOpenAI) -> None:
        fake_openai.script("small", FAILS)

        assert rar(await router.achat([user("Hello")]))["failed_over"] == ["weak"]
        chunks = [chunk async for chunk in await router.astream_chat([user("Hello")])]
        assert {rar(chunk)["model"] for chunk in chunks} == {"strong"}

    def test_a_stream_that_fails_before_its_first_chunk_is_taken_over(
        self, router: RouterLLM, fake_openai: FakeOpenAI
    ) -> None:
        fake_openai.script("small", FAILS)
        chunks = list(router.stream_chat([user("Hello")]))

        assert chunks[-1].message.content == "You said: Hello"
        assert {rar(chunk)["model"] for chunk in chunks} == {"strong"}

    def test_a_stream_that_dies_halfway_is_the_callers_to_handle(
        self, taught: RouterLLM, lessons: Lessons, fake_openai: FakeOpenAI
    ) -> None:
        """What was passed on cannot be taken back, and two models' texts must not be mixed."""
        fake_openai.script("small", Scripted("one two three four", cut_after=2))
        stream = taught.stream_chat([user("Hello")])
        seen = [next(stream).delta for _ in range(3)]
        with pytest.raises(Exception, match="incomplete|peer closed"):
            next(stream)

        assert "".join(str(delta) for delta in seen) == "one two"
        assert {sent.model for sent in fake_openai.calls()} == {"small"}
        assert lessons.lessons == []

    def test_objects_are_taken_over_too(self, router: RouterLLM, fake_openai: FakeOpenAI) -> None:
        fake_openai.script("small", FAILS)

        assert isinstance(router.structured_predict(City, CITY_PROMPT, **CITY), City)
        assert isinstance(list(router.stream_structured_predict(City, CITY_PROMPT, **CITY))[-1].model_dump(), dict)

    def test_an_object_that_does_not_fit_its_class_is_a_failure(
        self, router: RouterLLM, fake_openai: FakeOpenAI
    ) -> None:
        fake_openai.script("small", "no object at all")

        assert isinstance(router.structured_predict(City, CITY_PROMPT, **CITY), City)
        assert [sent.model for sent in fake_openai.calls()] == ["small", "large"]

    def test_strongs_own_error_is_raised(self, router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI) -> None:
        observer.routes = ["strong"]
        fake_openai.script("large", FAILS)

        with pytest.raises(APIStatusError, match="out of order"):
            router.chat([user("Hello")])
        assert fake_openai.calls("small") == []

    def test_weak_answers_when_strong_fails_if_allowed(
        self, openai: Callable[..., LLM], fake_openai: FakeOpenAI
    ) -> None:
        fake_openai.script("large", FAILS)
        router = RouterLLM(
            openai("small"), openai("large"), memory=None, strategy=lambda request: "strong", degrade=True
        )

        assert rar(router.chat([user("Hello")]))["reason"] == "strong_failed"

    def test_a_forced_model_is_not_replaced(self, router: RouterLLM, fake_openai: FakeOpenAI) -> None:
        fake_openai.script("small", FAILS)
        with pytest.raises(APIStatusError):
            router.chat([user("Hello")], rar_force="weak")

    def test_a_model_that_times_out_is_taken_over(self, openai: Callable[..., LLM]) -> None:
        class Slow(MockLLM):
            def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
                raise TimeoutError("too slow")

        router = RouterLLM(Slow(), openai("large"), memory=None, strategy=lambda request: "weak")
        assert rar(router.chat([user("Hello")]))["failed_over"] == ["weak"]

    async def test_a_stream_that_cannot_even_begin_is_taken_over(self, openai: Callable[..., LLM]) -> None:
        class Down(MockLLM):
            def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
                raise ConnectionError("down")

            async def astream_chat(self, messages: Any, **kwargs: Any) -> Any:
                raise ConnectionError("down")

        router = RouterLLM(Down(), openai("large"), memory=None, strategy=lambda request: "weak")
        achunks = [chunk async for chunk in await router.astream_chat([user("Hello")])]
        for chunk in [*router.stream_chat([user("Hello")]), *achunks]:
            assert rar(chunk)["failed_over"] == ["weak"]

    async def test_a_stream_of_nothing_is_taken_over(self, openai: Callable[..., LLM], lessons: Lessons) -> None:
        class Silent(MockLLM):
            def stream_chat(self, messages: Any, **kwargs: Any) -> Any:
                return iter(())

            async def astream_chat(self, messages: Any, **kwargs: Any) -> Any:
                async def nothing() -> Any:
                    for chunk in ():
                        yield chunk

                return nothing()

        router = RouterLLM(Silent(), openai("large"), router=lessons)
        achunks = [chunk async for chunk in await router.astream_chat([user("Hello")])]
        for chunks in (list(router.stream_chat([user("Hello")])), achunks):
            assert chunks[-1].message.content == "You said: Hello"
        assert lessons.texts == ["You said: Hello"] * 2
        assert list(RouterLLM(openai("small"), Silent(), memory=None).stream_chat([user("Hello")])) == []

    async def test_strong_answers_when_weak_returns_nothing_async(
        self, router: RouterLLM, fake_openai: FakeOpenAI
    ) -> None:
        fake_openai.script("small", "")

        assert rar(await router.achat([user("Hello")]))["failed_over"] == ["weak"]

    def test_strong_answers_when_weak_returns_nothing(self, router: RouterLLM, fake_openai: FakeOpenAI) -> None:
        fake_openai.script("small", "")

        response = router.chat([user("Hello")])
        assert response.message.content == "You said: Hello"
        assert rar(response)["failed_over"] == ["weak"]

    def test_nothing_from_strong_is_passed_on(
        self, router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
    ) -> None:
        observer.routes = ["strong"]
        fake_openai.script("large", "")

        assert not router.chat([user("Hello")]).message.content

    def test_a_strategy_that_raises_leaves_strong_to_answer(self, openai: Callable[..., LLM]) -> None:
        def broken(request: Request) -> Route:
            raise RuntimeError("broken")

        router = RouterLLM(openai("small"), openai("large"), memory=None, strategy=broken)
        assert rar(router.chat([user("Hello")]))["model"] == "strong"

    def test_a_response_that_cannot_be_read_still_reaches_the_user(
        self, openai: Callable[..., LLM], lessons: Lessons, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Odd(type(openai("small"))):  # type: ignore[misc]
            def get_tool_calls_from_response(self, *args: Any, **kwargs: Any) -> Any:
                raise KeyError("odd")

        weak = Odd(**{**openai("small").__dict__, "model": "small"})
        router = RouterLLM(weak, openai("large"), router=lessons)
        with caplog.at_level(logging.WARNING, "rar"):
            assert rar(router.chat_with_tools([MULTIPLY], user_msg="multiply 1 by 2"))["model"] == "weak"

        assert "nothing is learned" in caplog.text
        assert lessons.lessons == []


class TestLearning:
    def test_the_reply_is_whole(self, taught: RouterLLM, lessons: Lessons) -> None:
        taught.chat([user("Hello")])

        decision, reply = lessons.lessons[0]
        assert decision.request.key == "Hello"
        assert (reply.model, reply.text, reply.model_id) == ("weak", "You said: Hello", "small")
        assert (reply.usage.input_tokens, reply.usage.output_tokens) == (11, 7)

    async def test_a_stream_is_learned_whole_and_at_its_end(self, taught: RouterLLM, lessons: Lessons) -> None:
        stream = taught.stream_chat([user("Hello")])
        next(stream)
        assert lessons.lessons == []
        list(stream)
        assert [chunk async for chunk in await taught.astream_complete("Hello")]

        assert lessons.texts == ["You said: Hello"] * 2

    async def test_a_stream_that_is_left_teaches_nothing(self, taught: RouterLLM, lessons: Lessons) -> None:
        stream = taught.stream_chat([user("Hello")])
        next(stream)
        stream.close()
        astream = await taught.astream_chat([user("Hello")])
        await anext(astream)
        await astream.aclose()

        assert lessons.lessons == []

    def test_tool_calls_are_learned_as_such(self, taught: RouterLLM, lessons: Lessons) -> None:
        taught.chat_with_tools([MULTIPLY], user_msg="multiply 3 by 4")

        _, reply = lessons.lessons[0]
        assert reply.tool_calls == (ToolCall("multiply", {"a": 3, "b": 3}),)

    async def test_objects_are_learned_as_json_with_their_tokens(self, taught: RouterLLM, lessons: Lessons) -> None:
        city = taught.structured_predict(City, CITY_PROMPT, **CITY)
        await taught.astructured_predict(City, CITY_PROMPT, **CITY)

        for _, reply in lessons.lessons:
            assert City.model_validate_json(reply.text) == city
            assert (reply.usage.total, reply.model_id) == (18, "small")

    def test_the_ledger_counts_what_was_served(self, taught: RouterLLM, lessons: Lessons) -> None:
        taught.chat([user("Hello")])
        taught.complete("Hello")

        (spend,) = lessons.stats().spending
        assert (spend.role, spend.purpose, spend.calls, spend.input_tokens) == ("weak", "serve", 2, 22)


class TestAnswers:
    """Strategies that ask before they decide: what they already have is passed on, not asked for again."""

    @pytest.fixture
    def cascade(self, openai: Callable[..., LLM]) -> RouterLLM:
        strategy = Cascade(lambda request, reply: "hard" not in reply.text)
        return RouterLLM(openai("small"), openai("large"), memory=None, strategy=strategy)

    def test_an_accepted_draft_is_the_response(self, cascade: RouterLLM, fake_openai: FakeOpenAI) -> None:
        response = cascade.chat([user("easy")])

        assert response.message.content == "You said: easy"
        assert (rar(response)["model"], rar(response)["reason"]) == ("weak", "draft_accepted")
        assert rar(response)["drafts"] == 1
        assert len(fake_openai.calls()) == 1

    async def test_an_accepted_draft_streams_as_one_chunk(self, cascade: RouterLLM, fake_openai: FakeOpenAI) -> None:
        (chunk,) = cascade.stream_chat([user("easy")])
        (achunk,) = [chunk async for chunk in await cascade.astream_chat([user("easy")])]
        (completion,) = cascade.stream_complete("easy")

        assert chunk.delta == achunk.delta == completion.delta == "You said: easy"
        assert len(fake_openai.calls()) == 3

    async def test_a_refused_draft_is_never_seen(self, cascade: RouterLLM, fake_openai: FakeOpenAI) -> None:
        assert rar(await cascade.achat([user("hard")]))["model"] == "strong"
        assert {rar(chunk)["model"] for chunk in cascade.stream_chat([user("hard")])} == {"strong"}
        assert [sent.model for sent in fake_openai.calls()] == ["small", "large"] * 2

    async def test_drafts_with_tools_keep_their_calls(self, cascade: RouterLLM, fake_openai: FakeOpenAI) -> None:
        response = cascade.chat_with_tools([MULTIPLY], user_msg="multiply 3 by 4")
        streamed = [c async for c in await cascade.astream_chat_with_tools([MULTIPLY], user_msg="multiply 3 by 4")]

        for answer in (response, streamed[-1]):
            (selection,) = cascade.get_tool_calls_from_response(answer)
            assert selection.tool_kwargs == {"a": 3, "b": 3}
        assert {sent.model for sent in fake_openai.calls()} == {"small"}

    async def test_drafts_of_objects_are_the_object(self, cascade: RouterLLM, fake_openai: FakeOpenAI) -> None:
        for made in (
            cascade.structured_predict(City, CITY_PROMPT, **CITY),
            await cascade.astructured_predict(City, CITY_PROMPT, **CITY),
            next(cascade.stream_structured_predict(City, CITY_PROMPT, **CITY)),
            await anext(await cascade.astream_structured_predict(City, CITY_PROMPT, **CITY)),
        ):
            assert isinstance(made, City)
        assert len(fake_openai.calls()) == 4

    def test_an_answer_that_no_model_gave_is_passed_on(
        self, openai: Callable[..., LLM], fake_openai: FakeOpenAI
    ) -> None:
        answer = Answer(
            Reply("weak", "From the cupboard.", (ToolCall("multiply", {"a": 1, "b": 1}),)), reason="cupboard"
        )
        router = RouterLLM(openai("small"), openai("large"), memory=None, strategy=lambda request: answer)

        response = router.chat([user("Hello")])
        assert response.message.content == "From the cupboard."
        assert router.get_tool_calls_from_response(response)[0].tool_name == "multiply"
        assert router.complete("Hello").text == "From the cupboard."
        assert fake_openai.calls() == []


class TestGuides:
    def test_a_guide_joins_the_users_message(
        self, router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
    ) -> None:
        observer.routes = [Route("weak", guide("Count twice."))]
        messages = [ChatMessage(role=MessageRole.SYSTEM, content="Be brief."), user("How many?")]
        before = [message.model_copy(deep=True) for message in messages]

        assert rar(router.chat(messages))["guide_id"] == "g1"
        (sent,) = fake_openai.calls()
        assert [message["role"] for message in sent.messages] == ["system", "user"]
        assert sent.messages[0]["content"] == "Be brief."
        assert sent.messages[1]["content"].startswith("How many?")
        assert "Count twice." in sent.messages[1]["content"]
        assert messages == before

    def test_a_guide_adds_no_system_message_where_there_is_none(
        self, router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
    ) -> None:
        observer.routes = [Route("weak", guide("Count twice."))]
        router.complete("How many?")
        router.chat_with_tools([MULTIPLY], user_msg="multiply 1 by 2")
        router.structured_predict(City, CITY_PROMPT, **CITY)

        for sent in fake_openai.calls():
            assert [message["role"] for message in sent.messages] == ["user"]
            assert "Count twice." in sent.messages[0]["content"]

    def test_a_completion_model_reads_the_guide_before_the_prompt(
        self, openai: Callable[..., LLM], observer: Observer, fake_openai: FakeOpenAI
    ) -> None:
        observer.routes = [Route("weak", guide("Count twice."))]
        router = RouterLLM(openai("small", is_chat_model=False), openai("large"), memory=None, strategy=observer)
        router.complete("How many?")

        (sent,) = fake_openai.calls()
        assert sent.body["prompt"].index("Count twice.") < sent.body["prompt"].index("How many?")

    def test_childs_own_system_prompt_applies_to_prompts_as_in_its_own_predict(
        self, openai: Callable[..., LLM], observer: Observer, fake_openai: FakeOpenAI
    ) -> None:
        router = RouterLLM(
            openai("small", system_prompt="You are small."), openai("large"), memory=None, strategy=observer
        )
        observer.routes = ["weak", "strong", Route("weak", guide("Count twice."))]
        for _ in range(3):
            router.predict(PromptTemplate("What is {what}?"), what="a llama")

        small, large, guided = (sent.messages for sent in fake_openai.calls())
        assert small[0] == {"role": "system", "content": "You are small."}
        assert [message["role"] for message in large] == ["user"]
        assert [message["role"] for message in guided] == ["system", "user"]
        assert guided[0]["content"].startswith("You are small.")

    def test_blocks_are_kept_when_a_guide_is_added(
        self, router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
    ) -> None:
        observer.routes = [Route("weak", guide("Count twice."))]
        blocks = [TextBlock(text="Be brief."), TextBlock(text="Be kind.")]
        router.chat([ChatMessage(role=MessageRole.SYSTEM, blocks=blocks), user("How many?")])

        assert [block.text for block in blocks] == ["Be brief.", "Be kind."]
        assert "Be brief." in str(fake_openai.calls()[0].messages[0])


class Gate:
    """A scripted model that tells when it was asked, and answers when it is let."""

    def __init__(self) -> None:
        self._asked, self._open = threading.Semaphore(0), threading.Event()

    def __call__(self, body: Any) -> str:
        self._asked.release()
        self._open.wait()
        return "done"

    async def asked(self, times: int) -> None:
        for _ in range(times):
            assert await asyncio.to_thread(self._asked.acquire, timeout=10)

    def open(self) -> None:
        self._open.set()


class TestConcurrency:
    """Only the event loop opens the gate, so that a call that blocked the loop would time out."""

    @pytest.fixture
    def gate(self, fake_openai: FakeOpenAI) -> Iterator[Gate]:
        gate = Gate()
        fake_openai.script("small", gate)
        yield gate
        gate.open()

    async def test_async_calls_do_not_block_the_loop(self, openai: Callable[..., LLM], gate: Gate) -> None:
        router = RouterLLM(openai("small", timeout=10), openai("large"), memory=None, strategy=lambda request: "weak")

        async def consume() -> str:
            stream = await router.astream_chat([user("Hello")])
            return "".join([chunk.delta or "" async for chunk in stream])

        calls = (
            router.achat([user("Hello")]),
            router.acomplete("Hello"),
            router.achat_with_tools([MULTIPLY], user_msg="Hello"),
            consume(),
        )
        tasks = [asyncio.ensure_future(call) for call in calls]
        await gate.asked(len(tasks))
        assert not any(task.done() for task in tasks)

        gate.open()
        assert [str(result).rpartition(" ")[2] for result in await asyncio.gather(*tasks)] == ["done"] * 4

    async def test_a_strategy_that_asks_does_not_block_the_loop(self, openai: Callable[..., LLM], gate: Gate) -> None:
        weak = openai("small", timeout=10)
        router = RouterLLM(weak, openai("large"), memory=None, strategy=Cascade(lambda *_: True))

        task = asyncio.ensure_future(router.achat([user("Hello")]))
        await gate.asked(1)
        gate.open()
        assert (await task).message.content == "done"


class TestCompletionModels:
    """Both children complete text, so that the framework fills in its prompts as text."""

    @pytest.fixture
    def completing(self, openai: Callable[..., LLM], observer: Observer) -> RouterLLM:
        small, large = (
            openai(name, is_chat_model=False, is_function_calling_model=False) for name in ("small", "large")
        )
        return RouterLLM(small, large, memory=None, strategy=observer)

    async def test_prompts_are_keyed_by_the_query(self, completing: RouterLLM, observer: Observer) -> None:
        prompt = PromptTemplate("From {context_str}, tell: {query_str}")
        values = {"context_str": "a text", "query_str": "Why?", "rar_namespace": "mine"}

        assert not completing.metadata.is_chat_model
        assert completing.predict(prompt, **values)
        assert await completing.apredict(prompt, **values)
        assert "".join(completing.stream(prompt, **values))
        assert "".join([token async for token in await completing.astream(prompt, **values)])
        assert [(r.key, r.key_source, r.namespace) for r in observer.requests] == [
            ("Why?", "template_variable", "mine")
        ] * 4

    async def test_an_answer_is_played_back_as_a_completion(
        self, openai: Callable[..., LLM], completing: RouterLLM, fake_openai: FakeOpenAI
    ) -> None:
        router = RouterLLM(completing.weak, completing.strong, memory=None, strategy=Cascade(lambda *_: True))

        assert router.complete("Hi").text == (await router.acomplete("Hi")).text == "You said: Hi"
        assert [chunk.delta for chunk in router.stream_complete("Hi")] == ["You said: Hi"]
        assert [chunk.delta async for chunk in await router.astream_complete("Hi")] == ["You said: Hi"]
        assert rar(router.chat([user("Hi")]))["reason"] == "draft_accepted"
        assert len(fake_openai.calls()) == 5
