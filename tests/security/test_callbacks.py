"""Whatever a user's function, an embedder or a router raises or returns: the answer comes, and nothing is betrayed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from llama_index.core.llms import ChatMessage
from llama_index.core.llms.mock import MockLLM

from langchain_rar import RouterChatModel
from llama_index_rar import RouterLLM
from rar.learning.shadow import Findings
from rar.values import Answer, Request
from tests.security.common import SECRET, WAIT, ask, models, on_disk, router

TEXT = f"what is {SECRET} about"


class Panic(BaseException):
    """What extensions written in Rust raise."""


def raises(kind: type[BaseException]) -> Callable[..., Any]:
    def function(*args: Any, **kwargs: Any) -> Any:
        raise kind(f"quoting {args} {SECRET}")

    return function


def returns(value: Any) -> Callable[..., Any]:
    return lambda *args, **kwargs: value


BROKEN = {
    **{kind.__name__: raises(kind) for kind in (ValueError, Panic, StopIteration, RecursionError, MemoryError)},
    "bytes": returns(TEXT.encode()),
    "None": returns(None),
    "number": returns(5),
    "list": returns([TEXT]),
    "huge": returns(SECRET * 200_000),
    "object": returns(object()),
}
broken = pytest.mark.parametrize("function", BROKEN.values(), ids=BROKEN)


class Embedder:
    id, dim = "broken", 8

    def __init__(self, function: Callable[..., Any]) -> None:
        self.embed = function


@broken
@pytest.mark.parametrize("learning", ["background", "inline"])
def test_a_redact_that_fails_costs_the_lesson_and_nothing_is_told(
    function: Callable[..., Any], learning: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "rar.db"
    with router(file, redact=function, learning=learning) as asked, caplog.at_level(logging.DEBUG):
        assert ask(asked, TEXT).model == "strong"
        assert asyncio.run(asked.adecide(_request(), models())).model == "strong"
        assert asked.flush(WAIT)
        assert asked.memory is not None
        assert asked.memory.stats().experiences == 0
        assert asked.memory.stats().decisions == 1
    assert on_disk(file) == []
    assert SECRET not in caplog.text


def _request() -> Request:
    from rar.values import question

    return question(TEXT)


def test_a_redact_that_fails_on_guides_costs_the_guide_alone(tmp_path: Path) -> None:
    def redact(text: str) -> str:
        if text.startswith("Use when"):
            raise ValueError(text)
        return text

    given = models(
        lambda messages: "red" if "reference_notes" in str(messages) else "blue",
        lambda messages: (
            "Use when: a colour.\n1. Think.\nAvoid: haste." if "short guides" in messages[0].text else "red"
        ),
    )
    with router(tmp_path / "rar.db", redact=redact) as asked:
        ask(asked, "which colour", given)
        assert asked.flush(WAIT)
        assert asked.memory is not None
        stats = asked.memory.stats()
        assert (stats.guides, stats.experiences, stats.trials) == ({}, 1, 1)


@broken
def test_an_embedder_that_fails_leaves_the_strong_model(
    function: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with router(tmp_path / "rar.db", embedder=Embedder(function)) as asked, caplog.at_level(logging.DEBUG):
        assert ask(asked, TEXT).model == "strong"
        assert asyncio.run(asked.adecide(_request(), models())).model == "strong"
        assert asked.flush(WAIT)
    assert SECRET not in caplog.text


@pytest.mark.parametrize("vectors", [np.full((1, 8), np.nan), np.full((1, 8), np.inf), np.ones((1, 7)), np.ones(8)])
def test_embeddings_that_are_none_are_not_stored(vectors: Any, tmp_path: Path) -> None:
    with router(tmp_path / "rar.db", embedder=Embedder(returns(vectors))) as asked:
        assert ask(asked, TEXT).model == "strong"
        assert asked.flush(WAIT)
        assert asked.memory is not None
        assert asked.memory.stats().experiences == 0


@broken
def test_a_strategy_that_fails_leaves_the_strong_model(
    function: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with router(tmp_path / "rar.db", strategy=function) as asked, caplog.at_level(logging.DEBUG):
        assert ask(asked, TEXT).model == "strong"
        assert asked.flush(WAIT)
    assert "quoting" not in caplog.text


@broken
def test_a_judge_that_fails_teaches_nothing(
    function: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "rar.db"
    with router(file, judge=function, store_text=False) as asked, caplog.at_level(logging.DEBUG):
        assert ask(asked, TEXT).model == "strong"
        assert asked.flush(WAIT)
        assert asked.memory is not None
        assert asked.memory.stats().trials == 0
        assert asked.memory.stats().decisions == 1
        assert set(asked.memory.stats().not_learned) <= {"undecided", "call_failed"}
    assert on_disk(file) == []
    assert SECRET not in caplog.text


@pytest.mark.parametrize("verdict", [True, False, np.True_, np.False_])
def test_a_judge_may_answer_in_numpys_words(verdict: Any, tmp_path: Path) -> None:
    with router(tmp_path / "rar.db", judge=returns(verdict), guides=False) as asked:
        ask(asked, TEXT)
        assert asked.flush(WAIT)
        assert asked.memory is not None
        (one,) = asked.memory.experiences(namespace="default", task="answer")
        assert one.tallies[0].last_ok is bool(verdict)


def test_a_strategys_answer_must_hold_a_reply(tmp_path: Path) -> None:
    with router(tmp_path / "rar.db", strategy=lambda request: Answer("no reply")) as asked:  # type: ignore[arg-type]
        assert ask(asked, TEXT).model == "strong"


# ── both frameworks, every mode ──


def langchain(file: Path, function: Callable[..., Any]) -> RouterChatModel:
    def child() -> GenericFakeChatModel:
        return GenericFakeChatModel(messages=iter(lambda: AIMessage("fine answer"), None))

    weak, strong = child(), child()
    return RouterChatModel(
        weak, strong, weak_id="w", strong_id="s", memory=str(file), embedder="hashing", query_extractor=function,
        learning_budget=None,
    )  # fmt: skip


async def _all(parts: AsyncIterator[Any]) -> list[Any]:
    return [part async for part in parts]


@broken
def test_an_extractor_that_fails_costs_no_answer_in_langchain(
    function: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = langchain(tmp_path / "rar.db", function)
    with caplog.at_level(logging.DEBUG, "rar"):
        assert model.invoke(TEXT).content == "fine answer"
        assert asyncio.run(model.ainvoke(TEXT)).content == "fine answer"
        assert "".join(str(part.content) for part in model.stream(TEXT)) == "fine answer"
        streamed = asyncio.run(_all(model.astream(TEXT)))
        assert "".join(str(part.content) for part in streamed) == "fine answer"
        assert [message.content for message in model.batch([TEXT, TEXT])] == ["fine answer"] * 2
        model.router.flush(WAIT)
    assert SECRET not in caplog.text
    model.router.close()


def llama_index(file: Path, function: Callable[..., Any]) -> RouterLLM:
    return RouterLLM(
        MockLLM(max_tokens=3), MockLLM(max_tokens=3), weak_id="w", strong_id="s", memory=str(file), embedder="hashing",
        query_extractor=function, learning_budget=None,
    )  # fmt: skip


@broken
def test_an_extractor_that_fails_costs_no_answer_in_llama_index(
    function: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = llama_index(tmp_path / "rar.db", function)
    messages = [ChatMessage(role="user", content=TEXT)]

    async def streamed() -> list[Any]:
        return [part async for part in await model.astream_chat(messages)]

    with caplog.at_level(logging.DEBUG, "rar"):
        assert model.chat(messages).message.content
        assert asyncio.run(model.achat(messages)).message.content
        assert list(model.stream_chat(messages))[-1].message.content
        assert asyncio.run(streamed())[-1].message.content
        model.router.flush(WAIT)
    assert SECRET not in caplog.text
    model.router.close()


def test_what_a_provider_says_is_not_kept(tmp_path: Path) -> None:
    class RefusedError(Exception):
        status_code = 400

    def refuses(messages: Sequence[Any]) -> str:
        raise RefusedError(f"400: your prompt was {SECRET}")

    file = tmp_path / "rar.db"
    with router(file, store_text=False) as asked:
        ask(asked, TEXT, models(refuses))
        assert asked.flush(WAIT)
        (facts,) = asked.decisions()
        assert facts["learned"]["stopped"].startswith("RefusedError (400)")
    assert on_disk(file) == []


def test_findings_never_hold_a_message() -> None:
    found = Findings()
    found.fail(ValueError(SECRET))
    assert SECRET not in str(found)
