"""One call through a router: one decision, and one call of the chosen child in the caller's own context.

Call and stream, sync and async, chat, completion, tools and objects all come here; they differ only in how the child
is called. A stream's model is chosen, and its stream opened, before the first chunk is read.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from contextlib import aclosing, closing
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

from llama_index.core.base.llms.types import ChatMessage, ChatResponse
from llama_index.core.llms.llm import LLM
from llama_index.core.rate_limiter import BaseRateLimiter

from llama_index_rar.authors import Authors
from llama_index_rar.calls import Kind
from llama_index_rar.messages import Ending, model_name, to_engine, to_native
from llama_index_rar.ports import KIND, PlaybackLLM, Port, sent
from llama_index_rar.recent import Recent
from llama_index_rar.turns import left_by
from rar.naming import cause
from rar.router import Router
from rar.turn import Attempt, Target, Turn
from rar.values import Answer, Decision, Reply, Request, Route, Usage

logger = logging.getLogger("rar")

_TURNS = 8192  # fingerprints of recent turns that are kept, a few for each call


class Seen:
    """What this process saw of the calls through one router. Agents that hand over may have LLMs of their own."""

    def __init__(self) -> None:
        self.turns: Recent[Route] = Recent(_TURNS)  # the routes of turns, by what was seen of them
        self.authors = Authors()

    @classmethod
    def through(cls, router: Router) -> Seen:
        return _seen.get(router) or _seen.setdefault(router, cls())


_seen: WeakKeyDictionary[Router, Seen] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class LLMServing:
    """A call that is about to be served.

    Args:
        models: The engine's own access to the children.
        child: The one of a role, as it serves users.
        counts_all: Whether the tokens of drafts are shown on responses.
    """

    router: Router
    request: Request
    models: Mapping[str, Port]
    child: Callable[[str], LLM]
    seen: Seen
    limiter: BaseRateLimiter | None
    counts_all: bool = False

    @property
    def kind(self) -> Kind:
        kind: Kind = self.request.options[KIND]
        return kind

    # --- the four modes ---------------------------------------------------------------------------------------------

    def call(self, decision: Decision | None = None) -> Any:
        """The answer whole. A `decision` that was made already is served."""
        if self.limiter is not None and not isinstance(getattr(decision, "choice", None), Answer):
            self.limiter.acquire()
        turn = Turn(self.router, decision or self.router.decide(self.request, self.models))
        result = turn.whole(self.target)
        decision, reply = self.served(turn.decision, result)
        self.learn(decision, reply)
        return self.stamped(result, decision, reply)

    async def acall(self, decision: Decision | None = None) -> Any:
        if self.limiter is not None and not isinstance(getattr(decision, "choice", None), Answer):
            await self.limiter.async_acquire()
        turn = Turn(self.router, decision or await self.router.adecide(self.request, self.models))
        result = await turn.awhole(self.target)
        decision, reply = self.served(turn.decision, result)
        await self.alearn(decision, reply)
        return self.stamped(result, decision, reply)

    def stream(self) -> Generator[Any, None, None]:
        if self.limiter is not None:
            self.limiter.acquire()
        chunks = self._chunks(Turn(self.router, self.router.decide(self.request, self.models)))
        next(chunks)  # the stream is open
        return chunks

    def _chunks(self, turn: Turn) -> Generator[Any, None, None]:
        last = given = None
        with closing(turn.stream(self.target, opened=True)) as chunks:
            yield next(chunks)
            for last in chunks:
                yield (given := self.kind.stamped(last, turn.target.facts))
        if last is not None:
            decision, reply = self.served(turn.decision, last, turn.target.ending)
            self.learn(decision, reply)
            self.kind.add_costs(given, self.costs(decision, reply), self.tokens(decision, reply))

    async def astream(self) -> AsyncGenerator[Any, None]:
        if self.limiter is not None:
            await self.limiter.async_acquire()
        chunks = self._achunks(Turn(self.router, await self.router.adecide(self.request, self.models)))
        await anext(chunks)
        return chunks

    async def _achunks(self, turn: Turn) -> AsyncGenerator[Any, None]:
        last = given = None
        async with aclosing(turn.astream(self.target, opened=True)) as chunks:
            yield await anext(chunks)
            async for last in chunks:
                yield (given := self.kind.stamped(last, turn.target.facts))
        if last is not None:
            decision, reply = self.served(turn.decision, last, turn.target.ending)
            await self.alearn(decision, reply)
            self.kind.add_costs(given, self.costs(decision, reply), self.tokens(decision, reply))

    # --- what the modes share ---------------------------------------------------------------------------------------

    def target(self, attempt: Attempt) -> LLMTarget:
        return LLMTarget(self, attempt)

    def stamped(self, result: Any, decision: Decision, reply: Reply | None) -> Any:
        facts = {**decision.as_dict(), **self.costs(decision, reply)}
        return self.kind.stamped(result, facts, self.tokens(decision, reply))

    def solid(self, decision: Decision, result: Any) -> bool:
        """Whether a result is worth passing on; one that cannot be read is, for it may be read elsewhere."""
        try:
            return self.kind.solid(self.child(decision.model), result)
        except Exception:
            return True

    def served(self, decision: Decision, result: Any, ending: Ending | None = None) -> tuple[Decision, Reply | None]:
        """Remember the turn and the author of a whole answer. Returns what there is to learn from it."""
        message = result.message if isinstance(result, ChatResponse) else None
        if self.kind.has_turns:
            step = to_engine([message])[0] if message is not None else None
            for trace in left_by(self.request.messages, step, self.request.namespace):
                self.seen.turns.put(trace, Route(decision.model, decision.guide))
        if message is not None:
            self.seen.authors.remember(message, model_name(self.child(decision.model)))
        if not self.solid(decision, result):  # it cost something, and teaches nothing
            decision = replace(decision, request=replace(decision.request, learn=False))
        return decision, self.reply(decision, result, ending)

    def learn(self, decision: Decision, reply: Reply | None) -> None:
        if reply is not None:
            self.router.learn(decision, reply, self.models)

    async def alearn(self, decision: Decision, reply: Reply | None) -> None:
        if reply is not None:
            await self.router.alearn(decision, reply, self.models)

    def costs(self, decision: Decision, reply: Reply | None) -> dict[str, Any]:
        return {} if reply is None else self.router.costs(decision, reply, self.models)

    def tokens(self, decision: Decision, reply: Reply | None) -> dict[str, int]:
        """The counts of all calls that were made, where these are to be shown."""
        if not self.counts_all or reply is None:
            return {}
        served = Usage() if isinstance(decision.choice, Answer) else reply.usage
        usage = sum((call.usage for call in decision.calls), served)
        return {
            "prompt_tokens": usage.input_tokens, "completion_tokens": usage.output_tokens, "total_tokens": usage.total,
        }  # fmt: skip

    def reply(self, decision: Decision, result: Any, ending: Ending | None = None) -> Reply | None:
        """What the engine learns from; None where it cannot be read, which must not cost the user the answer.

        Args:
            ending: What the chunks of a stream said by the way.
        """
        if isinstance(decision.choice, Answer):
            return decision.choice.reply
        try:
            reply = self.kind.reply(decision.model, self.child(decision.model), result)
            if ending is not None:
                return ending.put_on(reply, decision.seconds)
            return replace(reply, seconds=decision.seconds)
        except Exception as error:
            message = "A response of the %s model could not be read; nothing is learned from it. %s"
            logger.warning(message, decision.model, cause(error))
            return None


class LLMTarget(Target):
    """The child that a decision names, in the caller's own context, or a playback of a reply that there is."""

    def __init__(self, serving: LLMServing, attempt: Attempt) -> None:
        super().__init__(attempt)
        self.serving, self.kind = serving, serving.kind
        self.ending = Ending()
        self.sent = self._sent()

    @cached_property
    def facts(self) -> dict[str, Any]:
        return self.decision.as_dict()

    def _sent(self) -> tuple[LLM, list[ChatMessage]]:
        child = self.serving.child(self.decision.model)
        if not isinstance(self.decision.choice, Answer):
            return child, sent(self.decision.call, child)
        reply, manager = self.decision.choice.reply, child.callback_manager
        player = PlaybackLLM(reply=reply, played=child.metadata, callback_manager=manager)
        return player, to_native(self.decision.request.messages, child.metadata.system_role)

    def call(self) -> Any:
        return self.kind.call(*self.sent)

    async def acall(self) -> Any:
        return await self.kind.acall(*self.sent)

    def chunks(self) -> Iterator[Any]:
        return self.kind.stream(*self.sent)

    async def achunks(self) -> AsyncIterator[Any]:
        return await self.kind.astream(*self.sent)

    def solid(self, chunk: Any) -> bool:
        return self.serving.solid(self.decision, self.ending.on(chunk))

    def nothing(self) -> Exception:
        return self.kind.nothing(self.decision.model)

    def reply(self, output: Any) -> Reply | None:
        return self.serving.reply(self.decision, output)
