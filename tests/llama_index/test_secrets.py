"""A model's API key shows nowhere: not in errors, reprs, dumps, events or logs of the router around it."""

from __future__ import annotations

import logging
import pickle
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from langchain_openai import ChatOpenAI
from llama_index.core.base.llms.types import CompletionResponse, LLMMetadata
from llama_index.core.callbacks import CallbackManager, LlamaDebugHandler
from llama_index.core.llms import ChatMessage, CustomLLM
from llama_index.core.llms.callbacks import llm_completion_callback
from llama_index.core.llms.llm import LLM
from pydantic import ValidationError

from llama_index_rar import RouterLLM
from rar.errors import ConfigurationError, RarError
from tests.core.test_secrets import KEY, Hostile, said_by


class Plain(CustomLLM):
    """An LLM that keeps its key as a plain text, and shows it."""

    model: str = "small"
    api_key: str = KEY
    fails: bool = False

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name=self.model)

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        if self.fails:
            raise RuntimeError(f"401: incorrect API key provided: {self.api_key}")
        return CompletionResponse(text="ok")

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        yield self.complete(prompt)


def router(**options: Any) -> RouterLLM:
    weak = options.pop("weak", Plain())
    return RouterLLM(weak, Plain(model="large"), memory=None, strategy=lambda _: "weak", **options)


ARGUMENTS = [
    "weak", "strong", "models", "memory", "quality", "policy", "strategy", "static_router", "judge", "embedder",
    "learning", "namespace", "audit_rate", "prices", "seed", "weak_id", "strong_id", "degrade", "learning_budget",
    "learning_usd_per_day", "guides", "guide_model", "guide_style", "store_text", "redact",
    "read_only", "router", "query_extractor",
    "system_prompt", "pydantic_program_mode",
]  # fmt: skip


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_an_argument_that_is_refused_is_not_printed(argument: str) -> None:
    usual = {"weak": Plain(), "strong": Plain(model="large"), "memory": None}
    with pytest.raises((RarError, ValidationError)) as caught:
        RouterLLM(**{**usual, argument: Hostile()})

    assert argument in str(caught.value)
    assert KEY not in "".join(traceback.format_exception(caught.value, limit=0)) + repr(caught.value)


def test_a_langchain_model_is_refused_by_its_type_and_told_where_it_belongs() -> None:
    model: Any = ChatOpenAI(model="small", api_key=KEY, base_url="http://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="strong=<ChatOpenAI object> is no model. .*RouterChatModel") as caught:
        RouterLLM(Plain(), model)

    assert KEY not in said_by(caught.value)


def test_the_router_says_of_its_models_their_names(openai: Callable[..., LLM]) -> None:
    for weak in (Plain(), openai("tiny")):
        llm = router(weak=weak)
        said = f"{llm!r} {llm} {llm.dict()} {llm.to_dict()} {llm.to_json()} {llm.model_dump()} {llm.model_dump_json()}"

        assert KEY not in said
        assert "sk-not-for-any-eyes" not in said
        assert "large" in repr(llm)


def test_a_pickle_that_is_looked_at_shows_no_key() -> None:
    llm = RouterLLM(Plain(), Plain(model="large"), memory=None)

    assert KEY not in repr(pickle.loads(pickle.dumps(llm)))


@pytest.mark.parametrize("fails", [False, True])
def test_logs_of_a_call_hold_no_key(fails: bool, caplog: pytest.LogCaptureFixture) -> None:
    debug = LlamaDebugHandler(print_trace_on_end=False)
    with caplog.at_level(logging.DEBUG):
        llm = router(weak=Plain(fails=fails), callback_manager=CallbackManager([debug]))
        answer = llm.chat([ChatMessage("hello")])

    assert answer.additional_kwargs["rar"]["failed_over"] == (["weak"] if fails else [])
    assert KEY not in caplog.text


def test_a_response_that_cannot_be_read_is_logged_without_what_it_said(caplog: pytest.LogCaptureFixture) -> None:
    class Odd(Plain):
        def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
            return OddResponse(text="ok")

    class OddResponse(CompletionResponse):
        def __getattribute__(self, name: str) -> Any:
            if name == "raw":
                raise RuntimeError(KEY)
            return super().__getattribute__(name)

    with caplog.at_level(logging.DEBUG, "rar"):
        assert router(weak=Odd()).complete("hello").text == "ok"

    assert KEY not in caplog.text
