"""Three models behind the wrapper: each way of calling teaches, and the cheapest that was right answers next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from langchain_rar import RouterChatModel
from tests.fake_openai import FakeOpenAI
from tests.fake_openai import Reply as Scripted
from tests.langchain.conftest import MakeModel

QUESTION = "Which city has the tallest church?"


@pytest.fixture
def router(chat: MakeModel, fake_openai: FakeOpenAI) -> RouterChatModel:
    fake_openai.script("small", "Köln")
    fake_openai.script("middle", "Ulm")
    fake_openai.script("large", "Ulm")
    return RouterChatModel(
        chat("small"), chat("large"), models={"mid": chat("middle")}, memory=":memory:", embedder="hashing",
        learning="inline", judge="exact", learning_budget=None, guides=False, audit_rate=0.0, seed=0,
        prices={"small": (0.1, 0.1), "middle": (1.0, 1.0), "large": (10.0, 10.0)},
    )  # fmt: skip


async def last(stream: Any) -> str:
    return "".join([chunk.content async for chunk in stream])


WAYS: dict[str, Callable[[RouterChatModel], Any]] = {
    "invoke": lambda model: model.invoke(QUESTION).content,
    "stream": lambda model: "".join(str(chunk.content) for chunk in model.stream(QUESTION)),
    "batch": lambda model: model.batch([QUESTION])[0].content,
}


@pytest.mark.parametrize("how", WAYS)
def test_the_cheapest_model_that_was_right_answers_next(
    how: str, router: RouterChatModel, fake_openai: FakeOpenAI
) -> None:
    assert WAYS[how](router) == "Ulm"
    assert [sent.model for sent in fake_openai.calls()] == ["large", "small", "middle"]

    fake_openai.requests.clear()
    assert WAYS[how](router) == "Ulm"
    assert [sent.model for sent in fake_openai.calls()] == ["middle"]


@pytest.mark.parametrize("how", ["ainvoke", "astream", "abatch"])
async def test_so_it_is_for_callers_with_an_event_loop(
    how: str, router: RouterChatModel, fake_openai: FakeOpenAI
) -> None:
    async def ask() -> Any:
        if how == "astream":
            return await last(router.astream(QUESTION))
        return (await router.ainvoke(QUESTION)) if how == "ainvoke" else (await router.abatch([QUESTION]))[0]

    await ask()
    fake_openai.requests.clear()
    await ask()

    assert [sent.model for sent in fake_openai.calls()] == ["middle"]


def test_the_next_dearer_model_takes_over(router: RouterChatModel, fake_openai: FakeOpenAI) -> None:
    router.invoke(QUESTION)
    router.invoke(QUESTION)
    fake_openai.script("middle", Scripted(status=500))

    answer = router.invoke(QUESTION)

    assert answer.response_metadata["rar"]["model"] == "strong"
    assert answer.response_metadata["rar"]["failed_over"] == ["mid"]
