"""A model's own settings for prompts hold behind the router as in its own `predict`; so does the room for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core import Document, PromptHelper, SummaryIndex
from llama_index.core.base.llms.types import ChatMessage, CompletionResponse, LLMMetadata
from llama_index.core.bridge.pydantic import BaseModel, Field
from llama_index.core.indices.prompt_helper import ChatPromptHelper
from llama_index.core.llms.custom import CustomLLM
from llama_index.core.llms.llm import LLM
from llama_index.core.llms.mock import MockLLM
from llama_index.core.prompts import (
    ChatPromptTemplate,
    PromptTemplate,
    RichPromptTemplate,
    SelectorPromptTemplate,
)
from llama_index.core.prompts.utils import is_chat_model
from llama_index.core.types import BaseOutputParser, PydanticProgramMode

from llama_index_rar import RouterLLM
from rar.values import Guide, Route
from tests.fake_openai import FakeOpenAI
from tests.llama_index.test_router_llm import guide


class Says(CustomLLM):
    """A model that completes text, and keeps what it was asked."""

    name: str = "small"
    reply: str = '{"colour": "red"}'
    seen: list[str] = Field(default_factory=list)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name=self.name, context_window=4000, num_output=200)

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        assert self.completion_to_prompt is not None
        self.seen.append(prompt if formatted else self.completion_to_prompt(prompt))
        return CompletionResponse(text=self.reply)

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        yield self.complete(prompt, formatted).model_copy(update={"delta": self.reply})


class Parser(BaseOutputParser):
    def format(self, query: str) -> str:
        return f"{query} [as JSON]"

    def parse(self, output: str) -> str:
        if "unreadable" in output:
            raise ValueError(output)
        return f"parsed {output}"


class Lamp(BaseModel):
    """A lamp."""

    colour: str


def llama(prompt: str) -> str:
    return f"[INST] {prompt} [/INST]"


def llama_chat(messages: Any) -> str:
    return "".join(f"<|{message.role.value}|>{message.content}" for message in messages)


SETTINGS: list[dict[str, Any]] = [
    {"completion_to_prompt": llama},
    {"messages_to_prompt": llama_chat},
    {"completion_to_prompt": llama, "messages_to_prompt": llama_chat},
    {"query_wrapper_prompt": PromptTemplate("<|user|>{query_str}<|assistant|>")},
    {"system_prompt": "You are small."},
    {"output_parser": Parser()},
    {
        "system_prompt": "You are small.",
        "query_wrapper_prompt": PromptTemplate("<{query_str}>"),
        "output_parser": Parser(),
    },
    {"pydantic_program_mode": PydanticProgramMode.LLM},
]


def colour() -> PromptTemplate:
    """Made anew for each call: the framework's text programs write their parser into a template that they are given."""
    return PromptTemplate("Colour of {query_str}?")


CHAT_TEXT = [("system", "Chat."), ("user", "{query_str}")]
PROMPTS: list[Callable[[], Any]] = [
    colour,
    lambda: ChatPromptTemplate.from_messages([("system", "Be brief."), ("user", "Colour of {query_str}?")]),
    lambda: ChatPromptTemplate.from_messages([("user", "Colour of {query_str}?")]),
    lambda: RichPromptTemplate("Colour of {{ query_str }}?"),
    lambda: SelectorPromptTemplate(
        default_template=PromptTemplate("Text about {query_str}."),
        conditionals=[(is_chat_model, ChatPromptTemplate.from_messages(CHAT_TEXT))],
    ),
]
every_setting = pytest.mark.parametrize("settings", SETTINGS, ids=[",".join(s) for s in SETTINGS])
every_prompt = pytest.mark.parametrize("prompt", PROMPTS, ids=range(len(PROMPTS)))


def to(weak: LLM, strong: LLM | None = None, guide: Guide | None = None, **options: Any) -> RouterLLM:
    strong = strong or MockLLM()
    return RouterLLM(weak, strong, memory=None, strategy=lambda _: Route("weak", guide), **options)


@every_prompt
class TestAsAlone:
    @every_setting
    @pytest.mark.parametrize("beside", ["completes", "chats"])
    async def test_a_model_that_completes(
        self, beside: str, prompt: Callable[[], Any], settings: dict[str, Any], openai: Callable[..., LLM]
    ) -> None:
        alone, weak = Says(**settings), Says(**settings)
        router = to(weak, openai("large") if beside == "chats" else None)

        for llm in (alone, router):
            outputs = [llm.predict(prompt(), query_str="lamp"), await llm.apredict(prompt(), query_str="lamp")]
            assert outputs == [alone._parse_output(alone.reply)] * 2
            if alone.output_parser is None:
                assert "".join(llm.stream(prompt(), query_str="lamp")) == alone.reply
        assert weak.seen == alone.seen

    @pytest.mark.parametrize("settings", [{"system_prompt": "You are small.", "output_parser": Parser()}])
    async def test_a_model_that_chats(
        self, prompt: Callable[[], Any], settings: dict[str, Any], openai: Callable[..., LLM], fake_openai: FakeOpenAI
    ) -> None:
        alone, weak = openai("small", **settings), openai("small", **settings)
        outputs = [
            await predict(llm)
            for llm in (alone, to(weak, openai("large")))
            for predict in (_predicted(prompt), _apredicted(prompt))
        ]

        first, *others = (sent.messages for sent in fake_openai.calls())
        assert all(other == first for other in others)
        assert len(set(outputs)) == 1


def _predicted(prompt: Callable[[], Any]) -> Any:
    async def predict(llm: LLM) -> str:
        return llm.predict(prompt(), query_str="lamp")

    return predict


def _apredicted(prompt: Callable[[], Any]) -> Any:
    async def predict(llm: LLM) -> str:
        return await llm.apredict(prompt(), query_str="lamp")

    return predict


class TestObjects:
    @every_setting
    async def test_of_a_model_that_completes(self, settings: dict[str, Any]) -> None:
        alone, weak = Says(**settings), Says(**settings)
        for llm in (alone, to(weak)):
            assert llm.structured_predict(Lamp, colour(), query_str="lamp") == Lamp(colour="red")
            assert await llm.astructured_predict(Lamp, colour(), query_str="lamp") == Lamp(colour="red")

        assert weak.seen == alone.seen

    def test_of_a_model_with_another_program(self, openai: Callable[..., LLM], fake_openai: FakeOpenAI) -> None:
        weak = openai("small", pydantic_program_mode=PydanticProgramMode.LLM)
        fake_openai.script("small", '{"colour": "red"}')

        assert to(weak, openai("large")).structured_predict(Lamp, colour(), query_str="lamp") == Lamp(colour="red")
        assert "tools" not in fake_openai.calls()[0].body


class TestWithRoutersOwn:
    def test_both_system_prompts_hold(self, openai: Callable[..., LLM], fake_openai: FakeOpenAI) -> None:
        to(openai("small", system_prompt="You are small."), openai("large"), system_prompt="Be kind.").predict(
            colour(), query_str="lamp"
        )

        assert [m["content"] for m in fake_openai.calls()[0].messages if m["role"] == "system"] == [
            "You are small.",
            "Be kind.",
        ]

    def test_both_wrappers_hold(self) -> None:
        weak = Says(completion_to_prompt=llama)
        to(weak, query_wrapper_prompt=PromptTemplate("<{query_str}>")).predict(colour(), query_str="lamp")

        assert weak.seen == ["[INST] <Colour of lamp?> [/INST]"]

    def test_a_guide_is_inside_the_wrapper(self) -> None:
        weak = Says(completion_to_prompt=llama)
        to(weak, guide=guide("Count twice.")).predict(colour(), query_str="lamp")

        (seen,) = weak.seen
        assert seen.startswith("[INST] ") and seen.endswith("Colour of lamp? [/INST]")
        assert "Count twice." in seen

    def test_the_callers_template_is_left_alone(self) -> None:
        template = ChatMessage("Colour of {query_str}?", role="user")
        prompt = ChatPromptTemplate(message_templates=[template])
        to(Says(output_parser=Parser())).predict(prompt, query_str="lamp")

        assert template.content == "Colour of {query_str}?"

    async def test_what_a_models_own_parser_cannot_read_is_answered_by_the_strong_one(
        self, openai: Callable[..., LLM], fake_openai: FakeOpenAI
    ) -> None:
        router = to(openai("small", output_parser=Parser()), openai("large"))
        fake_openai.script("small", "unreadable")

        assert router.predict(PROMPTS[2](), query_str="lamp") == "You said: Colour of lamp?"
        assert await router.apredict(PROMPTS[2](), query_str="lamp") == "You said: Colour of lamp?"


class Sized(Says):
    window: int
    output: int

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(context_window=self.window, num_output=self.output, model_name=f"m{self.window}")


class TestRoom:
    @pytest.mark.parametrize(
        ("weak", "strong"),
        [
            ((3900, -1), (128_000, 4096)),
            ((3900, 256), (128_000, 64_000)),
            ((8000, 100), (16_000, 12_000)),
            ((8000, -1), (16_000, -1)),
            ((8000, 7000), (9000, 1000)),
            ((128_000, 16_384), (200_000, 8192)),
        ],
    )
    def test_is_the_least_of_what_each_model_leaves(self, weak: Any, strong: Any) -> None:
        pair = [Sized(window=window, output=output) for window, output in (weak, strong)]
        both = RouterLLM(*pair, memory=None).metadata

        for helper in (PromptHelper, ChatPromptHelper):
            rooms = [helper.from_llm_metadata(one.metadata) for one in pair]
            found = helper.from_llm_metadata(both)
            assert found.context_window - found.num_output == min(r.context_window - r.num_output for r in rooms)
        assert both.context_window == min(weak[0], strong[0])

    def test_no_known_limit_stays_none(self) -> None:
        assert (
            RouterLLM(Sized(window=8000, output=-1), Sized(window=9000, output=-1), memory=None).metadata.num_output
            == -1
        )

    def test_a_models_own_system_prompt_takes_room(self) -> None:
        weak = Sized(window=4000, output=200, system_prompt="one two three four five")
        both = RouterLLM(weak, Sized(window=9000, output=200), memory=None).metadata

        assert both.context_window - both.num_output == 4000 - 200 - 5

    def test_a_query_engine_over_both_packs_for_the_smaller(
        self, openai: Callable[..., LLM], fake_openai: FakeOpenAI
    ) -> None:
        strong = openai("large", max_tokens=9000).model_copy(update={"context_window": 128_000})
        router = to(openai("small"), strong)
        fake_openai.script("small", "word7")
        text = " ".join(f"word{n}" for n in range(9000))
        SummaryIndex.from_documents([Document(text=text)]).as_query_engine(llm=router).query("Which?")

        assert all(len(str(sent.messages).split()) < 8000 for sent in fake_openai.calls())
        assert len(fake_openai.calls()) > 1
