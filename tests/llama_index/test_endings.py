"""What replies say beside their text, whole and streamed: why they ended, token weights, kinds of tokens, time."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, LogProb
from llama_index.core.llms.llm import LLM

from llama_index_rar import RouterLLM
from llama_index_rar.calls import Complete
from llama_index_rar.messages import to_reply
from llama_index_rar.ports import KIND, Port
from rar.router import Router
from rar.sampling import Sampling
from rar.values import Call, Reply, Usage, question
from tests.fake_openai import FakeOpenAI
from tests.fake_openai import Reply as Scripted

Make = Callable[..., LLM]
WEIGHED = Sampling(logprobs=True)
HEADS = Scripted("It is heads", usage=(20, 9), details=(8, 4), delay=0.02)


def test_a_draft_has_all(openai: Make, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("small", HEADS)

    reply = Port(openai("small")).call(Call("weak", question("Heads?"), sampling=WEIGHED))

    assert reply.finish == "stop"
    assert [token for token, _ in reply.logprobs or ()] == ["It", " is", " heads"]
    assert (reply.logprobs or ())[1][1] == pytest.approx(-0.693, abs=1e-3)
    assert reply.usage == Usage(20, 9, cached_tokens=8, reasoning_tokens=4)


def test_a_model_that_completes_text_weighs_its_tokens_too(openai: Make, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("small", HEADS)
    port = Port(openai("small", is_chat_model=False, is_function_calling_model=False))

    reply = port.call(Call("weak", question("Heads?", options={KIND: Complete()}), sampling=WEIGHED))

    assert [token for token, _ in reply.logprobs or ()] == ["It", " is", " heads"]


def test_without_being_asked_a_model_weighs_nothing(openai: Make) -> None:
    assert Port(openai("small")).call(Call("weak", question("Heads?"))).logprobs is None


@pytest.mark.parametrize(
    ("raw", "finish"),
    [
        ({"stop_reason": "max_tokens"}, "length"),  # Anthropic
        ({"done_reason": "stop"}, "stop"),  # Ollama
        ({"candidates": [{"finish_reason": "SAFETY"}]}, "content_filter"),  # Google
        (SimpleNamespace(choices=[SimpleNamespace(finish_reason="tool_calls")]), "tool_calls"),
        (None, ""),
    ],
)
def test_it_says_why_it_ended(raw: Any, finish: str) -> None:
    assert to_reply("weak", ChatResponse(message=ChatMessage("Hi"), raw=raw), "small").finish == finish


def test_what_an_integration_made_of_the_weights_does_where_the_provider_says_none() -> None:
    weights = [[LogProb(token="Hi", logprob=-0.5), LogProb(token="Ho", logprob=-2.0)]]

    reply = to_reply("weak", ChatResponse(message=ChatMessage("Hi"), raw=None, logprobs=weights), "small")

    assert reply.logprobs == (("Hi", -0.5),)


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> list[Reply]:
    """What routers are given to learn from."""
    replies: list[Reply] = []
    monkeypatch.setattr(Router, "learn", lambda self, decision, reply, models=None: replies.append(reply))
    return replies


async def test_served_replies_have_all_in_every_mode(
    openai: Make, fake_openai: FakeOpenAI, learned: list[Reply]
) -> None:
    fake_openai.script("small", HEADS)
    weak = openai("small", additional_kwargs={"logprobs": True, "stream_options": {"include_usage": True}})
    llm = RouterLLM(weak, openai("large"), memory=None, strategy=lambda _: "weak")
    messages = [ChatMessage("Heads?")]

    llm.chat(messages)
    await llm.achat(messages)
    list(llm.stream_chat(messages))
    [chunk async for chunk in await llm.astream_chat(messages)]
    list(llm.stream_complete("Heads?"))

    assert len(learned) == 5
    for reply in learned:
        assert reply.finish == "stop"
        assert [token for token, _ in reply.logprobs or ()] == ["It", " is", " heads"]
        assert reply.usage == Usage(20, 9, cached_tokens=8, reasoning_tokens=4)
        assert 0.02 <= (reply.seconds or 0.0) < 60.0
