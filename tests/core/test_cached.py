"""A completion cache: exactly what was answered before is answered from it, and nothing that is only alike."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from langchain_rar import RouterChatModel
from llama_index_rar import RouterLLM
from rar import FunctionModel, Message, Reply, Request, Router
from rar.context import Context
from rar.errors import ConfigurationError
from rar.strategies import RAR, Cached, Cascade
from rar.strategies.cached import keys_of
from rar.values import Answer, question
from tests.fake_openai import FakeOpenAI
from tests.fake_openai import Reply as Scripted

PRICES = {"small": (1.0, 2.0), "large": (10.0, 20.0)}


class Asked:
    """A router of two models that count how often they are asked."""

    def __init__(self, strategy: Cached, **options: Any) -> None:
        self.calls: list[str] = []
        models = [FunctionModel(self._named(name), name) for name in ("small", "large")]
        self.router = Router(*models, memory=None, strategy=strategy, prices=PRICES, **options)
        self.models = dict(zip(("weak", "strong"), models, strict=True))

    def _named(self, name: str) -> Any:
        def model(messages: Sequence[Message]) -> str:
            self.calls.append(name)
            return f"{name} says {messages[-1].text}"

        return model

    def __call__(self, request: Request | str) -> tuple[str, str]:
        """The answer, and the reason for who gave it."""
        request = question(request) if isinstance(request, str) else request
        decision = self.router.decide(request)
        choice = decision.choice
        reply = choice.reply if isinstance(choice, Answer) else self.models[decision.model].call(decision.call)
        self.router.learn(decision, reply)
        return reply.text, choice.reason


def test_what_was_answered_before_is_answered_from_the_cache() -> None:
    ask = Asked(Cached("weak"))

    assert ask("How far is the moon?") == ("small says How far is the moon?", "not_cached")
    assert ask("How far is the moon?") == ("small says How far is the moon?", "cached")
    assert ask("Please, how far is  the moon?")[1] == "cached"  # the same request in other words
    assert ask.calls == ["small"]


@pytest.mark.parametrize("other", ["How far is the sun?", "How far is the moon not?", "How far are 2 moons?"])
def test_what_is_only_alike_is_not(other: str) -> None:
    ask = Asked(Cached("weak"))
    ask("How far is the moon?")

    assert ask(other)[1] == "not_cached"


def test_of_a_stream_with_repeats_exactly_these_hit() -> None:
    rng = np.random.default_rng(0)
    cache = Cached("weak")
    ask, seen, hits = Asked(cache), set[int](), 0
    for number in rng.choice(100, 300).tolist():
        answer, reason = ask(f"What is {number} squared?")
        assert answer == f"small says What is {number} squared?"
        assert (reason == "cached") is (number in seen)
        hits += number in seen
        seen.add(number)

    assert (cache.hits, cache.misses, len(cache)) == (hits, 300 - hits, len(seen))


@pytest.mark.parametrize("change", [
    {"namespace": "other"}, {"task": "rephrase"}, {"arguments": "abc"},
    {"context": Context("read", "", "attached")}, {"force": "strong"},
])  # fmt: skip
def test_nothing_crosses_what_makes_an_answer_another(change: dict[str, Any]) -> None:
    ask = Asked(Cached("weak"))
    ask("How far is the moon?")

    assert ask(question("How far is the moon?", **change))[1] != "cached"


def test_the_system_message_counts() -> None:
    def told(system: str) -> Request:
        return Request((Message("system", system), Message("user", "Hello")), key="Hello")

    assert keys_of(told("Be brief.")) == keys_of(told("Be brief."))
    assert keys_of(told("Be brief.")) != keys_of(told("Be long."))
    assert keys_of(told("Be brief.")) != keys_of(question("Hello"))


@pytest.mark.parametrize("request_", [
    question("Hello", task="tools:abc"),
    question("Hello", task="schema:abc"),
    Request((Message("user", "Hi"), Message("assistant", "Hello"), Message("user", "And?")), key="And?"),
    Request((Message("user", "Hello"),)),
])  # fmt: skip
def test_tools_objects_and_conversations_are_not_kept(request_: Request) -> None:
    assert keys_of(request_) is None
    ask = Asked(Cached("weak"))

    assert [ask(request_)[1] for _ in range(2)] == ["not_cached"] * 2


@pytest.mark.parametrize("reply", [
    Reply("weak", "cut", finish="length"), Reply("weak", ""), Reply("weak", "no", finish="content_filter"),
])  # fmt: skip
def test_answers_that_are_not_whole_are_not_kept(reply: Reply) -> None:
    cache = Cached("weak")
    ask = Asked(cache)
    cache.served(ask.router.decide(question("Hello")), reply)

    assert len(cache) == 0


def test_calls_that_are_not_to_be_learned_from_are_not_kept() -> None:
    ask = Asked(Cached("weak"))

    assert [ask(question("Hello", learn=False))[1] for _ in range(2)] == ["not_cached"] * 2


def test_an_answer_of_a_stand_in_is_not_kept() -> None:
    cache = Cached("weak")
    ask = Asked(cache)
    decision = ask.router.failover(ask.router.decide(question("Hello")), ConnectionError("down"))
    ask.router.learn(decision, Reply("strong", "Hello too"))

    assert len(cache) == 0


def test_answers_grow_old() -> None:
    now = [0.0]
    ask = Asked(Cached("weak", ttl=60.0, clock=lambda: now[0]))
    ask("Hello")
    now[0] = 59.0
    assert ask("Hello")[1] == "cached"
    now[0] = 61.0
    assert ask("Hello")[1] == "not_cached"


def test_there_is_room_for_so_many_and_the_longest_unused_goes() -> None:
    cache = Cached("weak", max_entries=2)
    ask = Asked(cache)
    ask("One?")
    ask("Two?")
    ask("One?")
    ask("Three?")

    assert len(cache) == 2
    assert [ask(text)[1] for text in ("One?", "Three?", "Two?")] == ["cached", "cached", "not_cached"]


def test_answers_can_be_forgotten_by_namespace() -> None:
    cache = Cached("weak")
    ask = Asked(cache)
    for namespace in ("a", "b"):
        ask(question("Hello", namespace=namespace))

    assert cache.forget("a") == 1
    assert ask(question("Hello", namespace="b"))[1] == "cached"
    assert cache.forget() == 1


def test_a_hit_costs_nothing_and_what_the_strong_model_would_have_cost_is_saved() -> None:
    ask = Asked(Cached("strong"))
    ask("How far is the moon?")
    paid = ask.router.stats().savings
    ask("How far is the moon?")
    after = ask.router.stats().savings

    assert (after.served, after.served_strong, after.strong_calls) == (2, 1, 1)
    assert after.spent_usd == paid.spent_usd
    assert after.net_usd is not None and after.net_usd > 0.0


def test_drafts_inside_are_kept_once_they_are_the_answer() -> None:
    ask = Asked(Cached(Cascade(lambda request, draft: True)))

    assert [ask("Hello")[1] for _ in range(2)] == ["draft_accepted", "cached"]


def test_rar_inside_learns_as_it_does_alone() -> None:
    with Router(lambda m: "a", lambda m: "b", memory=":memory:", embedder="hashing", weak_id="w", strong_id="s",
                strategy=Cached(RAR()), learning="inline", judge=lambda *_: True) as router:  # fmt: skip
        decision = router.decide(question("How far is the moon?"))
        router.learn(decision, Reply("strong", "b"))

        assert router.decide(question("How far is the moon?")).choice.reason == "cached"
        stats = router.stats()
    assert stats.memory is not None and stats.memory.experiences == 1


def test_a_copy_shares_its_answers_and_another_process_begins_anew() -> None:
    cache = Cached("weak", ttl=60.0)
    ask = Asked(cache)
    ask("Hello")
    other = pickle.loads(pickle.dumps(cache))

    assert copy.deepcopy({"strategy": cache})["strategy"] is cache
    assert (len(other), other.ttl, other.inner) == (0, 60.0, "weak")


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="ttl"):
        Cached("weak", ttl=0)
    with pytest.raises(ConfigurationError, match="max_entries"):
        Cached("weak", max_entries=0)
    with pytest.raises(ConfigurationError, match="neither a model"):
        Cached(3)  # type: ignore[arg-type]


# --- in both frameworks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [None, ":memory:"])
async def test_langchain_hits_in_every_mode_whatever_arguments_tell_apart(
    fake_openai: FakeOpenAI, memory: str | None
) -> None:
    from langchain_openai import ChatOpenAI

    small, large = (
        ChatOpenAI(model=name, base_url=fake_openai.url, api_key="sk-none", max_retries=0)  # type: ignore[arg-type]
        for name in ("small", "large")
    )
    model = RouterChatModel(small, large, strategy=Cached("weak"), memory=memory, embedder="hashing", audit_rate=0.0)
    fake_openai.script("small", Scripted("far"))
    texts = ["".join(chunk.text for chunk in model.stream("How far?")), model.invoke("How far?").text]
    texts += [(await model.ainvoke("How far?")).text, "".join([c.text async for c in model.astream("How far?")])]

    assert texts == ["far"] * 4
    assert len(fake_openai.calls()) == 1
    hit = model.invoke("How far?")
    assert hit.response_metadata["rar"]["reason"] == "cached"
    assert not hit.usage_metadata or hit.usage_metadata["total_tokens"] == 0
    model.invoke("How far?", stop=["x"])
    assert len(fake_openai.calls()) == 2


@pytest.mark.parametrize("memory", [None, ":memory:"])
async def test_llama_index_hits_in_every_mode(fake_openai: FakeOpenAI, memory: str | None) -> None:
    from llama_index.llms.openai_like import OpenAILike

    small, large = (
        OpenAILike(model=name, api_base=fake_openai.url, api_key="sk-none", is_chat_model=True, max_retries=0)
        for name in ("small", "large")
    )
    llm = RouterLLM(small, large, strategy=Cached("weak"), memory=memory, embedder="hashing", audit_rate=0.0)
    fake_openai.script("small", Scripted("far"))
    texts = [list(llm.stream_complete("How far?"))[-1].text, llm.complete("How far?").text]
    texts += [(await llm.acomplete("How far?")).text]
    texts += [[chunk async for chunk in await llm.astream_complete("How far?")][-1].text]

    assert texts == ["far"] * 4
    assert len(fake_openai.calls()) == 1
    llm.complete("How far?", temperature=0.9)
    assert len(fake_openai.calls()) == 2
