"""What tracers, token streams and usage counters see of a routed call: a chain run, and one model run under it."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from langchain_core.callbacks import UsageMetadataCallbackHandler, get_usage_metadata_callback
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, MessagesState, StateGraph

from langchain_rar import RouterChatModel
from rar.strategies import Cascade
from rar.values import Answer, Reply, Usage
from tests.fake_openai import FakeOpenAI
from tests.langchain.conftest import MakeRouter, Notes

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")


async def _invoke(model: RouterChatModel, config: Any) -> AIMessage:
    return model.invoke("Hello there", config)


async def _ainvoke(model: RouterChatModel, config: Any) -> AIMessage:
    return await model.ainvoke("Hello there", config)


async def _stream(model: RouterChatModel, config: Any) -> AIMessage:
    first, *rest = model.stream("Hello there", config)
    return first + rest


async def _astream(model: RouterChatModel, config: Any) -> AIMessage:
    first, *rest = [chunk async for chunk in model.astream("Hello there", config)]
    return first + rest


async def _batch(model: RouterChatModel, config: Any) -> AIMessage:
    return model.batch(["Hello there"], config)[0]


async def _abatch(model: RouterChatModel, config: Any) -> AIMessage:
    return (await model.abatch(["Hello there"], config))[0]


async def _generate(model: RouterChatModel, config: Any) -> AIMessage:
    result = model.generate([[HumanMessage("Hello there")]], **config)
    return result.generations[0][0].message


async def _agenerate(model: RouterChatModel, config: Any) -> AIMessage:
    result = await model.agenerate([[HumanMessage("Hello there")]], **config)
    return result.generations[0][0].message


async def _v3(model: RouterChatModel, config: Any) -> AIMessage:
    return model.stream_events("Hello there", config, version="v3").output


async def _av3(model: RouterChatModel, config: Any) -> AIMessage:
    return await (await model.astream_events("Hello there", config, version="v3"))


Mode = Callable[[RouterChatModel, Any], Awaitable[AIMessage]]
MODES = {
    mode.__name__.strip("_"): mode
    for mode in (_invoke, _ainvoke, _stream, _astream, _batch, _abatch, _generate, _agenerate, _v3, _av3)
}
every_mode = pytest.mark.parametrize("mode", MODES.values(), ids=MODES.keys())
every_route = pytest.mark.parametrize(("to", "name"), [("weak", "small"), ("strong", "large")])


@every_mode
@every_route
async def test_one_model_run_under_one_chain_run(
    mode: Mode, to: str, name: str, routed: MakeRouter, notes: Notes, fake_openai: FakeOpenAI
) -> None:
    message = await mode(routed(to), {"callbacks": [notes]})

    assert message.text == "You said: Hello there"
    assert message.response_metadata["rar"]["model"] == to
    assert message.response_metadata["model_name"] == name
    (chain,), (llm,) = notes.chains, notes.llms
    assert chain["parent_run_id"] is None
    assert llm["parent_run_id"] == chain["run_id"]
    assert (llm["metadata"]["ls_model_name"], llm["metadata"]["ls_provider"]) == (name, "openai")
    assert notes.ends == [llm["run_id"], chain["run_id"]]
    assert [sent.model for sent in fake_openai.calls()] == [name]


@every_mode
async def test_the_message_keeps_the_id_of_the_model_run(mode: Mode, routed: MakeRouter, notes: Notes) -> None:
    message = await mode(routed(), {"callbacks": [notes]})

    assert message.id is not None
    assert message.id.startswith(f"lc_run--{notes.llms[0]['run_id']}")


@every_mode
async def test_usage_is_counted_once(mode: Mode, routed: MakeRouter) -> None:
    counter = UsageMetadataCallbackHandler()

    with get_usage_metadata_callback() as ambient:
        message = await mode(routed(), {"callbacks": [counter]})

    assert message.usage_metadata is not None
    assert message.usage_metadata["total_tokens"] == 18
    assert {name: usage["total_tokens"] for name, usage in counter.usage_metadata.items()} == {"small": 18}
    assert {name: usage["total_tokens"] for name, usage in ambient.usage_metadata.items()} == {"small": 18}


@every_mode
async def test_an_answer_that_a_strategy_already_has_is_played_back_as_its_models_run(
    mode: Mode, routed: MakeRouter, notes: Notes, fake_openai: FakeOpenAI
) -> None:
    message = await mode(routed(strategy=Cascade(lambda request, draft: True)), {"callbacks": [notes]})

    assert [sent.model for sent in fake_openai.calls()] == ["small"]
    assert message.text == "You said: Hello there"
    (llm,) = notes.llms
    assert (llm["metadata"]["ls_model_name"], llm["metadata"]["ls_provider"]) == ("small", "openai")
    facts = message.response_metadata["rar"]
    assert (facts["model"], facts["reason"], facts["drafts"]) == ("weak", "draft_accepted", 1)
    assert message.usage_metadata is not None
    assert message.usage_metadata["total_tokens"] == 18
    assert message.id is not None
    assert message.id.startswith(f"lc_run--{llm['run_id']}")


def test_an_answer_that_no_model_gave_is_played_back_too(routed: MakeRouter) -> None:
    made_up = Answer(Reply("weak", "Forty-two.", usage=Usage(3, 4), model_id="small"), reason="ensemble")

    message = routed(lambda _: made_up).invoke("What is it?")

    assert message.text == "Forty-two."
    assert message.usage_metadata == {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7}


def test_run_name_id_tags_and_metadata_are_the_chains(routed: MakeRouter, notes: Notes) -> None:
    run_id = uuid.uuid4()

    routed().invoke(
        "Hello",
        {"callbacks": [notes], "run_name": "mine", "run_id": run_id, "tags": ["t"], "metadata": {"m": 1}},
    )

    (chain,), (llm,) = notes.chains, notes.llms
    assert (chain["name"], chain["run_id"]) == ("mine", run_id)
    assert chain["tags"] == llm["tags"] == ["t"]
    assert chain["metadata"]["m"] == llm["metadata"]["m"] == 1
    assert llm["metadata"]["rar_model"] == "weak"
    assert llm["name"] != "mine"


def test_callbacks_tags_and_metadata_of_the_constructor_reach_the_model_run(routed: MakeRouter, notes: Notes) -> None:
    model = routed(callbacks=[notes], tags=["nostream"], metadata={"team": "a"})

    list(model.stream("Hello"))

    assert notes.llms[0]["tags"] == ["nostream"]
    assert notes.llms[0]["metadata"]["team"] == "a"
    assert "".join(notes.tokens) == "You said: Hello"


def test_the_chain_run_carries_no_usage_of_its_own(routed: MakeRouter, notes: Notes) -> None:
    routed().invoke("Hello", {"callbacks": [notes]})

    assert "usage_metadata" not in notes.chains[0]["metadata"]
    assert len(notes.results) == 1


async def test_events_v2_stream_each_token_once(routed: MakeRouter) -> None:
    events = [event async for event in routed().astream_events("one two three", version="v2")]

    tokens = [event["data"]["chunk"].text for event in events if event["event"] == "on_chat_model_stream"]
    assert "".join(tokens) == "You said: one two three"
    assert events[0]["event"] == "on_chain_start"
    assert [event["name"] for event in events if event["event"] == "on_chat_model_start"] == ["ChatOpenAI"]


async def test_events_v2_stream_tokens_of_an_invoke_inside_a_chain(routed: MakeRouter) -> None:
    from langchain_core.prompts import ChatPromptTemplate

    chain = ChatPromptTemplate.from_template("{text}") | routed()

    events = [
        event async for event in chain.astream_events({"text": "one two"}, version="v2", include_types=["chat_model"])
    ]

    tokens = [event["data"]["chunk"].text for event in events if event["event"] == "on_chat_model_stream"]
    assert "".join(tokens) == "You said: one two"


async def test_events_v3_give_text_and_events_to_readers_at_the_same_time(routed: MakeRouter) -> None:
    import asyncio

    stream = await routed().astream_events("one two", version="v3")

    async def texts() -> str:
        return "".join([text async for text in stream.text])

    async def kinds() -> list[str]:
        return [event["event"] async for event in stream]

    text, seen = await asyncio.gather(texts(), kinds())

    assert text == "You said: one two"
    assert (seen[0], seen[-1]) == ("message-start", "message-finish")


async def test_a_v3_stream_that_is_closed_early_leaves_no_run_open(routed: MakeRouter, notes: Notes) -> None:
    stream = await routed().astream_events("one two", {"callbacks": [notes]}, version="v3")
    async for _ in stream:
        break

    await stream.aclose()

    failed = {run_id for run_id, _ in notes.errors}
    assert notes.chains[0]["run_id"] in failed
    assert failed | set(notes.ends) == {start["run_id"] for start in notes.starts}


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
async def test_langgraph_streams_each_token_once_and_the_ids_agree(asynchronous: bool, routed: MakeRouter) -> None:
    model = routed()

    def answer(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        return {"messages": [model.invoke(state["messages"], config)]}

    async def aanswer(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    graph = StateGraph(MessagesState)
    graph.add_node("answer", aanswer if asynchronous else answer)
    graph.add_edge(START, "answer")
    graph.add_edge("answer", END)
    app = graph.compile()
    question = {"messages": [HumanMessage("one two three")]}

    if asynchronous:
        parts = [part async for part in app.astream(question, stream_mode=["messages", "values"])]
    else:
        parts = list(app.stream(question, stream_mode=["messages", "values"]))

    chunks = [payload[0] for mode, payload in parts if mode == "messages"]
    final = parts[-1][1]["messages"][-1]
    assert "".join(chunk.text for chunk in chunks) == "You said: one two three"
    assert {chunk.id for chunk in chunks} == {final.id}
    assert all(isinstance(chunk, AIMessageChunk) for chunk in chunks)
    assert final.response_metadata["rar"]["model"] == "weak"


def test_openinference_sums_what_the_provider_counted(routed: MakeRouter) -> None:
    from openinference.instrumentation.langchain import LangChainInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = LangChainInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        routed().invoke("Hello")
    finally:
        instrumentor.uninstrument()

    spans = {span.name: dict(span.attributes or {}) for span in exporter.get_finished_spans()}
    assert set(spans) == {"RouterChatModel", "ChatOpenAI"}
    assert sum(attributes.get("llm.token_count.total", 0) for attributes in spans.values()) == 18
    assert spans["RouterChatModel"]["openinference.span.kind"] == "CHAIN"
