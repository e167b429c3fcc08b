"""What only its author can read reaches its author alone: in serving, in drafts and in shadow calls."""

from __future__ import annotations

from typing import Any

import pytest
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CitationBlock,
    ContentBlock,
    TextBlock,
    ThinkingBlock,
    ToolCallBlock,
)
from llama_index.core.bridge.pydantic import Field
from llama_index.core.llms.llm import LLM
from llama_index.core.llms.mock import MockFunctionCallingLLM
from llama_index.core.tools import FunctionTool

from llama_index_rar import RouterLLM
from llama_index_rar.authors import Audience, Authors
from rar.strategies import Cascade
from tests.contract.llama_index_llm import user

SIGNED = ThinkingBlock(content="Let me see.", additional_information={"signature": "c2ln"})
UNSIGNED = ThinkingBlock(content="Let me see.")
REASONING = ThinkingBlock(content="A summary.", additional_information={"id": "rs_1", "encrypted_content": None})
CITATION = CitationBlock(cited_content="red", source="a", title="b", additional_location_info={})
CALL = ToolCallBlock(tool_call_id="1", tool_name="look", tool_kwargs={})
TEXT = TextBlock(text="I look.")


def said(*blocks: ContentBlock, **extras: Any) -> ChatMessage:
    return ChatMessage(role="assistant", blocks=list(blocks), additional_kwargs=extras)


PRIVATE: list[ChatMessage] = [
    said(SIGNED, TEXT, CALL),
    said(UNSIGNED, TEXT, CALL),
    said(REASONING, TEXT, CALL),
    said(CITATION, TEXT, CALL),
    said(TEXT, CALL, thinking="Hm."),
    said(TEXT, CALL, reasoning_content="Hm."),
    said(TEXT, CALL, thought_signatures=["c2ln"]),
    said(TEXT, CALL, thinking_blocks=[{"type": "redacted_thinking", "data": "YQ=="}]),
]
every_kind = pytest.mark.parametrize("message", PRIVATE, ids=range(len(PRIVATE)))

CLAUDE, GPT, GEMINI = (f"llama_index.llms.{name}.base" for name in ("anthropic", "openai", "google_genai"))


class Thinker(MockFunctionCallingLLM):
    """Looks once, with a signed thought, then answers; keeps what it was sent."""

    name: str
    seen: list[list[ChatMessage]] = Field(default_factory=list)

    @property
    def metadata(self) -> Any:
        return super().metadata.model_copy(update={"model_name": self.name, "is_chat_model": True})

    def chat(self, messages: Any, **kwargs: Any) -> ChatResponse:
        self.seen.append(list(messages))
        if messages[-1].role.value == "tool":
            return ChatResponse(message=ChatMessage("red", role="assistant"))
        thought = ThinkingBlock(content="Hm.", additional_information={"signature": f"by {self.name}"})
        return ChatResponse(message=said(thought, TEXT, CALL))


def child(name: str, module: str) -> LLM:
    """A model whose integration lives in `module`."""
    made: LLM = type("Made", (Thinker,), {"__module__": module})(name=name)
    return made


class Told:
    """An audience by its models' names and modules."""

    def __init__(self, **modules: str) -> None:
        self.authors = Authors()
        self._children = {name: child(name, module) for name, module in modules.items()}

    def readable(self, messages: list[ChatMessage], reader: str) -> list[ChatMessage]:
        children = tuple(self._children.values())
        return Audience(self.authors, children).readable(messages, self._children[reader])


class TestKnownAuthors:
    @every_kind
    def test_the_author_gets_its_own_message_back(self, message: ChatMessage) -> None:
        those = Told(small=CLAUDE, large=CLAUDE)
        those.authors.remember(message, "small")

        assert those.readable([message], "small") == [message]

    @every_kind
    def test_others_get_a_copy_without_what_they_cannot_read(self, message: ChatMessage) -> None:
        those, before = Told(small=CLAUDE, large=CLAUDE), message.model_copy(deep=True)
        those.authors.remember(message, "small")

        (shown,) = those.readable([message], "large")
        assert (shown.blocks, shown.additional_kwargs) == ([TEXT, CALL], {})
        assert message == before

    @every_kind
    def test_a_message_is_known_after_it_was_stored(self, message: ChatMessage) -> None:
        those = Told(small=CLAUDE, large=CLAUDE)
        those.authors.remember(message, "small")
        stored = ChatMessage.model_validate_json(message.model_dump_json())

        assert those.readable([stored], "small") == [stored]
        assert those.readable([stored], "large")[0].blocks == [TEXT, CALL]

    def test_a_message_of_thoughts_alone_is_left_out(self) -> None:
        those = Told(small=CLAUDE, large=CLAUDE)
        those.authors.remember(said(SIGNED), "small")

        assert those.readable([user("Hello"), said(SIGNED), user("Go on")], "large") == [user("Hello"), user("Go on")]

    def test_what_tells_a_tool_call_from_an_answer_is_kept(self) -> None:
        those, message = Told(small=GPT, large=GPT), said(SIGNED, TEXT, tool_call_id="1", reasoning_content="Hm.")
        those.authors.remember(message, "small")

        assert those.readable([message], "large")[0].additional_kwargs == {"tool_call_id": "1"}


class TestUnknownAuthors:
    """Threads that began in another process."""

    def test_a_signed_part_goes_to_the_one_that_alone_can_have_made_it(self) -> None:
        those = Told(local="llama_index.llms.ollama.base", claude=CLAUDE)

        assert those.readable([said(SIGNED, TEXT)], "claude") == [said(SIGNED, TEXT)]
        assert those.readable([said(SIGNED, TEXT)], "local") == [said(TEXT)]

    @pytest.mark.parametrize(
        ("message", "maker", "other"),
        [
            (said(REASONING, TEXT), GPT, CLAUDE),
            (said(TEXT, thought_signatures=["c2ln"]), GEMINI, GPT),
            (said(CITATION, TEXT), CLAUDE, GPT),
        ],
    )
    def test_each_provider_is_known_by_its_signature(self, message: ChatMessage, maker: str, other: str) -> None:
        those = Told(one=maker, two=other)

        assert those.readable([message], "one") == [message]
        assert those.readable([message], "two") == [said(TEXT)]

    def test_of_two_that_can_have_made_it_neither_gets_it(self) -> None:
        those = Told(haiku=CLAUDE, opus=CLAUDE)

        assert [those.readable([said(SIGNED, TEXT)], name) for name in ("haiku", "opus")] == [[said(TEXT)]] * 2

    def test_what_nobody_signed_goes_to_all(self) -> None:
        those = Told(small=GPT, large=GPT)

        assert those.readable([said(UNSIGNED, TEXT)], "small") == [said(UNSIGNED, TEXT)]

    def test_what_users_write_is_theirs(self) -> None:
        message = ChatMessage(role="user", blocks=[CITATION, TEXT], additional_kwargs={"thinking": "Hm."})

        assert Told(small=GPT).readable([message], "small") == [message]


def look() -> str:
    """Look."""
    return "red"


LOOK = FunctionTool.from_defaults(look)


def loop(llm: RouterLLM, **overrides: Any) -> list[Any]:
    """Two calls of one tool loop, the second steered by `overrides`."""
    first = llm.chat_with_tools([LOOK], chat_history=[user("Which colour?")])
    history = [user("Which colour?"), first.message, ChatMessage("red", role="tool")]
    return [first, llm.chat_with_tools([LOOK], chat_history=history, **overrides)]


def thoughts(messages: list[ChatMessage]) -> list[Any]:
    return [block for message in messages for block in message.blocks if isinstance(block, ThinkingBlock)]


class TestThreads:
    def test_the_author_goes_on_with_its_thoughts(self) -> None:
        weak, strong = Thinker(name="small"), Thinker(name="large")
        loop(RouterLLM(weak, strong, memory=None, strategy=lambda _: "weak"))

        assert [len(thoughts(sent)) for sent in weak.seen] == [0, 1]
        assert strong.seen == []

    def test_the_other_model_takes_over_without_them(self) -> None:
        weak, strong = Thinker(name="small"), Thinker(name="large")
        _, second = loop(RouterLLM(weak, strong, memory=None, strategy=lambda _: "weak"), rar_force="strong")

        assert second.message.content == "red"
        assert thoughts(strong.seen[0]) == []
        assert strong.seen[0][1].blocks == [TEXT, CALL]

    def test_drafts_are_asked_without_them(self) -> None:
        weak, strong = Thinker(name="small"), Thinker(name="large")
        llm = RouterLLM(weak, strong, memory=None, strategy=Cascade(lambda *_: True))
        first = llm.chat_with_tools([LOOK], chat_history=[user("Which colour?")], rar_force="strong")
        history = [user("Which colour?"), first.message, ChatMessage("red", role="tool"), user("Look again.")]
        llm.chat_with_tools([LOOK], chat_history=[*history, said(TEXT), user("And now?")])

        assert thoughts(weak.seen[-1]) == []

    def test_shadow_calls_are_made_without_them(self) -> None:
        weak, strong = Thinker(name="small"), Thinker(name="large")
        llm = RouterLLM(
            weak, strong, memory=":memory:", embedder="hashing", learning="inline", learning_budget=None, guides=False
        )
        first = llm.chat([user("Which colour?")])
        llm.chat([user("Which colour?"), first.message, user("And the lamp in the hall, which colour is that?")])

        assert len(thoughts(strong.seen[-1])) == 1
        assert len(weak.seen) >= 2
        assert thoughts(weak.seen[-1]) == []
