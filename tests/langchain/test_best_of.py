"""More than two models: the one that a ranking router prefers answers, in every mode."""

from __future__ import annotations

import pytest
from langchain.agents import create_agent
from langchain_core.messages import AIMessageChunk, HumanMessage
from langchain_core.runnables import ConfigurableField, RunnableLambda
from langchain_core.tools import tool

from langchain_rar import RARMiddleware, RouterChatModel
from rar import Router
from rar.errors import ConfigurationError, UnknownModelError
from rar.strategies import BestOf
from tests.core.topics import CODE, POEM, SUM, ranking
from tests.fake_openai import FakeOpenAI
from tests.fake_openai import Reply as Scripted
from tests.langchain.conftest import MakeModel

NAMES = ("weak", "strong", "coder")


@pytest.fixture
def model(chat: MakeModel) -> RouterChatModel:
    return RouterChatModel(
        chat("small"), chat("large"), models={"coder": chat("code")}, memory=None,
        strategy=BestOf(NAMES, ranking(*NAMES)),
    )  # fmt: skip


def test_each_prompt_is_answered_by_the_best_model_for_it(model: RouterChatModel, fake_openai: FakeOpenAI) -> None:
    for text in (POEM, SUM, CODE):
        model.invoke(text)

    assert [sent.model for sent in fake_openai.calls()] == ["small", "large", "code"]


async def test_all_modes_choose_alike_and_say_so(model: RouterChatModel, fake_openai: FakeOpenAI) -> None:
    chunks = [chunk async for chunk in model.astream(CODE)]
    streamed = list(model.stream(CODE))
    answers = [model.invoke(CODE), await model.ainvoke(CODE), chunks[0] + chunks[1:], streamed[0] + streamed[1:]]

    assert {sent.model for sent in fake_openai.calls()} == {"code"}
    for answer in answers:
        facts = answer.response_metadata["rar"]
        assert (facts["model"], facts["reason"]) == ("coder", "best_of")
        assert 0.0 < facts["confidence"] < 1.0
    assert isinstance(answers[3], AIMessageChunk) and len(streamed) > 1


def test_the_strong_model_steps_in(model: RouterChatModel, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("code", Scripted("down", status=500))
    facts = model.invoke(CODE).response_metadata["rar"]

    assert (facts["model"], facts["failed_over"]) == ("strong", ["coder"])


def test_a_tool_loop_stays_with_its_model(model: RouterChatModel, fake_openai: FakeOpenAI) -> None:
    @tool
    def run(code: str) -> str:
        """Run a program."""
        return "ran"

    fake_openai.script("code", Scripted(tool_calls=[("run", {"code": "1"})]), "done")
    bound = model.bind_tools([run])
    first = bound.invoke(CODE)
    result = run.invoke(first.tool_calls[0])
    last = bound.invoke([("user", CODE), first, result])

    assert last.response_metadata["rar"]["model"] == "coder"
    assert last.response_metadata["rar"]["reason"] == "sticky"


def test_one_call_may_be_forced_to_a_named_model(model: RouterChatModel) -> None:
    assert model.invoke(POEM, rar_force="coder").response_metadata["rar"]["model"] == "coder"


def test_a_reconfigured_copy_keeps_the_named_models(model: RouterChatModel) -> None:
    copy = model.configurable_fields(temperature=ConfigurableField(id="heat"))

    assert copy.invoke(CODE, {"configurable": {"heat": 0.3}}).response_metadata["rar"]["model"] == "coder"


def test_an_agent_is_answered_by_a_named_model(chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    middleware = RARMiddleware(
        chat("small"), chat("large"), models={"coder": chat("code")}, memory=None,
        strategy=BestOf(NAMES, ranking(*NAMES)),
    )  # fmt: skip
    agent = create_agent(chat("large"), [], middleware=[middleware])
    agent.invoke({"messages": [HumanMessage(CODE)]})

    assert [sent.model for sent in fake_openai.calls()] == ["code"]
    with pytest.raises(ConfigurationError, match="coder=RunnableLambda"):
        RARMiddleware(chat("small"), chat("large"), models={"coder": RunnableLambda(str)}, memory=None)


def test_a_missing_model_is_told_at_construction(chat: MakeModel) -> None:
    strategy = BestOf(NAMES, ranking(*NAMES))
    with pytest.raises(UnknownModelError, match="'coder'"):
        RouterChatModel(chat("small"), chat("large"), memory=None, strategy=strategy)
    with Router(memory=None, strategy=strategy) as shared, pytest.raises(UnknownModelError, match="'coder'"):
        RouterChatModel(chat("small"), chat("large"), router=shared)
