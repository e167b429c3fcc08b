"""A report of LangChain streams without counted tokens: every strong answer is explained."""

from __future__ import annotations

from langchain_core.messages import HumanMessage
from langchain_openai import ChatOpenAI

from langchain_rar import RouterChatModel
from tests.fake_openai import FakeOpenAI, Json, Reply

PRICES = {"weak": (0.1, 0.4), "strong": (2.0, 8.0)}


def script(body: Json) -> Reply:
    return Reply(f"You said: {body['messages'][-1]['content']}", usage=None)


def test_every_strong_answer_of_a_stream_is_explained(fake_openai: FakeOpenAI) -> None:
    fake_openai.script("small", script)
    fake_openai.script("large", script)
    weak, strong = (ChatOpenAI(model=name, base_url=fake_openai.url, api_key="none") for name in ("small", "large"))
    model = RouterChatModel(
        weak=weak, strong=strong, memory=":memory:", embedder="hashing", learning="inline", prices=PRICES, seed=0
    )
    said = []
    for n in range(120):
        options = {"rar_force": "strong"} if n % 10 == 9 else {"rar_learn": False} if n % 10 == 8 else {}
        chunks = list(model.stream(f"What is the colour of lamp number {n % 25} in the long corridor?", **options))
        said.append(chunks[0].response_metadata["rar"]["model"])
    picture = HumanMessage([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}])
    first, *_ = model.stream([picture])
    said.append(first.response_metadata["rar"]["model"])
    facts = model.router.report().facts
    model.router.close()

    assert facts.calls == facts.counted == 121
    assert facts.strong == said.count("strong")
    for counts in (facts.reasons, facts.outcomes):
        assert sum(one.calls for one in counts if one.model == "strong") == facts.strong
    outcomes = {one.code: one.calls for one in facts.outcomes if one.model == "strong"}
    assert (outcomes["forced"], outcomes["no_key"]) == (12, 1)
    assert outcomes["learned"] > 10
    assert facts.money.estimated > 120
    assert facts.money.savings.net_usd is not None and facts.money.savings.net_usd > 0.0
