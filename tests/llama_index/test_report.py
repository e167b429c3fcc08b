"""A report of LlamaIndex streams without counted tokens: every strong answer is explained."""

from __future__ import annotations

from collections.abc import Callable

from llama_index.core.llms.llm import LLM

from llama_index_rar import RouterLLM
from tests.contract.llama_index_llm import user
from tests.fake_openai import FakeOpenAI, Json, Reply

PRICES = {"weak": (0.1, 0.4), "strong": (2.0, 8.0)}


def script(body: Json) -> Reply:
    return Reply(f"You said: {body['messages'][-1]['content']}", usage=None)


def test_every_strong_answer_of_a_stream_is_explained(openai: Callable[..., LLM], fake_openai: FakeOpenAI) -> None:
    fake_openai.script("small", script)
    fake_openai.script("large", script)
    llm = RouterLLM(
        openai("small"),
        openai("large"),
        memory=":memory:",
        embedder="hashing",
        learning="inline",
        prices=PRICES,
        seed=0,
    )
    for n in range(120):
        options = {"rar_force": "strong"} if n % 10 == 9 else {"rar_learn": False} if n % 10 == 8 else {}
        list(llm.stream_chat([user(f"What is the colour of lamp number {n % 25} in the long corridor?")], **options))
    facts = llm.router.report().facts
    served = llm.router.stats().savings
    llm.router.close()

    assert (facts.calls, facts.strong) == (served.served, served.served_strong) == (120, facts.strong)
    for counts in (facts.reasons, facts.outcomes):
        assert sum(one.calls for one in counts if one.model == "strong") == facts.strong
    outcomes = {one.code: one.calls for one in facts.outcomes if one.model == "strong"}
    assert outcomes["forced"] == 12
    assert outcomes["learned"] > 10
    assert facts.money.estimated > 120
    assert facts.money.savings.net_usd is not None and facts.money.savings.net_usd > 0.0
