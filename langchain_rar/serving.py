"""One call through a router: a chain run, one decision, and one run of the chosen child under it.

Invoke and stream, sync and async, plain and structured, all come here; they differ only in how the child is called.
A router that was itself an LLM run above another LLM run would count every token twice and stream it twice.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import aclosing, closing
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from langchain_core.callbacks import (
    AsyncCallbackManager,
    AsyncCallbackManagerForChainRun,
    BaseCallbackHandler,
    BaseCallbackManager,
    CallbackManager,
    CallbackManagerForChainRun,
)
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import patch_config

from langchain_rar.children import Child, playback
from langchain_rar.forms import Form, with_model
from langchain_rar.messages import (
    as_chunk,
    as_message,
    is_blank,
    is_cached,
    message_of,
    reply_of,
    sealed,
    stamped,
    with_usage,
)
from langchain_rar.ports import ARGUMENTS, DRAFT, FORM, ChildModel, SeenModel
from rar.drive import Models
from rar.errors import EmptyReplyError, UnparsedReplyError
from rar.router import Router
from rar.timeouts import astream_within, awithin, stream_within, within
from rar.turn import Attempt, Turn
from rar.values import Answer, Decision, Reply, Request, Usage


@dataclass(frozen=True, slots=True)
class ChildCall:
    """The chosen child, ready to be called."""

    child: Child
    messages: list[BaseMessage]
    config: RunnableConfig
    seen: LastMessage | None  # catches the model's own message where the output is something made of it

    @property
    def sent(self) -> tuple[list[BaseMessage], RunnableConfig]:
        return self.messages, self.config

    def message(self, output: Any) -> AIMessage | None:
        if self.seen is not None:
            return self.seen.message
        return output if isinstance(output, AIMessage) else None


@dataclass(frozen=True, slots=True)
class Serving:
    """A call that is about to be served.

    Args:
        name: Of the chain run, where the config does not name it.
    """

    router: Router
    request: Request
    models: Mapping[str, ChildModel]
    config: RunnableConfig
    name: str
    settings: Settings

    @property
    def form(self) -> Form:
        form: Form = self.request.options[FORM]
        return form

    # --- the four modes ---------------------------------------------------------------------------------------------

    def invoke(self) -> Any:
        run = self.start()
        try:
            turn = self.turn(self.router.decide(self.request, self.drafting(run.get_child)))
            for attempt in turn:
                with attempt:
                    call = self.prepared(attempt.decision, run.get_child())
                    output = self.whole(within(*self.limit(attempt), lambda: call.child.invoke(*call.sent)))  # noqa: B023
                    attempt.refuse(*self.flaw(attempt.decision, call, output))
            message = call.message(output)
            output = self.shown(stamped(output, self.facts(turn.decision, message)), turn.decision)
        except BaseException as error:
            run.on_chain_error(error)
            raise
        run.on_chain_end(output)
        self.learn(turn.decision, message)
        return output

    async def ainvoke(self) -> Any:
        run = await self.astart()
        try:
            turn = self.turn(await self.router.adecide(self.request, self.drafting(run.get_child)))
            for attempt in turn:
                with attempt:
                    call = self.prepared(attempt.decision, run.get_child())
                    output = self.whole(await awithin(*self.limit(attempt), call.child.ainvoke(*call.sent)))
                    attempt.refuse(*self.flaw(attempt.decision, call, output))
            message = call.message(output)
            output = self.shown(stamped(output, self.facts(turn.decision, message)), turn.decision)
        except BaseException as error:
            await run.on_chain_error(error)
            raise
        await run.on_chain_end(output)
        await self.alearn(turn.decision, message)
        return output

    def stream(self) -> Generator[Any, None, None]:
        run = self.start()
        try:
            turn = self.turn(self.router.decide(self.request, self.drafting(run.get_child)))
            for attempt in turn:
                passed = _Passed(self, attempt)
                with attempt:
                    call = self.prepared(attempt.decision, run.get_child())
                    with closing(stream_within(*self.limit(attempt), lambda: call.child.stream(*call.sent))) as source:  # noqa: B023
                        for chunk in source:
                            for ready in attempt.admit(chunk, self.solid(chunk)):
                                yield passed.on(ready)
                    for ready in attempt.rest(*self.refusal(attempt.decision, call)):
                        yield passed.on(ready)
        except BaseException as error:
            run.on_chain_error(error)
            raise
        output = merged(passed.chunks)
        run.on_chain_end(self.shown(output, turn.decision))
        self.learn(turn.decision, call.message(output))

    async def astream(self) -> AsyncGenerator[Any, None]:
        run = await self.astart()
        try:
            turn = self.turn(await self.router.adecide(self.request, self.drafting(run.get_child)))
            for attempt in turn:
                passed = _Passed(self, attempt)
                with attempt:
                    call = self.prepared(attempt.decision, run.get_child())
                    async with aclosing(astream_within(*self.limit(attempt), call.child.astream(*call.sent))) as source:
                        async for chunk in source:
                            for ready in attempt.admit(chunk, self.solid(chunk)):
                                yield passed.on(ready)
                    for ready in attempt.rest(*self.refusal(attempt.decision, call)):
                        yield passed.on(ready)
        except BaseException as error:
            await run.on_chain_error(error)
            raise
        output = merged(passed.chunks)
        await run.on_chain_end(self.shown(output, turn.decision))
        await self.alearn(turn.decision, call.message(output))

    # --- what the modes share ---------------------------------------------------------------------------------------

    def start(self) -> CallbackManagerForChainRun:
        manager = CallbackManager.configure(*self.settings.configuration(self.config))
        self.settings.attach(manager)
        return manager.on_chain_start(None, self._inputs(), name=self._run_name(), run_id=self._run_id())

    async def astart(self) -> AsyncCallbackManagerForChainRun:
        manager = AsyncCallbackManager.configure(*self.settings.configuration(self.config))
        self.settings.attach(manager)
        return await manager.on_chain_start(None, self._inputs(), name=self._run_name(), run_id=self._run_id())

    def turn(self, decision: Decision) -> Turn:
        return Turn(self.router, decision)

    def drafting(self, callbacks: Callable[[str], BaseCallbackManager]) -> Models:
        """The models as strategies ask them: seen by tracers where that was asked for, else by nobody."""
        if self.settings.usage != "all":
            return self.models
        return {name: SeenModel(model, callbacks(DRAFT)) for name, model in self.models.items()}

    def limit(self, attempt: Attempt) -> tuple[float | None, str]:
        """How long the attempt's model may be silent, and its name."""
        return self.router.timeout, attempt.decision.model

    def prepared(self, decision: Decision, callbacks: BaseCallbackManager) -> ChildCall:
        """The child that the decision names, or a playback of the reply that it already has."""
        model = self.models[decision.model]
        child = self.form.serving(model.child, self.request.options[ARGUMENTS])
        if isinstance(decision.choice, Answer):
            message = message_of(decision.choice.reply)
            if self.settings.usage == "all":  # its tokens were counted when it was drafted
                message.usage_metadata = None
            child = with_model(child, playback(message, model.child))
        seen = LastMessage() if self.form.parsed else None
        if seen is not None:
            callbacks.add_handler(seen, inherit=True)
        metadata = {**self.config.get("metadata", {}), "rar_model": decision.model, "rar_decision_id": decision.id}
        config: RunnableConfig = {**patch_config(self.config, callbacks=callbacks), "metadata": metadata}
        return ChildCall(child, model.messages(decision.call), config, seen)

    def whole(self, output: Any) -> Any:
        return output if self.form.parsed else as_message(output)

    def solid(self, chunk: Any) -> bool:
        """Whether a chunk is worth passing on: until one is, another model may still answer."""
        return self._has_object(chunk) if self.form.parsed else not is_blank(as_chunk(chunk))

    def nothing(self, decision: Decision) -> Exception:
        """What is wrong with an answer that holds nothing solid."""
        return (UnparsedReplyError if self.form.parsed else EmptyReplyError)(decision.model)

    def flaw(
        self, decision: Decision, call: ChildCall, output: Any
    ) -> tuple[Exception | None, Callable[[], Reply | None]]:
        """What is wrong with an output, if anything is, and how the engine sees it."""
        return self.flaw_of(decision, output), lambda: self.view(decision, call, output)

    def flaw_of(self, decision: Decision, output: Any) -> Exception | None:
        """What is wrong with an answer that came without an error; None if it may be kept."""
        if not self.form.parsed:
            return self.nothing(decision) if is_blank(output) else None
        found = output.get("parsing_error") if isinstance(output, dict) else None
        if isinstance(found, Exception):
            return found
        return None if self._has_object(output) else self.nothing(decision)

    def refusal(
        self, decision: Decision, call: ChildCall, output: Any = None
    ) -> tuple[Exception, Callable[[list[Any]], Reply | None]]:
        """What is wrong with a stream that held nothing solid, and how the engine sees its chunks or their `output`."""

        def view(held: list[Any]) -> Reply | None:
            whole = output or merged(held if self.form.parsed else [as_chunk(chunk) for chunk in held])
            return self.view(decision, call, whole)

        return self.nothing(decision), view

    def view(self, decision: Decision, call: ChildCall, output: Any) -> Reply | None:
        """How the engine sees an output; None where no message of the model was seen."""
        message = call.message(output)
        return None if message is None else self.reply(decision, message)

    def _has_object(self, output: Any) -> bool:
        """Whether structured output, or the `include_raw` map around it, holds what was asked for."""
        if getattr(self.form, "include_raw", False) and isinstance(output, Mapping):
            output = output.get("parsed")
        return output is not None and output != []

    def facts(self, decision: Decision, message: AIMessage | None) -> dict[str, Any]:
        """What a whole answer is stamped with: the decision and what it cost."""
        return sealed(decision) | self.costs(decision, message)

    def costs(self, decision: Decision, message: AIMessage | None) -> dict[str, Any]:
        return {} if message is None else self.router.costs(decision, self.reply(decision, message), self.models)

    def reply(self, decision: Decision, message: AIMessage) -> Reply:
        model = self.models[decision.model]
        if isinstance(decision.choice, Answer):
            drafted = decision.choice.reply
            return replace(reply_of(model.role, message, model.id, drafted.seconds), usage=drafted.usage)
        return reply_of(model.role, message, model.id, decision.seconds)

    def shown(self, output: Any, decision: Decision) -> Any:
        """A whole output, or the last chunk of a stream, as the user counts its tokens."""
        return with_usage(output, self.drafted(decision))

    def drafted(self, decision: Decision) -> Usage:
        """The tokens of the calls before the one that serves, where these are to be shown."""
        return sum((call.usage for call in decision.calls), Usage()) if self.settings.usage == "all" else Usage()

    def learn(self, decision: Decision, message: AIMessage | None) -> None:
        if (lesson := self._lesson(decision, message)) is not None:
            self.router.learn(*lesson)

    async def alearn(self, decision: Decision, message: AIMessage | None) -> None:
        if (lesson := self._lesson(decision, message)) is not None:
            await self.router.alearn(*lesson)

    def _lesson(
        self, decision: Decision, message: AIMessage | None
    ) -> tuple[Decision, Reply, Mapping[str, ChildModel]] | None:
        if message is None or is_cached(message):
            if message is not None:
                self.router.unpaid(decision)
            return None
        if is_blank(message):  # it cost something, and teaches nothing
            decision = replace(decision, request=replace(decision.request, learn=False))
        return decision, self.reply(decision, message), self.models

    def _inputs(self) -> dict[str, Any]:
        return {"messages": [message.native for message in self.request.messages]}

    def _run_name(self) -> str:
        return self.config.get("run_name") or self.name

    def _run_id(self) -> UUID | None:
        return self.config.get("run_id")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a router was constructed with that concerns its runs."""

    callbacks: Any = None
    tags: list[str] | None = None
    metadata: dict[str, Any] | None = None
    verbose: bool = False
    usage: str = "served"

    def configuration(self, config: RunnableConfig) -> tuple[Any, ...]:
        # Inheritable, for the run that they are meant for is the child's: `tags=["nostream"]` must reach it.
        tags = [*config.get("tags", ()), *(self.tags or ())]
        metadata = {**config.get("metadata", {}), **(self.metadata or {})}
        return config.get("callbacks"), None, self.verbose, tags, None, metadata, None

    def attach(self, manager: BaseCallbackManager) -> None:
        given = self.callbacks
        for handler in given.handlers if isinstance(given, BaseCallbackManager) else given or ():
            manager.add_handler(handler, inherit=True)


class LastMessage(BaseCallbackHandler):
    """Keeps the message that the last LLM run under it ended with."""

    run_inline = True

    def __init__(self) -> None:
        self.message: AIMessage | None = None

    def on_llm_end(self, response: LLMResult, **kwargs: Any) -> None:
        generation = response.generations[0][0] if response.generations and response.generations[0] else None
        if isinstance(generation, ChatGeneration) and isinstance(generation.message, AIMessage):
            self.message = generation.message


class _Passed:
    """The chunks of one attempt that were passed on.

    Merging adds chunks up, so that each fact is stamped on one of them: the decision on the first that can carry it,
    what the answer cost on the last.
    """

    def __init__(self, serving: Serving, attempt: Attempt) -> None:
        self.chunks: list[Any] = []
        self._serving, self._attempt = serving, attempt
        self._facts: Mapping[str, Any] | None = sealed(attempt.decision)

    def on(self, chunk: Any) -> Any:
        chunk = chunk if self._serving.form.parsed else as_chunk(chunk)
        last = isinstance(chunk, AIMessageChunk) and chunk.chunk_position == "last"
        facts = self._at_the_end(chunk) if last else {}
        if self._facts is not None:
            # The calls before this one are among the decision's facts.
            calls = [*self._facts["calls"], *facts.get("calls", ())]
            marked = stamped(chunk, {**self._facts, **facts, "calls": calls})
            self._facts, chunk = (self._facts if marked is chunk else None), marked
        elif facts:
            chunk = stamped(chunk, facts)
        self.chunks.append(chunk)
        return self._serving.shown(chunk, self._attempt.decision) if last else chunk

    def _at_the_end(self, chunk: AIMessageChunk) -> dict[str, Any]:
        """What is known with the last chunk. Of the calls, the last one: those before it were stamped already."""
        decision = self._attempt.timed
        costs = self._serving.costs(decision, merged([*self.chunks, chunk]))
        return {**costs, "calls": costs.get("calls", [])[len(decision.calls) :]}


def merged(chunks: list[Any]) -> Any:
    """The whole that a stream gave: the sum of message chunks, the last state of anything else."""
    if not chunks:
        return None
    if all(isinstance(chunk, AIMessageChunk) for chunk in chunks):
        return chunks[0] + chunks[1:]
    return chunks[-1]
