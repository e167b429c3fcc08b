"""Samplings in the words of LlamaIndex's LLMs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.base.llms.types import CompletionResponse, CompletionResponseGen, LLMMetadata
from llama_index.core.bridge.pydantic import BaseModel, Field
from llama_index.core.llms import MockLLM
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.llms.custom import CustomLLM
from llama_index.core.llms.llm import LLM
from llama_index.core.tools import FunctionTool

from llama_index_rar import RouterLLM
from llama_index_rar.calls import Complete, Structured, Tools
from llama_index_rar.ports import KIND, Port
from llama_index_rar.sampling import TABLE, arguments_for, names_of, sampled, settings_of
from rar.sampling import FRESH, Sampling
from rar.strategy import Steps, ask
from rar.values import Answer, Call, Choice, Request, question
from tests.fake_openai import FakeOpenAI

Make = Callable[..., LLM]
ALL = Sampling(temperature=0.5, max_tokens=9, seed=4, logprobs=True, timeout=30.0)
BODY = {"temperature": 0.5, "max_tokens": 9, "seed": 4, "logprobs": True}


def of(body: dict[str, Any]) -> dict[str, Any]:
    return {name: body[name] for name in BODY if name in body}


def test_fresh_calls_have_some_temperature(openai: Make, fake_openai: FakeOpenAI) -> None:
    port = Port(openai("small"))

    port.call(Call("weak", question("Hello"), sampling=FRESH))
    port.call(Call("weak", question("Hello")))

    assert [sent.body["temperature"] for sent in fake_openai.calls()] == [0.7, 0.1]


async def test_an_openai_model_gets_all(openai: Make, fake_openai: FakeOpenAI) -> None:
    given = openai("small", max_tokens=99, additional_kwargs={"temperature": 0.2, "seed": 1, "user": "me"})
    port = Port(given)

    port.call(Call("weak", question("Hello"), sampling=ALL))
    await port.acall(Call("weak", question("Hello"), sampling=ALL))

    assert [of(sent.body) for sent in fake_openai.calls()] == [BODY, BODY]
    assert fake_openai.calls()[0].body["user"] == "me"
    assert given.additional_kwargs == {"temperature": 0.2, "seed": 1, "user": "me"}  # type: ignore[attr-defined]


def test_it_takes_the_place_of_the_callers_arguments(openai: Make, fake_openai: FakeOpenAI) -> None:
    class Draft:
        def steps(self, request: Request) -> Steps[Choice]:
            return Answer((yield from ask("weak", request, sampling=Sampling(temperature=0.9, seed=2))))

    llm = RouterLLM(openai("small"), openai("large"), memory=None, strategy=Draft())

    llm.complete("Hello", temperature=0.3, seed=1, stop=["!"])

    body = fake_openai.calls("small")[0].body
    assert (body["temperature"], body["seed"], body["stop"]) == (0.9, 2, ["!"])


def test_tools_and_schemas_stay(openai: Make, fake_openai: FakeOpenAI) -> None:
    class City(BaseModel):
        name: str

    tool = FunctionTool.from_defaults(fn=lambda city: "fine", name="weather", description="The weather.")
    for kind in (Tools([tool]), Structured(City)):
        request = question("What is the weather in 'Rome'?", options={KIND: kind})
        Port(openai("small")).call(Call("weak", request, sampling=ALL))

    assert [of(sent.body) for sent in fake_openai.calls()] == [BODY, BODY]
    assert [sent.body["tools"][0]["function"]["name"] for sent in fake_openai.calls()] == ["weather", "City"]


def test_a_model_that_completes_text_weighs_one_token(openai: Make, fake_openai: FakeOpenAI) -> None:
    port = Port(openai("small", is_chat_model=False, is_function_calling_model=False))

    port.call(Call("weak", question("Hello", options={KIND: Complete()}), sampling=ALL))

    assert of(fake_openai.calls()[0].body) == {**BODY, "logprobs": 1}


def test_a_reasoning_model_gets_no_temperature(openai: Make, fake_openai: FakeOpenAI) -> None:
    assert settings_of(openai("o3-mini"), ALL) == ({"max_tokens": 9}, {"seed": 4, "timeout": 30.0})


class Own(CustomLLM):
    """An LLM of nobody's: it has two of the settings."""

    temperature: float = 0.0
    max_new_tokens: int = 3
    seen: list[Any] = Field(default_factory=list)

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="own")

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        self.seen.append((self.temperature, self.max_new_tokens, kwargs))
        return CompletionResponse(text="Hi")

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        yield self.complete(prompt, formatted, **kwargs)


def test_an_unknown_model_gets_what_it_has_fields_for() -> None:
    own = Own()

    Port(own).call(Call("weak", question("Hello", options={KIND: Complete()}), sampling=ALL))

    assert own.seen == [(0.5, 9, {})]


def test_a_model_without_settings_is_asked_as_it_is() -> None:
    assert Port(MockLLM()).call(Call("weak", question("Hello"), sampling=FRESH)).text.endswith("Hello\nassistant: ")


def made_of(integration: str, name: str, fields: dict[str, Any]) -> LLM:
    """An LLM that stands for one of an integration that is not installed."""
    annotated = {"__annotations__": dict.fromkeys(fields, Any)}
    return type(name, (MockLLM,), {"__module__": f"llama_index.llms.{integration}.base", **annotated, **fields})()  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("integration", "name", "fields", "expected"),
    [
        (
            "ollama", "Ollama", {"temperature": 0.1, "additional_kwargs": {"num_ctx": 64, "seed": 1}},
            ({"temperature": 0.5, "additional_kwargs": {"num_ctx": 64, "num_predict": 9, "seed": 4}}, {}),
        ),
        (
            "llama_cpp", "LlamaCPP", {"generate_kwargs": {"temperature": 0.1, "top_k": 3}},
            ({"generate_kwargs": {"top_k": 3, "temperature": 0.5, "max_tokens": 9, "seed": 4}}, {}),
        ),
        (
            "anthropic", "Anthropic", {"temperature": 0.1, "max_tokens": 512},
            ({"temperature": 0.5, "max_tokens": 9}, {"timeout": 30.0}),
        ),
        (
            "google_genai", "GoogleGenAI", {"temperature": 0.1},
            ({"temperature": 0.1}, {"generation_config": {
                "top_k": 2, "temperature": 0.5, "max_output_tokens": 9, "seed": 4, "response_logprobs": True,
            }}),
        ),
    ],
)  # fmt: skip
def test_integrations_are_asked_in_their_own_words(
    integration: str, name: str, fields: dict[str, Any], expected: tuple[dict[str, Any], dict[str, Any]]
) -> None:
    llm = made_of(integration, name, fields)
    given = {"generation_config": {"top_k": 2}} if "generation_config" in expected[1] else {}

    copy = sampled(llm, ALL)

    assert {field: getattr(copy, field) for field in expected[0]} == expected[0]
    assert arguments_for(llm, given, ALL) == expected[1]


def test_each_row_of_the_table_is_known_by_its_class() -> None:
    for key, names in TABLE.items():
        integration, _, name = key.partition(".")
        assert names_of(made_of(integration, name, {})) == names
