"""Labels in LlamaIndex: what the judge compared in any mode can be graded through the model's router."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from llama_index.core.llms.llm import LLM

from llama_index_rar import RouterLLM
from tests.fake_openai import FakeOpenAI, Reply


@pytest.mark.parametrize("mode", ["complete", "stream_complete", "acomplete", "astream_complete"])
async def test_answers_of_every_mode_can_be_graded(
    mode: str, openai: Callable[..., LLM], fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", lambda body: Reply("It is 4."))
    fake_openai.script("large", lambda body: Reply("It is 5."))
    llm = RouterLLM(
        openai("small"), openai("large"), memory=":memory:", embedder="hashing", learning="inline",
        judge=["json", "number"], judge_budget=None, guides=False,
    )  # fmt: skip
    if mode == "complete":
        llm.complete("What is the sum of 2 and 2?")
    elif mode == "stream_complete":
        list(llm.stream_complete("What is the sum of 2 and 2?"))
    elif mode == "acomplete":
        await llm.acomplete("What is the sum of 2 and 2?")
    else:
        assert [chunk async for chunk in await llm.astream_complete("What is the sum of 2 and 2?")]
    (pair,) = llm.router.to_label()
    llm.router.label(pair.decision_id, weak=1.0, strong=0.0)
    known = llm.router.stats().judge
    llm.router.close()

    assert (pair.question, pair.weak, pair.strong) == ("What is the sum of 2 and 2?", "It is 4.", "It is 5.")
    assert (pair.judge, pair.judged) == ("number", 1.0)
    assert known is not None and known.errors.better is not None and known.errors.better.value == 1.0
