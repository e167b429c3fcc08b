"""A strategy's own messages in LangChain: the last call of a fuser streams, binds tools and parses like any other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tools import tool
from pydantic import BaseModel

from langchain_rar import RARMiddleware, RouterChatModel
from rar import Call, Message, Reply, Request, Route, Steps, ask_all
from rar.values import Choice
from tests.fake_openai import FakeOpenAI, Sent
from tests.langchain.conftest import MakeModel, Notes, a_guide

ASKED = [SystemMessage("Be brief."), HumanMessage("Weather in 'Rome'?")]
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
        return Route("strong", reason="fused", messages=messages, guide=a_guide() if self.guided else None)


@pytest.fixture
def fused(chat: MakeModel) -> RouterChatModel:
    return RouterChatModel(chat("small"), chat("large"), memory=None, strategy=Fuser())


def sent(call: Sent) -> list[tuple[str, str]]:
    return [(message["role"], message["content"]) for message in call.messages]


async def test_every_mode_sends_them(fused: RouterChatModel, fake_openai: FakeOpenAI, notes: Notes) -> None:
    config: Any = {"callbacks": [notes]}
    texts = [
        fused.invoke(ASKED, config).text,
        (await fused.ainvoke(ASKED, config)).text,
        "".join(chunk.text for chunk in fused.stream(ASKED, config)),
        "".join([chunk.text async for chunk in fused.astream(ASKED, config)]),
        *(message.text for message in fused.batch([ASKED], config)),
        *(message.text for message in await fused.abatch([ASKED], config)),
    ]

    assert texts == ["You said: Fuse: weather."] * 6
    assert [sent(call) for call in fake_openai.calls("large")] == [FUSED] * 6
    assert [len(sent(call)) for call in fake_openai.calls("small")] == [2] * 6
    assert len(notes.llms) == 6
    assert notes.tokens  # the last call streams by itself


def test_a_stream_comes_word_by_word(fused: RouterChatModel) -> None:
    chunks = [chunk.text for chunk in fused.stream(ASKED) if chunk.text]

    assert len(chunks) > 3


def test_tools_and_options_stay(fused: RouterChatModel, fake_openai: FakeOpenAI) -> None:
    @tool
    def weather(city: str) -> str:
        """The weather."""
        return "fine"

    message: Any = fused.bind_tools([weather]).invoke(ASKED, stop=["!"], temperature=0.3)

    body = fake_openai.calls("large")[0].body
    assert [call["name"] for call in message.tool_calls] == ["weather"]
    assert (body["stop"], body["temperature"], body["tools"][0]["function"]["name"]) == (["!"], 0.3, "weather")


def test_a_schema_stays(fused: RouterChatModel, fake_openai: FakeOpenAI) -> None:
    class City(BaseModel):
        name: str

    assert fused.with_structured_output(City).invoke(ASKED) == City(name="Fuse: weather.")
    assert sent(fake_openai.calls("large")[0]) == FUSED


def test_a_guide_goes_into_them(chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    model = RouterChatModel(chat("small"), chat("large"), memory=None, strategy=Fuser(guided=True))

    model.invoke(ASKED)

    last = sent(fake_openai.calls("large")[0])[-1][1]
    assert last.startswith("Fuse: weather.")
    assert "Count on your fingers." in last


async def test_an_agent_sends_them_for_its_first_call(chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    middleware = RARMiddleware(chat("small"), chat("large"), memory=None, strategy=Fuser())
    agent = create_agent(chat("own"), [], middleware=[middleware], system_prompt="Be brief.")

    for state in (agent.invoke({"messages": ASKED[1:]}), await agent.ainvoke({"messages": ASKED[1:]})):
        assert [message.text for message in state["messages"]] == ["Weather in 'Rome'?", "You said: Fuse: weather."]
    assert [sent(call) for call in fake_openai.calls("large")] == [FUSED, FUSED]


def test_an_agents_system_prompt_goes_where_a_strategy_leaves_it_out(chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    alone = Route("strong", messages=(Message("user", "Only this."),))
    middleware = RARMiddleware(chat("small"), chat("large"), memory=None, strategy=lambda _: alone)

    create_agent(chat("own"), [], middleware=[middleware], system_prompt="Be brief.").invoke({"messages": ASKED[1:]})

    assert sent(fake_openai.calls("large")[0]) == [("user", "Only this.")]
