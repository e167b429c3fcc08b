"""A batch of requests of which several may share a call: the same for every plugin, sync and async.

Each input is decided on by itself. Those that ask the same model the same kind of plain question are joined
(`rar.joining`), and each is served by the decision that came of it: with its answer, or alone. What goes wrong on the
way there leaves a request to be asked alone, where it goes wrong as it would without us.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Protocol, TypeAlias, TypeVar

from rar.drive import Models
from rar.joining import groups, joint_call, may_join, settle
from rar.router import Router
from rar.timeouts import awithin, within
from rar.values import Decision, Request


class Serving(Protocol):
    """One call of a plugin, ready to be served."""

    @property
    def router(self) -> Router: ...

    @property
    def request(self) -> Request: ...

    @property
    def models(self) -> Models: ...


S = TypeVar("S", bound=Serving)
T = TypeVar("T")
Mapped: TypeAlias = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]  # as `map`, in threads or not


class Batch:
    """One batch.

    Args:
        servings: The calls, or what went wrong where one was made ready.
        plain: The arguments of a call that asks a question in text and nothing else; None of any other.
        size: Questions that may share a call.
    """

    def __init__(self, servings: Sequence[Any], plain: Callable[[Any], Mapping[str, object] | None], size: int) -> None:
        self.servings, self.size = servings, size
        failed = [isinstance(serving, Exception) for serving in servings]
        self._plain = [None if bad else plain(serving) for serving, bad in zip(servings, failed, strict=True)]
        self.decisions: list[Decision | None] = [None] * len(servings)

    def answers(self, serve: Callable[[Any, Decision | None], T], mapped: Mapped) -> list[T | Exception]:
        """What came of each call, in their order; of some, the exception that it raised."""
        places = range(len(self.servings))
        self.decisions = list(mapped(self._decide, places))
        list(mapped(self._ask, self._groups()))

        def answer(at: int) -> T | Exception:
            try:
                return self.servings[at] if self._failed(at) else serve(self.servings[at], self.decisions[at])
            except Exception as error:
                return error

        return list(mapped(answer, places))

    async def aanswers(self, serve: Callable[[Any, Decision | None], Any], parallel: int | None = None) -> list[Any]:
        """`answers` for callers with an event loop.

        Args:
            serve: Gives an awaitable.
            parallel: Calls at the same time; None: all of them.
        """
        room: Any = nullcontext() if parallel is None else asyncio.Semaphore(parallel)

        async def gathered(one: Callable[[Any], Any], items: Iterable[Any]) -> list[Any]:
            async def alone(item: Any) -> Any:
                async with room:
                    return await one(item)

            return list(await asyncio.gather(*map(alone, items)))

        async def answer(at: int) -> Any:
            try:
                return self.servings[at] if self._failed(at) else await serve(self.servings[at], self.decisions[at])
            except Exception as error:
                return error

        places = range(len(self.servings))
        self.decisions = await gathered(self._adecide, places)
        await gathered(self._aask, self._groups())
        return await gathered(answer, places)

    # --- its steps --------------------------------------------------------------------------------------------------

    def _failed(self, at: int) -> bool:
        return isinstance(self.servings[at], Exception)

    def _decide(self, at: int) -> Decision | None:
        if self._plain[at] is None:
            return None
        serving = self.servings[at]
        try:
            decision: Decision = serving.router.decide(serving.request, serving.models)
        except Exception:
            return None
        return decision

    async def _adecide(self, at: int) -> Decision | None:
        if self._plain[at] is None:
            return None
        serving = self.servings[at]
        try:
            decision: Decision = await serving.router.adecide(serving.request, serving.models)
        except Exception:
            return None
        return decision

    def _groups(self) -> list[list[int]]:
        able = [
            decision if decision is not None and arguments is not None and may_join(decision, arguments) else None
            for decision, arguments in zip(self.decisions, self._plain, strict=True)
        ]
        return groups(able, self.size)

    def _ask(self, places: Sequence[int]) -> None:
        asked, router, models = self._asked(places)
        joined, call = joint_call(asked)
        try:
            reply = within(router.timeout, call.model, lambda: models[call.model].call(call))
        except Exception as error:
            router.failed(asked[0], error)
            return
        self._keep(places, settle(router, asked, joined, call, reply, models))

    async def _aask(self, places: Sequence[int]) -> None:
        asked, router, models = self._asked(places)
        joined, call = joint_call(asked)
        try:
            reply = await awithin(router.timeout, call.model, models[call.model].acall(call))
        except Exception as error:
            router.failed(asked[0], error)
            return
        self._keep(places, settle(router, asked, joined, call, reply, models))

    def _asked(self, places: Sequence[int]) -> tuple[list[Decision], Router, Models]:
        first = self.servings[places[0]]
        return [decision for at in places if (decision := self.decisions[at]) is not None], first.router, first.models

    def _keep(self, places: Sequence[int], decisions: Sequence[Decision]) -> None:
        for at, decision in zip(places, decisions, strict=True):
            self.decisions[at] = decision


def made(make: Callable[[], S]) -> S | Exception:
    """What `make` makes ready, or what went wrong."""
    try:
        return make()
    except Exception as error:
        return error


def given(answers: Sequence[Any], *, return_exceptions: bool = False) -> list[Any]:
    """The answers; the first of their exceptions is raised unless they are to be returned."""
    failed = next((answer for answer in answers if isinstance(answer, Exception)), None)
    if failed is not None and not return_exceptions:
        raise failed
    return list(answers)
