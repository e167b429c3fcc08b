"""Guides behind the wrapper: a third chat model writes them, or a person does."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_rar import RARMiddleware, RouterChatModel
from rar.errors import ConfigurationError
from tests.fake_openai import FakeOpenAI
from tests.langchain.conftest import MakeModel, Notes

GUIDE = "Use when: a church is asked for.\n1. Recall the towers.\n2. Compare their heights.\nAvoid: haste."
QUESTION = "Which city has the tallest church?"


def by_guide(body: dict[str, Any]) -> str:
    return "Ulm" if GUIDE in str(body["messages"][-1]["content"]) else "Köln"


@pytest.fixture
def make(chat: MakeModel, fake_openai: FakeOpenAI) -> Any:
    """Makes a router whose weak model is right only with the guide; `writer` writes it."""
    fake_openai.script("small", by_guide)
    fake_openai.script("large", "Ulm")
    fake_openai.script("writer", GUIDE)

    def made(cls: Any = RouterChatModel, **options: Any) -> Any:
        usual: dict[str, Any] = {"memory": ":memory:", "embedder": "hashing", "learning": "inline", "judge": "exact"}
        return cls(chat("small"), chat("large"), **{**usual, "learning_budget": None, **options})

    return made


@pytest.mark.parametrize("cls", [RouterChatModel, RARMiddleware])
def test_a_third_model_writes_the_guides(make: Any, cls: Any, chat: MakeModel) -> None:
    router = make(cls, guide_model=chat("writer")).router
    RouterChatModel(chat("small"), chat("large"), router=router).invoke(QUESTION)

    (guide,) = router.memory.guides()
    assert (guide.author, guide.text) == ("writer", GUIDE)
    assert {spend.role for spend in router.stats().spending if spend.purpose == "guide"} == {"guide_model", "weak"}


def test_it_may_be_given_by_name(make: Any, fake_openai: FakeOpenAI) -> None:
    pytest.importorskip("langchain")
    model = make(guide_model="openai:writer", base_url=fake_openai.url, api_key="none")

    model.invoke(QUESTION)

    assert [guide.author for guide in model.router.memory.guides()] == ["writer"]


async def test_it_writes_for_async_callers_too_and_nobody_sees_it(make: Any, chat: MakeModel, notes: Notes) -> None:
    model = make(guide_model=chat("writer"))

    await model.ainvoke(QUESTION, {"callbacks": [notes]})

    assert len(model.router.memory.guides()) == 1
    assert len(notes.llms) == 1


def test_what_is_no_model_is_refused(make: Any) -> None:
    with pytest.raises(ConfigurationError, match="guide_model=3 is no model"):
        make(guide_model=3)


def test_a_guide_of_a_person_helps_the_weak_model(make: Any, fake_openai: FakeOpenAI) -> None:
    model = make(guides=False, audit_rate=0.0)
    guide = model.router.add_guide(GUIDE, used_for=[QUESTION])
    for question in (QUESTION + " Say its name.", QUESTION + " One word.", QUESTION + " One word."):
        fake_openai.requests.clear()
        assert model.invoke(question).content == "Ulm"

    assert [sent.model for sent in fake_openai.calls()] == ["small"]
    assert model.router.memory.guide(guide.id).state == "active"
    assert model.router.quarantine_guides(guide.id) == 1
