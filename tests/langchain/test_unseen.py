"""Calls made for learning, drafts and audits are seen by nobody, however the user's eyes were attached."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any
from unittest.mock import MagicMock

import pytest
from langchain_core import globals as core_globals
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tracers import context as tracers
from langchain_core.tracers.context import register_configure_hook, tracing_v2_enabled
from langchain_core.tracers.langchain import wait_for_all_tracers
from pydantic import BaseModel

from langchain_rar import RouterChatModel
from tests.fake_openai import FakeOpenAI
from tests.langchain.conftest import MakeModel, Notes

QUESTION = "What is two plus two?"


class Sum(BaseModel):
    """A sum."""

    value: int


async def _invoke(model: Any) -> Any:
    return model.invoke(QUESTION)


async def _ainvoke(model: Any) -> Any:
    return await model.ainvoke(QUESTION)


async def _batch(model: Any) -> Any:
    return model.batch([QUESTION])


async def _astream(model: Any) -> Any:
    return [chunk async for chunk in model.astream(QUESTION)]


async def _structured(model: Any) -> Any:
    return model.with_structured_output(Sum).invoke(QUESTION)


Mode = Callable[[Any], Awaitable[Any]]
MODES = (_invoke, _ainvoke, _batch, _astream, _structured)
every_mode = pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.__name__.strip("_"))
every_learning = pytest.mark.parametrize("learning", ["inline", "background"])


def learner(weak: Any, strong: Any, learning: Any = "inline", **options: Any) -> RouterChatModel:
    return RouterChatModel(
        weak, strong, memory=":memory:", embedder="hashing", learning=learning, learning_budget=None, **options
    )


async def served_and_learned(mode: Mode, model: RouterChatModel, fake: FakeOpenAI) -> None:
    """Serve a question from `large`, and have `small` tried on it."""
    await mode(model)
    await asyncio.to_thread(model.router.flush, 30)
    assert {sent.model for sent in fake.calls()} == {"large", "small"}
    model.router.close()


# --- LangSmith ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@every_learning
def test_langsmith_by_environment(learning: str) -> None:
    command = [sys.executable, "-m", "tests.langchain.langsmith_child", learning]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout)

    assert found["asked"] == ["large", "small"]
    assert found["models"] == ["large"] * len(MODES)
    assert found["roots"] == ["RouterChatModel"] * len(MODES)


@every_learning
def test_langsmith_by_context(learning: str, chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    client = MagicMock()
    model = learner(chat("small"), chat("large"), learning)

    with tracing_v2_enabled(client=client):
        model.invoke(QUESTION)
        model.router.flush(30)
    wait_for_all_tracers()

    assert {sent.model for sent in fake_openai.calls()} == {"large", "small"}
    assert "large" in str(client.mock_calls)
    assert "small" not in str(client.mock_calls)
    model.router.close()


# --- handlers -------------------------------------------------------------------------------------------------------


@pytest.fixture
def registered(notes: Notes, monkeypatch: pytest.MonkeyPatch) -> Notes:
    """Notes of every run of the process, as packages for observation take them."""
    monkeypatch.setattr(tracers, "_configure_hooks", [*tracers._configure_hooks])
    register_configure_hook(ContextVar("notes", default=notes), inheritable=True)
    return notes


@every_learning
@every_mode
async def test_handlers_that_are_registered_for_all_runs(
    mode: Mode, learning: str, registered: Notes, chat: MakeModel, fake_openai: FakeOpenAI
) -> None:
    await served_and_learned(mode, learner(chat("small"), chat("large"), learning), fake_openai)

    assert [llm["metadata"]["ls_model_name"] for llm in registered.llms] == ["large"]
    assert not [start for start in registered.starts if "rar:shadow" in (start.get("tags") or ())]


def test_handlers_that_a_variable_of_the_environment_registers(
    chat: MakeModel, fake_openai: FakeOpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    class Eye(BaseCallbackHandler):
        def on_chat_model_start(self, *args: Any, metadata: Any = None, **kwargs: Any) -> None:
            seen.append(metadata["ls_model_name"])

    monkeypatch.setattr(tracers, "_configure_hooks", [*tracers._configure_hooks])
    monkeypatch.setenv("EYE", "true")
    register_configure_hook(ContextVar("eye", default=None), True, Eye, "EYE")
    model = learner(chat("small"), chat("large"))

    model.invoke(QUESTION)

    assert {sent.model for sent in fake_openai.calls()} == {"large", "small"}
    assert seen == ["large"]
    model.router.close()


def _with_callbacks(model: BaseChatModel, notes: Notes) -> Runnable[Any, Any]:
    return model.model_copy(update={"callbacks": [notes]})


def _with_config(model: BaseChatModel, notes: Notes) -> Runnable[Any, Any]:
    return model.with_config(callbacks=[notes])


def _with_listeners(model: BaseChatModel, notes: Notes) -> Runnable[Any, Any]:
    return model.with_listeners(on_start=lambda run: notes.starts.append({"kind": "llm"}))


def _with_alisteners(model: BaseChatModel, notes: Notes) -> Runnable[Any, Any]:
    async def started(run: Any) -> None:
        notes.starts.append({"kind": "llm"})

    return model.with_alisteners(on_start=started)


def _bound(model: BaseChatModel, notes: Notes) -> Runnable[Any, Any]:
    return _with_listeners(model, notes).bind(temperature=0.0).with_config(tags=["t"])


def _in_fallbacks(model: BaseChatModel, notes: Notes) -> Runnable[Any, Any]:
    return _with_listeners(model, notes).with_fallbacks([_with_config(model, notes)])


def _in_a_sequence(model: BaseChatModel, notes: Notes) -> Runnable[Any, Any]:
    return (_with_config(model, notes) | RunnableLambda(lambda message: message)).with_listeners(
        on_start=lambda run: notes.starts.append({"kind": "chain"})
    )


@pytest.mark.parametrize(
    "wrapped", [_with_callbacks, _with_config, _with_listeners, _with_alisteners, _bound, _in_fallbacks, _in_a_sequence]
)
async def test_eyes_that_were_given_to_a_child(
    wrapped: Any, chat: MakeModel, fake_openai: FakeOpenAI, notes: Notes
) -> None:
    await served_and_learned(_ainvoke, learner(wrapped(chat("small"), notes), chat("large")), fake_openai)

    assert notes.starts == []


@every_learning
async def test_debug_and_verbose_print_no_more_than_was_served(
    learning: str, chat: MakeModel, fake_openai: FakeOpenAI, capsys: pytest.CaptureFixture[str]
) -> None:
    model = learner(chat("small"), chat("large"), learning)
    before = core_globals.get_debug(), core_globals.get_verbose()
    core_globals.set_debug(True)
    core_globals.set_verbose(True)
    try:
        await served_and_learned(_structured, model, fake_openai)
    finally:
        core_globals.set_debug(before[0])
        core_globals.set_verbose(before[1])

    printed = capsys.readouterr().out
    assert printed.count("[llm/start]") == 1
    assert "rar:shadow" not in printed


@every_mode
async def test_openinference_and_what_else_makes_spans(mode: Mode, chat: MakeModel, fake_openai: FakeOpenAI) -> None:
    from openinference.instrumentation.langchain import LangChainInstrumentor
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = LangChainInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        await served_and_learned(mode, learner(chat("small"), chat("large")), fake_openai)
    finally:
        instrumentor.uninstrument()

    names = [span.attributes["llm.model_name"] for span in exporter.get_finished_spans() if span.name == "ChatOpenAI"]
    assert names == ["large"]


def test_a_call_for_learning_leaves_the_callers_own_tracing_as_it_was(
    registered: Notes, chat: MakeModel, fake_openai: FakeOpenAI
) -> None:
    model = learner(chat("small"), chat("large"))

    model.invoke(QUESTION)
    chat("own").invoke("Hello")

    assert [llm["metadata"]["ls_model_name"] for llm in registered.llms] == ["large", "own"]
    model.router.close()
