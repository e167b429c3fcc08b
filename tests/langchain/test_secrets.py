"""A model's API key shows nowhere: not in errors, reprs, dumps, traces or logs of the router around it."""

from __future__ import annotations

import json
import logging
import pickle
import traceback
import warnings
from typing import Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.load import dumpd, dumps
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel, ValidationError

from langchain_rar import RARMiddleware, RouterChatModel
from rar.errors import ConfigurationError, RarError
from tests.core.test_secrets import KEY, Hostile, HostileCall, said_by


class Plain(BaseChatModel):
    """A chat model that keeps its key as a plain text, and shows it."""

    model_name: str = "small"
    api_key: str = KEY
    fails: bool = False

    @property
    def _llm_type(self) -> str:
        return "plain"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        if self.fails:
            raise RuntimeError(f"401: incorrect API key provided: {self.api_key}")
        return ChatResult(generations=[ChatGeneration(message=AIMessage("ok"))])


class Answer(BaseModel):
    text: str


def router(**options: Any) -> RouterChatModel:
    weak = options.pop("weak", Plain())
    return RouterChatModel(weak, Plain(model_name="large"), memory=None, strategy=lambda _: "weak", **options)


ARGUMENTS = [
    "weak", "strong", "models", "memory", "quality", "policy", "strategy", "static_router", "judge", "embedder",
    "learning", "namespace", "audit_rate", "prices", "seed", "weak_id", "strong_id", "degrade", "learning_budget",
    "learning_usd_per_day", "guides", "guide_model", "guide_style", "store_text", "redact",
    "read_only", "router", "query_extractor",
    "record_queries", "tools_to_strong", "temperature", "max_tokens", "stop", "callbacks", "cache", "tags",
]  # fmt: skip


@pytest.mark.parametrize("make", [RouterChatModel, RARMiddleware])
@pytest.mark.parametrize("argument", ARGUMENTS)
def test_an_argument_that_is_refused_is_not_printed(argument: str, make: Any) -> None:
    usual = {"weak": Plain(), "strong": Plain(model_name="large"), "memory": None}
    with pytest.raises((RarError, ValidationError)) as caught:
        make(**{**usual, argument: Hostile()})

    assert argument in str(caught.value)
    assert KEY not in "".join(traceback.format_exception(caught.value, limit=0)) + repr(caught.value)


def test_a_llama_index_model_is_refused_by_its_type_and_told_where_it_belongs() -> None:
    llm: Any = OpenAILike(model="small", api_key=KEY, api_base="http://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="weak=<OpenAILike object> is no model. .*RouterLLM") as caught:
        RouterChatModel(llm, Plain())

    assert KEY not in said_by(caught.value)


def test_options_that_are_ignored_are_warned_about_by_name_alone() -> None:
    with pytest.warns(UserWarning, match="base_url") as caught:
        router(base_url=KEY)

    assert KEY not in str(caught[0].message)


@pytest.mark.parametrize(
    "weak", [Plain(), RunnableLambda(HostileCall()), Plain().bind(api_key=KEY), Plain().with_fallbacks([Plain()])]
)
def test_the_router_says_of_its_models_their_names(weak: Any) -> None:
    model = router(weak=weak, temperature=0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some of these are deprecated, and still there
        said = [
            repr(model), str(model), repr(model.router), json.dumps(dumpd(model)), dumps(model), str(model.to_json()),
            str(model.model_dump()), model.model_dump_json(), str(model.dict()), str(model._identifying_params),
            repr(model.bind(stop=["x"])), repr(RunnableLambda(len) | model), repr(model.models()),
            str(model.get_graph().to_json()),
        ]  # fmt: skip

    assert KEY not in "".join(said)
    assert "large" in repr(model)
    assert model.model_dump()["strong"] == {"class_name": "Plain", "model": "large"}
    assert model.model_dump()["temperature"] == 0.5


def test_models_that_are_made_by_name_keep_their_options_to_themselves() -> None:
    model = RouterChatModel("openai:small", "openai:large", memory=None, api_key=KEY)

    assert KEY not in f"{model!r} {model.model_dump()} {dumps(model)} {model.weak!r}"


def test_a_pickle_that_is_looked_at_shows_no_key() -> None:
    model = RouterChatModel(Plain(), Plain(model_name="large"), memory=None)

    assert KEY not in repr(pickle.loads(pickle.dumps(model)))


def test_structured_output_and_the_middleware_show_no_key(chat: Any) -> None:
    model = RouterChatModel(chat("small"), chat("large"), memory=None)
    structured = model.with_structured_output(Answer)
    middleware = RARMiddleware(Plain(), Plain(model_name="large"), memory=None)

    assert KEY not in f"{structured!r} {dumps(structured)} {structured.model_dump()} {middleware!r}"
    assert "sk-secret" not in f"{structured!r} {dumps(structured)} {structured.model_dump()} {middleware!r}"


class Serialized(BaseCallbackHandler):
    """What a tracer is told of a chain."""

    run_inline = True

    def __init__(self) -> None:
        self.told: list[str] = []

    def on_chain_start(self, serialized: Any, inputs: Any, **kwargs: Any) -> None:
        self.told.append(f"{serialized} {kwargs}")

    def on_chain_end(self, outputs: Any, **kwargs: Any) -> None:
        self.told.append(f"{outputs} {kwargs}")


@pytest.mark.parametrize("fails", [False, True])
def test_traces_and_logs_of_a_call_hold_no_key(fails: bool, caplog: pytest.LogCaptureFixture) -> None:
    heard = Serialized()
    with caplog.at_level(logging.DEBUG):
        answer = router(weak=Plain(fails=fails)).invoke("hello", {"callbacks": [heard]})

    assert answer.response_metadata["rar"]["failed_over"] == (["weak"] if fails else [])
    assert len(heard.told) == 2
    assert KEY not in "".join(heard.told)
    assert KEY not in caplog.text
