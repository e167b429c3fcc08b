"""The decision on every answer, what the caller can say about it, and what a guide does to the messages."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ChatMessage, HumanMessage, SystemMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import RunnableConfig

import rar
from langchain_rar import tag_query
from langchain_rar.messages import as_chunk, to_engine
from rar.errors import UnknownModelError
from rar.values import Request, Route
from tests.fake_openai import FakeOpenAI
from tests.langchain.conftest import MakeRouter, Notes, a_guide
from tests.langchain.test_runs import Mode, every_mode

pytestmark = pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")

FACTS = {
    "decision_id",
    "model",
    "reason",
    "why",
    "guide_id",
    "confidence",
    "similarity",
    "key_source",
    "drafts",
    "failed_over",
    "calls",
}


COSTS = {"usd", "strong_usd", "input_tokens", "output_tokens", "estimated", "calls"}


async def test_the_decision_is_on_the_first_chunk_its_cost_on_the_last_and_both_on_their_sum(
    routed: MakeRouter,
) -> None:
    model = routed()
    for chunks in (list(model.stream("one two")), [chunk async for chunk in model.astream("one two")]):
        first, *between, last = [set(chunk.response_metadata.get("rar", ())) for chunk in chunks]
        assert (first, last) == (FACTS, COSTS)
        assert set().union(*between) == set()
        whole = chunks[0] + chunks[1:]
        assert isinstance(whole, AIMessageChunk)
        assert whole.response_metadata["rar"]["model"] == "weak"
        assert whole.chunk_position == "last"


@every_mode
async def test_an_answer_says_what_it_cost_and_what_the_strong_model_would_have(mode: Mode, routed: MakeRouter) -> None:
    facts = (await mode(routed(prices={"weak": (1, 2), "strong": (10, 20)}), {})).response_metadata["rar"]

    assert set(facts) == FACTS | COSTS
    assert (facts["input_tokens"], facts["output_tokens"], facts["estimated"]) == (11, 7, False)
    assert (facts["usd"], facts["strong_usd"]) == (pytest.approx(25e-6), pytest.approx(250e-6))


def test_the_decision_is_never_sent_to_a_provider(routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    model = routed()
    first = model.invoke("Hello")

    model.invoke([HumanMessage("Hello"), first, HumanMessage("And now?")])

    assert "decision_id" not in str(fake_openai.calls()[-1].body)
    assert first.response_metadata["rar"]["model"] == "weak"


def test_what_the_model_run_ended_with_is_not_stamped(routed: MakeRouter, notes: Notes) -> None:
    routed().invoke("Hello", {"callbacks": [notes]})

    (result,) = notes.results
    assert "rar" not in result.generations[0][0].message.response_metadata  # type: ignore[union-attr]


# --- what the caller says -------------------------------------------------------------------------------------------


WAYS: dict[str, Any] = {
    "argument": lambda name, value: ({}, {name: value}),
    "configurable": lambda name, value: ({"configurable": {name: value}}, {}),
    "metadata": lambda name, value: ({"metadata": {name: value}}, {}),
    "config": lambda name, value: ({name: value}, {}),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_a_call_can_be_steered(way: Any, routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    seen: list[Request] = []
    model = routed(lambda request: seen.append(request) or "weak", trust_metadata=True)

    for name, value in {"rar_query": "Q", "rar_namespace": "N", "rar_learn": False}.items():
        config, kwargs = way(name, value)
        model.invoke("Hello", config, **kwargs)
    config, kwargs = way("rar_force", "strong")
    forced = model.invoke("Hello", config, **kwargs)

    assert (seen[0].key, seen[0].key_source) == ("Q", "given")
    assert seen[1].namespace == "N"
    assert [request.learn for request in seen] == [True, True, False]
    assert (forced.response_metadata["rar"]["model"], forced.response_metadata["rar"]["reason"]) == ("strong", "forced")
    assert all("rar_" not in str(sent.body) for sent in fake_openai.calls())


def test_forcing_a_model_that_does_not_exist_is_an_error(routed: MakeRouter) -> None:
    with pytest.raises(UnknownModelError, match="middling"):
        routed().invoke("Hello", rar_force="middling")


def test_steering_through_a_chain(routed: MakeRouter) -> None:
    chain = ChatPromptTemplate.from_template("{text}") | routed()
    config: RunnableConfig = {"configurable": {"rar_force": "strong"}}

    assert chain.invoke({"text": "Hello"}, config).response_metadata["rar"]["model"] == "strong"


# --- the key --------------------------------------------------------------------------------------------------------


def keys_of(routed: MakeRouter, **options: Any) -> tuple[Any, list[tuple[str | None, str]]]:
    seen: list[tuple[str | None, str]] = []
    return routed(lambda request: seen.append((request.key, request.key_source)) or "weak", **options), seen


RAG = "Use the context to answer.\nQuestion: {question}\nContext: {context}\nAnswer:"


def test_the_question_is_taken_out_of_a_known_rag_template(routed: MakeRouter) -> None:
    model, seen = keys_of(routed)

    (ChatPromptTemplate.from_template(RAG) | model).invoke({"question": "Who?", "context": "They."})

    assert seen == [("Who?", "template")]


async def test_a_tagged_prompt_names_its_question_in_every_mode(routed: MakeRouter) -> None:
    model, seen = keys_of(routed)
    prompt = ChatPromptTemplate.from_template("Think hard about {topic}, given {context}")
    chain = tag_query(prompt, "topic") | model

    given = {"topic": "Rome", "context": "all of it"}
    chain.invoke(given)
    list(chain.stream(given))
    await chain.ainvoke(given)
    _ = [chunk async for chunk in chain.astream(given)]

    assert seen == [("Rome", "tagged_prompt")] * 4


def test_a_tag_on_something_that_is_no_text_is_no_tag(routed: MakeRouter) -> None:
    model, seen = keys_of(routed)
    prompt = ChatPromptTemplate.from_messages([("placeholder", "{question}")])

    (tag_query(prompt) | model).invoke({"question": [HumanMessage("Who?")]})

    assert seen == [("Who?", "last_user_message")]


def test_the_rungs_of_the_ladder_are_tried_in_order(routed: MakeRouter) -> None:
    model, seen = keys_of(routed, query_extractor=lambda messages: messages[-1].text.upper())
    chain = tag_query(ChatPromptTemplate.from_template("About {question}")) | model

    with rar.query("ambient"):
        chain.invoke({"question": "q"}, {"configurable": {"rar_query": "given"}})
        chain.invoke({"question": "q"})
    chain.invoke({"question": "q"})
    model.invoke("extracted")

    assert seen == [
        ("given", "given"),
        ("ambient", "query_block"),
        ("q", "tagged_prompt"),
        ("EXTRACTED", "query_extractor"),
    ]


def test_an_extractor_that_does_not_know_leaves_it_to_the_next_rung(routed: MakeRouter) -> None:
    model, seen = keys_of(routed, query_extractor=lambda messages: None)

    model.invoke("Hello")

    assert seen == [("Hello", "last_user_message")]


def test_a_recorded_chain_knows_its_question(routed: MakeRouter, monkeypatch: pytest.MonkeyPatch) -> None:
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.runnables import RunnablePassthrough
    from langchain_core.tracers import context

    from langchain_rar import keys

    class Shelf(BaseRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
            return [Document("a page")]

    monkeypatch.setattr(context, "_configure_hooks", [*context._configure_hooks])
    monkeypatch.setattr(keys.recorder, "_started", False)
    model, seen = keys_of(routed, record_queries=True)
    prompt = ChatPromptTemplate.from_template("Read {pages} and think about {it}")

    (RunnablePassthrough.assign(pages=(lambda x: x["it"]) | Shelf()) | prompt | model).invoke({"it": "Rome?"})
    ({"pages": Shelf(), "it": RunnablePassthrough()} | prompt | model).invoke("Athens?")
    model.invoke("alone")

    assert seen == [("Rome?", "recorded"), ("Athens?", "recorded"), ("alone", "last_user_message")]
    assert keys.recorder._roots == keys.recorder._asked == {}


def test_no_user_text_is_no_key(routed: MakeRouter) -> None:
    model, seen = keys_of(routed)

    model.invoke([HumanMessage([{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}])])
    model.invoke([SystemMessage("Speak.")])

    assert seen == [(None, "none"), (None, "none")]


# --- what is sent ---------------------------------------------------------------------------------------------------


def guided(routed: MakeRouter) -> Any:
    return routed(lambda _: Route("weak", a_guide("Count on your fingers.")))


def test_a_guide_is_appended_to_the_users_last_message_and_to_no_other(
    routed: MakeRouter, fake_openai: FakeOpenAI
) -> None:
    guided(routed).invoke(
        [SystemMessage("Be brief."), HumanMessage("Hello"), AIMessage("Hi"), HumanMessage("And now?")]
    )

    *before, last = fake_openai.calls()[0].messages
    assert [(m["role"], m["content"]) for m in before] == [
        ("system", "Be brief."),
        ("user", "Hello"),
        ("assistant", "Hi"),
    ]
    assert last["role"] == "user" and last["content"].startswith("And now?\n\n")
    assert "<reference_notes>\nCount on your fingers.\n</reference_notes>" in last["content"]


def test_a_guide_where_no_user_speaks_is_a_users_message(routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    guided(routed).invoke([SystemMessage("Speak.")])

    system, user = fake_openai.calls()[0].messages
    assert (system["content"], user["role"]) == ("Speak.", "user")
    assert "Count on your fingers." in user["content"]


def test_blocks_of_a_message_and_their_cache_control_are_kept(routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    block = {"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}

    guided(routed).invoke([SystemMessage([block]), HumanMessage([block])])

    system, user = (message["content"] for message in fake_openai.calls()[0].messages)
    assert system == [block]
    assert user[0] == block
    assert "Count on your fingers." in user[1]["text"] and "cache_control" not in user[1]


def test_images_are_sent_on_untouched(routed: MakeRouter, fake_openai: FakeOpenAI) -> None:
    parts: list[Any] = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    ]

    guided(routed).invoke([HumanMessage(parts)])

    (message,) = fake_openai.calls()[0].messages
    assert message["content"][:2] == parts
    assert "Count on your fingers." in message["content"][2]["text"]


@pytest.mark.parametrize("to", ["guided", "weak"])
def test_the_callers_messages_are_left_as_they_were(to: str, routed: MakeRouter) -> None:
    model = guided(routed) if to == "guided" else routed()
    messages: list[BaseMessage] = [
        SystemMessage([{"type": "text", "text": "Be brief."}]),
        HumanMessage("Hello"),
        model.invoke("Hello"),
        HumanMessage("And now?"),
    ]
    before = copy.deepcopy(messages)

    model.invoke(messages)
    list(model.stream(messages))

    assert messages == before


@pytest.mark.parametrize(
    ("message", "role"),
    [
        (ChatMessage("text", role="developer"), "system"),
        (ChatMessage("text", role="critic"), "user"),
        (AIMessage("text"), "assistant"),
        (AIMessageChunk("text"), "assistant"),
    ],
)
def test_roles_are_mapped(message: BaseMessage, role: str) -> None:
    (mapped,) = to_engine([message])
    assert (mapped.role, mapped.text) == (role, "text")


def test_a_whole_message_becomes_a_chunk_with_all_that_it_held() -> None:
    call = {"name": "f", "args": {"a": 1}, "id": "c1", "type": "tool_call"}
    message = AIMessage(
        "text", tool_calls=[call], usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    )

    chunk = as_chunk(message)

    assert (chunk.text, chunk.tool_calls, chunk.usage_metadata) == ("text", [call], message.usage_metadata)
