"""Calls that report no tokens: they teach and save like any other, in every way of calling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core import Document, SummaryIndex
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import CompletionResponse, CustomLLM, LLMMetadata
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.llms.llm import LLM

from llama_index_rar import RouterLLM
from tests.contract.llama_index_llm import CITY, CITY_PROMPT, MULTIPLY, City, user
from tests.fake_openai import FakeOpenAI, Json, Reply

Make = Callable[..., RouterLLM]


@pytest.fixture
def make(openai: Callable[..., LLM]) -> Iterator[Make]:
    """Makes routers with the default budget that learn before they return."""
    made: list[RouterLLM] = []

    def make_one(*pair: LLM, **options: Any) -> RouterLLM:
        usual = {"memory": ":memory:", "embedder": "hashing", "learning": "inline", "seed": 0}
        made.append(RouterLLM(*(pair or (openai("small"), openai("large"))), **{**usual, **options}))
        return made[-1]

    yield make_one
    for llm in made:
        llm.router.close()


@pytest.fixture
def reporting_nothing(fake_openai: FakeOpenAI) -> FakeOpenAI:
    def script(body: Json) -> Reply:
        return Reply("Ulm it is, as far as anybody knows.", usage=None)

    fake_openai.script("small", script)
    fake_openai.script("large", script)
    return fake_openai


def ask(n: int) -> str:
    return f"What is the colour of lamp number {n % 40} in the long corridor?"


def test_a_stream_saves_as_much_as_whole_answers_that_report_tokens(make: Make, fake_openai: FakeOpenAI) -> None:
    whole, streamed = make(), make()
    for n in range(300):
        whole.chat([user(ask(n))])

    def script(body: Json) -> Reply:
        return Reply(f"You said: {body['messages'][-1]['content']}", usage=None)

    fake_openai.script("small", script)
    fake_openai.script("large", script)
    for n in range(300):
        assert "".join(chunk.delta or "" for chunk in streamed.stream_chat([user(ask(n))])) == f"You said: {ask(n)}"

    shares = [llm.router.stats().savings.served_strong / 300 for llm in (whole, streamed)]
    assert shares[0] < 0.35
    assert shares[1] <= shares[0] + 0.01
    assert streamed.router.stats().estimated > 300
    assert whole.router.stats().estimated == 0


@pytest.mark.parametrize(
    "how", ["chat", "achat", "stream_chat", "astream_chat", "complete", "acomplete", "stream_complete", "tools"]
)
async def test_every_way_of_calling_learns_where_no_tokens_are_reported(
    how: str, make: Make, reporting_nothing: FakeOpenAI
) -> None:
    llm, text = make(), "Which city has 130000 inhabitants?"
    for _ in range(3):
        if how in {"chat", "complete"}:
            getattr(llm, how)([user(text)] if how == "chat" else text)
        elif how in {"achat", "acomplete"}:
            await getattr(llm, how)([user(text)] if how == "achat" else text)
        elif how == "astream_chat":
            assert [chunk async for chunk in await llm.astream_chat([user(text)])]
        elif how == "tools":
            llm.chat_with_tools([MULTIPLY], user_msg=text)
        else:
            list(getattr(llm, how)([user(text)] if how == "stream_chat" else text))

    stats = llm.router.stats()
    assert (stats.savings.served, stats.savings.served_strong) == (3, 1)
    assert stats.estimated == sum(spend.calls for spend in stats.spending)
    assert min(min(spend.input_tokens, spend.output_tokens) for spend in stats.spending) > 0


@pytest.mark.parametrize("streamed", [False, True])
def test_objects_are_learned_where_no_tokens_are_reported(streamed: bool, make: Make, fake_openai: FakeOpenAI) -> None:
    def script(body: Json) -> Reply:
        name = body["tools"][0]["function"]["name"]
        return Reply(tool_calls=[(name, {"name": "Ulm", "inhabitants": 130000})], usage=None)

    fake_openai.script("small", script)
    fake_openai.script("large", script)
    llm = make()
    for _ in range(3):
        if streamed:
            list(llm.stream_structured_predict(City, CITY_PROMPT, **CITY))
        else:
            llm.structured_predict(City, CITY_PROMPT, **CITY)

    stats = llm.router.stats()
    assert (stats.savings.served, stats.savings.served_strong) == (3, 1)
    assert stats.estimated == sum(spend.calls for spend in stats.spending)


def test_an_engine_that_streams_learns(make: Make, reporting_nothing: FakeOpenAI) -> None:
    llm = make()
    engine = SummaryIndex.from_documents([Document(text="Ulm has 130000.")]).as_query_engine(llm=llm, streaming=True)
    for _ in range(3):
        assert str(engine.query("Which city has 130000 inhabitants?")) == "Ulm it is, as far as anybody knows."

    assert llm.router.stats().savings.served_strong == 1


async def test_a_function_agent_learns(make: Make, fake_openai: FakeOpenAI) -> None:
    def script(body: Json) -> Reply:
        if body["messages"][-1]["role"] == "tool":
            return Reply("It is 42.", usage=None)
        return Reply(tool_calls=[("multiply", {"a": 6, "b": 7})], usage=None)

    fake_openai.script("small", script)
    fake_openai.script("large", script)
    llm = make()
    for _ in range(3):
        assert str(await FunctionAgent(tools=[MULTIPLY], llm=llm).run("multiply 6 by 7")) == "It is 42."

    saved = llm.router.stats().savings
    assert (saved.served, saved.served_strong) == (6, 2)  # two model calls a turn, the first turn's by the strong one


class Parrot(CustomLLM):
    """A local model as users write it: no word of tokens."""

    name: str

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name=self.name, context_window=4_000, num_output=256)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text="Red, I think.")

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        yield CompletionResponse(text="Red,", delta="Red,")
        yield CompletionResponse(text="Red, I think.", delta=" I think.")


@pytest.mark.parametrize("prices", [None, {"weak": (0.0, 0.0), "strong": (0.0, 0.0)}])
def test_a_model_of_ones_own_is_learned_from_priced_or_free(prices: Any, make: Make) -> None:
    llm = make(Parrot(name="small"), Parrot(name="large"), prices=prices)
    for n in range(120):
        list(llm.stream_complete(ask(n % 6)))

    saved = llm.router.stats().savings
    assert saved.served == 120
    assert saved.served_strong <= (6 + 1 if prices is None else 40)


# --- asking for a stream's tokens -----------------------------------------------------------------------------------


@pytest.fixture
def own_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fake server passes for OpenAI's own, which is the only one that is asked."""
    monkeypatch.setattr("llama_index_rar.usage._HOSTS", {"127.0.0.1"})


def seen(chunks: Any) -> list[tuple[Any, ...]]:
    return [
        (chunk.delta, getattr(chunk, "message", None) and chunk.message.content, len(chunk.raw.choices))
        for chunk in chunks
    ]


@pytest.mark.usefixtures("own_endpoint")
@pytest.mark.parametrize("how", ["stream_chat", "astream_chat", "stream_complete", "tools"])
async def test_openai_is_asked_for_tokens_and_the_stream_looks_the_same(
    how: str, openai: Callable[..., LLM], fake_openai: FakeOpenAI
) -> None:
    async def chunks_of(llm: Any) -> Any:
        if how == "astream_chat":
            return [chunk async for chunk in await llm.astream_chat([user("multiply one two")])]
        if how == "tools":
            return list(llm.stream_chat_with_tools([MULTIPLY], user_msg="multiply one two"))
        return list(getattr(llm, how)([user("multiply one two")] if how == "stream_chat" else "multiply one two"))

    alone = await chunks_of(openai("small"))
    llm = RouterLLM(openai("small"), openai("large"), memory=None, strategy=lambda _: "weak")
    routed = await chunks_of(llm)

    assert seen(routed) == seen(alone)
    assert [sent.body.get("stream_options") for sent in fake_openai.calls()] == [None, {"include_usage": True}]
    (spend,) = llm.router.stats().spending
    assert (spend.input_tokens, spend.output_tokens, spend.estimated) == (11, 7, 0)


@pytest.mark.usefixtures("own_endpoint")
def test_who_said_something_about_it_is_not_asked(openai: Callable[..., LLM], fake_openai: FakeOpenAI) -> None:
    said = {"stream_options": {"include_usage": True}}
    pair = openai("small", additional_kwargs=said), openai("large")
    for llm, arguments in (
        (RouterLLM(*pair, memory=None, strategy=lambda _: "weak"), {}),
        (RouterLLM(*pair, memory=None, strategy=lambda _: "strong"), said),
    ):
        *_, last = llm.stream_chat([user("one two")], **arguments)
        assert last.raw.choices == []  # the chunk that they asked for
        assert llm.router.stats().estimated == 0


def test_an_unknown_endpoint_is_not_asked(openai: Callable[..., LLM], fake_openai: FakeOpenAI) -> None:
    llm = RouterLLM(openai("small"), openai("large"), memory=None, strategy=lambda _: "weak")
    list(llm.stream_chat([user("one two")]))

    assert "stream_options" not in fake_openai.calls()[0].body
    assert llm.router.stats().estimated == 1


@pytest.mark.usefixtures("own_endpoint")
def test_a_stream_that_breaks_passes_on_what_came(openai: Callable[..., LLM], fake_openai: FakeOpenAI) -> None:
    fake_openai.script("small", Reply("one two", cut_after=3))  # after the chunk that ends the answer
    llm = RouterLLM(openai("small"), openai("large"), memory=None, strategy=lambda _: "weak")
    got: list[Any] = []
    with pytest.raises(Exception, match="closed|peer|incomplete"):
        got.extend(llm.stream_chat([user("one two")]))  # which keeps what came before it raised

    assert got[-1].raw.choices[0].finish_reason == "stop"
