"""The content-block protocol, `stream_events(version="v3")`: the chosen child's events, passed on one by one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping
from contextlib import aclosing, closing
from functools import partial
from typing import Any

from langchain_core.language_models.chat_model_stream import AsyncChatModelStream, ChatModelStream
from langchain_core.messages.ai import add_usage
from langchain_core.runnables import RunnableWithFallbacks
from langchain_core.runnables.base import RunnableBindingBase

from langchain_rar.children import Child
from langchain_rar.messages import is_solid, stamp, usage_metadata
from langchain_rar.serving import ChainRun, ChatServing, ChildTarget
from rar.turn import Attempt, Turn
from rar.values import Usage

_END = object()


def stream_events(serving: ChatServing) -> ChatModelStream:
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


async def astream_events(serving: ChatServing) -> AsyncChatModelStream:
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


def _events(serving: ChatServing) -> Generator[Mapping[str, Any], None, None]:
    with serving.running() as run:
        turn = serving.begun(run)
        with closing(turn.stream(partial(_EventTarget, serving, run))) as events:
            for event in events:
                if event["event"] != "message-finish":
                    yield event
        run.output, _ = serving.finished(turn, turn.target.output)
        serving.learn(turn.decision, turn.target.output)
    yield _ended(serving, turn)  # last of all, for a reader stops here


async def _aevents(serving: ChatServing) -> AsyncGenerator[Mapping[str, Any], None]:
    async with serving.arunning() as run:
        turn = await serving.abegun(run)
        async with aclosing(turn.astream(partial(_EventTarget, serving, run))) as events:
            async for event in events:
                if event["event"] != "message-finish":
                    yield event
        run.output, _ = serving.finished(turn, turn.target.output)
        await serving.alearn(turn.decision, turn.target.output)
    yield _ended(serving, turn)


class _EventTarget(ChildTarget):
    """The child's events. Of a child with alternatives, those of the first that can be opened."""

    def __init__(self, serving: ChatServing, run: ChainRun, attempt: Attempt) -> None:
        super().__init__(serving, attempt, run.callbacks.get_child())
        self.stream: Any = None
        self.output: Any = None
        self.finish: Mapping[str, Any] = {}

    def chunks(self) -> Generator[Mapping[str, Any], None, None]:
        events, event = self._first()
        while event is not _END:
            self._notice(event)
            yield event
            event = next(events, _END)
        self.output = self.stream.output

    async def achunks(self) -> AsyncGenerator[Mapping[str, Any], None]:
        return self._aevents()

    async def _aevents(self) -> AsyncGenerator[Mapping[str, Any], None]:
        events, event = await self._afirst()
        try:
            while event is not _END:
                self._notice(event)
                yield event
                event = await anext(events, _END)
            self.output = await self.stream
        finally:
            await self.stream.aclose()

    def solid(self, chunk: Mapping[str, Any]) -> bool:
        """Whether an event brings more than the frame of a message, an empty text or a thought."""
        block = chunk.get("content") or chunk.get("delta") or {}
        block = {**block, "type": str(block.get("type", "")).removesuffix("-delta")}
        return bool(block["type"]) and is_solid(block)

    def whole(self, chunks: list[Any]) -> Any:
        return self.output

    def _notice(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "message-finish":
            self.finish = event

    def _first(self) -> tuple[Iterator[Any], Any]:
        *fallible, last = _alternatives(self.child)
        for child in fallible:
            with contextlib.suppress(Exception):
                return self._open(child)
        return self._open(last)

    def _open(self, child: Child) -> tuple[Iterator[Any], Any]:
        self.stream = child.stream_events(*self.sent, version="v3")
        events = iter(self.stream)
        return events, next(events, _END)

    async def _afirst(self) -> tuple[AsyncIterator[Any], Any]:
        *fallible, last = _alternatives(self.child)
        for child in fallible:
            with contextlib.suppress(Exception):
                return await self._aopen(child)
        return await self._aopen(last)

    async def _aopen(self, child: Child) -> tuple[AsyncIterator[Any], Any]:
        stream: Any = await child.astream_events(*self.sent, version="v3")
        self.stream, events = stream, aiter(stream)
        return events, await anext(events, _END)


def _ended(serving: ChatServing, turn: Turn) -> Mapping[str, Any]:
    facts = serving.facts(turn.decision, turn.target.output)
    return _marked(turn.target.finish, facts, serving.drafted(turn.decision))


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
