"""Somebody adds a strategy of their own: the one file `self_consistency.py`, in both frameworks and every mode."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from langchain_rar import RouterChatModel
from llama_index_rar import RouterLLM
from rar import Answer, Call, Reply, Route, Sampling
from rar.errors import ConfigurationError, UnknownNameError
from rar.replies import Failure
from rar.values import question
from tests.extending.self_consistency import SelfConsistency
from tests.fake_openai import FakeOpenAI
from tests.fake_openai import Reply as Scripted

ASKED = "What is 17 plus 25?"
QUESTION = question(ASKED)
DOWN = Scripted("out of order", status=500)
PRICES = {"weak": (1.0, 1.0), "strong": (10.0, 10.0)}
OPTIONS: dict[str, Any] = {"memory": None, "strategy": SelfConsistency(), "prices": PRICES}


def outcome(said: str | None) -> Reply | Failure:
    return Failure("weak", ConnectionError("down")) if said is None else Reply("weak", said)


def decided(*said: str | None, extract: Any = "auto") -> Any:
    steps = SelfConsistency(len(said), extract=extract).steps(QUESTION)
    next(steps)
    with pytest.raises(StopIteration) as stop:
        steps.send([outcome(one) for one in said])
    return stop.value.value


# --- the vote, played by hand ---------------------------------------------------------------------------------------


def test_all_samples_are_asked_for_at_once() -> None:
    draft = Call("weak", QUESTION, purpose="draft", sampling=Sampling(temperature=0.7))

    assert next(SelfConsistency(samples=3).steps(QUESTION)) == [draft, draft, draft]


def test_the_first_draft_of_the_majority_is_the_answer_however_it_is_worded() -> None:
    choice = decided("41", "It is 17 + 25 = 42.", "The answer is 42", "42", "40", extract="number")

    assert isinstance(choice, Answer)
    assert (choice.reply.text, choice.reason, choice.confidence) == ("It is 17 + 25 = 42.", "majority", 0.6)


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(("41", "42", "41", "42"), id="a tie"),
        pytest.param(("42", "42", "41", "40", "39"), id="most votes, but not most drafts"),
        pytest.param(("42", "42", None, None), id="drafts that fail are not left out of the count"),
        pytest.param((None, None, None), id="all fail"),
        pytest.param(("", "", ""), id="nothing said"),
    ],
)
def test_the_strong_model_answers_without_a_majority(said: tuple[str | None, ...]) -> None:
    choice = decided(*said)

    assert isinstance(choice, Route)
    assert (choice.model, choice.reason) == ("strong", "no_majority")


def test_a_function_may_say_what_drafts_have_in_common() -> None:
    choice = decided("red, I think", "blue", "RED!", extract=lambda request, reply: reply.text[:3].lower())

    assert isinstance(choice, Answer)
    assert choice.reply.text == "red, I think"


def test_what_cannot_work_is_refused_when_it_is_made() -> None:
    with pytest.raises(ConfigurationError, match="samples=1"):
        SelfConsistency(samples=1)
    with pytest.raises(ConfigurationError, match="temperature"):
        SelfConsistency(temperature=3.0)
    with pytest.raises(UnknownNameError, match="'haiku'"):
        SelfConsistency(extract="haiku")


# --- in both frameworks, through HTTP -------------------------------------------------------------------------------


def langchain(url: str) -> RouterChatModel:
    from langchain_openai import ChatOpenAI

    small, large = (
        ChatOpenAI(model=name, base_url=url, api_key="sk-none", stream_usage=True, max_retries=0)  # type: ignore[arg-type]
        for name in ("small", "large")
    )
    return RouterChatModel(small, large, **OPTIONS)


def llama_index(url: str) -> RouterLLM:
    from llama_index.llms.openai_like import OpenAILike

    counting = {"stream_options": {"include_usage": True}}
    small, large = (
        OpenAILike(
            model=name, api_base=url, api_key="sk-none", is_chat_model=True, max_retries=0, additional_kwargs=counting
        )
        for name in ("small", "large")
    )
    return RouterLLM(small, large, **OPTIONS)


async def invoke(model: Any) -> tuple[str, Any]:
    message = model.invoke(ASKED)
    return message.text, message.response_metadata["rar"]


async def ainvoke(model: Any) -> tuple[str, Any]:
    message = await model.ainvoke(ASKED)
    return message.text, message.response_metadata["rar"]


async def stream(model: Any) -> tuple[str, Any]:
    first, *rest = model.stream(ASKED)
    message = first + rest
    return message.text, message.response_metadata["rar"]


async def astream(model: Any) -> tuple[str, Any]:
    first, *rest = [chunk async for chunk in model.astream(ASKED)]
    message = first + rest
    return message.text, message.response_metadata["rar"]


async def complete(llm: Any) -> tuple[str, Any]:
    response = llm.complete(ASKED)
    return response.text, response.additional_kwargs["rar"]


async def acomplete(llm: Any) -> tuple[str, Any]:
    response = await llm.acomplete(ASKED)
    return response.text, response.additional_kwargs["rar"]


async def stream_complete(llm: Any) -> tuple[str, Any]:
    response = list(llm.stream_complete(ASKED))[-1]
    return response.text, response.additional_kwargs["rar"]


async def astream_complete(llm: Any) -> tuple[str, Any]:
    response = [chunk async for chunk in await llm.astream_complete(ASKED)][-1]
    return response.text, response.additional_kwargs["rar"]


Ask = Callable[[Any], Awaitable[tuple[str, Any]]]
every_way = pytest.mark.parametrize(
    ("make", "ask"),
    [
        *((langchain, ask) for ask in (invoke, ainvoke, stream, astream)),
        *((llama_index, ask) for ask in (complete, acomplete, stream_complete, astream_complete)),
    ],
)


@every_way
async def test_the_majority_answers(make: Any, ask: Ask, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("small", "41", "42", "42", "40", "42")

    text, facts = await ask(make(fake_openai.url))

    assert (text, facts["model"], facts["reason"]) == ("42", "weak", "majority")
    assert not fake_openai.calls("large")
    assert [sent.body["temperature"] for sent in fake_openai.calls("small")] == [0.7] * 5


@every_way
async def test_the_strong_model_answers_where_every_draft_fails(make: Any, ask: Ask, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("small", DOWN)
    fake_openai.script("large", "42")

    text, facts = await ask(make(fake_openai.url))

    assert (text, facts["model"], facts["reason"]) == ("42", "strong", "no_majority")
    assert (len(fake_openai.calls("small")), len(fake_openai.calls("large"))) == (5, 1)


@every_way
@pytest.mark.parametrize("accepted", [True, False])
async def test_samples_cost_what_drafts_cost(make: Any, ask: Ask, accepted: bool, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("small", *(Scripted("42" if accepted else str(n), usage=(10, 2)) for n in range(5)))
    fake_openai.script("large", Scripted("42", usage=(10, 2)))
    model = make(fake_openai.url)

    _, facts = await ask(model)

    served = "weak" if accepted else "strong"
    purposes = sorted((call["model"], call["purpose"]) for call in facts["calls"])
    assert purposes == sorted([("weak", "draft")] * (4 if accepted else 5) + [(served, "serve")])
    stats = model.router.stats()
    paid = sum(spend.usd or 0.0 for spend in stats.spending)
    assert paid == pytest.approx(5 * 12e-6 + (0 if accepted else 12e-5))
    assert stats.savings.net_usd == pytest.approx(12e-5 - paid)  # one request, held against one strong answer
