"""One call through a router: a chain run, one decision, and one run of the chosen child under it.

Invoke and stream, sync and async, plain and structured, all come here; they differ only in how the child is called.
A router that was itself an LLM run above another LLM run would count every token twice and stream it twice.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
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
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, LLMResult
from langchain_core.runnables import RunnableConfig
from langchain_core.runnables.config import patch_config

from langchain_rar.children import playback
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
from rar.runs import running
from rar.turn import Attempt, Target, Turn
from rar.values import Answer, Decision, Reply, Request, Usage


@dataclass(frozen=True, slots=True)
class ChatServing:
    """A call that is about to be served.

    Args:
        name: Of the chain run, where the config does not name it.
    """

    router: Router
    request: Request
    models: Mapping[str, ChildModel]
    config: RunnableConfig
    name: str
    settings: RunSettings

    @property
    def form(self) -> Form:
        form: Form = self.request.options[FORM]
        return form

    # --- the four modes ---------------------------------------------------------------------------------------------

    def invoke(self, decision: Decision | None = None) -> Any:
        """The answer whole. A `decision` that was made already is served."""
        with self.running() as run:
            turn = self.begun(run) if decision is None else Turn(self.router, decision)
            run.output, message = self.finished(turn, turn.whole(run.target))
            self.learn(turn.decision, message)
        return run.output

    async def ainvoke(self, decision: Decision | None = None) -> Any:
        async with self.arunning() as run:
            turn = await self.abegun(run) if decision is None else Turn(self.router, decision)
            run.output, message = self.finished(turn, await turn.awhole(run.target))
            await self.alearn(turn.decision, message)
        return run.output

    def stream(self) -> Generator[Any, None, None]:
        with self.running() as run:
            turn = self.begun(run)
            with closing(turn.stream(run.target)) as chunks:
                for chunk in chunks:
                    yield turn.target.passed.on(chunk)
            output = merged(turn.target.passed.chunks)
            run.output = self.shown(output, turn.decision)
            self.learn(turn.decision, turn.target.message(output))

    async def astream(self) -> AsyncGenerator[Any, None]:
        async with self.arunning() as run:
            turn = await self.abegun(run)
            async with aclosing(turn.astream(run.target)) as chunks:
                async for chunk in chunks:
                    yield turn.target.passed.on(chunk)
            output = merged(turn.target.passed.chunks)
            run.output = self.shown(output, turn.decision)
            await self.alearn(turn.decision, turn.target.message(output))

    # --- what the modes share ---------------------------------------------------------------------------------------

    @contextmanager
    def running(self) -> Generator[ChainRun, None, None]:
        """The chain run that a call is, ended with `ChainRun.output`."""
        manager = CallbackManager.configure(*self.settings.configuration(self.config))
        self.settings.attach(manager)
        callbacks = manager.on_chain_start(None, self._inputs(), name=self._run_name(), run_id=self._run_id())
        run = ChainRun(self, callbacks)
        try:
            yield run
        except BaseException as error:
            callbacks.on_chain_error(error)
            raise
        callbacks.on_chain_end(run.output)

    @asynccontextmanager
    async def arunning(self) -> AsyncGenerator[ChainRun, None]:
        manager = AsyncCallbackManager.configure(*self.settings.configuration(self.config))
        self.settings.attach(manager)
        callbacks = await manager.on_chain_start(None, self._inputs(), name=self._run_name(), run_id=self._run_id())
        run = ChainRun(self, callbacks)
        try:
            yield run
        except BaseException as error:
            await callbacks.on_chain_error(error)
            raise
        await callbacks.on_chain_end(run.output)

    def begun(self, run: ChainRun) -> Turn:
        with running(run.callbacks.run_id):
            return Turn(self.router, self.router.decide(self.request, self.drafting(run.callbacks.get_child)))

    async def abegun(self, run: ChainRun) -> Turn:
        with running(run.callbacks.run_id):
            return Turn(self.router, await self.router.adecide(self.request, self.drafting(run.callbacks.get_child)))

    def finished(self, turn: Turn, output: Any) -> tuple[Any, AIMessage | None]:
        """A whole output as the user gets it, and the model's own message in it."""
        message = turn.target.message(output)
        return self.shown(stamped(output, self.facts(turn.decision, message)), turn.decision), message

    def drafting(self, callbacks: Callable[[str], BaseCallbackManager]) -> Models:
        """The models as strategies ask them: seen by tracers where that was asked for, else by nobody."""
        if self.settings.usage != "all":
            return self.models
        return {name: SeenModel(model, callbacks(DRAFT)) for name, model in self.models.items()}

    def nothing(self, decision: Decision) -> Exception:
        """What is wrong with an answer that holds nothing solid."""
        return (UnparsedReplyError if self.form.parsed else EmptyReplyError)(decision.model)

    def flaw(self, decision: Decision, output: Any) -> Exception | None:
        """What is wrong with an answer that came without an error; None if it may be kept."""
        if not self.form.parsed:
            return self.nothing(decision) if is_blank(output) else None
        found = output.get("parsing_error") if isinstance(output, dict) else None
        if isinstance(found, Exception):
            return found
        return None if self.has_object(output) else self.nothing(decision)

    def has_object(self, output: Any) -> bool:
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


@dataclass(slots=True)
class ChainRun:
    """The chain run of one call."""

    serving: ChatServing
    callbacks: CallbackManagerForChainRun | AsyncCallbackManagerForChainRun
    output: Any = None

    def target(self, attempt: Attempt) -> ChildTarget:
        return ChildTarget(self.serving, attempt, self.callbacks.get_child())


class ChildTarget(Target):
    """The child that a decision names, as a run of its own, or a playback of a reply that there is."""

    def __init__(self, serving: ChatServing, attempt: Attempt, callbacks: BaseCallbackManager) -> None:
        super().__init__(attempt)
        self.serving = serving
        model = serving.models[self.decision.model]
        self.child = serving.form.serving(model.child, serving.request.options[ARGUMENTS])
        if isinstance(self.decision.choice, Answer):
            message = message_of(self.decision.choice.reply)
            if serving.settings.usage == "all":  # its tokens were counted when it was drafted
                message.usage_metadata = None
            self.child = with_model(self.child, playback(message, model.child))
        # Catches the model's own message where the output is something made of it.
        self._seen = LastMessage() if serving.form.parsed else None
        if self._seen is not None:
            callbacks.add_handler(self._seen, inherit=True)
        facts = {"rar_model": self.decision.model, "rar_decision_id": self.decision.id}
        metadata = {**serving.config.get("metadata", {}), **facts}
        config: RunnableConfig = {**patch_config(serving.config, callbacks=callbacks), "metadata": metadata}
        self.sent = model.messages(self.decision.call), config

    @cached_property
    def passed(self) -> _Passed:
        return _Passed(self.serving, self.attempt)

    def call(self) -> Any:
        return self._given(self.child.invoke(*self.sent))

    async def acall(self) -> Any:
        return self._given(await self.child.ainvoke(*self.sent))

    def chunks(self) -> Iterator[Any]:
        return self.child.stream(*self.sent)

    async def achunks(self) -> AsyncIterator[Any]:
        return self.child.astream(*self.sent)

    def solid(self, chunk: Any) -> bool:
        return self.serving.has_object(chunk) if self.serving.form.parsed else not is_blank(as_chunk(chunk))

    def flaw(self, output: Any) -> Exception | None:
        return self.serving.flaw(self.decision, output)

    def nothing(self) -> Exception:
        return self.serving.nothing(self.decision)

    def whole(self, chunks: list[Any]) -> Any:
        return merged(chunks if self.serving.form.parsed else [as_chunk(chunk) for chunk in chunks])

    def reply(self, output: Any) -> Reply | None:
        message = self.message(output)
        return None if message is None else self.serving.reply(self.decision, message)

    def message(self, output: Any) -> AIMessage | None:
        """The model's own message in an output; None where none was seen."""
        if self._seen is not None:
            return self._seen.message
        return output if isinstance(output, AIMessage) else None

    def _given(self, output: Any) -> Any:
        return output if self.serving.form.parsed else as_message(output)


@dataclass(frozen=True, slots=True)
class RunSettings:
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

    def __init__(self, serving: ChatServing, attempt: Attempt) -> None:
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
