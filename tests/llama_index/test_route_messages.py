"""A strategy's own messages in LlamaIndex: the last call of a fuser streams, calls tools and parses like any other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.bridge.pydantic import BaseModel
from llama_index.core.llms.llm import LLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool

from llama_index_rar import RouterLLM
from rar import Call, Guide, Message, Reply, Request, Route, Steps, ask_all
from rar.values import Choice
from tests.fake_openai import FakeOpenAI, Sent

GUIDE = Guide("g1", "default", "answer", "Count on your fingers.", np.ones(2, np.float32), "large", "e1", "active")
Make = Callable[..., LLM]
ASKED = [ChatMessage("Be brief.", role="system"), ChatMessage("Weather in 'Rome'?")]
FUSED = [
    ("system", "Be brief."),
    ("user", "Weather in 'Rome'?"),
    ("assistant", "It is dry."),
    ("user", "Fuse: weather."),
]


@dataclass(frozen=True)
class Fuser:
    """Asks the weak model, and has the strong one make an answer of what it said."""

    guided: bool = False

    def steps(self, request: Request) -> Steps[Choice]:
        (draft,) = yield from ask_all([Call("weak", request)])
        assert isinstance(draft, Reply)
        messages = (*request.messages, Message("assistant", "It is dry."), Message("user", "Fuse: weather."))
        return Route("strong", reason="fused", messages=messages, guide=GUIDE if self.guided else None)


@pytest.fixture
def fused(openai: Make) -> RouterLLM:
    return RouterLLM(openai("small"), openai("large"), memory=None, strategy=Fuser())


def sent(call: Sent) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in call.messages]


async def test_every_mode_sends_them(fused: RouterLLM, fake_openai: FakeOpenAI) -> None:
    texts = [
        fused.chat(ASKED).message.content,
        (await fused.achat(ASKED)).message.content,
        list(fused.stream_chat(ASKED))[-1].message.content,
        [chunk async for chunk in await fused.astream_chat(ASKED)][-1].message.content,
    ]

    assert texts == ["You said: Fuse: weather."] * 4
    assert [sent(call) for call in fake_openai.calls("large")] == [FUSED] * 4
    assert [len(sent(call)) for call in fake_openai.calls("small")] == [2] * 4


async def test_completions_send_them(fused: RouterLLM, fake_openai: FakeOpenAI) -> None:
    texts = [
        fused.complete("Weather in 'Rome'?").text,
        (await fused.acomplete("Weather in 'Rome'?")).text,
        list(fused.stream_complete("Weather in 'Rome'?"))[-1].text,
        [chunk async for chunk in await fused.astream_complete("Weather in 'Rome'?")][-1].text,
    ]

    assert texts == ["You said: Fuse: weather."] * 4
    assert [sent(call) for call in fake_openai.calls("large")] == [FUSED[1:]] * 4


def test_a_stream_comes_word_by_word(fused: RouterLLM) -> None:
    assert len([chunk for chunk in fused.stream_chat(ASKED) if chunk.delta]) > 3


@pytest.mark.parametrize("chats", [True, False])
async def test_a_template_is_filled_in_for_drafts_and_gives_way(
    chats: bool, openai: Make, fake_openai: FakeOpenAI
) -> None:
    large = openai("large", is_chat_model=chats, is_function_calling_model=chats, system_prompt="Be brief.")
    fused = RouterLLM(openai("small"), large, memory=None, strategy=Fuser())
    prompt = PromptTemplate("Weather in '{city}'?")

    for text in (fused.predict(prompt, city="Rome"), await fused.apredict(prompt, city="Rome")):
        assert "Fuse: weather." in text
    bodies = [call.body for call in fake_openai.calls("large")]
    if chats:
        assert [sent(call) for call in fake_openai.calls("large")] == [FUSED, FUSED]
    else:
        assert {body["prompt"] for body in bodies} == {
            "Be brief.\n\nWeather in 'Rome'?\n\nIt is dry.\n\nFuse: weather."
        }
    assert sent(fake_openai.calls("small")[0]) == [("user", "Weather in 'Rome'?")]


def test_tools_and_options_stay(fused: RouterLLM, fake_openai: FakeOpenAI) -> None:
    weather = FunctionTool.from_defaults(fn=lambda city: "fine", name="weather", description="The weather.")

    response = fused.chat_with_tools([weather], chat_history=ASKED, stop=["!"])

    body = fake_openai.calls("large")[0].body
    assert [call.tool_name for call in fused.get_tool_calls_from_response(response)] == ["weather"]
    assert (body["stop"], body["tools"][0]["function"]["name"]) == (["!"], "weather")
    assert sent(fake_openai.calls("large")[0]) == FUSED


async def test_a_schema_stays(fused: RouterLLM, fake_openai: FakeOpenAI) -> None:
    class City(BaseModel):
        name: str

    prompt: Any = PromptTemplate("Weather in '{city}'?")
    cities = [
        fused.structured_predict(City, prompt, city="Rome"),
        await fused.astructured_predict(City, prompt, city="Rome"),
    ]

    assert cities == [City(name="Fuse: weather.")] * 2
    assert [sent(call) for call in fake_openai.calls("large")] == [FUSED[1:]] * 2


def test_a_guide_goes_into_them(openai: Make, fake_openai: FakeOpenAI) -> None:
    llm = RouterLLM(openai("small"), openai("large"), memory=None, strategy=Fuser(guided=True))

    llm.chat(ASKED)

    last = sent(fake_openai.calls("large")[0])[-1][1]
    assert last.startswith("Fuse: weather.")
    assert "Count on your fingers." in last
