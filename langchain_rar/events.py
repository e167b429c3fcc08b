"""The content-block protocol, `stream_events(version="v3")`: the chosen child's events, passed on one by one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping
from typing import Any

from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream
from langchain_core.runnables import RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase

from langchain_rar.children import Child
from langchain_rar.messages import DECISION, stamped
from langchain_rar.serving import Attempt, Serving

_END = object()


def stream_events(serving: Serving) -> ChatModelStream:
    """A stream that starts the call when it is first read."""
    stream = ChatModelStream()
    events = _events(serving)

    def pump() -> bool:
        try:
            stream.dispatch(next(events))
        except StopIteration:
            return False
        except BaseException as error:
            stream.fail(error)
            return False
        return True

    stream.bind_pump(pump)
    return stream


async def astream_events(serving: Serving) -> AsyncChatModelStream:
    """`stream_events` for callers with an event loop."""
    return _AsyncStream(_aevents(serving))


class _AsyncStream(AsyncChatModelStream):
    """Reads an event whenever one of its projections wants more; these may be read at the same time."""

    def __init__(self, events: AsyncGenerator[Mapping[str, Any], None]) -> None:
        super().__init__()
        self._source, self._reading = events, asyncio.Lock()
        self.set_arequest_more(self._read)

    async def _read(self) -> bool:
        async with self._reading:
            if self.done:
                return False
            try:
                self.dispatch(await anext(self._source))
            except StopAsyncIteration:
                return False
            except BaseException as error:
                self.fail(error)
                if isinstance(error, asyncio.CancelledError):
                    raise
                return False
            return True

    async def aclose(self) -> None:
        await self._source.aclose()
        if not self.done:
            self.fail(asyncio.CancelledError())


def _events(serving: Serving) -> Generator[Mapping[str, Any], None, None]:
    run = serving.start()
    try:
        decision = serving.router.decide(serving.request, serving.models)
        while True:
            try:
                stream, events, event = _opened(serving.attempt(decision, run.get_child()))
                break
            except Exception as error:
                decision = serving.router.failover(decision, error)
        facts = decision.as_dict()
        finish: Mapping[str, Any] = {}
        while event is not _END:
            if event["event"] == "message-finish":
                finish = _marked(event, facts)
            else:
                yield event
            event = next(events, _END)
        output = stamped(stream.output, facts)
    except BaseException as error:
        run.on_chain_error(error)
        raise
    run.on_chain_end(output)
    serving.learn(decision, output)
    yield finish  # last of all, for a reader stops here


async def _aevents(serving: Serving) -> AsyncGenerator[Mapping[str, Any], None]:
    run = await serving.astart()
    try:
        decision = await serving.router.adecide(serving.request, serving.models)
        while True:
            try:
                stream, events, event = await _aopened(serving.attempt(decision, run.get_child()))
                break
            except Exception as error:
                decision = serving.router.failover(decision, error)
        facts = decision.as_dict()
        finish: Mapping[str, Any] = {}
        try:
            while event is not _END:
                if event["event"] == "message-finish":
                    finish = _marked(event, facts)
                else:
                    yield event
                event = await anext(events, _END)
            output = stamped(await stream, facts)
        finally:
            await stream.aclose()
    except BaseException as error:
        await run.on_chain_error(error)
        raise
    await run.on_chain_end(output)
    serving.learn(decision, output)
    yield finish


def _opened(attempt: Attempt) -> tuple[Any, Iterator[Any], Any]:
    """The child's stream, its events after the first one, and that one."""
    *fallible, last = _alternatives(attempt.child)
    for child in fallible:
        with contextlib.suppress(Exception):
            return _open(child, attempt)
    return _open(last, attempt)


def _open(child: Child, attempt: Attempt) -> tuple[Any, Iterator[Any], Any]:
    stream = child.stream_events(attempt.messages, attempt.config, version="v3")
    events = iter(stream)
    return stream, events, next(events, _END)


async def _aopened(attempt: Attempt) -> tuple[Any, AsyncIterator[Any], Any]:
    *fallible, last = _alternatives(attempt.child)
    for child in fallible:
        with contextlib.suppress(Exception):
            return await _aopen(child, attempt)
    return await _aopen(last, attempt)


async def _aopen(child: Child, attempt: Attempt) -> tuple[Any, AsyncIterator[Any], Any]:
    stream: Any = await child.astream_events(attempt.messages, attempt.config, version="v3")
    events = aiter(stream)
    return stream, events, await anext(events, _END)


def _alternatives(child: Child) -> list[Child]:
    """What to try in turn: a runnable with fallbacks does not speak the protocol, but its parts do."""
    if isinstance(child, RunnableWithFallbacks):
        return [each for part in (child.runnable, *child.fallbacks) for each in _alternatives(part)]
    if isinstance(child, RunnableBindingBase):
        return [child.model_copy(update={"bound": each}) for each in _alternatives(child.bound)]
    return [child]


def _marked(event: Mapping[str, Any], facts: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**event, "metadata": {**(event.get("metadata") or {}), DECISION: facts}}
