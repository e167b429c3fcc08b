"""Agents and tools with a router in the LLM's place: a child that can calls the tools, and a turn stays with one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.agent.workflow import AgentStream, AgentWorkflow, CodeActAgent, FunctionAgent, ReActAgent
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, MessageRole, ToolCallBlock
from llama_index.core.llms.llm import LLM
from llama_index.core.llms.mock import MockLLM
from llama_index.core.memory import ChatMemoryBuffer
from llama_index.core.prompts import PromptTemplate

from llama_index_rar import RouterLLM
from rar.errors import ConfigurationError, RequestError
from rar.router import Router
from rar.values import Route
from tests.contract.llama_index_llm import CITY, CITY_PROMPT, MULTIPLY, City, user
from tests.fake_openai import FakeOpenAI, Reply
from tests.llama_index.conftest import Observer

QUESTION = "multiply 6 by 7"
CALL = Reply(tool_calls=[("multiply", {"a": 6, "b": 7})])


def tool_result(text: str, call_id: str = "call_0_multiply") -> ChatMessage:
    return ChatMessage(role=MessageRole.TOOL, content=text, additional_kwargs={"tool_call_id": call_id})


def asked_of(fake: FakeOpenAI) -> list[str]:
    return [sent.model for sent in fake.calls()]


class TestAgents:
    async def test_function_agent_calls_tools_and_answers(
        self, router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
    ) -> None:
        fake_openai.script("small", CALL, "It is 42.")
        response = await FunctionAgent(tools=[MULTIPLY], llm=router).run(QUESTION)

        assert str(response) == "It is 42."
        assert [call.tool_output.raw_output for call in response.tool_calls] == [42]
        assert observer.keys[0] == QUESTION
        assert observer.requests[0].task.startswith("tools:")

    async def test_function_agent_without_streaming(self, router: RouterLLM, fake_openai: FakeOpenAI) -> None:
        fake_openai.script("small", CALL, "It is 42.")
        response = await FunctionAgent(tools=[MULTIPLY], llm=router, streaming=False).run(QUESTION)

        assert str(response) == "It is 42."

    async def test_function_agent_without_tools_is_a_plain_chat(self, router: RouterLLM, observer: Observer) -> None:
        await FunctionAgent(llm=router).run(QUESTION)

        assert observer.last.task == "answer"

    async def test_workflow_streams_each_token_once(self, router: RouterLLM, fake_openai: FakeOpenAI) -> None:
        fake_openai.script("small", CALL, "It is 42 indeed.")
        run = AgentWorkflow.from_tools_or_functions([MULTIPLY], llm=router).run(QUESTION)

        tokens = [event.delta async for event in run.stream_events() if isinstance(event, AgentStream)]
        assert "".join(tokens) == "It is 42 indeed."
        assert str(await run) == "It is 42 indeed."

    async def test_workflow_takes_a_router_for_a_function_calling_model(self, router: RouterLLM) -> None:
        workflow = AgentWorkflow.from_tools_or_functions([MULTIPLY], llm=router)

        assert isinstance(next(iter(workflow.agents.values())), FunctionAgent)

    async def test_react_agent_is_keyed_by_the_question_throughout(
        self, router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
    ) -> None:
        fake_openai.script(
            "small",
            'Thought: I need a tool.\nAction: multiply\nAction Input: {"a": 6, "b": 7}',
            "Thought: I can answer.\nAnswer: 42",
        )
        observer.routes = ["weak", "strong"]
        response = await ReActAgent(tools=[MULTIPLY], llm=router).run(QUESTION)

        assert str(response) == "42"
        assert observer.keys == [QUESTION]  # its observation came as a user message, and went on with the same turn
        assert observer.last.task.startswith("tools:")
        assert {sent.model for sent in fake_openai.calls()} == {"small"}

    async def test_agent_with_an_output_class(self, router: RouterLLM, fake_openai: FakeOpenAI) -> None:
        fake_openai.script("small", CALL, "Ulm", Reply(tool_calls=[("city", {"name": "Ulm", "inhabitants": 42})]))
        response = await FunctionAgent(tools=[MULTIPLY], llm=router, output_cls=City).run(QUESTION)

        assert response.get_pydantic_model(City) == City(name="Ulm", inhabitants=42)


class TestTurns:
    async def test_a_tool_loop_stays_with_its_first_model(
        self, router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
    ) -> None:
        observer.routes = ["strong", "weak"]
        fake_openai.script("large", CALL, CALL, "It is 42.")
        await FunctionAgent(tools=[MULTIPLY], llm=router).run(QUESTION)

        assert [sent.model for sent in fake_openai.calls()] == ["large"] * 3
        assert len(observer.requests) == 1  # no strategy is asked in the middle of a turn

    def test_the_next_turn_is_decided_anew(self, router: RouterLLM, observer: Observer) -> None:
        observer.routes = ["strong", "weak"]
        first = router.chat_with_tools([MULTIPLY], chat_history=[user(QUESTION)])
        history = [user(QUESTION), first.message, tool_result("42")]
        again = router.chat_with_tools([MULTIPLY], chat_history=history)
        second = router.chat_with_tools([MULTIPLY], user_msg="multiply 1 by 1", chat_history=[*history, again.message])

        reasons = [(r.additional_kwargs["rar"]["model"], r.additional_kwargs["rar"]["reason"]) for r in (again, second)]
        assert reasons == [("strong", "sticky"), ("weak", "told")]

    def test_only_the_first_call_of_a_turn_is_learned_from(self, router: RouterLLM, observer: Observer) -> None:
        """What comes later depends on what the tools returned, not on the question alone."""
        router.chat_with_tools([MULTIPLY], chat_history=[user(QUESTION)])
        assert observer.last.learn

        elsewhere = [user("another turn"), ChatMessage(role=MessageRole.ASSISTANT, content=""), tool_result("42")]
        router.chat_with_tools([MULTIPLY], chat_history=elsewhere)
        assert not observer.last.learn

    def test_two_namespaces_share_no_turn(self, router: RouterLLM, observer: Observer) -> None:
        observer.routes = ["strong", "weak"]
        first = router.chat_with_tools([MULTIPLY], chat_history=[user(QUESTION)], rar_namespace="a")
        history = [user(QUESTION), first.message, tool_result("42")]
        other = router.chat_with_tools([MULTIPLY], chat_history=history, rar_namespace="b")

        assert other.additional_kwargs["rar"]["model"] == "weak"


def look() -> str:
    """Look at the lamp."""
    return "red"


class CopyingMemory(ChatMemoryBuffer):
    """Gives copies, as a memory in a database does, into which an agent then renders its state."""

    def get(self, *args: Any, **kwargs: Any) -> list[ChatMessage]:
        return [message.model_copy(deep=True) for message in super().get(*args, **kwargs)]


REACT_CALL = "Thought: I need a tool.\nAction: look\nAction Input: {}"
REACT_ANSWER = "Thought: I can answer.\nAnswer: red"
STATES = {
    "no state": {},
    "state": {"initial_state": {"visits": 0}},
    "own words": {"initial_state": {"visits": 0}, "state_prompt": "<state>{state}</state>\n{msg}"},
}


class TestTurnsOfAgents:
    """A strategy that would send each call elsewhere is asked once a turn, for the user's own question."""

    @pytest.fixture(autouse=True)
    def alternating(self, observer: Observer) -> None:
        observer.routes = ["strong", "weak"]

    @pytest.mark.parametrize("state", STATES.values(), ids=STATES)
    @pytest.mark.parametrize("memory", [CopyingMemory, ChatMemoryBuffer])
    @pytest.mark.parametrize("streaming", [True, False])
    async def test_with_state(
        self, streaming: bool, memory: Any, state: dict[str, Any], router: RouterLLM, fake_openai: FakeOpenAI
    ) -> None:
        fake_openai.script("large", Reply(tool_calls=[("look", {})]), Reply(tool_calls=[("look", {})]), "It is red.")
        agent = FunctionAgent(tools=[look], llm=router, streaming=streaming, **state)

        assert str(await agent.run("Which colour?", memory=memory.from_defaults())) == "It is red."
        assert asked_of(fake_openai) == ["large"] * 3

    @pytest.mark.parametrize("state", STATES.values(), ids=STATES)
    async def test_react(
        self, state: dict[str, Any], router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
    ) -> None:
        fake_openai.script("large", REACT_CALL, REACT_CALL, REACT_ANSWER)
        agent = ReActAgent(tools=[look], llm=router, **state)

        assert str(await agent.run("Which colour?", memory=CopyingMemory.from_defaults())) == "red"
        assert asked_of(fake_openai) == ["large"] * 3
        if "state_prompt" not in state:
            assert observer.keys == ["Which colour?"]

    async def test_react_retries_what_it_could_not_read(
        self, router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
    ) -> None:
        fake_openai.script("large", REACT_CALL, "Thought: hm.\nAction: look", REACT_CALL, REACT_ANSWER)

        await ReActAgent(tools=[look], llm=router).run("Which colour?")
        assert asked_of(fake_openai) == ["large"] * 4
        assert observer.keys == ["Which colour?"]

    async def test_code_act(self, router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI) -> None:
        fake_openai.script("large", "<execute>look()</execute>", "<execute>look()</execute>", "It is red.")
        agent = CodeActAgent(code_execute_fn=lambda code: "red", tools=[look], llm=router)

        assert str(await agent.run("Which colour?")) == "It is red."
        assert asked_of(fake_openai) == ["large"] * 3
        assert observer.keys == ["Which colour?"]

    @pytest.mark.parametrize("state", STATES.values(), ids=STATES)
    async def test_early_stopping(
        self, state: dict[str, Any], router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
    ) -> None:
        fake_openai.script("large", Reply(tool_calls=[("look", {})]), Reply(tool_calls=[("look", {})]), "It is red.")
        agent = FunctionAgent(tools=[look], llm=router, early_stopping_method="generate", **state)

        run = agent.run("Which colour?", memory=CopyingMemory.from_defaults(), max_iterations=2)
        assert str(await run) == "It is red."
        assert asked_of(fake_openai) == ["large"] * 3
        assert len(observer.requests) == 1

    @pytest.mark.parametrize("kind", [FunctionAgent, ReActAgent])
    async def test_hand_offs(self, kind: Any, router: RouterLLM, fake_openai: FakeOpenAI) -> None:
        reason = {"to_agent": "looker", "reason": "it looks"}
        calls: list[Any] = [Reply(tool_calls=[("handoff", reason)]), Reply(tool_calls=[("look", {})]), "It is red."]
        if kind is ReActAgent:
            handoff = f"Thought: another knows.\nAction: handoff\nAction Input: {json.dumps(reason)}"
            calls = [handoff, REACT_CALL, REACT_ANSWER]
        fake_openai.script("large", *calls)
        first = kind(name="first", description="asks", tools=[], llm=router, system_prompt="You ask.")
        looker = kind(name="looker", description="looks", tools=[look], llm=router, system_prompt="You look.")

        await AgentWorkflow(agents=[first, looker], root_agent="first").run("Which colour?")
        assert asked_of(fake_openai) == ["large"] * 3

    async def test_hand_offs_between_llms_that_share_a_router(
        self, observer: Observer, openai: Callable[..., LLM], fake_openai: FakeOpenAI
    ) -> None:
        shared = Router(memory=None, strategy=observer)
        one, other = (RouterLLM(openai("small"), openai("large"), router=shared) for _ in range(2))
        reason = {"to_agent": "looker", "reason": "it looks"}
        fake_openai.script("large", Reply(tool_calls=[("handoff", reason)]), Reply(tool_calls=[("look", {})]), "Red.")
        first = FunctionAgent(name="first", description="asks", llm=one)
        looker = FunctionAgent(name="looker", description="looks", tools=[look], llm=other)

        await AgentWorkflow(agents=[first, looker], root_agent="first").run("Which colour?")
        assert asked_of(fake_openai) == ["large"] * 3

    async def test_a_tool_that_asks_the_same_llm_does_not_end_the_turn(
        self, router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
    ) -> None:
        async def ask() -> str:
            """Ask the LLM."""
            return str(await router.acomplete("What is a lamp?"))

        fake_openai.script("large", Reply(tool_calls=[("ask", {})]), "It is red.")
        await FunctionAgent(tools=[ask], llm=router).run("Which colour?")

        assert asked_of(fake_openai) == ["large", "small", "large"]
        assert observer.keys == ["Which colour?", "What is a lamp?"]

    async def test_two_runs_at_a_time_keep_their_own_models(self, router: RouterLLM, fake_openai: FakeOpenAI) -> None:
        for model in ("large", "small"):
            fake_openai.script(model, Reply(tool_calls=[("look", {"of": model})]), f"It is {model}.")
        agent = FunctionAgent(tools=[look], llm=router, initial_state={"visits": 0})

        answers = await asyncio.gather(
            *(agent.run("Which colour?", memory=CopyingMemory.from_defaults()) for _ in range(2))
        )
        assert {str(answer) for answer in answers} == {"It is large.", "It is small."}

    async def test_the_next_question_is_decided_anew(
        self, router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
    ) -> None:
        for model in ("large", "small"):
            fake_openai.script(model, Reply(tool_calls=[("look", {})]), "It is red.")
        agent, memory = FunctionAgent(tools=[look], llm=router), CopyingMemory.from_defaults()
        await agent.run("Which colour?", memory=memory)
        await agent.run("And the lamp in the hall?", memory=memory)

        assert asked_of(fake_openai) == ["large", "large", "small", "small"]
        assert len(observer.requests) == 2


class TestOtherLoops:
    """Loops that people write themselves."""

    @pytest.mark.parametrize(
        "after",
        [
            ChatMessage("<reminder>Be quick.</reminder>", role="user"),
            ChatMessage("Be quick.", role="system"),
            ChatMessage(role="user", blocks=[ImageBlock(url="http://127.0.0.1/shot.png")]),
        ],
        ids=["user", "system", "image"],
    )
    def test_whatever_follows_a_result_goes_on_with_the_turn(
        self, after: ChatMessage, router: RouterLLM, observer: Observer, fake_openai: FakeOpenAI
    ) -> None:
        observer.routes = [Route("strong", reason="told"), "weak"]
        first = router.chat_with_tools([MULTIPLY], chat_history=[user(QUESTION)])
        again = router.chat_with_tools(
            [MULTIPLY], chat_history=[user(QUESTION), first.message, tool_result("42"), after]
        )

        assert again.additional_kwargs["rar"]["reason"] == "sticky"
        assert asked_of(fake_openai) == ["large", "large"]

    def test_a_loop_that_nobody_knows_is_asked_for_by_its_question(self, router: RouterLLM, observer: Observer) -> None:
        call = ChatMessage(role="assistant", blocks=[ToolCallBlock(tool_call_id="1", tool_name="multiply")])
        router.chat_with_tools(
            [MULTIPLY], chat_history=[user(QUESTION), call, tool_result("42"), user("<reminder>Be quick.</reminder>")]
        )

        assert observer.keys == [QUESTION]
        assert not observer.last.learn


class TestWhoCanCallTools:
    @pytest.fixture
    def unable(self, openai: Callable[..., LLM]) -> LLM:
        return openai("small", is_function_calling_model=False)

    def test_tools_go_to_the_child_that_can(self, unable: LLM, openai: Callable[..., LLM], observer: Observer) -> None:
        router = RouterLLM(unable, openai("large"), memory=None, strategy=observer)

        response = router.chat_with_tools([MULTIPLY], user_msg=QUESTION)
        assert response.additional_kwargs["rar"]["model"] == "strong"
        assert router.get_tool_calls_from_response(response)[0].tool_kwargs == {"a": 6, "b": 6}
        assert router.chat([user("Hello")]).additional_kwargs["rar"]["model"] == "weak"

    def test_a_child_without_tools_need_not_be_of_the_tool_calling_class(self, openai: Callable[..., LLM]) -> None:
        router = RouterLLM(MockLLM(), openai("large"), memory=None, strategy=lambda request: "weak")

        assert router.metadata.is_function_calling_model
        assert router.chat_with_tools([MULTIPLY], user_msg=QUESTION).additional_kwargs["rar"]["model"] == "strong"
        plain = router.chat([user("Hello")])
        assert router.get_tool_calls_from_response(plain, error_on_no_tool_call=False) == []
        with pytest.raises(RequestError, match="cannot call tools"):
            router.get_tool_calls_from_response(plain)

    def test_forcing_tools_on_a_child_that_cannot_is_a_clear_error(self, openai: Callable[..., LLM]) -> None:
        router = RouterLLM(MockLLM(), openai("large"), memory=None, strategy=lambda request: "weak")

        with pytest.raises(ConfigurationError, match="MockLLM cannot call tools"):
            router.chat_with_tools([MULTIPLY], user_msg=QUESTION, rar_force="weak")

    def test_tools_for_nobody_are_a_clear_error(self, unable: LLM, openai: Callable[..., LLM]) -> None:
        router = RouterLLM(unable, openai("large", is_function_calling_model=False), memory=None)

        assert not router.metadata.is_function_calling_model
        with pytest.raises(RequestError, match="Neither model can call tools"):
            router.chat_with_tools([MULTIPLY], user_msg=QUESTION)

    def test_objects_are_predicted_by_text_where_the_child_has_no_tools(
        self, unable: LLM, openai: Callable[..., LLM], observer: Observer, fake_openai: FakeOpenAI
    ) -> None:
        router = RouterLLM(unable, openai("large"), memory=None, strategy=observer)
        fake_openai.script("small", '{"name": "Ulm", "inhabitants": 3}')

        assert router.structured_predict(City, CITY_PROMPT, **CITY) == City(name="Ulm", inhabitants=3)


class TestWire:
    """What reaches the provider."""

    def test_child_prepares_the_tools_and_gets_the_callers_arguments(
        self, router: RouterLLM, fake_openai: FakeOpenAI
    ) -> None:
        router.chat_with_tools(
            [MULTIPLY], user_msg=QUESTION, tool_required=True, allow_parallel_tool_calls=True, temperature=0.5
        )

        (sent,) = fake_openai.calls()
        assert [tool["function"]["name"] for tool in sent.body["tools"]] == ["multiply"]
        assert sent.body["tool_choice"] == "required"
        assert sent.body["parallel_tool_calls"] is True
        assert sent.body["temperature"] == 0.5
        assert not any("rar" in name for name in sent.body)

    def test_parallel_calls_are_cut_down_by_the_child_that_answered(
        self, router: RouterLLM, fake_openai: FakeOpenAI
    ) -> None:
        fake_openai.script("small", Reply(tool_calls=[("multiply", {"a": 1, "b": 2}), ("multiply", {"a": 3, "b": 4})]))

        one = router.chat_with_tools([MULTIPLY], user_msg=QUESTION)
        both = router.chat_with_tools([MULTIPLY], user_msg=QUESTION, allow_parallel_tool_calls=True)
        assert len([block for block in one.message.blocks if isinstance(block, ToolCallBlock)]) == 1
        assert len(router.get_tool_calls_from_response(both)) == 2

    def test_nothing_of_ours_is_in_the_next_request(self, router: RouterLLM, fake_openai: FakeOpenAI) -> None:
        first = router.chat([user("Hello")])
        assert "rar" not in first.message.additional_kwargs

        router.chat([user("Hello"), first.message, user("Again")])
        assert "rar" not in str(fake_openai.calls()[-1].body)

    def test_structured_arguments_reach_the_child(self, router: RouterLLM, fake_openai: FakeOpenAI) -> None:
        router.structured_predict(City, CITY_PROMPT, llm_kwargs={"temperature": 0.7, "rar_force": "strong"}, **CITY)

        (sent,) = fake_openai.calls()
        assert (sent.model, sent.body["temperature"]) == ("large", 0.7)

    def test_native_structured_output_of_a_child_is_used(
        self, openai: Callable[..., LLM], fake_openai: FakeOpenAI
    ) -> None:
        weak = openai("small", should_use_structured_outputs=True)
        router = RouterLLM(weak, openai("large"), memory=None, strategy=lambda request: "weak")

        assert isinstance(router.structured_predict(City, CITY_PROMPT, **CITY), City)
        assert fake_openai.calls()[0].body["response_format"]["type"] == "json_schema"

    def test_braces_in_a_question_are_no_template(self, router: RouterLLM, fake_openai: FakeOpenAI) -> None:
        prompt: Any = PromptTemplate("About the city: {question}")
        router.structured_predict(City, prompt, question="what is {city} in {{jinja}}?")

        assert fake_openai.calls()[0].messages[-1]["content"] == "About the city: what is {city} in {{jinja}}?"
