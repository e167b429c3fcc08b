"""Blocks that only their author can read are withheld from other models: in serving, in drafts and in learning."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import cycle
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from langchain_openai.chat_models.base import _construct_responses_api_input
from langgraph.checkpoint.memory import InMemorySaver

from langchain_rar import RARMiddleware, RouterChatModel
from langchain_rar.authors import readable, written_by
from langchain_rar.messages import to_engine, to_native
from rar.strategies import Cascade
from tests.fake_anthropic import FakeAnthropic, blocks_of

TEXT = {"type": "text", "text": "Seven."}
CALL = {"name": "f", "args": {"a": 1}, "id": "c1", "type": "tool_call"}

PRIVATE: dict[str, Any] = {
    "anthropic thinking": {"type": "thinking", "thinking": "Hm.", "signature": "s"},
    "anthropic hidden thinking": {"type": "redacted_thinking", "data": "x"},
    "anthropic search": {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {}},
    "anthropic search result": {
        "type": "web_search_tool_result",
        "tool_use_id": "srvtoolu_1",
        "content": [{"type": "web_search_result", "encrypted_content": "x"}],
    },
    "anthropic fetch result": {"type": "web_fetch_tool_result", "tool_use_id": "srvtoolu_1", "content": {}},
    "anthropic code result": {"type": "code_execution_tool_result", "tool_use_id": "srvtoolu_1", "content": {}},
    "anthropic shell result": {"type": "bash_code_execution_tool_result", "tool_use_id": "srvtoolu_1", "content": {}},
    "anthropic mcp call": {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "f", "input": {}},
    "anthropic mcp result": {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "content": []},
    "openai reasoning": {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"},
    "openai search": {"type": "web_search_call", "id": "ws_1", "status": "completed"},
    "openai file search": {"type": "file_search_call", "id": "fs_1", "queries": []},
    "openai code": {"type": "code_interpreter_call", "id": "ci_1", "code": "1"},
    "openai image": {"type": "image_generation_call", "id": "ig_1"},
    "openai mcp": {"type": "mcp_call", "id": "mcp_1", "name": "f"},
    "openai compaction": {"type": "compaction", "id": "cmp_1", "encrypted_content": "x"},
    "gemini code": {"type": "executable_code", "executable_code": "1", "language": "python"},
    "gemini code result": {"type": "code_execution_result", "code_execution_result": "1", "outcome": 1},
    "bedrock reasoning": {"type": "reasoning_content", "reasoning_content": {"text": "Hm.", "signature": "s"}},
    "mistral thinking": {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]},
    "langchain reasoning": {"type": "reasoning", "reasoning": "Hm.", "extras": {"signature": "s"}},
    "langchain server call": {"type": "server_tool_call", "id": "s1", "name": "search", "args": {}},
    "langchain server result": {"type": "server_tool_result", "tool_call_id": "s1", "status": "success"},
    "langchain other": {"type": "non_standard", "value": {"type": "thinking", "signature": "s"}},
}


def answer(*content: Any, by: str | None = "weak", **fields: Any) -> AIMessage:
    metadata = fields.pop("response_metadata", {})
    mark = {} if by is None else {"rar": {"model": by}}
    return AIMessage(list(content) or "Seven.", response_metadata={**metadata, **mark}, **fields)


def sent(messages: list[BaseMessage], role: str = "strong", model_id: str = "large") -> list[BaseMessage]:
    """What the model in `role` is sent of `messages`."""
    return to_native(readable(to_engine(messages), role, model_id))


@pytest.mark.parametrize("block", PRIVATE.values(), ids=PRIVATE.keys())
def test_a_private_block_is_for_its_author_alone(block: Any) -> None:
    message = answer(block, TEXT)
    before = copy.deepcopy(message)

    assert [m.content for m in sent([message], "strong")] == [[TEXT]]
    assert [m.content for m in sent([message], "weak")] == [[block, TEXT]]
    assert message == before


@pytest.mark.parametrize(
    ("block", "public"),
    [
        ({**TEXT, "id": "msg_1", "annotations": [], "phase": "final_answer"}, TEXT),
        ({**TEXT, "citations": [{"encrypted_index": "x"}]}, TEXT),
        ({**TEXT, "extras": {"signature": "s"}}, TEXT),
        ({**TEXT, "cache_control": {"type": "ephemeral"}}, {**TEXT, "cache_control": {"type": "ephemeral"}}),
        (
            {"type": "tool_use", "id": "c1", "name": "f", "input": {}, "caller": {"type": "code_execution"}},
            {"type": "tool_use", "id": "c1", "name": "f", "input": {}},
        ),
        ({"type": "image_url", "image_url": {"url": "u"}}, {"type": "image_url", "image_url": {"url": "u"}}),
        ("Seven.", "Seven."),
    ],
)
def test_of_other_blocks_everyone_reads_what_everyone_can(block: Any, public: Any) -> None:
    assert sent([answer(block)])[0].content == [public]
    assert sent([answer(block)], "weak")[0].content == [block]


@pytest.mark.parametrize(
    "name",
    [
        "reasoning_content",
        "reasoning",
        "reasoning_details",
        "tool_outputs",
        "thought_signature",
        "__openai_function_call_ids__",
        "__gemini_function_call_thought_signatures__",
    ],
)
def test_private_fields_beside_the_content_are_withheld_too(name: str) -> None:
    message = answer(additional_kwargs={name: {"c1": "x"}, "refusal": None}, tool_calls=[CALL])

    (other,) = sent([message])
    assert isinstance(other, AIMessage)
    assert (other.additional_kwargs, other.tool_calls) == ({"refusal": None}, [CALL])
    assert sent([message], "weak")[0].additional_kwargs == message.additional_kwargs


def test_ids_that_a_provider_looks_up_are_withheld_and_others_stay() -> None:
    openai = answer(id="msg_1", response_metadata={"id": "resp_1", "model_name": "small"})
    langchain = answer(id="lc_run--1", response_metadata={"id": "chatcmpl-1"})

    other, same = sent([openai])[0], sent([openai], "weak")[0]
    assert (other.id, other.response_metadata) == (None, {"model_name": "small"})
    assert (same.id, same.response_metadata["id"]) == ("msg_1", "resp_1")
    assert sent([langchain])[0].id == "lc_run--1"


def test_a_message_of_which_nothing_remains_is_left_out_with_the_results_of_its_calls() -> None:
    screen = {"type": "computer_call", "id": "cu_1", "call_id": "call_1", "action": {}}
    shot = ToolMessage("…", tool_call_id="call_1", additional_kwargs={"type": "computer_call_output"})
    thread = [HumanMessage("Look."), answer(screen), shot, answer(TEXT), HumanMessage("Again.")]

    assert [message.type for message in sent(thread)] == ["human", "ai", "human"]
    assert [message.type for message in sent(thread, "weak")] == ["human", "ai", "tool", "ai", "human"]


def test_a_call_that_everyone_can_read_keeps_its_result() -> None:
    item = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}"}
    thread = [
        HumanMessage("Go."),
        answer(PRIVATE["openai reasoning"], item, tool_calls=[CALL]),
        ToolMessage("7", tool_call_id="c1"),
    ]

    assert [message.type for message in sent(thread)] == ["human", "ai", "tool"]
    items = _construct_responses_api_input(sent(thread))
    assert [item.get("type") for item in items] == ["message", "function_call", "function_call_output"]
    assert not [item for item in items if "id" in item]
    same = _construct_responses_api_input(sent(thread, "weak"))
    assert [item.get("id") for item in same if item.get("type") in {"reasoning", "function_call"}] == ["rs_1", "fc_1"]


def test_the_older_form_of_responses_is_known_too() -> None:
    message = answer(
        {**TEXT, "annotations": []},
        id="msg_1",
        additional_kwargs={"reasoning": {"id": "rs_1", "type": "reasoning", "summary": []}},
        response_metadata={"id": "resp_1"},
    )

    assert [item.get("id") for item in _construct_responses_api_input(sent([message]))] == [None]
    assert [item.get("id") for item in _construct_responses_api_input(sent([message], "weak"))] == ["rs_1", "msg_1"]


@pytest.mark.parametrize(
    ("metadata", "model_id", "own"),
    [
        ({"rar": {"model": "strong"}, "model_name": "small"}, "large", True),  # the decision says it better than a name
        ({"rar": {"model": "weak"}, "model_name": "large"}, "large", False),
        ({"model_name": "claude-sonnet-4-5-20250929"}, "claude-sonnet-4-5", True),
        ({"model_name": "claude-sonnet-4-5-20250929"}, "us.anthropic.claude-sonnet-4-5-20250929-v1:0", True),
        ({"model": "gpt-4o-2024-08-06"}, "openai/gpt-4o", True),
        ({"model_name": "gemini-2.0-flash-001"}, "gemini-2.0-flash", True),
        ({"model_name": "gpt-5"}, "gpt-5-mini", False),
        ({"model_name": "gpt-4.1"}, "gpt-4o", False),
        ({"model_id": "claude-opus-4-1"}, "claude-haiku-4-5", False),
        ({}, "large", True),  # nobody knows
        ({"rar": "weak", "model_name": 7}, "large", True),
    ],
)
def test_whose_a_message_is(metadata: Any, model_id: str, own: bool) -> None:
    assert written_by(AIMessage("", response_metadata=metadata), "strong", model_id) is own


# --- on the wire ----------------------------------------------------------------------------------------------------


@pytest.fixture
def fake() -> Iterator[FakeAnthropic]:
    with FakeAnthropic() as server:
        yield server


@pytest.fixture
def pair(fake: FakeAnthropic) -> tuple[ChatAnthropic, ChatAnthropic]:
    thinking: Any = {"type": "enabled", "budget_tokens": 1024}
    options: Any = {"base_url": fake.url, "api_key": "none", "max_retries": 0, "thinking": thinking, "max_tokens": 2048}
    return ChatAnthropic(model="small", **options), ChatAnthropic(model="large", **options)


def signatures(body: dict[str, Any]) -> list[str]:
    blocks = [block for message in body["messages"] for block in blocks_of(message)]
    return [block["signature"] for block in blocks if block["type"] == "thinking"]


@tool
def look_up() -> str:
    """Look it up."""
    return "Found."


@pytest.mark.parametrize("mode", ["invoke", "ainvoke", "batch"])
async def test_a_thread_of_two_thinking_models_goes_on(mode: str, pair: Any, fake: FakeAnthropic) -> None:
    turns = cycle(["weak", "strong"])
    model = RouterChatModel(*pair, memory=None, strategy=lambda _: next(turns))
    thread: list[BaseMessage] = []

    for _ in range(4):
        thread.append(HumanMessage("Go on."))
        if mode == "ainvoke":
            thread.append(await model.ainvoke(thread))
        else:
            thread.append(model.invoke(thread) if mode == "invoke" else model.batch([thread])[0])

    assert [message.response_metadata["rar"]["failed_over"] for message in thread[1::2]] == [[]] * 4
    assert [body["model"] for body in fake.requests] == ["small", "large", "small", "large"]
    assert signatures(fake.requests[-1]) == ["signed by large"]


async def test_an_agents_thread_of_two_thinking_models_goes_on(pair: Any, fake: FakeAnthropic) -> None:
    turns = cycle(["weak", "strong"])
    middleware = RARMiddleware(*pair, memory=None, strategy=lambda _: next(turns))
    agent = create_agent(pair[1], [look_up], middleware=[middleware], checkpointer=InMemorySaver())
    config: Any = {"configurable": {"thread_id": "1"}}

    for question in ("Please look_up a word", "Please look_up another"):
        state = await agent.ainvoke({"messages": [HumanMessage(question)]}, config)

    assert state["messages"][-1].text == "You said: Found."
    assert [body["model"] for body in fake.requests] == ["small", "small", "large", "large"]
    assert signatures(fake.requests[-1]) == ["signed by large"]


def test_learning_and_drafts_read_no_more_than_serving(pair: Any, fake: FakeAnthropic) -> None:
    learning = RouterChatModel(
        *pair, memory=":memory:", embedder="hashing", learning="inline", learning_budget=None, judge="exact"
    )
    first = learning.invoke("What is two plus two?")
    thread = [HumanMessage("What is two plus two?"), first, HumanMessage("And three plus three?")]
    assert first.response_metadata["rar"]["model"] == "strong"

    learning.invoke(thread)
    assert signatures(next(body for body in fake.requests[2:] if body["model"] == "large")) == ["signed by large"]
    assert [signatures(body) for body in fake.requests[2:] if body["model"] == "small"] == [[]]
    learning.router.close()

    drafting = RouterChatModel(*pair, memory=None, strategy=Cascade(lambda request, draft: True))
    assert drafting.invoke(thread).response_metadata["rar"]["reason"] == "draft_accepted"


def test_responses_of_two_reasoning_models_share_no_items() -> None:
    own = answer(PRIVATE["openai reasoning"], {**TEXT, "id": "msg_1"}, response_metadata={"id": "resp_1"})
    chat = ChatOpenAI(model="large", api_key="none", use_responses_api=True, use_previous_response_id=True)

    body = chat._get_request_payload(sent([HumanMessage("One."), own, HumanMessage("Two.")]))

    assert "previous_response_id" not in body
    assert [item.get("role") for item in body["input"]] == ["user", "assistant", "user"]
