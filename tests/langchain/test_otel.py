"""OpenTelemetry beside OpenInference: each decision is told on the span of its own run, in every mode."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("opentelemetry.sdk")

from langchain.agents import create_agent
from langchain_core.messages import HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from openinference.instrumentation.langchain import LangChainInstrumentor

from langchain_rar import RARMiddleware, RouterChatModel
from tests.fake_openai import FakeOpenAI
from tests.langchain.conftest import MakeModel
from tests.langchain.test_unseen import QUESTION, Mode, every_mode
from tests.otel import Telemetry, attributes

PRICES = {"weak": (1.0, 1.0), "strong": (10.0, 10.0)}
MakeRouter = Callable[..., RouterChatModel]


@pytest.fixture
def telemetry() -> Iterator[Telemetry]:
    made, instrumentor = Telemetry(), LangChainInstrumentor()
    instrumentor.instrument(tracer_provider=made.provider)
    yield made
    instrumentor.uninstrument()
    made.close()


@pytest.fixture
def model(chat: MakeModel, telemetry: Telemetry) -> MakeRouter:
    def make(**options: Any) -> RouterChatModel:
        usual: dict[str, Any] = {"memory": None, "strategy": lambda _: "weak", "prices": PRICES}
        usual["observers"] = [telemetry.observer]
        return RouterChatModel(chat("small"), chat("large"), **{**usual, **options})

    return make


@every_mode
async def test_the_decision_and_what_it_saved_are_on_the_routers_span(
    mode: Mode, model: MakeRouter, telemetry: Telemetry
) -> None:
    await mode(model())

    (span,) = telemetry.named("RouterChatModel")
    known = attributes(span)
    assert (known["rar.model"], known["rar.reason"]) == ("weak", "function")
    assert known["rar.saving.usd"] == pytest.approx(9.0 * known["rar.cost.usd"])
    assert known["rar.cost.usd"] > 0.0
    assert not any(name.startswith("rar.") for child in telemetry.named("ChatOpenAI") for name in attributes(child))
    assert telemetry.named("rar.decide") == []


async def test_calls_at_the_same_time_are_told_apart(model: MakeRouter, telemetry: Telemetry) -> None:
    routed = model(strategy=lambda request: "weak" if "even" in request.key else "strong")
    chain = ChatPromptTemplate.from_messages([("human", "{question}")]) | routed

    async def stream(number: int) -> AsyncIterator[Any]:
        question = f"Is {number} {'even' if number % 2 == 0 else 'odd'}?"
        async for chunk in chain.astream({"question": question}):
            yield chunk

    async def read(number: int) -> None:
        async for _ in stream(number):
            await asyncio.sleep(0)

    await asyncio.gather(*map(read, range(12)))

    spans = telemetry.named("RouterChatModel")
    assert len({attributes(span)["rar.decision_id"] for span in spans}) == 12
    for span in spans:
        asked = attributes(span)["input.value"]
        assert attributes(span)["rar.model"] == ("weak" if "even" in asked else "strong")
        assert "rar.saving.usd" in attributes(span)


async def test_memory_spans_are_under_the_routers_span_and_hold_no_question(
    model: MakeRouter, telemetry: Telemetry, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", "A wrong answer.")
    routed = model(memory=":memory:", embedder="hashing", learning_budget=None, strategy=None, judge="exact")
    await routed.ainvoke(QUESTION)
    await asyncio.to_thread(routed.router.flush, 30)
    routed.router.close()

    (span,) = telemetry.named("RouterChatModel")
    (search,), (upsert,) = telemetry.named("search_memory"), telemetry.named("upsert_memory")
    assert {one.parent.span_id for one in (search, upsert)} == {span.context.span_id}
    assert {event.span_id for event in telemetry.events} == {span.context.span_id}
    assert {attributes(event)["gen_ai.evaluation.score.label"] for event in telemetry.events} == {"fail"}
    ours = [one for one in telemetry.spans if one.name.endswith("_memory")]
    assert QUESTION not in "".join(one.to_json() for one in ours)


async def test_an_agents_decision_is_on_the_span_of_its_node(
    chat: MakeModel, telemetry: Telemetry, fake_openai: FakeOpenAI
) -> None:
    options: dict[str, Any] = {"memory": None, "strategy": lambda _: "weak", "prices": PRICES}
    middleware = RARMiddleware(chat("small"), chat("large"), observers=[telemetry.observer], **options)
    agent = create_agent(chat("large"), middleware=[middleware])
    agent.invoke({"messages": [HumanMessage(QUESTION)]})
    await agent.ainvoke({"messages": [HumanMessage(QUESTION)]})

    described = [span for span in telemetry.spans if "rar.decision_id" in attributes(span)]
    # LangGraph's context reaches async code from Python 3.11 on.
    async_span = "model" if sys.version_info >= (3, 11) else "rar.decide"
    assert [span.name for span in described] == ["model", async_span]
    assert all("rar.saving.usd" in attributes(span) for span in described if span.name == "model")


def test_without_an_instrumentor_a_decision_has_a_span_of_its_own(chat: MakeModel) -> None:
    telemetry = Telemetry()
    RouterChatModel(
        chat("small"), chat("large"), memory=None, strategy=lambda _: "weak", observers=[telemetry.observer]
    ).invoke(QUESTION)

    (span,) = telemetry.spans
    assert (span.name, attributes(span)["rar.model"]) == ("rar.decide", "weak")
    telemetry.close()
