"""What observers see: each provider call once, by its own model's name, and nothing of what is done beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import llama_index.core
import pytest
from llama_index.core import Document, Settings, SummaryIndex
from llama_index.core.callbacks import CallbackManager, CBEventType, LlamaDebugHandler, TokenCountingHandler
from llama_index.core.callbacks.base_handler import BaseCallbackHandler
from llama_index.core.instrumentation.events.llm import LLMChatStartEvent
from llama_index.core.instrumentation.span_handlers import SimpleSpanHandler
from llama_index.core.llms.llm import LLM
from llama_index_instrumentation import get_dispatcher
from openinference.instrumentation.llama_index import LlamaIndexInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from llama_index_rar import RouterLLM
from llama_index_rar.calls import Chat
from llama_index_rar.ports import KIND, Port
from rar.strategies import Cascade
from rar.values import Call, Message, Request
from tests.contract.llama_index_llm import CITY, CITY_PROMPT, ENDS, STARTS, City, Recorded, user
from tests.fake_openai import FakeOpenAI
from tests.llama_index.conftest import SECRET, words

# OpenInference describes a model so, and loses the span where warnings are errors.
pytestmark = pytest.mark.filterwarnings("ignore:The `json` method is deprecated:DeprecationWarning")

TOKENS = 18  # that the fake server reports for a call


@pytest.fixture
def counter() -> TokenCountingHandler:
    return TokenCountingHandler(tokenizer=words)


@pytest.fixture
def spans() -> Iterator[SimpleSpanHandler]:
    root, handler = get_dispatcher(), SimpleSpanHandler()
    root.add_span_handler(handler)
    yield handler
    root.span_handlers.remove(handler)


@pytest.fixture
def traced() -> Iterator[InMemorySpanExporter]:
    """OpenTelemetry spans as OpenInference makes them."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = LlamaIndexInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    yield exporter
    instrumentor.uninstrument()
    provider.shutdown()


def tokens_in(exporter: InMemorySpanExporter) -> int:
    counts: list[Any] = [
        dict(span.attributes or {}).get("llm.token_count.total") for span in exporter.get_finished_spans()
    ]
    return sum(count for count in counts if count is not None)


def of(spans: SimpleSpanHandler, name: str) -> list[Any]:
    return [span for span in spans.completed_spans if span.id_.startswith(f"{name}-")]


def request(text: str, **fields: Any) -> Request:
    return Request((Message("user", text, user(text)),), key=text, **fields)


class TestEvents:
    def test_events_name_the_model_that_answered(self, router: RouterLLM, recorded: Recorded) -> None:
        router.chat([user("Hello")], rar_force="strong")

        (start,) = recorded.of(LLMChatStartEvent)
        assert start.model_dict["model_name"] == "large"

    def test_the_childs_span_is_inside_the_routers(self, router: RouterLLM, spans: SimpleSpanHandler) -> None:
        router.chat([user("Hello")])
        list(router.stream_chat([user("Hello")]))

        for method in ("chat", "stream_chat"):
            parents = {str(span.parent_id) for span in of(spans, f"OpenAILike.{method}")}
            assert {span.id_ for span in of(spans, f"RouterLLM.{method}")} <= parents

    def test_no_event_or_span_shows_a_key(
        self, router: RouterLLM, recorded: Recorded, traced: InMemorySpanExporter
    ) -> None:
        router.predict(CITY_PROMPT, **CITY)
        router.structured_predict(City, CITY_PROMPT, **CITY)

        assert recorded.of(*STARTS)
        assert SECRET not in "".join(str(event.model_dump()) for event in recorded.events)
        assert SECRET not in "".join(span.to_json() for span in traced.get_finished_spans())

    def test_structured_prediction_is_one_call(self, router: RouterLLM, recorded: Recorded) -> None:
        router.structured_predict(City, CITY_PROMPT, **CITY)
        list(router.stream_structured_predict(City, CITY_PROMPT, **CITY))

        assert len(recorded.of(*STARTS)) == len(recorded.of(*ENDS)) == 2


class TestTokenCounts:
    @pytest.mark.parametrize("when", ["before", "after"])
    def test_settings_callback_manager_counts_children(
        self, when: str, openai: Callable[..., LLM], counter: TokenCountingHandler
    ) -> None:
        """The framework gives its manager to the router alone; children made before it was set have none."""
        weak, strong = openai("small"), openai("large")
        if when == "before":
            Settings.callback_manager = CallbackManager([counter])
        Settings.llm = RouterLLM(weak, strong, memory=None, strategy=lambda request: "weak")
        if when == "after":
            Settings.callback_manager = CallbackManager([counter])

        SummaryIndex.from_documents([Document(text="Ulm is a city.")]).as_query_engine().query("Which city?")
        assert counter.total_llm_token_count == TOKENS

    def test_childs_own_callback_manager_is_kept(
        self, openai: Callable[..., LLM], counter: TokenCountingHandler
    ) -> None:
        own = TokenCountingHandler(tokenizer=words)
        weak = openai("small", callback_manager=CallbackManager([own]))
        router = RouterLLM(
            weak, openai("large"), memory=None, strategy=lambda r: "weak", callback_manager=CallbackManager([counter])
        )
        router.chat([user("Hello")])

        assert (own.total_llm_token_count, counter.total_llm_token_count) == (TOKENS, 0)

    def test_reporting_child_is_made_once(self, router: RouterLLM, counter: TokenCountingHandler) -> None:
        router.callback_manager = CallbackManager([counter])
        assert router._child("weak") is router._child("weak") is not router.weak
        for _ in range(3):
            router.chat([user("Hello")])

        assert counter.total_llm_token_count == 3 * TOKENS

    async def test_openinference_counts_each_call_once(self, router: RouterLLM, traced: InMemorySpanExporter) -> None:
        router.chat([user("Hello")])
        router.complete("Hello")
        await router.achat([user("Hello")])
        router.structured_predict(City, CITY_PROMPT, **CITY)

        assert tokens_in(traced) == 4 * TOKENS


class TestShadowCalls:
    """Calls of the engine: nobody but it sees them."""

    @pytest.fixture
    def port(self, openai: Callable[..., LLM], counter: TokenCountingHandler) -> Port:
        return Port(openai("small", callback_manager=CallbackManager([counter])))

    async def test_callbacks_and_traces_see_nothing(
        self, port: Port, counter: TokenCountingHandler, traced: InMemorySpanExporter, fake_openai: FakeOpenAI
    ) -> None:
        Settings.callback_manager = CallbackManager([counter])
        reply = port.call(Call("weak", request("Hello"), purpose="shadow"))
        areply = await port.acall(Call("weak", request("Hello"), purpose="shadow"))

        assert reply.text == areply.text == "You said: Hello"
        assert (reply.usage.total, reply.model_id) == (TOKENS, "small")
        assert len(fake_openai.calls()) == 2
        assert counter.total_llm_token_count == 0
        assert traced.get_finished_spans() == ()

    async def test_event_and_span_handlers_are_told_of_the_users_calls_alone(
        self, port: Port, router: RouterLLM, recorded: Recorded, spans: SimpleSpanHandler
    ) -> None:
        dispatcher = get_dispatcher(__name__)
        dispatcher.span(lambda: port.call(Call("weak", request("Hello"), purpose="judge")))()
        await port.acall(Call("weak", request("Hello"), purpose="shadow"))

        assert recorded.events == []
        assert [span.id_.partition(".")[0] for span in spans.completed_spans] == ["TestShadowCalls"]
        router.chat([user("Hello")])
        assert len(recorded.of(*STARTS)) == len(of(spans, "RouterLLM.chat")) == 1
        assert of(spans, "OpenAILike.chat")

    def test_handlers_that_come_and_go_are_as_they_were(
        self, port: Port, router: RouterLLM, spans: SimpleSpanHandler
    ) -> None:
        port.call(Call("weak", request("Hello")))
        root, late = get_dispatcher(), SimpleSpanHandler()
        root.add_span_handler(late)
        port.call(Call("weak", request("Hello")))
        router.chat([user("Hello")])

        assert len(of(late, "RouterLLM.chat")) == len(of(spans, "RouterLLM.chat")) == 1
        root.span_handlers[:] = filter(lambda handler: handler is not late, root.span_handlers)
        router.chat([user("Hello")])
        assert len(of(late, "RouterLLM.chat")) == 1
        assert len(of(spans, "RouterLLM.chat")) == 2

    def test_the_users_arguments_are_honoured(self, port: Port, fake_openai: FakeOpenAI) -> None:
        options = {KIND: Chat({"stop": ["!"], "temperature": 0.2})}
        port.call(Call("weak", request("Hello", options=options)))

        assert (fake_openai.calls()[0].body["stop"], fake_openai.calls()[0].body["temperature"]) == (["!"], 0.2)

    def test_a_model_is_known_by_its_providers_name(self, port: Port) -> None:
        assert port.id == "small"

    def test_an_accepted_draft_is_seen_once(
        self,
        openai: Callable[..., LLM],
        counter: TokenCountingHandler,
        traced: InMemorySpanExporter,
        recorded: Recorded,
    ) -> None:
        router = RouterLLM(
            openai("small"),
            openai("large"),
            memory=None,
            strategy=Cascade(lambda *_: True),
            callback_manager=CallbackManager([counter]),
        )
        assert router.chat([user("Hello")]).additional_kwargs["rar"]["drafts"] == 1

        untagged = [event for event in recorded.of(*STARTS, *ENDS) if "rar" not in event.tags]
        assert len(untagged) == 2  # one start, one end
        assert untagged[0].model_dict["model_name"] == "small"
        assert counter.total_llm_token_count == TOKENS
        assert tokens_in(traced) == TOKENS


class Legacy(BaseCallbackHandler):
    """A callback handler as langfuse's and others' are: it is told of every event."""

    def __init__(self) -> None:
        super().__init__([], [])
        self.started: list[CBEventType] = []

    def on_event_start(self, event_type: CBEventType, *args: Any, **kwargs: Any) -> str:
        self.started.append(event_type)
        return "id"

    def on_event_end(self, *args: Any, **kwargs: Any) -> None: ...

    def start_trace(self, trace_id: str | None = None) -> None: ...

    def end_trace(self, *args: Any, **kwargs: Any) -> None: ...


@pytest.fixture
def legacy() -> Iterator[Legacy]:
    llama_index.core.global_handler = handler = Legacy()
    yield handler
    llama_index.core.global_handler = None


class TestLearningIsUnseen:
    """A router that learns, judges and writes guides beside every call: observers see the calls of its user alone."""

    @pytest.fixture
    def learning(self, openai: Callable[..., LLM], fake_openai: FakeOpenAI) -> Iterator[Callable[[str], RouterLLM]]:
        made: list[RouterLLM] = []
        fake_openai.script("small", "A wrong answer.")

        def make(mode: str) -> RouterLLM:
            options: dict[str, Any] = {"memory": ":memory:", "embedder": "hashing", "learning_budget": None}
            made.append(RouterLLM(openai("small"), openai("large"), learning=mode, judge="llm", **options))
            return made[-1]

        yield make
        for router in made:
            router.router.close()

    @pytest.mark.parametrize("mode", ["background", "inline"])
    async def test_by_every_observer(
        self,
        mode: str,
        learning: Callable[[str], RouterLLM],
        counter: TokenCountingHandler,
        legacy: Legacy,
        recorded: Recorded,
        spans: SimpleSpanHandler,
        traced: InMemorySpanExporter,
        fake_openai: FakeOpenAI,
    ) -> None:
        debug = LlamaDebugHandler(print_trace_on_end=False)
        Settings.callback_manager = CallbackManager([counter, debug])
        router = learning(mode)
        router.callback_manager = Settings.callback_manager

        router.chat([user("Which colour has the lamp in the hall?")])
        await router.achat([user("Who wrote the letter to the mayor?")])
        list(router.stream_chat([user("When does the ferry leave in winter?")]))
        async for _ in await router.astream_chat([user("Why is the bridge closed today?")]):
            pass
        router.structured_predict(City, CITY_PROMPT, **CITY)
        await router.router.aflush()

        served = 5
        assert len(fake_openai.calls()) > 2 * served
        assert len(recorded.of(*STARTS)) == len(recorded.of(*ENDS)) == served
        assert len(debug.get_event_pairs(CBEventType.LLM)) == len(counter.llm_token_counts) == served
        assert legacy.started.count(CBEventType.LLM) == served
        asked = {"chat", "achat", "stream_chat", "astream_chat", "structured_predict"}
        assert {span.id_.partition("-")[0] for span in spans.completed_spans if not span.parent_id} == {
            f"RouterLLM.{name}" for name in asked
        }
        roots = [span.name for span in traced.get_finished_spans() if span.parent is None]
        assert sorted(roots) == sorted(f"RouterLLM.{name}" for name in asked)
