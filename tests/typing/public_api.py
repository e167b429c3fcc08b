"""The public API as a type checker and an editor see it. Checked by mypy, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from llama_index.core.llms import LLM, ChatMessage, ChatResponse, CompletionResponse
from typing_extensions import assert_type

from langchain_rar import RARMiddleware, RouterChatModel
from llama_index_rar import RouterLLM
from rar import (
    Answer,
    Cascade,
    Ceiling,
    Decision,
    Limits,
    Reply,
    Request,
    Route,
    Router,
    RouterStats,
    Sampling,
    SQLiteMemory,
    Steps,
    ask,
)
from rar.observers import Called, JsonLines
from rar.report import Report


class Failures:
    def called(self, event: Called) -> None:
        assert_type(event.error, str | None)


def engine(request: Request) -> None:
    with Router(memory="rar.db", quality=0.95, learning="off") as router:
        assert_type(router, Router)
        assert_type(router.decide(request), Decision)
        assert_type(router.stats(), RouterStats)
        for judged in router.to_label(5, namespace="default"):
            router.label(judged.decision_id, weak=1.0, strong=0.5, weight=judged.weight)
        assert_type(router.costs(router.decide(request), Reply("weak", "4")), dict[str, Any])
    Router(limits=Limits(usd=0.01), spend=[Ceiling(5.0, per=("namespace", "day"))], over_limit="error")
    Router(observers=[JsonLines("events.jsonl"), Failures()])
    Router(memory=SQLiteMemory(":memory:"), strategy=Cascade(accept=lambda request, draft: len(draft.text) < 80))


async def langchain(weak: BaseChatModel, strong: BaseChatModel, shared: Router) -> None:
    model = RouterChatModel(weak, strong, memory="rar.db")
    assert_type(model.router, Router)
    assert_type(model.invoke("2 + 2?"), AIMessage)
    assert_type(await model.ainvoke("2 + 2?"), AIMessage)
    assert_type(model.stream("2 + 2?"), Iterator[AIMessageChunk])
    assert_type(model.astream("2 + 2?"), AsyncIterator[AIMessageChunk])
    RouterChatModel(
        "openai:gpt-5-nano", "openai:gpt-5", router=shared, temperature=0.0, base_url="http://localhost:8000"
    )
    provider: dict[str, Any] = {"reasoning_effort": "low"}
    RouterChatModel("openai:gpt-5-nano", "openai:gpt-5", **provider)
    RARMiddleware(weak, strong, models={"mid": strong}, quality=0.9)


def llama_index(weak: LLM, strong: LLM) -> None:
    llm = RouterLLM(weak, strong, quality=0.9)
    assert_type(llm.router, Router)
    assert_type(llm.complete("2 + 2?"), CompletionResponse)
    assert_type(llm.chat([ChatMessage("2 + 2?")]), ChatResponse)


class WeakFirst:
    """A strategy of the user's own."""

    def steps(self, request: Request) -> Steps[Answer | Route]:
        draft = yield from ask("weak", request, sampling=Sampling(temperature=0.7, logprobs=True))
        assert_type(draft, Reply)
        assert_type(draft.logprobs, tuple[tuple[str, float], ...] | None)
        return Answer(draft) if draft.text else Route("strong")


def reported(router: Router) -> None:
    report = router.report(namespace="default", days=7)
    assert_type(report, Report)
    assert_type(report.facts.strong_share, float | None)
    assert_type(report.save("report.html"), Path)


def own_strategy() -> Router:
    return Router(strategy=WeakFirst())


def mistakes() -> None:
    """Each line is wrong; strict mypy rejects an ignore that it does not need."""
    Router(learning="sometimes")  # type: ignore[arg-type]
    Router(qualty=0.9)  # type: ignore[call-arg]
    RouterChatModel("small", "large", qualty=0.9)  # type: ignore[call-arg]
    RouterChatModel("small", "large", quality="high")  # type: ignore[arg-type]
    RARMiddleware("small", "large", learning="sometimes")  # type: ignore[arg-type]
    RouterLLM(qualty=0.9)  # type: ignore[call-arg]
    RouterChatModel(1, 2)  # type: ignore[arg-type]
    RouterLLM("gpt-5-nano")  # type: ignore[arg-type]
