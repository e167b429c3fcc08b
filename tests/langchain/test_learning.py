"""Learning behind the plugin: it sees what was served, asks unseen, and takes no lesson from half an answer."""

from __future__ import annotations

import asyncio
import contextvars
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import get_usage_metadata_callback
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, MessagesState, StateGraph
from pydantic import BaseModel

from langchain_rar import RouterChatModel
from langchain_rar.ports import ChildModel
from rar.drive import Models
from rar.router import Router
from rar.values import Call, Decision, Message, Reply, Request, question
from tests.fake_openai import FakeOpenAI
from tests.fake_openai import Reply as Scripted
from tests.langchain.conftest import MakeModel, MakeRouter, Notes

MakeLearner = Callable[..., RouterChatModel]


@pytest.fixture
def learner(chat: MakeModel) -> MakeLearner:
    """Makes a router that learns before it returns."""

    def make(**options: Any) -> RouterChatModel:
        usual = {
            "weak": chat("small"), "strong": chat("large"), "memory": ":memory:", "embedder": "hashing", "seed": 0,
            "learning": "inline", "policy": "paper", "judge": "exact", "learning_budget": None,
        }  # fmt: skip
        return RouterChatModel(**{**usual, **options})

    return make


class Learned(Router):
    """A router that only notes what it is to learn from."""

    def __init__(self, strategy: Any) -> None:
        super().__init__(memory=None, strategy=strategy)
        self.lessons: list[tuple[Decision, Reply]] = []

    def learn(self, decision: Decision, reply: Reply, models: Models | None = None) -> None:
        self.lessons.append((decision, reply))


@pytest.fixture
def noting(chat: MakeModel) -> Callable[..., tuple[RouterChatModel, Learned]]:
    def make(to: Any = "weak", **options: Any) -> tuple[RouterChatModel, Learned]:
        router = Learned(lambda _: to)
        return RouterChatModel(chat("small"), chat("large"), router=router, **options), router

    return make


# --- a whole round --------------------------------------------------------------------------------------------------


def test_what_the_weak_model_was_seen_to_answer_it_serves_from_then_on(
    learner: MakeLearner, fake_openai: FakeOpenAI
) -> None:
    model = learner()

    first = model.invoke("What is the capital of Italy?")
    shadow = [sent.model for sent in fake_openai.calls()]
    second = model.invoke("What is the capital of Italy?")

    assert first.response_metadata["rar"]["model"] == "strong"
    assert (shadow[0], "small" in shadow[1:]) == ("large", True)
    assert second.response_metadata["rar"]["model"] == "weak"


@pytest.mark.parametrize("how", ["stream", "astream", "abatch", "structured", "tools"])
async def test_every_way_of_calling_teaches(how: str, learner: MakeLearner) -> None:
    class City(BaseModel):
        """A city."""

        name: str

    model = learner(judge="auto")
    text = "Add the city 'Rome'"

    async def call() -> Any:
        if how == "stream":
            first, *rest = model.stream(text)
            return first + rest
        if how == "astream":
            first, *rest = [chunk async for chunk in model.astream(text)]
            return first + rest
        if how == "abatch":
            return (await model.abatch([text]))[0]
        if how == "structured":
            return model.with_structured_output(City, method="json_schema", include_raw=True).invoke(text)["raw"]
        return model.bind_tools([City], tool_choice="any").invoke(text)

    decided = [(await call()).response_metadata["rar"]["model"] for _ in range(2)]

    assert decided == ["strong", "weak"]


def test_what_one_form_taught_is_not_used_for_another(learner: MakeLearner) -> None:
    class City(BaseModel):
        """A city."""

        name: str

    model = learner()
    model.invoke("Name 'Rome'")

    called = model.bind_tools([City], tool_choice="any").invoke("Name 'Rome'")

    assert called.response_metadata["rar"]["model"] == "strong"


# --- unseen ---------------------------------------------------------------------------------------------------------


def test_shadow_calls_are_seen_by_no_callback_and_no_usage_counter(
    learner: MakeLearner, chat: MakeModel, notes: Notes, fake_openai: FakeOpenAI
) -> None:
    own = Notes()
    weak = chat("small", callbacks=[own]).with_config(callbacks=[own], tags=["mine"])

    with get_usage_metadata_callback() as usage:
        learner(weak=weak).invoke("Hello", {"callbacks": [notes]})

    assert len(fake_openai.calls("small")) >= 1
    assert [llm["metadata"]["ls_model_name"] for llm in notes.llms] == ["large"]
    assert own.starts == []
    assert {name: counted["total_tokens"] for name, counted in usage.usage_metadata.items()} == {"large": 18}


async def test_shadow_calls_put_no_token_in_a_langgraph_stream(learner: MakeLearner, fake_openai: FakeOpenAI) -> None:
    model = learner()

    async def answer(state: MessagesState, config: RunnableConfig) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"], config)]}

    graph = StateGraph(MessagesState)
    graph.add_node("answer", answer)
    graph.add_edge(START, "answer")
    graph.add_edge("answer", END)
    question = {"messages": [HumanMessage("one two")]}

    chunks = [chunk async for chunk, _ in graph.compile().astream(question, stream_mode="messages")]

    assert "".join(chunk.text for chunk in chunks) == "You said: one two"
    assert len(fake_openai.calls("small")) >= 1


def test_the_ledger_counts_what_callbacks_do_not(learner: MakeLearner) -> None:
    model = learner()

    model.invoke("Hello")

    spent = {
        (spend.purpose, spend.role): spend.input_tokens + spend.output_tokens for spend in model.router.stats().spending
    }
    assert spent["serve", "strong"] == 18
    assert spent["shadow", "weak"] >= 18


LEAK: contextvars.ContextVar[str] = contextvars.ContextVar("leak", default="nothing")


async def test_a_port_runs_its_call_in_an_empty_context(chat: MakeModel) -> None:
    from langchain_core.runnables import RunnableLambda

    port = ChildModel("weak", RunnableLambda(lambda messages: AIMessage(LEAK.get())))
    LEAK.set("the caller's")

    assert port.call(Call("weak", question("Hello"))).text == "nothing"
    assert (await port.acall(Call("weak", question("Hello")))).text == "nothing"


def test_a_port_sends_what_the_engine_wrote(chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    port = ChildModel("weak", chat("small"))
    request = Request((Message("system", "You judge."), Message("user", "Same?"), Message("assistant", "Yes.")))

    reply = port.call(Call("weak", request, purpose="judge"))

    assert (reply.model, reply.model_id, reply.usage.total) == ("weak", "small", 18)
    assert [(m["role"], m["content"]) for m in fake_openai.calls()[0].messages] == [
        ("system", "You judge."), ("user", "Same?"), ("assistant", "Yes."),
    ]  # fmt: skip


# --- what is not learned from ---------------------------------------------------------------------------------------


async def test_a_stream_is_learned_from_as_a_whole(noting: Any) -> None:
    model, router = noting()

    list(model.stream("one two three"))
    _ = [chunk async for chunk in model.astream("one two three")]

    assert [reply.text for _, reply in router.lessons] == ["You said: one two three"] * 2
    assert [reply.usage.total for _, reply in router.lessons] == [18, 18]


async def test_an_abandoned_stream_is_not_learned_from(noting: Any, notes: Notes) -> None:
    model, router = noting()

    chunks = model.stream("one two three", {"callbacks": [notes]})
    next(chunks)
    chunks.close()
    achunks = model.astream("one two three", {"callbacks": [notes]})
    await anext(achunks)
    await achunks.aclose()

    assert router.lessons == []
    assert {run_id for run_id, _ in notes.errors} == {start["run_id"] for start in notes.starts}


async def test_a_stream_that_breaks_is_not_learned_from(noting: Any, fake_openai: FakeOpenAI, notes: Notes) -> None:
    fake_openai.script("small", Scripted("one two three", cut_after=2))
    model, router = noting()

    with pytest.raises(Exception, match="(?i)connection"):
        list(model.stream("Hello", {"callbacks": [notes]}))
    with pytest.raises(Exception, match="(?i)connection"):
        _ = [chunk async for chunk in model.astream("Hello", {"callbacks": [notes]})]

    assert router.lessons == []
    assert [sent.model for sent in fake_openai.calls()] == ["small", "small"]  # what was streamed cannot be taken back
    assert len(notes.errors) == 4


def test_a_cache_hit_is_not_learned_from(noting: Any) -> None:
    model, router = noting(cache=InMemoryCache())

    for _ in range(3):
        model.invoke("Hello")

    assert len(router.lessons) == 1


def test_an_error_is_not_learned_from(noting: Any, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("large", Scripted("out of order", status=500))
    model, router = noting("strong")

    with pytest.raises(Exception, match="out of order"):
        model.invoke("Hello")

    assert router.lessons == []


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
async def test_a_v3_stream_is_learned_from_once(noting: Any) -> None:
    model, router = noting()

    assert str(model.stream_events("one two", version="v3").text) == "You said: one two"
    await (await model.astream_events("one two", version="v3"))

    assert [reply.text for _, reply in router.lessons] == ["You said: one two"] * 2


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
def test_a_v3_stream_that_breaks_is_not_learned_from(noting: Any, fake_openai: FakeOpenAI, notes: Notes) -> None:
    fake_openai.script("small", Scripted("one two three", cut_after=2))
    model, router = noting()

    with pytest.raises(Exception, match="(?i)connection"):
        _ = model.stream_events("Hello", {"callbacks": [notes]}, version="v3").output

    assert router.lessons == []
    assert len(notes.errors) == 2


# --- threads, loops and processes -----------------------------------------------------------------------------------


def test_64_threads_share_one_router(learner: MakeLearner, fake_openai: FakeOpenAI) -> None:
    model = learner(learning="background")

    with ThreadPoolExecutor(64) as pool:
        answers = list(pool.map(lambda index: model.invoke(f"question {index % 8}"), range(64)))

    assert [answer.text for answer in answers] == [f"You said: question {index % 8}" for index in range(64)]
    assert len({answer.response_metadata["rar"]["decision_id"] for answer in answers}) == 64
    assert model.router.flush(60)
    model.router.close()


async def test_64_calls_on_one_loop_share_one_router(routed: MakeRouter) -> None:
    answers = await routed().abatch([f"question {index}" for index in range(64)])

    assert [answer.text for answer in answers] == [f"You said: question {index}" for index in range(64)]


def test_the_end_of_an_event_loop_loses_nothing_that_was_to_be_learned(learner: MakeLearner) -> None:
    model = learner(learning="background")

    async def ask() -> None:
        await model.ainvoke("What is the capital of Italy?")

    asyncio.run(ask())

    assert model.router.flush(60)
    assert model.invoke("What is the capital of Italy?").response_metadata["rar"]["model"] == "weak"
    model.router.close()


def _ask_in_child(model: RouterChatModel, answer: Any) -> None:
    message = model.invoke("Hello from the child")
    answer.put((message.text, model.router.flush(60)))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_goes_on_serving_and_learning(learner: MakeLearner, tmp_path: Any) -> None:
    model = learner(memory=str(tmp_path / "rar.db"), learning="background")
    model.invoke("Hello from the parent")
    assert model.router.flush(60)
    context = multiprocessing.get_context("fork")
    answer: Any = context.Queue()

    child = context.Process(target=_ask_in_child, args=(model, answer))
    child.start()
    said = answer.get(timeout=60)
    child.join(60)

    assert said == ("You said: Hello from the child", True)
    assert model.invoke("Hello from the child").response_metadata["rar"]["model"] == "weak"
    model.router.close()
