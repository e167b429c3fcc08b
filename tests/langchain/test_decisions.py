"""`RARDecisionModel`: LangChain's own `ModelRouterMiddleware` decides by the router, and the router learns from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("langchain_core.decisions", reason="this LangChain has no decision models")

from langchain.agents import create_agent
from langchain.agents.middleware import ModelChoice, ModelRouterMiddleware
from langchain_core.decisions import Choice, Noul
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

from langchain_rar.decisions import RARDecisionModel
from rar.errors import ConfigurationError
from rar.values import Route
from tests.fake_openai import FakeOpenAI, Reply
from tests.langchain.conftest import MakeModel, a_guide

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.LangChainBetaWarning")

ITALY: Any = {"messages": [HumanMessage("What is the capital of Italy?")]}
ROME: Any = {"messages": [HumanMessage("What is the weather in 'Rome'?")]}


@tool
def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"It is sunny in {city}."


MakeDecisions = Callable[..., RARDecisionModel]


@pytest.fixture
def decisions(chat: MakeModel) -> MakeDecisions:
    def make(**options: Any) -> RARDecisionModel:
        usual = {
            "memory": ":memory:", "embedder": "hashing", "seed": 0, "learning": "inline", "policy": "paper",
            "judge": "exact", "learning_budget": None, "guides": False,
        }  # fmt: skip
        return RARDecisionModel(chat("small"), chat("large"), **{**usual, **options})

    return make


def routing(made: RARDecisionModel) -> list[Any]:
    router = ModelRouterMiddleware(choices=made.choices(), instructions="Which model?", classifier=made)
    return [made.learning, router]


def last(state: dict[str, Any]) -> AIMessage:
    message: AIMessage = state["messages"][-1]
    return message


@pytest.mark.parametrize("how", ["invoke", "ainvoke", "stream", "astream"])
async def test_what_the_weak_model_was_seen_to_answer_it_serves_from_then_on(
    how: str, decisions: MakeDecisions, chat: MakeModel, fake_openai: FakeOpenAI
) -> None:
    made = decisions()
    agent = create_agent(chat("own"), [], system_prompt="Be brief.", middleware=routing(made))

    async def ask() -> str:
        if how == "invoke":
            return last(agent.invoke(ITALY)).text
        if how == "ainvoke":
            return last(await agent.ainvoke(ITALY)).text
        if how == "stream":
            chunks = [chunk for chunk, _ in agent.stream(ITALY, stream_mode="messages")]
        else:
            chunks = [chunk async for chunk, _ in agent.astream(ITALY, stream_mode="messages")]
        return "".join(chunk.text for chunk in chunks if isinstance(chunk, AIMessageChunk))

    texts = [await ask()]
    asked = [sent.model for sent in fake_openai.calls()]
    fake_openai.clear()
    texts.append(await ask())

    assert texts == ["You said: What is the capital of Italy?"] * 2
    assert (asked[0], "small" in asked[1:]) == ("large", True)
    assert [sent.model for sent in fake_openai.calls()] == ["small"]
    assert made.router.stats().savings.served == 2


def test_a_tool_loop_keeps_its_model_and_every_call_is_counted(
    decisions: MakeDecisions, chat: MakeModel, fake_openai: FakeOpenAI
) -> None:
    made = decisions()
    agent = create_agent(chat("own"), [get_weather], middleware=routing(made), checkpointer=InMemorySaver())

    for at in range(2):
        state = agent.invoke(ROME, {"configurable": {"thread_id": str(at)}})
        assert last(state).text == "The tool said: It is sunny in Rome."

    first, second = state["messages"][1], state["messages"][-1]
    assert first.response_metadata["rar"]["model"] == second.response_metadata["rar"]["model"] == "weak"
    assert second.response_metadata["rar"]["reason"] == "sticky"
    assert state["model_route"].choice == "weak"
    assert made.router.stats().savings.served == 4
    shadow = next(sent for sent in fake_openai.calls("small"))
    assert shadow.body["tools"][0]["function"]["name"] == "get_weather"


def test_the_conversation_is_part_of_the_question(decisions: MakeDecisions, chat: MakeModel) -> None:
    made = decisions()
    agent = create_agent(chat("own"), [], middleware=routing(made))
    again: Any = {"messages": [HumanMessage("Name a river."), AIMessage("The Po."), HumanMessage("And another?")]}
    other: Any = {"messages": [HumanMessage("Name a king."), AIMessage("Arthur."), HumanMessage("And another?")]}

    models = [last(agent.invoke(said)).response_metadata["rar"]["model"] for said in (again, other, again)]

    assert models == ["strong", "strong", "weak"]


def test_the_strong_model_answers_when_the_weak_one_fails(
    decisions: MakeDecisions, chat: MakeModel, fake_openai: FakeOpenAI
) -> None:
    made = decisions()
    agent = create_agent(chat("own"), [], middleware=routing(made))
    agent.invoke(ITALY)
    fake_openai.script("small", Reply("out of order", status=500))

    facts = last(agent.invoke(ITALY)).response_metadata["rar"]

    assert (facts["model"], facts["failed_over"]) == ("strong", ["weak"])


def test_a_guide_reaches_the_model(decisions: MakeDecisions, chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    class Guided:
        start = 0.5

        def choose(self, evidence: Any) -> Route:
            return Route("weak", a_guide("Look at a map."))

        def steps(self, *_: Any) -> tuple[()]:
            return ()

    create_agent(chat("own"), [], middleware=routing(decisions(policy=Guided()))).invoke(ITALY)

    assert "Look at a map." in fake_openai.calls("small")[0].messages[-1]["content"]


def test_the_state_has_how_sure_the_router_is(decisions: MakeDecisions, chat: MakeModel) -> None:
    agent = create_agent(chat("own"), [], middleware=routing(decisions()))

    answer = agent.invoke(ITALY)["model_route"]

    assert (answer.choice, answer.probabilities) == ("strong", {"weak": 0.0, "strong": 1.0})
    assert answer.confidence == 1.0


def test_without_its_middleware_it_decides_and_learns_nothing(
    decisions: MakeDecisions, chat: MakeModel, fake_openai: FakeOpenAI
) -> None:
    made = decisions()
    agent = create_agent(chat("own"), [], middleware=routing(made)[1:])

    for _ in range(2):
        assert last(agent.invoke(ITALY)).text == "You said: What is the capital of Italy?"

    assert [sent.model for sent in fake_openai.calls()] == ["large", "large"]
    memory = made.router.stats().memory
    assert memory is not None
    assert memory.experiences == 0


def test_mistakes_are_named(decisions: MakeDecisions, chat: MakeModel) -> None:
    made = decisions()
    reversed_agent = create_agent(chat("own"), [], middleware=routing(made)[::-1])
    with pytest.raises(ConfigurationError, match="before ModelRouterMiddleware"):
        reversed_agent.invoke(ITALY)
    with pytest.raises(ConfigurationError, match="answer by a draft"):
        decisions(strategy=lambda _: "weak")
    fast = {"fast": ModelChoice(chat("small"), "quick")}
    router = ModelRouterMiddleware(choices=fast, instructions="Which?", classifier=made)
    agent = create_agent(chat("own"), [], middleware=[router])
    with pytest.raises(ConfigurationError, match=r"choices=decisions.choices\(\)"):
        agent.invoke(ITALY)
    with pytest.raises(ConfigurationError, match="answers nothing else"):
        made.invoke({"state": "Hello", "questions": {"late": Noul(instructions="Is it late?")}})


def test_it_answers_alone_too(decisions: MakeDecisions) -> None:
    question = Choice(instructions="Which model?", criteria={"weak": "easy", "strong": "hard"})

    assert decisions().invoke({"state": "Hello", "questions": {"a": question}}).choices["a"].choice == "strong"
