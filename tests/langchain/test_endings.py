"""What replies say beside their text, whole and streamed: why they ended, token weights, kinds of tokens, time."""

from __future__ import annotations

import pytest
from langchain_anthropic import ChatAnthropic

from langchain_rar.messages import message_of, reply_of
from langchain_rar.ports import ChildModel
from rar.router import Router
from rar.sampling import Sampling
from rar.values import Call, Reply, Usage, question
from tests.fake_anthropic import FakeAnthropic
from tests.fake_openai import FakeOpenAI
from tests.fake_openai import Reply as Scripted
from tests.langchain.conftest import MakeModel, MakeRouter

WEIGHED = Sampling(logprobs=True)


def test_a_draft_has_all(chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("small", Scripted("It is heads", usage=(20, 9), details=(8, 4)))

    reply = ChildModel("weak", chat("small")).call(Call("weak", question("Heads?"), sampling=WEIGHED))

    assert reply.finish == "stop"
    assert [token for token, _ in reply.logprobs or ()] == ["It", " is", " heads"]
    assert (reply.logprobs or ())[1][1] == pytest.approx(-0.693, abs=1e-3)
    assert reply.usage == Usage(20, 9, cached_tokens=8, reasoning_tokens=4)


def test_without_being_asked_a_model_weighs_nothing(chat: MakeModel) -> None:
    assert ChildModel("weak", chat("small")).call(Call("weak", question("Heads?"))).logprobs is None


@pytest.mark.parametrize(
    ("scripted", "finish"), [(Scripted("a b c d"), "length"), (Scripted(finish="content_filter"), "content_filter")]
)
def test_it_says_why_it_ended(scripted: Scripted, finish: str, chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("small", scripted)

    reply = ChildModel("weak", chat("small")).call(Call("weak", question("Go on"), sampling=Sampling(max_tokens=2)))

    assert reply.finish == finish


def test_anthropic_is_understood() -> None:
    with FakeAnthropic() as fake:
        model = ChatAnthropic(model="small", base_url=fake.url, api_key="none", max_retries=0)
        reply = ChildModel("weak", model).call(Call("weak", question("Hello")))

    assert (reply.finish, reply.usage, reply.logprobs) == ("stop", Usage(5, 5), None)


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> list[Reply]:
    """What routers are given to learn from."""
    replies: list[Reply] = []
    monkeypatch.setattr(Router, "learn", lambda self, decision, reply, models=None: replies.append(reply))
    return replies


async def test_served_replies_have_all_in_every_mode(
    routed: MakeRouter, chat: MakeModel, fake_openai: FakeOpenAI, learned: list[Reply]
) -> None:
    fake_openai.script("small", Scripted("It is heads", usage=(20, 9), details=(8, 4), delay=0.02))
    model = routed(weak=chat("small", logprobs=True))

    model.invoke("Heads?")
    await model.ainvoke("Heads?")
    list(model.stream("Heads?"))
    [chunk async for chunk in model.astream("Heads?")]

    assert len(learned) == 4
    for reply in learned:
        assert reply.finish == "stop"
        assert [token for token, _ in reply.logprobs or ()] == ["It", " is", " heads"]
        assert reply.usage == Usage(20, 9, cached_tokens=8, reasoning_tokens=4)
        assert 0.02 <= (reply.seconds or 0.0) < 60.0


def test_a_reply_without_a_message_keeps_its_counts() -> None:
    reply = Reply("weak", "heads", usage=Usage(20, 9, cached_tokens=8, reasoning_tokens=4))

    assert reply_of("weak", message_of(reply), "small").usage == reply.usage
