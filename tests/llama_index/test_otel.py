"""OpenTelemetry beside OpenInference: each decision is told on the span of its own call, in every mode."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from llama_index.core import Document, SummaryIndex
from llama_index.core.llms.llm import LLM
from openinference.instrumentation.llama_index import LlamaIndexInstrumentor

from llama_index_rar import RouterLLM
from tests.contract.llama_index_llm import CITY, CITY_PROMPT, City, user
from tests.fake_openai import FakeOpenAI
from tests.otel import Telemetry, attributes

# OpenInference describes a model so, and loses the span where warnings are errors.
pytestmark = pytest.mark.filterwarnings("ignore:The `json` method is deprecated:DeprecationWarning")

PRICES = {"weak": (1.0, 1.0), "strong": (10.0, 10.0)}
MakeRouter = Callable[..., RouterLLM]


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    made, instrumentor = Telemetry(), LlamaIndexInstrumentor()
    instrumentor.instrument(tracer_provider=made.provider)
    yield made
    instrumentor.uninstrument()
    made.close()


@pytest.fixture
def llm(openai: Callable[..., LLM], telemetry: Telemetry) -> MakeRouter:
    def make(**options: Any) -> RouterLLM:
        usual: dict[str, Any] = {"memory": None, "strategy": lambda _: "weak", "prices": PRICES}
        usual["observers"] = [telemetry.observer]
        return RouterLLM(openai("small"), openai("large"), **{**usual, **options})

    return make


async def _chat(llm: RouterLLM) -> None:
    llm.chat([user("Hello")])


async def _achat(llm: RouterLLM) -> None:
    await llm.achat([user("Hello")])


async def _complete(llm: RouterLLM) -> None:
    llm.complete("Hello")


async def _stream_chat(llm: RouterLLM) -> None:
    list(llm.stream_chat([user("Hello")]))


async def _astream_chat(llm: RouterLLM) -> None:
    async for _ in await llm.astream_chat([user("Hello")]):
        pass


async def _structured(llm: RouterLLM) -> None:
    llm.structured_predict(City, CITY_PROMPT, **CITY)


MODES = (_chat, _achat, _complete, _stream_chat, _astream_chat, _structured)


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.__name__.strip("_"))
async def test_the_decision_and_what_it_saved_are_on_the_routers_span(
    mode: Callable[[RouterLLM], Awaitable[None]], llm: MakeRouter, telemetry: Telemetry
) -> None:
    await mode(llm())

    (span,) = [one for one in telemetry.spans if "rar.decision_id" in attributes(one)]
    known = attributes(span)
    assert span.name.startswith("RouterLLM.")
    assert (known["rar.model"], known["rar.reason"]) == ("weak", "function")
    if mode in (_stream_chat, _astream_chat):  # OpenInference ends the span before the tokens are known
        (event,) = telemetry.events
        assert (event.event_name, event.span_id) == ("rar.served", span.context.span_id)
        known = attributes(event)
    assert known["rar.saving.usd"] == pytest.approx(9.0 * known["rar.cost.usd"])
    assert telemetry.named("rar.decide") == []


async def test_calls_at_the_same_time_are_told_apart(llm: MakeRouter, telemetry: Telemetry) -> None:
    routed = llm(strategy=lambda request: "weak" if "even" in request.key else "strong")

    async def read(number: int) -> None:
        async for _ in await routed.astream_chat([user(f"Is {number} {'even' if number % 2 == 0 else 'odd'}?")]):
            await asyncio.sleep(0)

    await asyncio.gather(*map(read, range(12)))

    spans = [span for span in telemetry.spans if "rar.decision_id" in attributes(span)]
    assert len({attributes(span)["rar.decision_id"] for span in spans}) == 12
    assert [attributes(span)["rar.model"] for span in spans].count("weak") == 6
    told = {(event.span_id, attributes(event)["rar.model"]) for event in telemetry.events}
    assert told == {(span.context.span_id, attributes(span)["rar.model"]) for span in spans}


async def test_memory_spans_are_under_the_routers_span(
    llm: MakeRouter, telemetry: Telemetry, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", "A wrong answer.")
    routed = llm(memory=":memory:", embedder="hashing", learning_budget=None, strategy=None, judge="exact")
    await routed.achat([user("What is two plus two?")])
    await routed.router.aflush()
    routed.router.close()

    (span,) = [one for one in telemetry.spans if "rar.decision_id" in attributes(one)]
    (search,), (upsert,) = telemetry.named("search_memory"), telemetry.named("upsert_memory")
    assert {one.parent.span_id for one in (search, upsert)} == {span.context.span_id}  # type: ignore[union-attr]
    (result,) = telemetry.events
    assert (result.event_name, result.span_id) == ("gen_ai.evaluation.result", span.context.span_id)


def test_a_query_engines_calls_are_described(llm: MakeRouter, telemetry: Telemetry) -> None:
    engine = SummaryIndex.from_documents([Document(text="Ulm is a city.")]).as_query_engine(llm=llm())
    engine.query("Which city?")

    assert [one.name for one in telemetry.spans if "rar.decision_id" in attributes(one)] == ["RouterLLM.chat"]
