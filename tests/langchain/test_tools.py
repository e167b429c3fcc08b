"""Tools: each model gets them in its own form, and a tool loop stays with the model that began it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import cycle
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import LanguageModelInput
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.runnables import Runnable, RunnableBinding, RunnableLambda
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from langchain_rar import RouterChatModel
from rar.embedding.hashing import HashingEmbedder
from rar.errors import ConfigurationError
from rar.memory.base import Batch
from rar.strategies import Cascade
from rar.values import Request, Route
from tests.fake_openai import FakeOpenAI, Reply
from tests.langchain.conftest import MakeModel, MakeRouter, a_guide


@tool
def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"It is sunny in {city}."


class Add(BaseModel):
    """Add two numbers."""

    a: int
    b: int


def shout(text: str) -> str:
    """Say it louder.

    Args:
        text: What to say.
    """
    return text.upper()


class OddModel(GenericFakeChatModel):
    """A model with a tool format of its own."""

    name_of_model: str
    messages: Iterator[AIMessage | str] = cycle([AIMessage("fine")])
    seen: list[Any] = Field(default_factory=list)

    @property
    def model_name(self) -> str:
        return self.name_of_model

    def bind_tools(
        self, tools: Any, *, tool_choice: Any = None, **kwargs: Any
    ) -> Runnable[LanguageModelInput, AIMessage]:
        names = [getattr(one, "name", getattr(one, "__name__", one)) for one in tools]
        return self.bind(odd_tools=names, odd_choice=tool_choice, **kwargs)

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        self.seen.append(kwargs)
        return super()._generate(messages, stop, run_manager)


@pytest.mark.parametrize("to", ["weak", "strong"])
def test_each_model_gets_the_tools_in_its_own_form(to: str, chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    odd = OddModel(name_of_model="odd")
    model = RouterChatModel(odd, chat("large"), memory=None, strategy=lambda _: to)

    model.bind_tools([get_weather, Add], tool_choice="any", strict=True).invoke("Hello")

    if to == "weak":
        assert odd.seen == [{"odd_tools": ["get_weather", "Add"], "odd_choice": "any", "strict": True}]
    else:
        (sent,) = fake_openai.calls("large")
        assert [entry["function"]["name"] for entry in sent.body["tools"]] == ["get_weather", "Add"]
        assert sent.body["tools"][0]["function"]["strict"] is True
        assert sent.body["tool_choice"] == "required"


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (get_weather, "get_weather"),
        (Add, "Add"),
        (shout, "shout"),
        ({"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}, "f"),
        ({"title": "g", "description": "d", "type": "object", "properties": {}}, "g"),
    ],
    ids=["tool", "pydantic", "function", "openai", "json_schema"],
)
def test_tools_of_every_kind_reach_the_wire(given: Any, name: str, routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    routed().bind_tools([given]).invoke("Hello")

    assert fake_openai.calls()[0].body["tools"][0]["function"]["name"] == name


def test_a_providers_own_tool_is_handed_on_as_it_is(chat: MakeModel) -> None:
    odd = OddModel(name_of_model="odd")
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 3}
    other = OddModel(name_of_model="other")

    RouterChatModel(odd, other, memory=None, strategy=lambda _: "weak").bind_tools([search]).invoke("Hello")

    assert odd.seen[0]["odd_tools"] == [search]


@pytest.mark.parametrize(
    ("choice", "sent"),
    [
        ("any", "required"),
        ("auto", "auto"),
        ("none", "none"),
        ("Add", {"type": "function", "function": {"name": "Add"}}),
    ],
)
def test_tool_choice_is_put_in_the_models_words(
    choice: str, sent: Any, routed: MakeRouter, fake_openai: FakeOpenAI
) -> None:
    routed().bind_tools([Add, get_weather], tool_choice=choice).invoke("Hello")

    assert fake_openai.calls()[0].body["tool_choice"] == sent


def test_other_arguments_of_bind_tools_reach_the_wire(routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    form = {"title": "n", "type": "object", "properties": {}}

    routed().bind_tools([Add], parallel_tool_calls=False, response_format=form).invoke("Hello")

    body = fake_openai.calls()[0].body
    assert body["parallel_tool_calls"] is False
    assert body["response_format"]["json_schema"]["name"] == "n"


def test_bound_tools_read_as_openai_tools_and_survive_further_binding(
    routed: MakeRouter, fake_openai: FakeOpenAI
) -> None:
    bound = routed().bind_tools([get_weather]).with_config(tags=["a"]).bind(stop=["x"])

    bound.invoke("What is the weather?")

    inner = bound.bound if isinstance(bound.bound, RunnableBinding) else bound
    assert {**inner.kwargs, **bound.kwargs}["tools"][0]["function"]["name"] == "get_weather"
    body = fake_openai.calls()[0].body
    assert (body["stop"], body["tools"][0]["function"]["name"]) == (["x"], "get_weather")


def test_arguments_that_a_child_was_bound_with_survive_bind_tools(chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    weak = chat("small").bind(temperature=0.3).with_config(tags=["mine"])
    model = RouterChatModel(weak, chat("large"), memory=None, strategy=lambda _: "weak")

    model.bind_tools([Add]).invoke("Hello")

    body = fake_openai.calls("small")[0].body
    assert (body["temperature"], body["tools"][0]["function"]["name"]) == (0.3, "Add")


def test_tools_are_bound_to_a_childs_fallbacks_too(chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("small", Reply("out of order", status=500))
    weak = chat("small").with_fallbacks([chat("spare").bind(temperature=0.3)])
    model = RouterChatModel(weak, chat("large"), memory=None, strategy=lambda _: "weak")

    message = model.bind_tools([Add], tool_choice="any").invoke("Hello")

    assert message.tool_calls[0]["name"] == "Add"
    assert message.response_metadata["rar"]["failed_over"] == []
    body = fake_openai.calls("spare")[0].body
    assert (body["temperature"], body["tool_choice"]) == (0.3, "required")


def test_a_child_under_with_retry_is_refused_tools_with_a_way_out(chat: MakeModel) -> None:
    model = RouterChatModel(chat("small").with_retry(), chat("large"), memory=None, strategy=lambda _: "weak")

    assert model.invoke("Hello").text == "You said: Hello"
    with pytest.raises(ConfigurationError, match=r"`\.with_retry\(\)` on the router"):
        model.bind_tools([Add])


def test_a_child_without_tools_is_told_of_when_tools_are_bound(chat: MakeModel) -> None:
    plain = RunnableLambda(lambda messages: AIMessage("plain"))
    model = RouterChatModel(plain, chat("large"), memory=None)

    with pytest.raises(ConfigurationError, match="RunnableLambda cannot bind tools.*tools_to_strong=True"):
        model.bind_tools([Add])


def test_tools_to_strong_sends_tool_calls_to_the_model_that_can(chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    plain = RunnableLambda(lambda messages: AIMessage("plain"))
    model = RouterChatModel(plain, chat("large"), memory=None, strategy=lambda _: "weak", tools_to_strong=True)

    message = model.bind_tools([Add], tool_choice="any").invoke("Add 2 and 3")

    assert message.response_metadata["rar"]["model"] == "strong"
    assert message.tool_calls[0]["name"] == "Add"
    assert model.invoke("Hello").text == "plain"


def test_tools_to_strong_leaves_a_weak_model_alone_that_can(routed: MakeRouter) -> None:
    model = routed(tools_to_strong=True).bind_tools([Add], tool_choice="any")

    assert model.invoke("Add 2 and 3").response_metadata["rar"]["model"] == "weak"


def test_each_set_of_tools_is_a_task_of_its_own(routed: MakeRouter) -> None:
    tasks: list[str] = []

    def strategy(request: Request) -> str:
        tasks.append(request.task)
        return "weak"

    model = routed(strategy)
    for bound in (
        model,
        model.bind_tools([Add]),
        model.bind_tools([Add, get_weather]),
        model.bind_tools([get_weather, Add]),
    ):
        bound.invoke("Hello")
    model.invoke("Hello", tools=[{"type": "function", "function": {"name": "f", "parameters": {}}}])

    answer, one, two, two_again, raw = tasks
    assert answer == "answer"
    assert len({answer, one, two, raw}) == 4
    assert two == two_again


def test_a_draft_is_asked_for_with_the_tools(routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    model = routed(strategy=Cascade(lambda request, draft: bool(draft.tool_calls)))

    message = model.bind_tools([Add], tool_choice="any").invoke("Add 2")

    assert message.tool_calls[0]["args"] == {"a": 2, "b": 2}
    assert [sent.model for sent in fake_openai.calls()] == ["small"]


# --- loops ----------------------------------------------------------------------------------------------------------


def alternating() -> Callable[[Request], Route]:
    models = cycle(["weak", "strong"])
    return lambda _: Route(next(models), reason="next")


def loop(first: AIMessage) -> list[Any]:
    call = first.tool_calls[0]
    return [HumanMessage("What is the weather in 'Rome'?"), first, ToolMessage("sunny", tool_call_id=call["id"])]


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_a_tool_loop_stays_with_the_model_that_began_it(calls: int, routed: MakeRouter) -> None:
    model = routed(alternating()).bind_tools([get_weather])
    first = model.invoke("What is the weather in 'Rome'?")

    for _ in range(calls):
        after = model.invoke(loop(first))

    assert first.response_metadata["rar"]["model"] == after.response_metadata["rar"]["model"] == "weak"
    assert after.response_metadata["rar"]["reason"] == "sticky"


def test_a_new_turn_after_a_tool_loop_is_decided_anew(routed: MakeRouter) -> None:
    model = routed(alternating()).bind_tools([get_weather])
    first = model.invoke("What is the weather in 'Rome'?")
    after = model.invoke(loop(first))

    again = model.invoke([*loop(first), after, HumanMessage("Thanks")])

    assert again.response_metadata["rar"]["reason"] == "next"


@pytest.mark.filterwarnings("ignore:create_react_agent has been moved")
def test_create_react_agent_takes_a_router_with_tools_already_bound(
    routed: MakeRouter, fake_openai: FakeOpenAI
) -> None:
    from langgraph.prebuilt import create_react_agent

    agent = create_react_agent(routed(alternating()).bind_tools([get_weather]), [get_weather])

    state = agent.invoke({"messages": [HumanMessage("What is the weather in 'Rome'?")]})

    assert [message.type for message in state["messages"]] == ["human", "ai", "tool", "ai"]
    assert state["messages"][-1].text == "The tool said: It is sunny in Rome."
    assert {sent.model for sent in fake_openai.calls()} == {"small"}


@pytest.mark.parametrize("to", ["weak", "strong"])
async def test_create_agent_runs_a_tool_loop(to: str, routed: MakeRouter) -> None:
    agent = create_agent(routed(to), [get_weather])
    question = {"messages": [HumanMessage("What is the weather in 'Rome'?")]}

    for state in (agent.invoke(question), await agent.ainvoke(question)):
        assert state["messages"][-1].text == "The tool said: It is sunny in Rome."
        assert state["messages"][1].response_metadata["rar"]["model"] == to


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
def test_create_agent_streams_one_message_by_events_v3(routed: MakeRouter) -> None:
    run = create_agent(routed(), []).stream_events({"messages": [HumanMessage("one two")]}, version="v3")

    assert ["".join(message.text) for message in run.messages] == ["You said: one two"]


@pytest.mark.parametrize("how", ["tool", "provider"])
def test_create_agent_gives_structured_answers(how: str, routed: MakeRouter) -> None:
    from langchain.agents.structured_output import ProviderStrategy, ToolStrategy

    class City(BaseModel):
        """A city."""

        name: str

    strategy: Any = ToolStrategy(City) if how == "tool" else ProviderStrategy(City)

    state = create_agent(routed(), [], response_format=strategy).invoke({"messages": [HumanMessage("Name 'Rome'")]})

    assert state["structured_response"] == City(name="Rome")


LOOK = "Use when: the weather is asked for.\n1. Look out of the window.\n2. Name what is seen.\nAvoid: guessing."


def test_the_guide_of_a_turn_stays_through_its_tool_loop(routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    guide = replace(a_guide(LOOK), embedding=HashingEmbedder().embed(["weather"])[0], state="active")
    plain = routed(lambda _: Route("weak", guide), memory=":memory:", embedder="hashing")
    model = plain.bind_tools([get_weather])
    first = model.invoke("What is the weather in 'Rome'?")
    assert plain.router.memory is not None
    plain.router.memory.write(Batch(guides=(guide,)))
    plain.router.memory.set_guide_state(guide.id, "active")

    after = model.invoke(loop(first))

    assert after.response_metadata["rar"]["guide_id"] == guide.id
    for sent in fake_openai.calls():
        (user,) = (message for message in sent.messages if message["role"] == "user")
        assert LOOK in user["content"]
