"""What a client of a deployed application can post steers nothing that the developer did not allow."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from langchain_core.messages import AIMessage
from llama_index.core.base.llms.types import ChatMessage
from llama_index.llms.openai_like import OpenAILike

from langchain_rar import RARMiddleware, RouterChatModel, steering
from llama_index_rar import RouterLLM
from rar.errors import ConfigurationError, FixedNamespaceError, OverrideError
from rar.values import Request
from tests.fake_openai import FakeOpenAI

MODES = ["invoke", "ainvoke", "stream", "astream", "batch", "abatch"]
DEPLOYED = {"langgraph_request_id": "r1", "thread_id": "t"}


def langchain(server: FakeOpenAI, **options: Any) -> RouterChatModel:
    from langchain_openai import ChatOpenAI

    weak, strong = (ChatOpenAI(model=name, base_url=server.url, api_key="none") for name in ("small", "big"))  # type: ignore[arg-type]
    return RouterChatModel(weak, strong, **{"memory": None, "strategy": lambda _: "weak", **options})


def llama_index(server: FakeOpenAI, **options: Any) -> RouterLLM:
    weak, strong = (
        OpenAILike(model=name, api_base=server.url, api_key="none", is_chat_model=True) for name in ("small", "big")
    )
    return RouterLLM(weak, strong, **{"memory": None, "strategy": lambda _: "weak", **options})


async def result(found: Any) -> Any:
    """What a call in any mode gives at the end: the first chunk of a stream, the first answer of a batch."""
    if inspect.isawaitable(found):
        found = await found
    if hasattr(found, "__anext__"):
        found = [chunk async for chunk in found]
    elif inspect.isgenerator(found):
        found = list(found)
    return found[0] if isinstance(found, list) else found


async def asked(model: RouterChatModel, mode: str, config: Any, **kwargs: Any) -> str:
    """Which model answers."""
    what: Any = ["Hello"] if "batch" in mode else "Hello"
    answer = await result(getattr(model, mode)(what, config, **kwargs))
    return str(answer.response_metadata["rar"]["model"])


@pytest.mark.parametrize("mode", MODES)
async def test_a_config_steers_as_far_as_no_client_writes_it(mode: str, fake_openai: FakeOpenAI) -> None:
    force = {"rar_force": "strong"}
    wary, trusting = langchain(fake_openai), langchain(fake_openai, trust_metadata=True)
    deployed = {"configurable": {**DEPLOYED, **force}}

    assert await asked(wary, mode, {"metadata": force}) == "weak"
    assert await asked(wary, mode, {"configurable": force}) == "strong"
    assert await asked(wary, mode, deployed) == "weak"
    assert await asked(wary, mode, deployed, **force) == "strong"
    assert await asked(trusting, mode, {"metadata": force}) == "strong"
    assert await asked(trusting, mode, deployed) == "strong"


@pytest.mark.parametrize("mode", MODES)
async def test_a_clients_mistake_in_metadata_is_no_error(mode: str, fake_openai: FakeOpenAI) -> None:
    assert await asked(langchain(fake_openai), mode, {"metadata": {"rar_forse": 1, "rar_namespace": 0}}) == "weak"


def test_the_middleware_trusts_metadata_only_where_it_is_told_so(fake_openai: FakeOpenAI) -> None:
    from langchain.agents import create_agent

    for trust, model in ((False, "weak"), (True, "strong")):
        router = langchain(fake_openai, trust_metadata=trust)
        middleware = RARMiddleware(
            router.weak, router.strong, memory=None, strategy=lambda _: "weak", trust_metadata=trust
        )
        agent = create_agent(router.strong, [], middleware=[middleware])
        said = agent.invoke({"messages": [("user", "Hello")]}, {"metadata": {"rar_force": "strong"}})["messages"][-1]
        assert isinstance(said, AIMessage)
        assert said.response_metadata["rar"]["model"] == model


@pytest.mark.parametrize("mode", MODES)
async def test_a_fixed_namespace_is_a_ceiling_in_langchain(mode: str, fake_openai: FakeOpenAI) -> None:
    model = langchain(fake_openai, namespace="a", namespaces="fixed")

    for config, kwargs in (({}, {"rar_namespace": "b"}), ({"configurable": {"rar_namespace": "b"}}, {})):
        with pytest.raises(FixedNamespaceError, match="another namespace than 'a'"):
            await asked(model, mode, config, **kwargs)
    assert await asked(model, mode, {}, rar_namespace="a") == "weak"


LLAMA_MODES = [
    "chat", "achat", "stream_chat", "astream_chat", "complete", "acomplete", "stream_complete", "astream_complete",
]  # fmt: skip


@pytest.mark.parametrize("mode", LLAMA_MODES)
async def test_a_fixed_namespace_is_a_ceiling_in_llama_index(mode: str, fake_openai: FakeOpenAI) -> None:
    llm = llama_index(fake_openai, namespace="a", namespaces="fixed")
    what: Any = [ChatMessage(content="Hello")] if "chat" in mode else "Hello"

    with pytest.raises(FixedNamespaceError, match="another namespace than 'a'"):
        await result(getattr(llm, mode)(what, rar_namespace="b"))
    answer = await result(getattr(llm, mode)(what, rar_namespace="a"))
    assert answer.additional_kwargs["rar"]["model"] == "weak"


WRONG: list[tuple[str, Any]] = [
    *(("rar_namespace", value) for value in (0, "", " ", False, b"n", ["n"], 1.5)),
    *(("rar_learn", value) for value in (0, 1, "false", "", "no", [])),
    *(("rar_user", value) for value in (0, "", 7, ["u"])),
    *(("rar_force", value) for value in (0, "", True)),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=[f"{name}={value!r}" for name, value in WRONG])
async def test_a_wrong_value_is_an_error_and_never_a_default(name: str, value: Any, fake_openai: FakeOpenAI) -> None:
    model, llm = langchain(fake_openai), llama_index(fake_openai)

    for mode in MODES:
        with pytest.raises(OverrideError, match=name):
            await asked(model, mode, {}, **{name: value})
        with pytest.raises(OverrideError, match=name):
            await asked(model, mode, {"configurable": {name: value}})
    for mode in LLAMA_MODES:
        what: Any = [ChatMessage(content="Hello")] if "chat" in mode else "Hello"
        with pytest.raises(OverrideError, match=name):
            await result(getattr(llm, mode)(what, **{name: value}))
    assert fake_openai.calls() == []


@pytest.mark.parametrize("value", [0, "", " ", ["q"], b"q"])
async def test_a_question_that_is_no_text_costs_nobody_the_answer(value: Any, fake_openai: FakeOpenAI) -> None:
    seen: list[Request] = []

    def strategy(request: Request) -> str:
        seen.append(request)
        return "weak"

    model, llm = langchain(fake_openai, strategy=strategy), llama_index(fake_openai, strategy=strategy)
    for mode in MODES:
        await asked(model, mode, {}, rar_query=value)
    for mode in LLAMA_MODES:
        what: Any = [ChatMessage(content="Hello")] if "chat" in mode else "Hello"
        await result(getattr(llm, mode)(what, rar_query=value))

    assert {request.key_source for request in seen} == {"last_user_message"}


def test_both_frameworks_take_a_user_and_send_it_to_no_model(fake_openai: FakeOpenAI) -> None:
    seen: list[Request] = []

    def strategy(request: Request) -> str:
        seen.append(request)
        return "weak"

    langchain(fake_openai, strategy=strategy).invoke("Hello", rar_user="anna")
    langchain(fake_openai, strategy=strategy).invoke("Hello", {"configurable": {"rar_user": "anna"}})
    llama_index(fake_openai, strategy=strategy).complete("Hello", rar_user="anna")

    assert [request.user for request in seen] == ["anna"] * 3
    assert all("anna" not in str(sent.body) for sent in fake_openai.calls())
    assert "anna" not in repr(seen)


@pytest.mark.parametrize("options", [{"namespaces": "closed"}, {"namespaces": True}])
def test_an_unknown_rule_for_namespaces_is_refused(options: Any, fake_openai: FakeOpenAI) -> None:
    for make in (langchain, llama_index):
        with pytest.raises(ConfigurationError, match="namespaces="):
            make(fake_openai, **options)
    with pytest.raises(ConfigurationError, match="trust_metadata="):
        langchain(fake_openai, trust_metadata="yes")


def test_overrides_that_do_not_count_are_told_of_once(
    fake_openai: FakeOpenAI, caplog: pytest.LogCaptureFixture
) -> None:
    steering._say_ignored.cache_clear()
    model = langchain(fake_openai)

    model.invoke("Hello", {"configurable": {"rar_force": "strong"}})
    assert "do not count" not in caplog.text
    for _ in range(2):
        model.invoke("Hello", {"metadata": {"rar_learn": False}})

    assert caplog.text.count("do not count") == 1
