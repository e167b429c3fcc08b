"""One call through a router: a chain run, one decision, and one run of the chosen child under it.

Invoke and stream, sync and async, plain and structured, all come here; they differ only in how the child is called.
A router that was itself an LLM run above another LLM run would count every token twice and stream it twice.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Iterator, Mapping
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
    stamped,
    to_langchain,
)
from langchain_rar.ports import ARGUMENTS, FORM, ChildModel
from rar.errors import EmptyReplyError
from rar.injection import messages_of
from rar.router import Router
from rar.values import Answer, Decision, Request

_END = object()


@dataclass(frozen=True, slots=True)
class Attempt:
    """The chosen child, ready to be called."""

    child: Child
    messages: list[BaseMessage]
    config: RunnableConfig
    seen: LastMessage | None  # catches the model's own message where the output is something made of it

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
            decision = self.router.decide(self.request, self.models)
            while True:
                try:
                    attempt = self.attempt(decision, run.get_child())
                    output = self.whole(attempt.child.invoke(attempt.messages, attempt.config))
                except Exception as error:
                    decision = self.router.failover(decision, error)
                    continue
                again = self.second_chance(decision, output)
                if again is None:
                    break
                decision = again
            output = stamped(output, decision.as_dict())
        except BaseException as error:
            run.on_chain_error(error)
            raise
        run.on_chain_end(output)
        self.learn(decision, attempt.message(output))
        return output

    async def ainvoke(self) -> Any:
        run = await self.astart()
        try:
            decision = await self.router.adecide(self.request, self.models)
            while True:
                try:
                    attempt = self.attempt(decision, run.get_child())
                    output = self.whole(await attempt.child.ainvoke(attempt.messages, attempt.config))
                except Exception as error:
                    decision = self.router.failover(decision, error)
                    continue
                again = self.second_chance(decision, output)
                if again is None:
                    break
                decision = again
            output = stamped(output, decision.as_dict())
        except BaseException as error:
            await run.on_chain_error(error)
            raise
        await run.on_chain_end(output)
        self.learn(decision, attempt.message(output))
        return output

    def stream(self) -> Generator[Any, None, None]:
        run = self.start()
        chunks: list[Any] = []
        try:
            decision = self.router.decide(self.request, self.models)
            while True:
                try:
                    attempt = self.attempt(decision, run.get_child())
                    source = _generator(attempt.child.stream(attempt.messages, attempt.config))
                    chunk = next(source, _END)
                    break
                except Exception as error:
                    decision = self.router.failover(decision, error)
            facts: Mapping[str, Any] | None = decision.as_dict()
            with closing(source):
                while chunk is not _END:
                    chunk, facts = self.part(chunk, facts)
                    chunks.append(chunk)
                    yield chunk
                    chunk = next(source, _END)
        except BaseException as error:
            run.on_chain_error(error)
            raise
        output = merged(chunks)
        run.on_chain_end(output)
        self.learn(decision, attempt.message(output))

    async def astream(self) -> AsyncGenerator[Any, None]:
        run = await self.astart()
        chunks: list[Any] = []
        try:
            decision = await self.router.adecide(self.request, self.models)
            while True:
                try:
                    attempt = self.attempt(decision, run.get_child())
                    source = attempt.child.astream(attempt.messages, attempt.config)
                    chunk = await anext(source, _END)
                    break
                except Exception as error:
                    decision = self.router.failover(decision, error)
            facts: Mapping[str, Any] | None = decision.as_dict()
            async with aclosing(source):  # type: ignore[type-var]  # every `astream` is an async generator
                while chunk is not _END:
                    chunk, facts = self.part(chunk, facts)
                    chunks.append(chunk)
                    yield chunk
                    chunk = await anext(source, _END)
        except BaseException as error:
            await run.on_chain_error(error)
            raise
        output = merged(chunks)
        await run.on_chain_end(output)
        self.learn(decision, attempt.message(output))

    # --- what the modes share ---------------------------------------------------------------------------------------

    def start(self) -> CallbackManagerForChainRun:
        manager = CallbackManager.configure(*self.settings.configuration(self.config))
        self.settings.attach(manager)
        return manager.on_chain_start(None, self._inputs(), name=self._run_name(), run_id=self._run_id())

    async def astart(self) -> AsyncCallbackManagerForChainRun:
        manager = AsyncCallbackManager.configure(*self.settings.configuration(self.config))
        self.settings.attach(manager)
        return await manager.on_chain_start(None, self._inputs(), name=self._run_name(), run_id=self._run_id())

    def attempt(self, decision: Decision, callbacks: BaseCallbackManager) -> Attempt:
        """The child that the decision names, or a playback of the reply that it already has."""
        model = self.models[decision.model]
        child = self.form.serving(model.child, self.request.options[ARGUMENTS])
        if isinstance(decision.choice, Answer):
            child = with_model(child, playback(message_of(decision.choice.reply), model.child))
        seen = LastMessage() if self.form.parsed else None
        if seen is not None:
            callbacks.add_handler(seen, inherit=True)
        metadata = {**self.config.get("metadata", {}), "rar_model": decision.model, "rar_decision_id": decision.id}
        config: RunnableConfig = {**patch_config(self.config, callbacks=callbacks), "metadata": metadata}
        return Attempt(child, [to_langchain(message) for message in messages_of(decision.call)], config, seen)

    def whole(self, output: Any) -> Any:
        return output if self.form.parsed else as_message(output)

    def part(self, chunk: Any, facts: Mapping[str, Any] | None) -> tuple[Any, Mapping[str, Any] | None]:
        """A chunk to pass on, and the facts if they are still to be stamped on a later one: merging adds them up."""
        chunk = chunk if self.form.parsed else as_chunk(chunk)
        if facts is None:
            return chunk, None
        marked = stamped(chunk, facts)
        return marked, facts if marked is chunk else None

    def second_chance(self, decision: Decision, output: Any) -> Decision | None:
        """The decision to try instead of an output that came without an error and is of no use; None to keep it."""
        flaw: Any = None
        if isinstance(output, AIMessage) and is_blank(output):
            flaw = EmptyReplyError(decision.model)
        elif isinstance(output, dict) and self.form.parsed:
            flaw = output.get("parsing_error")
        if not isinstance(flaw, Exception):
            return None
        try:
            return self.router.failover(decision, flaw)
        except Exception as error:
            if error is flaw:
                return None  # nobody else may answer, so what there is goes to the user as it would without us
            raise

    def learn(self, decision: Decision, message: AIMessage | None) -> None:
        if message is None or is_cached(message):
            return
        if is_blank(message):  # it cost something, and teaches nothing
            decision = replace(decision, request=replace(decision.request, learn=False))
        model = self.models[decision.model]
        self.router.learn(decision, reply_of(model.role, message, model.id), self.models)

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


def _generator(chunks: Iterator[Any]) -> Generator[Any, None, None]:
    """`chunks` as something that can be closed, which closes them too where they can be."""
    yield from chunks


def merged(chunks: list[Any]) -> Any:
    """The whole that a stream gave: the sum of message chunks, the last state of anything else."""
    if not chunks:
        return None
    if all(isinstance(chunk, AIMessageChunk) for chunk in chunks):
        return chunks[0] + chunks[1:]
    return chunks[-1]
