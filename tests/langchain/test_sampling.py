"""Samplings in the words of LangChain's models."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.caches import InMemoryCache
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from pydantic import BaseModel, Field

from langchain_rar import RouterChatModel
from langchain_rar.children import Child, silent
from langchain_rar.forms import BoundTools, Schema
from langchain_rar.ports import FORM, ChildModel
from langchain_rar.sampling import TABLE, names_of, sampled, settings_of
from rar.sampling import FRESH, Sampling
from rar.strategy import Steps, ask
from rar.values import Answer, Call, Choice, Request, question
from tests.fake_anthropic import FakeAnthropic
from tests.fake_openai import FakeOpenAI
from tests.langchain.conftest import MakeModel, Notes

ALL = Sampling(temperature=0.5, max_tokens=9, seed=4, logprobs=True, timeout=30.0)


@pytest.mark.parametrize(
    ("own", "bound", "sent"), [(0, None, 0.7), (1, None, 0.7), (None, None, 0.7), (None, 0, 0.7), (0, 0.9, 0.7)]
)
def test_a_fresh_call_is_a_sample_of_its_own(
    own: float | None, bound: float | None, sent: float | None, chat: MakeModel, fake_openai: FakeOpenAI
) -> None:
    cache = InMemoryCache()
    model = chat("small", cache=cache, **({} if own is None else {"temperature": own}))
    port = ChildModel("weak", model if bound is None else model.bind(temperature=bound))

    for _ in range(2):
        port.call(Call("weak", question("Hello"), sampling=FRESH))

    assert [call.body.get("temperature") for call in fake_openai.calls()] == [sent, sent]
    assert cache._cache == {}


def test_silence_and_sampling_leave_the_users_model_alone(chat: MakeModel) -> None:
    model = chat("small", callbacks=[Notes()], temperature=0)

    silent(sampled(model, FRESH))

    assert (len(model.callbacks or []), model.temperature, model.cache) == (1, 0, None)


def test_an_openai_model_gets_all(chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    ChildModel("weak", chat("small")).call(Call("weak", question("Hello"), sampling=ALL))

    body = fake_openai.calls()[0].body
    assert {name: body[name] for name in ("temperature", "max_completion_tokens", "seed", "logprobs")} == {
        "temperature": 0.5, "max_completion_tokens": 9, "seed": 4, "logprobs": True,
    }  # fmt: skip


def test_it_takes_the_place_of_the_callers_arguments(chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    class Draft:
        def steps(self, request: Request) -> Steps[Choice]:
            return Answer((yield from ask("weak", request, sampling=Sampling(temperature=0.9, max_tokens=7))))

    model = RouterChatModel(chat("small"), chat("large"), memory=None, strategy=Draft(), temperature=0.1, max_tokens=99)

    model.invoke("Hello", stop=["!"], max_tokens=98)

    body = fake_openai.calls("small")[0].body
    assert (body["temperature"], body["max_completion_tokens"], body["stop"]) == (0.9, 7, ["!"])
    assert "max_tokens" not in body


@pytest.mark.parametrize("model", ["o3-mini", "gpt-5"])
def test_a_reasoning_model_gets_no_temperature(model: str, chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    ChildModel("weak", chat(model)).call(Call("weak", question("Hello"), sampling=ALL))

    body = fake_openai.calls()[0].body
    assert not {"temperature", "logprobs"} & body.keys()
    assert body["max_completion_tokens"] == 9


def test_anthropic_gets_what_it_takes() -> None:
    with FakeAnthropic() as fake:
        model = ChatAnthropic(model="small", base_url=fake.url, api_key="none", max_retries=0)
        ChildModel("weak", model).call(Call("weak", question("Hello"), sampling=ALL))

        assert (fake.requests[0]["temperature"], fake.requests[0]["max_tokens"]) == (0.5, 9)
        assert not {"seed", "logprobs", "timeout"} & fake.requests[0].keys()


def test_a_model_that_thinks_is_not_asked_for_a_temperature() -> None:
    with FakeAnthropic() as fake:
        thinking = {"type": "enabled", "budget_tokens": 1024}
        model: Any = ChatAnthropic(
            model="small", base_url=fake.url, api_key="none", max_retries=0, max_tokens=4096, thinking=thinking
        )
        ChildModel("weak", model).call(Call("weak", question("Hello"), sampling=FRESH))

        assert fake.requests[0].get("temperature") is None


def test_google_is_asked_in_its_own_words() -> None:
    google = pytest.importorskip("langchain_google_genai")
    model = google.ChatGoogleGenerativeAI(model="gemini-2.5-flash", google_api_key="none")

    fields, arguments = settings_of(model, ALL)

    assert fields == {"temperature": 0.5, "max_output_tokens": 9, "seed": 4}
    assert arguments == {"timeout": 30.0}


class Own(BaseChatModel):
    """A model of nobody's: it has two of the settings."""

    temperature: float | None = None
    max_new_tokens: int = 3
    seen: list[Any] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "own"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        self.seen.append((self.temperature, self.max_new_tokens, kwargs))
        return ChatResult(generations=[ChatGeneration(message=AIMessage("Hi"))])


def test_an_unknown_model_gets_what_it_has_fields_for() -> None:
    model = Own()

    ChildModel("weak", model).call(Call("weak", question("Hello"), sampling=ALL))

    assert model.seen == [(0.5, 9, {})]


def test_a_model_without_settings_is_asked_as_it_is() -> None:
    reply = ChildModel("weak", FakeListChatModel(responses=["Hi"])).call(Call("weak", question("Hello"), sampling=ALL))

    assert reply.text == "Hi"


def test_each_alternative_is_asked_in_its_own_words(chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    own = Own()
    fallible: Child = chat("small", base_url="http://127.0.0.1:9/v1").with_fallbacks([own])

    ChildModel("weak", fallible).call(Call("weak", question("Hello"), sampling=ALL))

    assert own.seen == [(0.5, 9, {})]


def test_tools_and_schemas_stay(chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    @tool
    def weather(city: str) -> str:
        """The weather."""
        return "fine"

    class City(BaseModel):
        name: str

    for form in (BoundTools([weather]), Schema(City, include_raw=False, options={})):
        request = question("What is the weather in 'Rome'?", options={FORM: form})
        ChildModel("weak", chat("small")).call(Call("weak", request, sampling=ALL))

    first, second = (sent.body for sent in fake_openai.calls())
    assert (first["temperature"], second["temperature"]) == (0.5, 0.5)
    assert first["tools"][0]["function"]["name"] == "weather"
    assert second["response_format"]["json_schema"]["name"] == "City"


def test_each_row_of_the_table_is_known_by_its_class() -> None:
    for key, names in TABLE.items():
        package, _, name = key.partition(".")
        made = type("Mine", (type(name, (), {"__module__": f"{package}.chat_models.base"}),), {})
        assert names_of(made()) == names
