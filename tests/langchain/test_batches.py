"""`batch` with `concatenate`: questions share calls, answers do not get mixed up, and the rest is as without it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import pytest
from langchain_core.callbacks import UsageMetadataCallbackHandler
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool

from langchain_rar import RouterChatModel
from rar import Route
from rar.errors import ConfigurationError
from tests.core.hostile import asked
from tests.fake_openai import FakeOpenAI, Reply
from tests.langchain.conftest import MakeRouter, Notes

Batched: TypeAlias = Callable[..., Awaitable[list[Any]]]
TEXTS = [f"What is {n}?" for n in range(5)]


async def _sync(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> list[Any]:
    return list(model.batch(inputs, *args, **kwargs))


async def _async(model: Any, inputs: Any, *args: Any, **kwargs: Any) -> list[Any]:
    return list(await model.abatch(inputs, *args, **kwargs))


both = pytest.mark.parametrize("batched", [_sync, _async])


def answering(body: dict[str, Any]) -> Reply:
    """Answers each question of a joined prompt, or the one that there is."""
    prompt = body["messages"][-1]["content"]
    known = asked(prompt)
    if not known:
        return Reply(f"alone: {prompt}", usage=(10, 5))
    text = "\n".join(f"[[answer {id}]]\njoined: {text}\n[[end of answer {id}]]" for id, text in known.items())
    return Reply(text, usage=(100, 50))


@pytest.fixture
def model(routed: MakeRouter, fake_openai: FakeOpenAI) -> RouterChatModel:
    fake_openai.script("small", answering)
    fake_openai.script("large", answering)
    return routed("weak", prices={"weak": (1.0, 1.0), "strong": (10.0, 10.0)})


@both
async def test_questions_share_calls_and_each_gets_its_own_answer(
    batched: Batched, model: RouterChatModel, fake_openai: FakeOpenAI
) -> None:
    answers = await batched(model, TEXTS, concatenate=4)

    assert [answer.text for answer in answers] == [f"joined: {text}" for text in TEXTS[:4]] + [f"alone: {TEXTS[4]}"]
    assert len(fake_openai.calls()) == 2
    facts = [answer.response_metadata["rar"] for answer in answers]
    assert [fact.get("joined") for fact in facts] == [4, 4, 4, 4, None]
    assert sum(answer.usage_metadata["input_tokens"] for answer in answers) == 110
    assert sum(answer.usage_metadata["output_tokens"] for answer in answers) == 55
    assert sum(fact["usd"] for fact in facts) == pytest.approx(165e-6)
    (spend,) = model.router.stats().spending
    assert (spend.calls, spend.input_tokens, spend.output_tokens) == (5, 110, 55)


@both
async def test_lost_answers_are_asked_for_alone(
    batched: Batched, model: RouterChatModel, fake_openai: FakeOpenAI
) -> None:
    def forgetful(body: dict[str, Any]) -> Reply:
        known = asked(body["messages"][-1]["content"])
        first = next(iter(known), None)
        whole = answering(body)
        return whole if first is None else Reply(whole.text.replace(f"[[end of answer {first}]]", ""), usage=(100, 50))

    fake_openai.script("small", forgetful)
    answers = await batched(model, TEXTS[:3], concatenate=3)

    assert [answer.text for answer in answers] == ["alone: What is 0?", "joined: What is 1?", "joined: What is 2?"]
    lost = answers[0].response_metadata["rar"]
    assert [(call["purpose"], call["failed"]) for call in lost["calls"]] == [("draft", True), ("serve", False)]
    assert "joined" not in lost
    assert sum(spend.input_tokens for spend in model.router.stats().spending) == 110


@both
async def test_a_joined_call_that_fails_leaves_all_to_be_asked_alone(
    batched: Batched, model: RouterChatModel, fake_openai: FakeOpenAI
) -> None:
    def failing(body: dict[str, Any]) -> Reply:
        return Reply("down", status=500) if asked(body["messages"][-1]["content"]) else answering(body)

    fake_openai.script("small", failing)
    answers = await batched(model, TEXTS[:2], concatenate=2)
    assert [answer.text for answer in answers] == ["alone: What is 0?", "alone: What is 1?"]


@both
async def test_what_is_no_plain_question_is_asked_alone(
    batched: Batched, model: RouterChatModel, fake_openai: FakeOpenAI
) -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    inputs: list[Any] = [
        "What is 0?",
        [SystemMessage("Be brief."), HumanMessage("What is 1?")],
        [HumanMessage([{"type": "text", "text": "What is 2?"}, image])],
        [HumanMessage("a"), ("ai", "b"), HumanMessage("What is 3?")],
        "What is 4?",
    ]
    fake_openai.script(
        "small", lambda body: Reply("said") if isinstance(body["messages"][-1]["content"], list) else answering(body)
    )
    answers = await batched(model, inputs, concatenate=8)

    assert [answer.text for answer in answers] == [
        "joined: What is 0?", "alone: What is 1?", "said", "alone: What is 3?", "joined: What is 4?",
    ]  # fmt: skip


@both
async def test_calls_with_tools_or_a_limit_on_tokens_are_asked_alone(
    batched: Batched, model: RouterChatModel, fake_openai: FakeOpenAI
) -> None:
    @tool
    def multiply(a: int, b: int) -> int:
        """Multiply."""
        return a * b

    await batched(model.bind_tools([multiply]), TEXTS[:2], concatenate=2)
    await batched(model, TEXTS[:2], concatenate=2, max_tokens=10)
    assert not any(asked(str(sent.body["messages"][-1]["content"])) for sent in fake_openai.calls())
    assert len(fake_openai.calls()) == 4


async def test_a_chain_joins_what_its_prompt_makes(model: RouterChatModel, fake_openai: FakeOpenAI) -> None:
    prompt = ChatPromptTemplate.from_messages([("system", "Answer in French."), ("user", "{question}")])
    chain = prompt | model.bind(concatenate=3)
    answers = chain.batch([{"question": text} for text in TEXTS[:3]])

    assert [answer.text for answer in answers] == [f"joined: {text}" for text in TEXTS[:3]]
    (sent,) = fake_openai.calls()
    assert [message["role"] for message in sent.body["messages"]] == ["system", "user"]
    assert "concatenate" not in sent.body
    assert chain.invoke({"question": "What is 9?"}).text == "alone: What is 9?"


async def test_each_model_gets_what_is_decided_for_it(routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("small", answering)
    fake_openai.script("large", answering)
    model = routed(lambda request: Route("strong" if "3" in request.key or "4" in request.key else "weak"))
    answers = model.batch(TEXTS, concatenate=3)

    assert [answer.text for answer in answers] == [f"joined: {text}" for text in TEXTS]
    assert sorted(sent.model for sent in fake_openai.calls()) == ["large", "small"]


@both
async def test_errors_are_raised_or_returned_as_without_it(
    batched: Batched, model: RouterChatModel, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", lambda body: Reply("no", status=400))
    fake_openai.script("large", lambda body: Reply("no", status=400))
    with pytest.raises(Exception, match="400"):
        await batched(model, TEXTS[:2], concatenate=2)
    found = await batched(model, TEXTS[:2], concatenate=2, return_exceptions=True)
    assert all(isinstance(one, Exception) for one in found)


async def test_tracers_see_each_answer_and_each_token_once(model: RouterChatModel, notes: Notes) -> None:
    tokens = UsageMetadataCallbackHandler()
    model.batch(TEXTS[:3], {"callbacks": [notes, tokens]}, concatenate=3)

    (counted,) = tokens.usage_metadata.values()
    assert (counted["input_tokens"], counted["output_tokens"]) == (100, 50)
    assert len(notes.results) == 3


@pytest.mark.parametrize("size", [0, 33, 2.5])
async def test_a_size_that_cannot_work_is_told(size: Any, model: RouterChatModel) -> None:
    with pytest.raises(ConfigurationError, match="concatenate"):
        model.batch(TEXTS, concatenate=size)
    with pytest.raises(ConfigurationError, match="concatenate"):
        await model.abatch(TEXTS, concatenate=size)


@both
async def test_a_bad_input_is_its_own_error(batched: Batched, model: RouterChatModel) -> None:
    found = await batched(model, [TEXTS[0], 5, TEXTS[1]], concatenate=2, return_exceptions=True)
    assert [isinstance(one, Exception) for one in found] == [False, True, False]
