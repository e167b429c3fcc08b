"""The calls behind an answer: on its response always, in its counts of tokens where that is asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.callbacks import CallbackManager, TokenCountingHandler
from llama_index.core.llms.llm import LLM

from llama_index_rar import RouterLLM
from rar import Answer, Call, Reply, Request, Route, Steps, ask_all
from rar.errors import UnknownNameError
from rar.values import Choice
from tests.fake_openai import FakeOpenAI
from tests.fake_openai import Reply as Scripted

Make = Callable[..., LLM]
Mode = Callable[[RouterLLM], Awaitable[Any]]
ASKED = [ChatMessage("Hello")]


class Drafts:
    """Asks the weak model twice, and routes on or accepts the second draft."""

    def __init__(self, accepts: bool = False) -> None:
        self.accepts = accepts

    def steps(self, request: Request) -> Steps[Choice]:
        _, draft = yield from ask_all([Call("weak", request)] * 2)
        assert isinstance(draft, Reply)
        return Answer(draft, "accepted") if self.accepts else Route("strong", reason="rejected")


async def chat(llm: RouterLLM) -> Any:
    return llm.chat(ASKED)


async def achat(llm: RouterLLM) -> Any:
    return await llm.achat(ASKED)


async def stream(llm: RouterLLM) -> Any:
    return list(llm.stream_chat(ASKED))[-1]


async def astream(llm: RouterLLM) -> Any:
    return [chunk async for chunk in await llm.astream_chat(ASKED)][-1]


async def complete(llm: RouterLLM) -> Any:
    return llm.complete("Hello")


async def stream_complete(llm: RouterLLM) -> Any:
    return list(llm.stream_complete("Hello"))[-1]


every_mode = pytest.mark.parametrize("mode", [chat, achat, stream, astream, complete, stream_complete])


@pytest.fixture
def make(openai: Make, fake_openai: FakeOpenAI) -> Callable[..., RouterLLM]:
    fake_openai.script("small", Scripted("a small one", usage=(10, 1)))
    fake_openai.script("large", Scripted("a large one", usage=(100, 3)))
    counting = {"additional_kwargs": {"stream_options": {"include_usage": True}}}

    def made(accepts: bool = False, **options: Any) -> RouterLLM:
        usual: dict[str, Any] = {"memory": None, "strategy": Drafts(accepts)}
        return RouterLLM(openai("small", **counting), openai("large", **counting), **{**usual, **options})

    return made


def calls(response: Any) -> list[tuple[str, str, int]]:
    return [
        (call["model"], call["purpose"], call["input_tokens"]) for call in response.additional_kwargs["rar"]["calls"]
    ]


def used(response: Any) -> tuple[int, int, int]:
    told = response.additional_kwargs
    return told["prompt_tokens"], told["completion_tokens"], told["total_tokens"]


@every_mode
async def test_an_answer_lists_the_calls_behind_it(mode: Mode, make: Callable[..., RouterLLM]) -> None:
    routed, accepted = await mode(make()), await mode(make(accepts=True))

    assert calls(routed) == [("weak", "draft", 10), ("weak", "draft", 10), ("strong", "serve", 100)]
    assert all(call["seconds"] > 0.0 for call in routed.additional_kwargs["rar"]["calls"])
    assert calls(accepted) == [("weak", "draft", 10), ("weak", "serve", 10)]
    assert used(routed) == (100, 3, 103)


@every_mode
async def test_all_are_counted_once_where_that_is_asked_for(mode: Mode, make: Callable[..., RouterLLM]) -> None:
    assert used(await mode(make(usage="all"))) == (120, 5, 125)
    assert used(await mode(make(accepts=True, usage="all"))) == (20, 2, 22)


async def test_what_the_ledger_and_the_handlers_count_is_the_same(make: Callable[..., RouterLLM]) -> None:
    sums, seen = [], []
    for usage in ("served", "all"):
        for mode in (chat, achat, stream, astream, complete, stream_complete):
            counter = TokenCountingHandler()
            llm = make(usage=usage, callback_manager=CallbackManager([counter]))
            await mode(llm)
            sums.append({(s.purpose, s.role): (s.calls, s.input_tokens) for s in llm.router.stats().spending})
            seen.append(len(counter.llm_token_counts))

    assert sums == [{("draft", "weak"): (2, 20), ("serve", "strong"): (1, 100)}] * 12
    assert seen == [1] * 12


def test_a_misspelt_choice_is_refused(make: Callable[..., RouterLLM]) -> None:
    with pytest.raises(UnknownNameError, match="usage"):
        make(usage="every")
