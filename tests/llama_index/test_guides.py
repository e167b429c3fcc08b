"""Guides behind the wrapper: a third LLM writes them, or a person does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.llms import LLM, ChatMessage

from llama_index_rar import RouterLLM
from rar.errors import ConfigurationError
from tests.fake_openai import FakeOpenAI

GUIDE = "Use when: a church is asked for.\n1. Recall the towers.\n2. Compare their heights.\nAvoid: haste."
QUESTION = "Which city has the tallest church?"


def by_guide(body: dict[str, Any]) -> str:
    return "Ulm" if GUIDE in str(body["messages"][-1]["content"]) else "Köln"


@pytest.fixture
def make(openai: Callable[..., LLM], fake_openai: FakeOpenAI) -> Any:
    """Makes a router whose weak model is right only with the guide; `writer` writes it."""
    fake_openai.script("small", by_guide)
    fake_openai.script("large", "Ulm")
    fake_openai.script("writer", GUIDE)

    def made(**options: Any) -> RouterLLM:
        usual: dict[str, Any] = {"memory": ":memory:", "embedder": "hashing", "learning": "inline", "judge": "exact"}
        return RouterLLM(openai("small"), openai("large"), **{**usual, "learning_budget": None, **options})

    return made


def test_a_third_model_writes_the_guides(make: Any, openai: Callable[..., LLM]) -> None:
    llm = make(guide_model=openai("writer"))

    llm.complete(QUESTION)

    (guide,) = llm.router.memory.guides()
    assert (guide.author, guide.text) == ("writer", GUIDE)
    assert {spend.role for spend in llm.router.stats().spending if spend.purpose == "guide"} == {"guide_model", "weak"}


async def test_it_writes_for_async_callers_too(make: Any, openai: Callable[..., LLM]) -> None:
    llm = make(guide_model=openai("writer"))

    await llm.achat([ChatMessage(QUESTION)])

    assert len(llm.router.memory.guides()) == 1


def test_what_is_no_model_is_refused(make: Any) -> None:
    with pytest.raises(ConfigurationError, match="guide_model=3 is no model"):
        make(guide_model=3)


def test_a_guide_of_a_person_helps_the_weak_model(make: Any, fake_openai: FakeOpenAI) -> None:
    llm = make(guides=False, audit_rate=0.0)
    guide = llm.router.add_guide(GUIDE, used_for=[QUESTION])
    for question in (QUESTION + " Say its name.", QUESTION + " One word.", QUESTION + " One word."):
        fake_openai.requests.clear()
        assert llm.complete(question).text == "Ulm"

    assert [sent.model for sent in fake_openai.calls()] == ["small"]
    assert llm.router.memory.guide(guide.id).state == "active"
    assert llm.router.quarantine_guides(guide.id) == 1
