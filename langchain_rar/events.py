"""The content-block protocol, `stream_events(version="v3")`: the chosen child's events, passed on one by one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping
from contextlib import aclosing, closing
from typing import Any

from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream
from langchain_core.messages.ai import add_usage
from langchain_core.runnables import RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase

from langchain_rar.children import Child
from langchain_rar.messages import is_solid, stamp, stamped, usage_metadata
from langchain_rar.serving import ChildCall, Serving
from rar.timeouts import astream_within, stream_within
from rar.values import Usage

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
        turn = serving.turn(serving.router.decide(serving.request, serving.drafting(run.get_child)))
        for attempt in turn:
            with attempt:
                call = serving.prepared(attempt.decision, run.get_child())
                opened = _Opened()
                with closing(stream_within(*serving.limit(attempt), lambda: opened.events(call))) as events:  # noqa: B023
                    for event in events:
                        for ready in attempt.admit(event, _solid(event)):
                            if ready["event"] != "message-finish":
                                yield ready
                output = opened.stream.output
                for ready in attempt.rest(*serving.refusal(attempt.decision, call, output)):
                    if ready["event"] != "message-finish":
                        yield ready
        facts = serving.facts(turn.decision, output)
        whole = serving.shown(stamped(output, facts), turn.decision)
    except BaseException as error:
        run.on_chain_error(error)
        raise
    run.on_chain_end(whole)
    serving.learn(turn.decision, output)
    yield _marked(opened.finish, facts, serving.drafted(turn.decision))  # last of all, for a reader stops here


async def _aevents(serving: Serving) -> AsyncGenerator[Mapping[str, Any], None]:
    run = await serving.astart()
    try:
        turn = serving.turn(await serving.router.adecide(serving.request, serving.drafting(run.get_child)))
        for attempt in turn:
            with attempt:
                call = serving.prepared(attempt.decision, run.get_child())
                opened = _Opened()
                async with aclosing(astream_within(*serving.limit(attempt), opened.aevents(call))) as events:
                    async for event in events:
                        for ready in attempt.admit(event, _solid(event)):
                            if ready["event"] != "message-finish":
                                yield ready
                output = await opened.stream
                for ready in attempt.rest(*serving.refusal(attempt.decision, call, output)):
                    if ready["event"] != "message-finish":
                        yield ready
        facts = serving.facts(turn.decision, output)
        whole = serving.shown(stamped(output, facts), turn.decision)
    except BaseException as error:
        await run.on_chain_error(error)
        raise
    await run.on_chain_end(whole)
    await serving.alearn(turn.decision, output)
    yield _marked(opened.finish, facts, serving.drafted(turn.decision))


class _Opened:
    """The child's stream of one attempt. Of a child with alternatives, the first that can be opened."""

    def __init__(self) -> None:
        self.stream: Any = None
        self.finish: Mapping[str, Any] = {}

    def events(self, call: ChildCall) -> Generator[Mapping[str, Any], None, None]:
        events, event = self._first(call)
        while event is not _END:
            self._notice(event)
            yield event
            event = next(events, _END)

    async def aevents(self, call: ChildCall) -> AsyncGenerator[Mapping[str, Any], None]:
        events, event = await self._afirst(call)
        try:
            while event is not _END:
                self._notice(event)
                yield event
                event = await anext(events, _END)
        finally:
            await self.stream.aclose()

    def _notice(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "message-finish":
            self.finish = event

    def _first(self, call: ChildCall) -> tuple[Iterator[Any], Any]:
        *fallible, last = _alternatives(call.child)
        for child in fallible:
            with contextlib.suppress(Exception):
                return self._open(child, call)
        return self._open(last, call)

    def _open(self, child: Child, call: ChildCall) -> tuple[Iterator[Any], Any]:
        self.stream = child.stream_events(*call.sent, version="v3")
        events = iter(self.stream)
        return events, next(events, _END)

    async def _afirst(self, call: ChildCall) -> tuple[AsyncIterator[Any], Any]:
        *fallible, last = _alternatives(call.child)
        for child in fallible:
            with contextlib.suppress(Exception):
                return await self._aopen(child, call)
        return await self._aopen(last, call)

    async def _aopen(self, child: Child, call: ChildCall) -> tuple[AsyncIterator[Any], Any]:
        stream: Any = await child.astream_events(*call.sent, version="v3")
        self.stream, events = stream, aiter(stream)
        return events, await anext(events, _END)


def _solid(event: Mapping[str, Any]) -> bool:
    """Whether an event brings more than the frame of a message, an empty text or a thought."""
    block = event.get("content") or event.get("delta") or {}
    block = {**block, "type": str(block.get("type", "")).removesuffix("-delta")}
    return bool(block["type"]) and is_solid(block)


def _alternatives(child: Child) -> list[Child]:
    """What to try in turn: a runnable with fallbacks does not speak the protocol, but its parts do."""
    if isinstance(child, RunnableWithFallbacks):
        return [each for part in (child.runnable, *child.fallbacks) for each in _alternatives(part)]
    if isinstance(child, RunnableBindingBase):
        return [child.model_copy(update={"bound": each}) for each in _alternatives(child.bound)]
    return [child]


def _marked(event: Mapping[str, Any], facts: Mapping[str, Any], drafted: Usage) -> Mapping[str, Any]:
    marked = {**event, "metadata": {**(event.get("metadata") or {}), **stamp(facts)}}
    usage = add_usage(event.get("usage"), usage_metadata(drafted)) if drafted.total else None
    return marked if usage is None else {**marked, "usage": usage}
