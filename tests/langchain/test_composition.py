"""The router as a Runnable: wrapped, configured, copied; and its children in whatever they come wrapped in."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.language_models.fake import FakeListLLM
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.rate_limiters import BaseRateLimiter
from langchain_core.runnables import ConfigurableField, RunnableConfig, RunnableLambda, RunnableWithFallbacks
from pydantic import BaseModel

from langchain_rar import RouterChatModel
from rar.errors import ConfigurationError, MissingModelError, SameModelError
from rar.router import Router
from tests.fake_openai import FakeOpenAI, Reply
from tests.langchain.conftest import MakeModel, MakeRouter, Notes


class City(BaseModel):
    """A city."""

    name: str


# --- children -------------------------------------------------------------------------------------------------------


def test_children_may_be_bound_configured_or_have_fallbacks(chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    weak = chat("small").bind(temperature=0.3).with_config(tags=["w"]).with_fallbacks([chat("spare")])
    model = RouterChatModel(weak, chat("large"), memory=None, strategy=lambda _: "weak")

    assert model.invoke("Hello").text == "You said: Hello"
    assert model.models()["weak"].id == "small"
    assert fake_openai.calls()[0].body["temperature"] == 0.3


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
async def test_a_childs_fallbacks_take_part_in_events_v3(chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("small", Reply("out of order", status=500))
    weak = chat("small").with_fallbacks([chat("spare")]).with_config(tags=["w"])
    model = RouterChatModel(weak, chat("large"), memory=None, strategy=lambda _: "weak")

    streamed = model.stream_events("Hello", version="v3").output
    astreamed = await (await model.bind(temperature=0.5).astream_events("Hello", version="v3"))

    assert streamed.response_metadata["model_name"] == astreamed.response_metadata["model_name"] == "spare"
    assert streamed.response_metadata["rar"]["failed_over"] == []


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
def test_a_child_may_be_a_name(monkeypatch: pytest.MonkeyPatch, fake_openai: FakeOpenAI) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", fake_openai.url)

    model = RouterChatModel("openai:small", "openai:large", memory=None, strategy=lambda _: "weak", max_retries=0)

    assert model.invoke("Hello").response_metadata["model_name"] == "small"
    assert [chunk.text for chunk in model.stream("Hello")][1] == "You"
    assert model.stream_events("Hello", version="v3").output.text == "You said: Hello"
    assert model.models()["strong"].id == "large"
    assert model.bind_tools([City], tool_choice="any").invoke("Hello").tool_calls[0]["name"] == "City"
    assert "sk-secret" not in repr(model)


def test_children_may_be_named_by_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAR_WEAK_MODEL", "openai:small")
    monkeypatch.setenv("RAR_STRONG_MODEL", "openai:large")

    models = RouterChatModel(memory=None).models()

    assert (models["weak"].id, models["strong"].id) == ("small", "large")


def test_a_child_may_be_chosen_at_run_time(
    monkeypatch: pytest.MonkeyPatch, fake_openai: FakeOpenAI, chat: MakeModel
) -> None:
    from langchain.chat_models import init_chat_model

    weak = init_chat_model(model_provider="openai", base_url=fake_openai.url, api_key="none", max_retries=0)
    model = RouterChatModel(weak, chat("large"), memory=None, strategy=lambda _: "weak")

    message = model.invoke("Hello", {"configurable": {"model": "tiny"}})
    called = model.bind_tools([City], tool_choice="any").invoke("Hello", {"configurable": {"model": "tiny"}})

    assert message.response_metadata["model_name"] == "tiny"
    assert called.tool_calls[0]["name"] == "City"


def test_a_child_may_have_configurable_fields(chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    weak = chat("small").configurable_fields(temperature=ConfigurableField(id="t"))
    model = RouterChatModel(weak, chat("large"), memory=None, strategy=lambda _: "weak")

    model.invoke("Hello", {"configurable": {"t": 0.25}})
    called = model.bind_tools([City], tool_choice="any").invoke("Hello")

    assert (model.models()["weak"].id, fake_openai.calls()[0].body["temperature"]) == ("small", 0.25)
    assert called.tool_calls[0]["name"] == "City"


def test_a_child_may_be_any_runnable_of_messages(chat: MakeModel) -> None:
    weak = RunnableLambda(lambda messages: AIMessage(f"{len(messages)} messages"))
    model = RouterChatModel(weak, chat("large"), memory=None, strategy=lambda _: "weak")

    assert model.invoke("Hello").text == "1 messages"
    (chunk,) = model.stream("Hello")
    assert isinstance(chunk, AIMessageChunk)
    assert chunk.text == "1 messages"


def test_a_child_may_be_a_completion_model(chat: MakeModel) -> None:
    model = RouterChatModel(FakeListLLM(responses=["yes"]), chat("large"), memory=None, strategy=lambda _: "weak")

    assert model.invoke("Hello").text == "yes"
    assert "".join(chunk.text for chunk in model.stream("Hello")) == "yes"


def test_a_child_may_be_a_chain_that_ends_in_a_model(chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    weak = RunnableLambda(lambda messages: messages[-1:]) | chat("small")
    model = RouterChatModel(weak, chat("large"), memory=None, strategy=lambda _: "weak")

    model.bind_tools([City]).invoke([HumanMessage("one"), AIMessage("two"), HumanMessage("three")])

    assert [m["content"] for m in fake_openai.calls("small")[0].messages] == ["three"]


def test_one_model_is_missing(monkeypatch: pytest.MonkeyPatch, chat: MakeModel) -> None:
    monkeypatch.delenv("RAR_STRONG_MODEL", raising=False)

    with pytest.raises(MissingModelError, match=r"No strong model was given.*RAR_STRONG_MODEL"):
        RouterChatModel(chat("small"))


def test_both_models_are_one(chat: MakeModel, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model, other = chat("small"), GenericFakeChatModel(messages=iter(()))

    for weak, strong in ((model, model), (model, chat("small", temperature=1)), (other, other)):
        with pytest.raises(SameModelError):
            RouterChatModel(weak, strong)
    assert list(tmp_path.iterdir()) == []  # nothing was made before the pair was looked at


def test_one_name_may_stand_for_two_deployments(chat: MakeModel) -> None:
    model = RouterChatModel(chat("small"), chat("small"), memory=None, weak_id="old", strong_id="new")

    assert model.invoke("Hello").response_metadata["rar"]["model"] == "strong"


def test_something_else_is_no_model(chat: MakeModel) -> None:
    with pytest.raises(ConfigurationError, match=r"weak=3 is no model"):
        RouterChatModel(3, chat("large"))  # type: ignore[arg-type]


def test_engine_arguments_beside_a_router_are_refused(chat: MakeModel) -> None:
    with pytest.raises(ConfigurationError, match=r"\['quality'\] cannot be given beside `router=`"):
        RouterChatModel(chat("small"), chat("large"), router=Router(memory=None), quality=0.8)


def test_a_model_may_have_a_namespace_of_its_own_beside_a_shared_router(chat: MakeModel) -> None:
    with Router(memory=":memory:", embedder="hashing", learning="off", namespace="house") as router:
        for own, expected in ((None, "house"), ("mine", "mine")):
            given: dict[str, Any] = {} if own is None else {"namespace": own}
            RouterChatModel(chat("small"), chat("large"), router=router, **given).invoke("Hello")
            assert router.decisions()[0]["namespace"] == expected


def test_one_router_serves_several_models(chat: MakeModel) -> None:
    router = Router(memory=None, strategy=lambda _: "weak")

    one = RouterChatModel(chat("small"), chat("large"), router=router)
    two = RouterChatModel(chat("tiny"), chat("large"), router=router)

    assert one.router is two.router is router
    assert two.invoke("Hello").response_metadata["model_name"] == "tiny"


# --- settings -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_stop_temperature_and_max_tokens_appear_on_the_wire(
    stream: bool, routed: MakeRouter, fake_openai: FakeOpenAI
) -> None:
    model = routed(stop=["there"], temperature=0.25, max_tokens=50)

    message = (
        model.invoke("Hello there") if not stream else sum(model.stream("Hello there"), AIMessageChunk(content=""))
    )

    assert message.text.strip() == "You said: Hello"
    body = fake_openai.calls()[0].body
    assert (body["stop"], body["temperature"], body["max_completion_tokens"]) == (["there"], 0.25, 50)


def test_arguments_of_the_call_win_over_those_of_the_router(routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    routed(stop=["there"], temperature=0.25).invoke("Hello", stop=["x"], temperature=0.75, seed=3)

    body = fake_openai.calls()[0].body
    assert (body["stop"], body["temperature"], body["seed"]) == (["x"], 0.75, 3)


def test_constructor_arguments_that_cannot_take_effect_are_told_of(routed: MakeRouter) -> None:
    with pytest.warns(UserWarning, match=r"RouterChatModel ignores \['max_retries'\]"):
        routed(max_retries=3)


def test_disable_streaming_takes_effect(routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    (chunk,) = routed(disable_streaming=True).stream("one two")

    assert chunk.text == "You said: one two"
    assert "stream" not in fake_openai.calls()[0].body or not fake_openai.calls()[0].body["stream"]


async def test_disable_streaming_stops_implicit_streaming_too(routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    chain = RunnableLambda(lambda text: text) | routed(disable_streaming=True)

    async for _ in chain.astream_events("one two", version="v2"):
        pass

    assert not fake_openai.calls()[0].body.get("stream")


def test_streaming_takes_effect(routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    routed(streaming=True).invoke("one two")

    assert fake_openai.calls()[0].body["stream"] is True


def test_output_version_takes_effect(routed: MakeRouter) -> None:
    model = routed(output_version="v1")

    assert model.invoke("Hello").content == [{"type": "text", "text": "You said: Hello"}]
    assert isinstance(list(model.stream("Hello"))[1].content, list)


def test_a_cache_of_the_router_takes_effect_and_holds_no_decision(routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    cache = InMemoryCache()
    model = routed(cache=cache)

    first, second = model.invoke("Hello"), model.invoke("Hello")

    assert len(fake_openai.calls()) == 1
    assert first.response_metadata["rar"]["decision_id"] != second.response_metadata["rar"]["decision_id"]
    for generations in cache._cache.values():
        assert all("rar" not in generation.message.response_metadata for generation in generations)


def test_a_decision_in_the_history_does_not_keep_the_cache_from_being_hit(
    routed: MakeRouter, fake_openai: FakeOpenAI
) -> None:
    model = routed(cache=InMemoryCache())
    first = model.invoke("Hello")
    decided_anew = first.model_copy(
        update={"response_metadata": {**first.response_metadata, "rar": {"decision_id": "another"}}}
    )

    for answer in (first, decided_anew):
        model.invoke([HumanMessage("Hello"), answer, HumanMessage("And now?")])

    assert len(fake_openai.calls()) == 2


class CountingLimiter(BaseRateLimiter):
    def __init__(self) -> None:
        self.acquired: list[str] = []

    def acquire(self, *, blocking: bool = True) -> bool:
        self.acquired.append("sync")
        return True

    async def aacquire(self, *, blocking: bool = True) -> bool:
        self.acquired.append("async")
        return True


async def test_a_rate_limiter_takes_effect_in_every_mode(routed: MakeRouter) -> None:
    limiter = CountingLimiter()
    model = routed(rate_limiter=limiter)

    model.invoke("Hello")
    list(model.stream("Hello"))
    await model.ainvoke("Hello")
    _ = [chunk async for chunk in model.astream("Hello")]

    assert limiter.acquired == ["sync", "sync", "async", "async"]


def test_a_childs_own_setting_stands(chat: MakeModel) -> None:
    own = CountingLimiter()
    weak = chat("small", rate_limiter=own)
    model = RouterChatModel(weak, chat("large"), memory=None, strategy=lambda _: "weak", rate_limiter=CountingLimiter())

    model.invoke("Hello")

    assert own.acquired == ["sync"]
    assert weak.rate_limiter is own


# --- wrapping -------------------------------------------------------------------------------------------------------


def test_fallbacks_are_kept_by_bind_tools_and_structured_output(chat: MakeModel, routed: MakeRouter) -> None:
    model = routed().with_fallbacks([chat("spare")])

    bound = model.bind_tools([City], tool_choice="any")
    structured = model.with_structured_output(City)

    assert isinstance(bound, RunnableWithFallbacks)
    assert isinstance(structured, RunnableWithFallbacks)
    assert bound.invoke("Hello").tool_calls[0]["name"] == "City"


def test_the_routers_fallback_answers_when_both_models_fail(
    chat: MakeModel, routed: MakeRouter, fake_openai: FakeOpenAI
) -> None:
    for name in ("small", "large"):
        fake_openai.script(name, Reply("out of order", status=500))

    message = routed().with_fallbacks([chat("spare")]).bind_tools([City], tool_choice="any").invoke("Hello")

    assert message.tool_calls[0]["name"] == "City"
    assert [sent.model for sent in fake_openai.calls()] == ["small", "large", "spare"]


def test_with_retry_tries_again(routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    fake_openai.script("large", Reply("busy", status=500), "second time")

    message = routed("strong").with_retry(wait_exponential_jitter=False).invoke("Hello")

    assert message.text == "second time"


def test_configurable_fields_keep_one_engine(routed: MakeRouter) -> None:
    plain = GenericFakeChatModel(messages=cycle([AIMessage("fine")]))
    model: Any = routed(weak=plain).configurable_fields(temperature=ConfigurableField(id="t"))
    configs: list[RunnableConfig] = [{"configurable": {"t": index / 1000}} for index in range(1, 1001)]
    model.invoke("Hello", configs[0])
    threads = threading.active_count()

    for config in configs:
        model.invoke("Hello", config)
    made = [model.prepare(config)[0] for config in configs]

    assert [each.temperature for each in made] == [config["configurable"]["t"] for config in configs]
    assert {id(each.router) for each in made} == {id(model.default.router)}
    assert threading.active_count() == threads


def test_a_configured_field_takes_effect(routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    model = routed().configurable_fields(temperature=ConfigurableField(id="t"))

    model.invoke("Hello", {"configurable": {"t": 0.5}})
    model.invoke("Hello")

    assert [sent.body.get("temperature") for sent in fake_openai.calls()] == [0.5, None]


def test_configurable_alternatives_work(chat: MakeModel, routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    model = chat("plain").configurable_alternatives(ConfigurableField(id="llm"), default_key="plain", rar=routed())

    assert model.invoke("Hello", {"configurable": {"llm": "rar"}}).response_metadata["rar"]["model"] == "weak"


def test_as_completed_and_threads_work(routed: MakeRouter) -> None:
    model = routed()

    answers = dict(model.batch_as_completed([f"question {index}" for index in range(8)]))

    assert {index: answer.text for index, answer in answers.items()} == {
        index: f"You said: question {index}" for index in range(8)
    }


# --- copies and secrets ---------------------------------------------------------------------------------------------


class Plain(GenericFakeChatModel):
    messages: Iterator[AIMessage | str] = iter(())
    answer: str

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Any:
        from langchain_core.outputs import ChatGeneration, ChatResult

        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.answer))])


def test_a_deep_copy_shares_the_engine() -> None:
    model = RouterChatModel(Plain(answer="w"), Plain(answer="s"), memory=None)
    model.invoke("Hello")

    copied = copy.deepcopy(model)

    assert copied.router is model.router
    assert copied.invoke("Hello").text == "s"


def test_it_can_be_pickled_when_its_children_can() -> None:
    model = RouterChatModel(Plain(answer="w"), Plain(answer="s"), memory=None, namespace="mine")
    model.invoke("Hello")

    revived = pickle.loads(pickle.dumps(model))

    assert revived.router.namespace == "mine"
    assert revived.invoke("Hello").text == "s"


def test_no_secret_is_shown(routed: MakeRouter, notes: Notes) -> None:
    model = routed()

    model.invoke("Hello", {"callbacks": [notes]})

    for shown in (
        repr(model),
        str(model.model_dump()),
        str(model.asdict()),
        str(model._identifying_params),
        str(notes.starts),
    ):
        assert "sk-secret" not in shown


def test_it_is_not_serializable_and_says_so() -> None:
    assert not RouterChatModel.is_lc_serializable()


def test_the_profile_is_what_both_models_can_do(chat: MakeModel) -> None:
    weak = chat("small", profile={"max_input_tokens": 100, "tool_calling": True, "image_inputs": False})
    strong = chat("large", profile={"max_input_tokens": 900, "tool_calling": True, "image_inputs": True})

    model = RouterChatModel(weak, strong, memory=None)

    assert model.profile == {"max_input_tokens": 100, "tool_calling": True, "image_inputs": False}
    assert RouterChatModel(weak, chat("unknown"), memory=None).profile is None


def test_tokens_are_counted_by_a_child() -> None:
    class Counting(Plain):
        def get_num_tokens_from_messages(self, messages: Any, tools: Any = None) -> int:
            return 100 * len(messages)

        def get_token_ids(self, text: str) -> list[int]:
            return [1, 2, 3]

    model = RouterChatModel(Plain(answer="w"), Counting(answer="s"), memory=None)

    assert model.get_num_tokens_from_messages([HumanMessage("Hello")]) == 100
    assert model.get_num_tokens("Hello") == 3
