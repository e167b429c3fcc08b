"""Time limits: what hangs is given up, what does not is left as it is. Events stand for hanging, never the clock."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from rar import FunctionModel, Router
from rar.errors import ModelTimeoutError
from rar.timeouts import astream_within, awithin, stream_within, within
from rar.values import question
from tests.core.world import serve

SOON, LATER = 0.05, 60.0
variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")


@pytest.fixture
def never() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


@pytest.mark.parametrize("seconds", [None, LATER])
def test_a_call_in_time_returns_or_raises_what_it_would_and_sees_the_callers_context(seconds: float | None) -> None:
    variable.set("mine")

    assert within(seconds, "weak", variable.get) == "mine"
    with pytest.raises(KeyError, match="lost"):
        within(seconds, "weak", lambda: {}["lost"])


def test_a_call_that_hangs_is_given_up(never: threading.Event) -> None:
    with pytest.raises(ModelTimeoutError, match="The weak model said nothing for 0.05 s"):
        within(SOON, "weak", never.wait)


@pytest.mark.parametrize("seconds", [None, LATER])
def test_a_stream_in_time_gives_its_items_and_its_error(seconds: float | None) -> None:
    def items() -> Iterator[int]:
        yield from range(20)
        raise KeyError("lost")

    stream = stream_within(seconds, "weak", items)

    assert [next(stream) for _ in range(20)] == list(range(20))
    with pytest.raises(KeyError, match="lost"):
        next(stream)


def test_a_stream_that_stops_in_the_middle_is_given_up(never: threading.Event) -> None:
    def items() -> Iterator[int]:
        yield 1
        never.wait()

    stream = stream_within(SOON, "weak", items)

    assert next(stream) == 1
    with pytest.raises(ModelTimeoutError):
        next(stream)


@pytest.mark.parametrize("seconds", [None, LATER])
def test_a_stream_that_is_left_is_closed(seconds: float | None) -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            yield from range(1_000)
        finally:
            closed.set()

    stream = stream_within(seconds, "weak", items)
    next(stream)
    stream.close()

    assert closed.wait(LATER)


async def test_async_calls_and_streams_have_the_same_limits() -> None:
    async def items(hang: bool) -> AsyncIterator[int]:
        yield 1
        if hang:
            await asyncio.Event().wait()

    assert await awithin(LATER, "weak", asyncio.sleep(0, "done")) == "done"
    with pytest.raises(ModelTimeoutError):
        await awithin(SOON, "weak", asyncio.Event().wait())
    assert [item async for item in astream_within(LATER, "weak", items(False))] == [1]
    with pytest.raises(ModelTimeoutError):
        assert [item async for item in astream_within(SOON, "weak", items(True))]


async def test_a_timeout_of_the_model_itself_stays_its_own() -> None:
    async def raises() -> None:
        raise TimeoutError("of the client")

    with pytest.raises(TimeoutError, match="of the client"):
        await awithin(LATER, "weak", raises())


async def test_a_caller_who_gives_up_is_not_told_of_a_timeout() -> None:
    task = asyncio.ensure_future(awithin(LATER, "weak", asyncio.Event().wait()))
    await asyncio.sleep(0)
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_shadow_that_hangs_blocks_neither_flush_nor_later_lessons(never: threading.Event) -> None:
    def weak(messages: object) -> str:
        if "first" in str(messages):
            never.wait()
        return "red"

    models = {"weak": FunctionModel(weak, "small"), "strong": FunctionModel(lambda _: "red", "large")}
    options = {"embedder": "hashing", "learning_budget": None, "guides": False, "timeout": SOON}
    with Router(memory=":memory:", **options) as router:  # type: ignore[arg-type]
        for text in ("first question", "second question"):
            serve(router, models, question(text))  # type: ignore[arg-type]
        assert router.flush(LATER)
        facts = [decision["learned"] for decision in router.decisions()]

    assert [(bool(one["attempts"]), (one["stopped"] or "").split(":")[0]) for one in facts] == [
        (True, ""), (False, "ModelTimeoutError"),
    ]  # fmt: skip
