"""With a real memory: what is learned through the framework's engines, and what stays out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from llama_index.core import Document, SummaryIndex
from llama_index.core.evaluation import CorrectnessEvaluator, FaithfulnessEvaluator, RelevancyEvaluator
from llama_index.core.llms.llm import LLM
from llama_index.core.selectors import LLMSingleSelector
from llama_index.core.tools import ToolMetadata

from llama_index_rar import RouterLLM
from tests.contract.llama_index_llm import user
from tests.fake_openai import FakeOpenAI

QUESTION = "Which city has 130000 inhabitants?"


@pytest.fixture
def router(openai: Callable[..., LLM], fake_openai: FakeOpenAI) -> Iterator[RouterLLM]:
    fake_openai.script("small", "Ulm")
    fake_openai.script("large", "Ulm")
    llm = RouterLLM(
        openai("small"), openai("large"), memory=":memory:", embedder="hashing", judge="exact", policy="paper",
        learning="inline", learning_budget=None,
    )  # fmt: skip
    yield llm
    llm.router.close()


def facts(router: RouterLLM, text: str) -> dict[str, Any]:
    found: dict[str, Any] = router.chat([user(text)]).additional_kwargs["rar"]
    return found


def remembered(router: RouterLLM) -> list[str | None]:
    memory = router.router.memory
    assert memory is not None
    return [experience.text for experience in memory.changes().experiences]


def test_a_query_is_remembered_by_its_question_and_then_served_by_weak(
    router: RouterLLM, fake_openai: FakeOpenAI
) -> None:
    engine = SummaryIndex.from_documents([Document(text="Ulm has 130000.")]).as_query_engine(llm=router)

    engine.query(QUESTION)
    assert [sent.model for sent in fake_openai.calls()] == ["large", "small"]  # served, then tried in the shadow
    assert remembered(router) == [QUESTION]

    engine.query(QUESTION)
    assert fake_openai.calls()[-1].model == "small"


def test_what_an_engine_taught_serves_a_plain_chat(router: RouterLLM) -> None:
    SummaryIndex.from_documents([Document(text="Ulm has 130000.")]).as_query_engine(llm=router).query(QUESTION)

    assert facts(router, QUESTION)["model"] == "weak"


async def test_evaluators_and_selectors_leave_nothing_behind(router: RouterLLM, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("large", "4.0\nYES")
    await CorrectnessEvaluator(llm=router).aevaluate(QUESTION, "Ulm", reference="Ulm")
    await FaithfulnessEvaluator(llm=router).aevaluate(QUESTION, "Ulm", contexts=["Ulm"])
    await RelevancyEvaluator(llm=router).aevaluate(QUESTION, "Ulm", contexts=["Ulm"])
    fake_openai.script("large", '[{"choice": 1, "reason": "x"}]')
    tools = [ToolMetadata(name="a", description="About a"), ToolMetadata(name="b", description="About b")]
    await LLMSingleSelector.from_defaults(llm=router).aselect(tools, QUESTION)

    assert remembered(router) == []
    assert {sent.model for sent in fake_openai.calls()} == {"large"}


def test_what_is_known_of_answers_does_not_route_evaluations(router: RouterLLM, fake_openai: FakeOpenAI) -> None:
    facts(router, QUESTION)
    assert facts(router, QUESTION)["model"] == "weak"
    fake_openai.clear()

    CorrectnessEvaluator(llm=router).evaluate(QUESTION, "Ulm", reference="Ulm")
    assert fake_openai.calls()[-1].model == "large"


def test_namespaces_learn_apart(router: RouterLLM) -> None:
    facts(router, QUESTION)
    response = router.chat([user(QUESTION)], rar_namespace="another")

    assert response.additional_kwargs["rar"]["model"] == "strong"


def test_feedback_reaches_the_router(router: RouterLLM) -> None:
    facts(router, QUESTION)
    served = facts(router, QUESTION)
    assert served["model"] == "weak"

    router.router.feedback(served["decision_id"], good=False)
    assert facts(router, QUESTION)["model"] == "strong"


def test_a_closed_router_still_answers(router: RouterLLM) -> None:
    router.router.close()

    assert facts(router, QUESTION)["reason"] == "closed"
