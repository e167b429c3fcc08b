"""Labels in LangChain: what the judge compared in any mode can be graded through the model's router."""

from __future__ import annotations

import pytest
from langchain_openai import ChatOpenAI

from langchain_rar import RouterChatModel
from tests.fake_openai import FakeOpenAI, Reply


@pytest.mark.parametrize("mode", ["invoke", "stream", "ainvoke", "astream"])
async def test_answers_of_every_mode_can_be_graded(mode: str, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("small", lambda body: Reply("It is 4."))
    fake_openai.script("large", lambda body: Reply("It is 5."))
    weak, strong = (ChatOpenAI(model=name, base_url=fake_openai.url, api_key="none") for name in ("small", "large"))
    model = RouterChatModel(
        weak=weak, strong=strong, memory=":memory:", embedder="hashing", learning="inline", judge=["json", "number"],
        judge_budget=None, guides=False,
    )  # fmt: skip
    if mode == "invoke":
        model.invoke("What is the sum of 2 and 2?")
    elif mode == "stream":
        list(model.stream("What is the sum of 2 and 2?"))
    elif mode == "ainvoke":
        await model.ainvoke("What is the sum of 2 and 2?")
    else:
        assert [chunk async for chunk in model.astream("What is the sum of 2 and 2?")]
    (pair,) = model.router.to_label()
    model.router.label(pair.decision_id, weak=1.0, strong=0.0)
    known = model.router.stats().judge
    model.router.close()

    assert (pair.question, pair.weak, pair.strong) == ("What is the sum of 2 and 2?", "It is 4.", "It is 5.")
    assert (pair.judge, pair.judged) == ("number", 1.0)
    assert known is not None and known.errors.better is not None and known.errors.better.value == 1.0
