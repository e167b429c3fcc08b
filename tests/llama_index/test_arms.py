"""Three models behind the wrapper: each way of calling teaches, and the cheapest that was right answers next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.llms import LLM, ChatMessage

from llama_index_rar import RouterLLM
from tests.fake_openai import FakeOpenAI
from tests.fake_openai import Reply as Scripted

QUESTION = "Which city has the tallest church?"
ASKED = [ChatMessage(QUESTION)]


@pytest.fixture
def router(openai: Callable[..., LLM], fake_openai: FakeOpenAI) -> RouterLLM:
    fake_openai.script("small", "Köln")
    fake_openai.script("middle", "Ulm")
    fake_openai.script("large", "Ulm")
    return RouterLLM(
        openai("small"), openai("large"), models={"mid": openai("middle")}, memory=":memory:", embedder="hashing",
        learning="inline", judge="exact", learning_budget=None, guides=False, audit_rate=0.0, seed=0,
        prices={"small": (0.1, 0.1), "middle": (1.0, 1.0), "large": (10.0, 10.0)},
    )  # fmt: skip


WAYS: dict[str, Callable[[RouterLLM], Any]] = {
    "complete": lambda llm: llm.complete(QUESTION).text,
    "chat": lambda llm: llm.chat(ASKED).message.content,
    "stream_chat": lambda llm: list(llm.stream_chat(ASKED))[-1].message.content,
    "stream_complete": lambda llm: list(llm.stream_complete(QUESTION))[-1].text,
}


@pytest.mark.parametrize("how", WAYS)
def test_the_cheapest_model_that_was_right_answers_next(how: str, router: RouterLLM, fake_openai: FakeOpenAI) -> None:
    assert WAYS[how](router) == "Ulm"
    assert [sent.model for sent in fake_openai.calls()] == ["large", "small", "middle"]

    fake_openai.requests.clear()
    assert WAYS[how](router) == "Ulm"
    assert [sent.model for sent in fake_openai.calls()] == ["middle"]


@pytest.mark.parametrize("how", ["achat", "astream_chat"])
async def test_so_it_is_for_callers_with_an_event_loop(how: str, router: RouterLLM, fake_openai: FakeOpenAI) -> None:
    async def ask() -> None:
        if how == "achat":
            await router.achat(ASKED)
        else:
            [chunk async for chunk in await router.astream_chat(ASKED)]

    await ask()
    fake_openai.requests.clear()
    await ask()

    assert [sent.model for sent in fake_openai.calls()] == ["middle"]


def test_the_next_dearer_model_takes_over(router: RouterLLM, fake_openai: FakeOpenAI) -> None:
    router.chat(ASKED)
    router.chat(ASKED)
    fake_openai.script("middle", Scripted(status=500))

    facts = router.chat(ASKED).additional_kwargs["rar"]

    assert facts["model"] == "strong"
    assert facts["failed_over"] == ["mid"]
