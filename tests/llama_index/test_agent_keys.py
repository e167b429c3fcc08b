"""What agents write to their model on the way is no question of the user's, and nothing is learned from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentWorkflow, CodeActAgent, FunctionAgent, ReActAgent
from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.memory import ChatMemoryBuffer
from pydantic import BaseModel

from llama_index_rar import RouterLLM
from rar.values import Request
from tests.contract.llama_index_llm import MULTIPLY
from tests.fake_openai import FakeOpenAI, Reply
from tests.llama_index.conftest import Observer

QUESTION = "How much is six times seven?"
CALL = Reply(tool_calls=[("multiply", {"a": 6, "b": 7})])
STEP = 'Thought: I need a tool.\nAction: multiply\nAction Input: {"a": 6, "b": 7}'
DONE = "Thought: I can answer.\nAnswer: 42"


class Product(BaseModel):
    value: int


async def run(agent: Any, message: str = QUESTION, memory: Any = None, **options: Any) -> Any:
    return await agent.run(user_msg=message, memory=memory or remembering(), **options)


def remembering() -> ChatMemoryBuffer:
    return ChatMemoryBuffer.from_defaults(token_limit=9_000)


def learned(requests: Sequence[Request]) -> list[str | None]:
    return [request.key for request in requests if request.learn]


@pytest.mark.parametrize(
    "replies",
    [
        [STEP, DONE],
        ["Thought: hm.\nAction: ???", STEP, DONE],  # cannot be parsed
        [STEP, "Thought: hm.\nAction: ???", DONE],
    ],
)
async def test_react(replies: list[str], router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("small", *replies)
    assert "42" in str(await run(ReActAgent(tools=[MULTIPLY], llm=router)))

    assert learned(observer.requests) == [QUESTION]
    assert set(observer.keys) == {QUESTION}
    assert {request.task for request in observer.requests} == {observer.requests[0].task}
    assert observer.requests[0].task.startswith("tools:")


async def test_code(router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("small", "<execute>print(6 * 7)</execute>", "It is 42.")
    agent = CodeActAgent(tools=[MULTIPLY], llm=router, code_execute_fn=lambda code: "42")
    assert "42" in str(await run(agent))

    assert learned(observer.requests) == [QUESTION]
    assert set(observer.keys) == {QUESTION}
    assert observer.requests[0].task.startswith("tools:")  # what is wanted is code, not an answer


@pytest.mark.parametrize("state_prompt", [None, "Current state: {state}. User message: {msg}"])
async def test_a_state_around_the_message(
    state_prompt: str | None, router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", CALL, "It is 42.")
    agent = AgentWorkflow.from_tools_or_functions(
        [MULTIPLY], llm=router, initial_state={"visits": 1}, state_prompt=state_prompt
    )
    await run(agent)

    assert learned(observer.requests) == [QUESTION]
    assert set(observer.keys) == {QUESTION}


async def test_a_turn_after_the_first_with_a_state(
    router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
) -> None:
    """The state changes and the conversation is the same: so are the keys."""
    fake_openai.script("small", "It is 42.")

    async def keys(visits: int) -> list[str | None]:
        observer.requests.clear()
        memory = remembering()
        agent = AgentWorkflow.from_tools_or_functions([], llm=router, initial_state={"visits": visits})
        await run(agent, memory=memory)
        await run(agent, "and times eight?", memory=memory)
        return observer.keys

    first = await keys(1)
    assert first[0] == QUESTION and "and times eight?" in str(first[1]) and "visits" not in str(first)
    assert await keys(2) == first


async def test_the_last_word_of_an_agent_that_is_stopped(
    router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", CALL, CALL, "It is 42.")
    agent = FunctionAgent(tools=[MULTIPLY], llm=router)
    await run(agent, max_iterations=2, early_stopping_method="generate")

    assert learned(observer.requests) == [QUESTION]
    assert set(observer.keys) == {QUESTION}


async def test_an_output_class_is_filled_from_the_conversation(
    router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
) -> None:
    fake_openai.script("small", CALL, "It is 42.", Reply(tool_calls=[("Product", {"value": 42})]))
    response = await run(FunctionAgent(tools=[MULTIPLY], llm=router, output_cls=Product))

    assert response.get_pydantic_model(Product) == Product(value=42)
    assert learned(observer.requests) == [QUESTION]
    assert (observer.last.key, observer.last.task.split("/")[0]) == (None, "extract")


async def test_a_hand_off_is_the_same_turn(router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI) -> None:
    handing = Reply(tool_calls=[("handoff", {"to_agent": "Writer", "reason": "it writes"})])
    fake_openai.script("small", handing, "It is 42.")
    agents = [
        FunctionAgent(
            name="Asker", description="asks", tools=[MULTIPLY], llm=router, system_prompt="You look things up.",
            can_handoff_to=["Writer"],
        ),
        FunctionAgent(name="Writer", description="writes", tools=[MULTIPLY], llm=router, system_prompt="You write."),
    ]  # fmt: skip
    await run(AgentWorkflow(agents=agents, root_agent="Asker"))

    assert learned(observer.requests) == [QUESTION]
    assert set(observer.keys) == {QUESTION}


@pytest.mark.parametrize(
    "inner",
    [
        "Observation: 42",
        "Result of executing the code given:\n\n42",
        "Error while parsing the output: no action",
        "Error: Could not parse output. Please follow the format.",
        "FAILURE: Your previous response was empty.\nTry again.",
    ],
)
def test_an_inner_message_is_no_question(inner: str, router: RouterLLM, observer: Observer) -> None:
    asked, step = ChatMessage(QUESTION), ChatMessage("a step", role=MessageRole.ASSISTANT)
    router.chat([asked, step, ChatMessage(inner)])

    assert (observer.last.key, observer.last.learn) == (QUESTION, False)


def test_what_a_user_says_like_an_agent_is_a_question(router: RouterLLM, observer: Observer) -> None:
    router.chat([ChatMessage("Observation: my lamp is broken, what can I do about it?")])

    assert observer.last.learn and str(observer.last.key).startswith("Observation: my lamp")
