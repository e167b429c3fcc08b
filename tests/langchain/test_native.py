"""Each thing as the child alone would be treated: bound arguments, profiles, providers, cache marks, results."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import SummarizationMiddleware
from langchain.agents.structured_output import AutoStrategy, ProviderStrategy, ToolStrategy
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_rar import RARMiddleware, RouterChatModel
from rar.values import Route
from tests.fake_openai import FakeOpenAI, Reply
from tests.langchain.conftest import MakeModel, MakeRouter, a_guide


class City(BaseModel):
    """A city."""

    name: str


@tool
def get_weather(city: str) -> str:
    """Tell the weather of a city."""
    return f"It is sunny in {city}."


# --- bound arguments ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["weak", "strong"])
def test_named_arguments_of_bind_tools_reach_each_models_own(
    to: str, routed: MakeRouter, chat: MakeModel, fake_openai: FakeOpenAI
) -> None:
    options: dict[str, Any] = {"tool_choice": "any", "parallel_tool_calls": False, "strict": True}

    routed(to).bind_tools([get_weather], **options).invoke("Hello")
    chat("small" if to == "weak" else "large").bind_tools([get_weather], **options).invoke("Hello")

    ours, alone = (sent.body for sent in fake_openai.calls())
    assert ours == alone
    assert ours["parallel_tool_calls"] is False


def test_each_provider_gets_them_in_its_own_form(chat: MakeModel) -> None:
    claude = ChatAnthropic(model="claude-haiku-4-5", api_key="none")
    model = RouterChatModel(claude, chat("large"), memory=None)

    bound: Any = model.bind_tools([get_weather], tool_choice="any", parallel_tool_calls=False)
    form = bound.kwargs["tools"]

    ours = form.serving(claude, {})
    assert ours.kwargs == claude.bind_tools([get_weather], tool_choice="any", parallel_tool_calls=False).kwargs
    assert ours.kwargs["tool_choice"] == {"type": "any", "disable_parallel_tool_use": True}


# --- agents' strategies ---------------------------------------------------------------------------------------------

STRATEGIES = {
    "schema": City,
    "auto": AutoStrategy(City),
    "tool": ToolStrategy(City),
    "provider": ProviderStrategy(City),
}


def in_form(body: Any) -> str | Reply:
    """An answer in the form that was asked for."""
    names = [entry["function"]["name"] for entry in body.get("tools", ())]
    return Reply(tool_calls=[("City", {"name": "Rome"})]) if "City" in names else '{"name": "Rome"}'


def bodies(fake: FakeOpenAI) -> list[Any]:
    kept = [{k: v for k, v in sent.body.items() if k != "model"} for sent in fake.calls()]
    fake.requests.clear()
    return kept


@pytest.mark.parametrize("form", STRATEGIES.values(), ids=STRATEGIES.keys())
@pytest.mark.parametrize("structured_output", [True, False], ids=["provider can", "provider cannot"])
@pytest.mark.parametrize("inside", ["model", "middleware"])
@pytest.mark.parametrize("tools", [[], [get_weather]], ids=["no tools", "tools"])
def test_agents_ask_for_their_answer_as_they_would_ask_the_child(
    inside: str, structured_output: bool, form: Any, tools: list[Any], chat: MakeModel, fake_openai: FakeOpenAI
) -> None:
    weak, strong = (chat(name, profile={"structured_output": structured_output}) for name in ("small", "large"))
    options: dict[str, Any] = {"memory": ":memory:", "embedder": "hashing", "learning": "inline", "guides": False}
    question = {"messages": [HumanMessage("Name 'Rome'")]}
    for name in ("small", "large"):
        fake_openai.script(name, in_form)
    create_agent(strong, tools, response_format=form).invoke(question)
    (alone,) = bodies(fake_openai)

    router: Any
    if inside == "model":
        router = RouterChatModel(weak, strong, learning_budget=None, **options)
        agent = create_agent(router, tools, response_format=form)
    else:
        router = RARMiddleware(weak, strong, learning_budget=None, **options)
        agent = create_agent(strong, tools, response_format=form, middleware=[router])
    reasons = [agent.invoke(question)["messages"][1].response_metadata["rar"]["reason"] for _ in range(2)]

    assert reasons == ["no_evidence", "memory_weak"]
    assert [{k: v for k, v in body.items() if k != "temperature"} for body in bodies(fake_openai)[:2]] == [alone] * 2
    router.router.close()


def test_a_pair_of_which_one_knows_no_schemas_is_asked_by_tools(chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    weak, strong = (
        chat("small", profile={"structured_output": False}),
        chat("large", profile={"structured_output": True}),
    )
    around = RARMiddleware(weak, strong, memory=None, strategy=lambda _: "weak")
    question = {"messages": [HumanMessage("Name 'Rome'")]}

    model = RouterChatModel(weak, strong, memory=None, strategy=lambda _: "strong")
    assert create_agent(model, [], response_format=City).invoke(question)["structured_response"] == City(name="Rome")
    agent = create_agent(strong, [], response_format=City, middleware=[around])
    assert agent.invoke(question)["structured_response"] == City(name="Rome")

    assert [(sent.model, "response_format" in sent.body) for sent in fake_openai.calls()] == [
        ("large", False),
        ("small", False),
    ]


# --- what a model says of itself ------------------------------------------------------------------------------------


def test_models_by_name_are_asked_for_their_profile() -> None:
    model = RouterChatModel("openai:gpt-4o-mini", "openai:gpt-4o", memory=None, api_key="sk-secret")

    assert model.profile is not None
    assert model.profile["max_input_tokens"] == 128_000
    SummarizationMiddleware(model=model, trigger=("fraction", 0.8))


def test_a_model_by_name_that_cannot_be_made_yet_has_no_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)

    model = RouterChatModel("openai:gpt-4o-mini", "openai:gpt-4o", memory=None)

    assert model.profile is None
    assert model._get_ls_params()["ls_provider"] == "rar"


def test_the_provider_is_that_of_all_models(chat: MakeModel, routed: MakeRouter) -> None:
    claude = ChatAnthropic(model="claude-haiku-4-5", api_key="none")

    assert routed()._get_ls_params()["ls_provider"] == "openai"
    assert RouterChatModel(claude, chat("large"), memory=None)._get_ls_params()["ls_provider"] == "rar"


def test_reported_tokens_begin_a_summary_as_for_the_child(routed: MakeRouter, chat: MakeModel) -> None:
    counted: Any = {"input_tokens": 900, "output_tokens": 50, "total_tokens": 950}
    said = AIMessage("Hm.", usage_metadata=counted, response_metadata={"model_provider": "openai"})

    for model in (chat("large"), routed()):
        middleware = SummarizationMiddleware(model=model, trigger=("tokens", 500))
        assert middleware._should_summarize_based_on_reported_tokens([HumanMessage("Hi"), said], 500)


# --- prompt caching -------------------------------------------------------------------------------------------------


def test_a_guide_is_put_behind_what_the_provider_caches(routed: MakeRouter, chat: MakeModel) -> None:
    marked = {"type": "text", "text": "A long handbook.", "cache_control": {"type": "ephemeral"}}
    system = SystemMessage([{"type": "text", "text": "Be brief."}, marked])
    model = routed(lambda _: Route("weak", a_guide("Look outside.")))
    asked = HumanMessage([{"type": "text", "text": "Hello", "cache_control": {"type": "ephemeral"}}])
    request = model.serving([system, asked], None, {}).request

    call = model.router.decide(request, model.models()).call
    sent = model.models()["weak"].messages(call)

    assert sent[0] is system
    assert sent[1].content[:1] == asked.content
    assert "Look outside." in sent[1].content[1]["text"]
    assert "cache_control" not in sent[1].content[1]
    assert len(asked.content) == 1


# --- generate -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
async def test_generate_gives_what_the_child_gives(asynchronous: bool, routed: MakeRouter, chat: MakeModel) -> None:
    prompts: Any = [[HumanMessage("Hello")], [HumanMessage("Good bye")]]
    run_id = uuid.uuid4()
    results = []
    for model in (chat("small"), routed("weak")):
        if asynchronous:
            results.append(await model.agenerate(prompts, run_id=run_id))
        else:
            results.append(model.generate(prompts, run_id=run_id))

    alone, ours = results
    assert ours.llm_output == alone.llm_output
    assert ours.llm_output is not None
    assert ours.llm_output["token_usage"]["total_tokens"] == 36
    for one, other in zip(ours.generations, alone.generations, strict=True):
        assert one[0].generation_info == other[0].generation_info
        assert one[0].text == other[0].text
    assert ours.run is not None and alone.run is not None
    assert ours.run[0].run_id == alone.run[0].run_id == run_id
    assert len(ours.run) == 2


# --- structured output of models that know no `include_raw` ----------------------------------------------------------


class OldModel(BaseChatModel):
    """A model whose structured output takes a schema and no more."""

    model_name: str
    hidden: bool = False

    @property
    def _llm_type(self) -> str:
        return "old"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage('{"name": "Rome"}'))])

    def bind_tools(self, tools: Any, *, tool_choice: Any = None, **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self.bind(**kwargs)

    def with_structured_output(self, schema: Any) -> Runnable[Any, Any]:  # type: ignore[override]
        if self.hidden:
            return RunnableLambda(lambda prompt: schema.model_validate_json(self.invoke(prompt).text))
        return self | RunnableLambda(lambda message: schema.model_validate_json(message.text))


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["sync", "async"])
async def test_it_is_served_and_learned(asynchronous: bool, hidden: bool, chat: MakeModel) -> None:
    model = RouterChatModel(
        OldModel(model_name="small", hidden=hidden), chat("large"), memory=":memory:", embedder="hashing",
        learning="inline", learning_budget=None, judge="json", guides=False,
    )  # fmt: skip
    structured = model.with_structured_output(City)

    for _ in range(2):
        found = await structured.ainvoke("Name 'Rome'") if asynchronous else structured.invoke("Name 'Rome'")
        assert found == City(name="Rome")

    assert [facts["reason"] for facts in model.router.decisions()] == ["memory_weak", "no_evidence"]
    model.router.close()
