"""A mistake is a named error where it is made: misspelt arguments and overrides, wrong values."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from llama_index.core.llms import ChatMessage
from llama_index.core.llms.llm import LLM
from llama_index.core.prompts import PromptTemplate
from llama_index.core.tools import FunctionTool
from pydantic import BaseModel

import rar
from llama_index_rar import RouterLLM
from rar.errors import AddressError, ConfigurationError, OverrideError, UnknownArgumentError
from rar.options import CHECKS, DEFAULTS


@pytest.mark.parametrize(
    ("wrong", "meant"),
    [("qualty", "quality"), ("static_ruter", "static_router"), ("learning_buget", "learning_budget"),
     ("system_promt", "system_prompt"), ("model", "models"), ("query_extracter", "query_extractor"),
     ("Quality", "quality")],
)  # fmt: skip
def test_the_argument_that_was_meant_is_told(wrong: str, meant: str, openai: Callable[..., LLM]) -> None:
    with pytest.raises(UnknownArgumentError, match=f"RouterLLM takes no argument '{wrong}'. Did you mean '{meant}'"):
        RouterLLM(openai("small"), openai("large"), memory=None, **{wrong: 0.9})


def test_all_options_of_the_engine_are_taken_and_shown() -> None:
    engine, ours = (inspect.signature(it.__init__).parameters for it in (rar.Router, RouterLLM))

    assert {name: ours[name].default for name in DEFAULTS} == {name: engine[name].default for name in DEFAULTS}
    assert "Share of the strong model's quality to keep" in (RouterLLM.__doc__ or "")


def test_all_options_of_the_engine_are_checked_here_too(openai: Callable[..., LLM]) -> None:
    engine = inspect.signature(rar.Router.__init__).parameters.keys()
    for name in inspect.signature(RouterLLM.__init__).parameters.keys() & engine & CHECKS.keys():
        with pytest.raises(ConfigurationError):
            RouterLLM(**{"weak": openai("small"), "strong": openai("large"), "memory": None, name: object})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"quality": "95%"}, "Write quality=0.95"),
        ({"static_router": "my-router"}, r"rar\.routers\.load\('my-router'\)"),
        ({"query_extractor": "question"}, "query_extractor='question' is not a function of messages"),
        ({"router": "rar.db"}, "router='rar.db' is not a `rar.Router`"),
        ({"namespace": 3}, "namespace=3 is not a name"),
    ],
)
def test_wrong_values_are_named(options: dict[str, Any], said: str, openai: Callable[..., LLM]) -> None:
    with pytest.raises(ConfigurationError, match=said):
        RouterLLM(openai("small"), openai("large"), **options)


def test_an_address_of_another_server_is_no_memory(openai: Callable[..., LLM]) -> None:
    with pytest.raises(AddressError, match="redis"):
        RouterLLM(openai("small"), openai("large"), memory="redis://me:hunter2@h/db")


class Answer(BaseModel):
    text: str


PROMPT = PromptTemplate("{query_str}")
TOOL = FunctionTool.from_defaults(lambda x: x, name="echo", description="Echoes.")
CALLS: dict[str, Callable[[RouterLLM, dict[str, Any]], Any]] = {
    "chat": lambda llm, given: llm.chat([ChatMessage("hello")], **given),
    "stream_chat": lambda llm, given: list(llm.stream_chat([ChatMessage("hello")], **given)),
    "complete": lambda llm, given: llm.complete("hello", **given),
    "stream_complete": lambda llm, given: list(llm.stream_complete("hello", **given)),
    "predict": lambda llm, given: llm.predict(PROMPT, query_str="hello", **given),
    "stream": lambda llm, given: list(llm.stream(PROMPT, query_str="hello", **given)),
    "chat_with_tools": lambda llm, given: llm.chat_with_tools([TOOL], "hello", **given),
    "structured_predict": lambda llm, given: llm.structured_predict(Answer, PROMPT, given, query_str="hello"),
    "structured_variables": lambda llm, given: llm.structured_predict(Answer, PROMPT, query_str="hello", **given),
}
ASYNC_CALLS: dict[str, Callable[[RouterLLM, dict[str, Any]], Any]] = {
    "achat": lambda llm, given: llm.achat([ChatMessage("hello")], **given),
    "astream_chat": lambda llm, given: llm.astream_chat([ChatMessage("hello")], **given),
    "acomplete": lambda llm, given: llm.acomplete("hello", **given),
    "astream_complete": lambda llm, given: llm.astream_complete("hello", **given),
    "apredict": lambda llm, given: llm.apredict(PROMPT, query_str="hello", **given),
    "achat_with_tools": lambda llm, given: llm.achat_with_tools([TOOL], "hello", **given),
    "astructured_predict": lambda llm, given: llm.astructured_predict(Answer, PROMPT, given, query_str="hello"),
}


class TestOverrides:
    @pytest.mark.parametrize("call", CALLS)
    def test_a_misspelt_one_is_an_error_in_every_call(self, call: str, router: RouterLLM) -> None:
        with pytest.raises(OverrideError, match="'rar_forse' is no override. Did you mean 'rar_force'"):
            CALLS[call](router, {"rar_forse": "weak"})

    @pytest.mark.parametrize("call", CALLS)
    def test_a_value_of_a_wrong_type_is_an_error_in_every_call(self, call: str, router: RouterLLM) -> None:
        with pytest.raises(OverrideError, match="rar_learn='false' is not True or False"):
            CALLS[call](router, {"rar_learn": "false"})

    @pytest.mark.parametrize("call", ASYNC_CALLS)
    async def test_the_async_calls_are_no_different(self, call: str, router: RouterLLM) -> None:
        with pytest.raises(OverrideError, match="'rar_forse' is no override. Did you mean 'rar_force'"):
            await ASYNC_CALLS[call](router, {"rar_forse": "weak"})
        with pytest.raises(OverrideError, match="rar_force=7 is not the name of a model"):
            await ASYNC_CALLS[call](router, {"rar_force": 7})
