"""Calls that report no tokens: they teach and save like any other, in every way of calling."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.caches import InMemoryCache
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from langchain_rar import RARMiddleware, RouterChatModel
from langchain_rar.messages import reply_of
from rar.router import Router
from rar.values import Usage
from tests.fake_openai import FakeOpenAI, Json, Reply

MakePair = Callable[..., dict[str, ChatOpenAI]]


@pytest.fixture
def pair(fake_openai: FakeOpenAI) -> MakePair:
    """Makes two models as their users do for an endpoint of their own: no word of `stream_usage`."""

    def make(**fields: Any) -> dict[str, ChatOpenAI]:
        usual: dict[str, Any] = {"base_url": fake_openai.url, "api_key": "none", "max_retries": 0, **fields}
        return {"weak": ChatOpenAI(model="small", **usual), "strong": ChatOpenAI(model="large", **usual)}

    return make


@pytest.fixture
def make(pair: MakePair) -> Iterator[Callable[..., RouterChatModel]]:
    """Makes routers with the default budget that learn before they return."""
    made: list[RouterChatModel] = []

    def make_one(**options: Any) -> RouterChatModel:
        usual = {"memory": ":memory:", "embedder": "hashing", "learning": "inline", "seed": 0}
        made.append(RouterChatModel(**pair(), **{**usual, **options}))
        return made[-1]

    yield make_one
    for model in made:
        model.router.close()


def without_usage(body: Json) -> Reply:
    return Reply(f"You said: {body['messages'][-1]['content']}", usage=None)


def ask(n: int) -> str:
    return f"What is the colour of lamp number {n % 40} in the long corridor?"


def test_a_stream_saves_as_much_as_whole_answers_that_report_tokens(
    make: Callable[..., RouterChatModel], fake_openai: FakeOpenAI
) -> None:
    whole, streamed = make(), make()
    for n in range(300):
        whole.invoke(ask(n))
    fake_openai.script("small", without_usage)
    fake_openai.script("large", without_usage)
    for n in range(300):
        assert "".join(str(chunk.content) for chunk in streamed.stream(ask(n))) == f"You said: {ask(n)}"

    shares = [model.router.stats().savings.served_strong / 300 for model in (whole, streamed)]
    assert shares[0] < 0.35
    assert shares[1] <= shares[0] + 0.01
    assert streamed.router.stats().estimated > 300
    assert whole.router.stats().estimated == 0


class City(BaseModel):
    """A city."""

    name: str


def city(name: str) -> str:
    """Look up a city."""
    return f"{name} is fine."


async def everything(chunks: Any) -> list[Any]:
    return [chunk async for chunk in chunks]


def objects(model: RouterChatModel) -> Any:
    return model.with_structured_output(City, method="json_schema")


ASKING = ChatPromptTemplate.from_messages([("user", "{question}")])
WAYS: dict[str, Callable[[RouterChatModel, str], Any]] = {
    "invoke": lambda model, text: model.invoke(text),
    "ainvoke": lambda model, text: model.ainvoke(text),
    "stream": lambda model, text: list(model.stream(text)),
    "astream": lambda model, text: everything(model.astream(text)),
    "batch": lambda model, text: model.batch([text]),
    "abatch": lambda model, text: model.abatch([text]),
    "generate": lambda model, text: model.generate([[HumanMessage(text)]]),
    "events": lambda model, text: everything(model.astream_events(text, version="v2")),
    "chain": lambda model, text: list((ASKING | model).stream({"question": text})),
    "tools": lambda model, text: model.bind_tools([city]).invoke(text),
    "structured": lambda model, text: objects(model).invoke(text),
    "structured_stream": lambda model, text: list(objects(model).stream(text)),
}


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")  # of the client's own streams of objects
@pytest.mark.parametrize("how", WAYS)
async def test_every_way_of_calling_learns_where_no_tokens_are_reported(
    how: str, make: Callable[..., RouterChatModel], fake_openai: FakeOpenAI
) -> None:
    reply = Reply('{"name": "Rome"}', usage=None)
    if how == "tools":
        reply = Reply(tool_calls=[("city", {"name": "Rome"})], usage=None)
    fake_openai.script("small", reply)
    fake_openai.script("large", reply)
    model = make()
    for _ in range(3):
        called = WAYS[how](model, "Add the city 'Rome'")
        if inspect.isawaitable(called):
            await called

    stats = model.router.stats()
    assert (stats.savings.served, stats.savings.served_strong) == (3, 1)
    assert stats.estimated == sum(spend.calls for spend in stats.spending)
    assert min(min(spend.input_tokens, spend.output_tokens) for spend in stats.spending) > 0


@pytest.mark.parametrize("middleware", [False, True])
def test_an_agent_that_streams_its_messages_learns(
    middleware: bool, make: Callable[..., RouterChatModel], pair: MakePair, fake_openai: FakeOpenAI
) -> None:
    call, answer = Reply(tool_calls=[("city", {"name": "Rome"})], usage=None), Reply("Rome is fine.", usage=None)

    def script(body: Json) -> Reply:
        return answer if body["messages"][-1]["role"] == "tool" else call

    fake_openai.script("small", script)
    fake_openai.script("large", script)
    router: Router
    if middleware:
        routing = RARMiddleware(**pair(), memory=":memory:", embedder="hashing", learning="inline", seed=0)
        agent, router = create_agent(pair()["strong"], [city], middleware=[routing]), routing.router
    else:
        model = make()
        agent, router = create_agent(model, [city]), model.router
    for _ in range(4):
        chunks = list(agent.stream({"messages": [("user", "Look up the city Rome")]}, stream_mode="messages"))
        assert "".join(str(chunk.content) for chunk, _ in chunks if chunk.type.startswith("AI")) == "Rome is fine."

    saved = router.stats().savings
    assert saved.served == 8  # two model calls a turn
    assert saved.served_strong == 2  # those of the first turn


def test_what_the_cache_of_langchain_gives_is_not_counted(
    make: Callable[..., RouterChatModel], fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", without_usage)
    fake_openai.script("large", without_usage)
    model = make(cache=InMemoryCache(), strategy=lambda _: "weak")
    for _ in range(3):
        model.invoke("Hello")

    assert [(spend.purpose, spend.calls) for spend in model.router.stats().spending] == [("serve", 1)]


@pytest.mark.parametrize(
    ("fields", "usage"),
    [
        ({"usage_metadata": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}}, Usage(3, 2)),
        ({"response_metadata": {"token_usage": {"prompt_tokens": 3, "completion_tokens": 2}}}, Usage(3, 2)),
        ({"response_metadata": {"usage": {"input_tokens": 3, "output_tokens": 2}}}, Usage(3, 2)),
        ({"response_metadata": {"prompt_eval_count": 3, "eval_count": 2}}, Usage(3, 2)),
        ({"response_metadata": {"token_usage": None}}, Usage()),
        ({}, Usage()),
    ],
)
def test_tokens_are_found_wherever_an_integration_reports_them(fields: dict[str, Any], usage: Usage) -> None:
    assert reply_of("weak", AIMessage("Hi", **fields), "small").usage == usage


def test_a_cached_message_is_known_as_such() -> None:
    hit = AIMessage("Hi").model_copy(update={"usage_metadata": {"total_cost": 0}})  # as LangChain marks it

    assert reply_of("weak", hit, "small").cached


def test_a_model_that_only_returns_text_is_learned_from() -> None:
    pair = {name: RunnableLambda(lambda prompt: "It is red.").with_config(run_name=name) for name in ("a", "b")}
    model = RouterChatModel(
        pair["a"],
        pair["b"],
        weak_id="a",
        strong_id="b",
        memory=":memory:",
        embedder="hashing",
        learning="inline",
        seed=0,
    )
    for _ in range(3):
        model.invoke("What is the colour of the lamp?")

    stats = model.router.stats()
    model.router.close()
    assert (stats.savings.served_strong, stats.estimated) == (1, sum(spend.calls for spend in stats.spending))
