"""The content-block protocol, `stream_events(version="v3")`: the chosen child's events, passed on one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping
from typing import Any, cast

from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream

from langchain_rar.messages import DECISION, stamped
from langchain_rar.serving import Serving

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
            attempt = serving.attempt(decision, run.get_child())
            stream: Any = attempt.child.stream_events(attempt.messages, attempt.config, version="v3")
            events = iter(stream)
            try:
                event = next(events, _END)
                break
            except Exception as error:
                decision = serving.router.failover(decision, error)
        facts = decision.as_dict()
        finish: Mapping[str, Any] = {}
        while event is not _END:
            passed = cast("Mapping[str, Any]", event)
            if passed["event"] == "message-finish":
                finish = _marked(passed, facts)
            else:
                yield passed
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
            attempt = serving.attempt(decision, run.get_child())
            stream: Any = await attempt.child.astream_events(attempt.messages, attempt.config, version="v3")
            events = aiter(stream)
            try:
                event = await anext(events, _END)
                break
            except Exception as error:
                decision = serving.router.failover(decision, error)
        facts = decision.as_dict()
        finish: Mapping[str, Any] = {}
        try:
            while event is not _END:
                passed = cast("Mapping[str, Any]", event)
                if passed["event"] == "message-finish":
                    finish = _marked(passed, facts)
                else:
                    yield passed
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


def _marked(event: Mapping[str, Any], facts: Mapping[str, Any]) -> Mapping[str, Any]:
    return {**event, "metadata": {**(event.get("metadata") or {}), DECISION: facts}}
