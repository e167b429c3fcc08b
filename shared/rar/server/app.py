"""The ASGI application: who asks, what for, who answers, and what the client is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any, Final

import httpx
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route as Path

from rar.errors import BudgetExceededError, RequestError, UnknownDecisionError, UnknownModelError
from rar.limits import Ceiling, Limits
from rar.naming import cause
from rar.overrides import overrides_of
from rar.rollout import Rollout
from rar.router import Router
from rar.server.config import ServerConfig
from rar.server.entry import Door, Place, Refused, body_of_request
from rar.server.messages import Json, calls_answered, merged, request_of, says_something, tool_call_ids
from rar.server.turns import Turns
from rar.server.upstream import Completion, UpstreamError, UpstreamModel
from rar.turn import Turn
from rar.values import Decision, Reply, Route

logger = logging.getLogger("rar")

_ROUTED: Final = "rar"  # the model that clients ask for
_GONE: Final = 499  # what nginx calls a client that left; nobody reads it
_END: Final = object()


def create_app(config: ServerConfig, router: Router | None = None) -> Starlette:
    """The server as an ASGI application. It closes what it opened when it is shut down.

    Args:
        router: Routes in place of the one that the configuration describes, and is closed by whom it belongs to.
    """
    service = Service(config, router)
    paths = [
        Path("/v1/chat/completions", service.chat, methods=["POST"]),
        Path("/v1/models", service.models_page, methods=["GET"]),
        Path("/v1/models/{name:path}", service.model_page, methods=["GET"]),
        Path("/v1/feedback", service.feedback, methods=["POST"]),
        Path("/healthz", service.health, methods=["GET"]),
    ]
    if service.registry is not None:
        paths.append(Path("/metrics", service.metrics, methods=["GET"]))
    handlers: Any = {Exception: _failed, Refused: _refused, 404: _no_path, 405: _no_path}
    app = Starlette(routes=paths, exception_handlers=handlers, lifespan=service.lifespan)
    app.state.service = service
    return app


class Service:
    """What the application's paths share. Belongs to one event loop."""

    def __init__(self, config: ServerConfig, router: Router | None = None) -> None:
        self.config, self._owns_router = config, router is None
        self.models = {role: UpstreamModel(role, upstream) for role, upstream in config.models.items()}
        observers: tuple[Any, ...]
        self.registry: Any
        self.registry, observers = _watched() if router is None else (None, ())
        self.router = _router_of(config, observers) if router is None else router
        self.router.pair(self.models)
        self.door, self.turns = Door(config), Turns()
        self._floors = {f"{_ROUTED}-{floor:g}": f"@{floor:g}" for floor in config.floors}
        by_id = {model.id: role for role, model in self.models.items()}
        self._forced = by_id | {role: role for role in self.models}

    @contextlib.asynccontextmanager
    async def lifespan(self, _: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Store what was learned, and close what was opened."""
        if self._owns_router:
            await asyncio.to_thread(self.router.close)
        for model in self.models.values():
            await model.aclose()

    # ── paths ──

    async def chat(self, http: Request) -> Response:
        namespace = self.door.namespace_of(http)
        with self.door.enter() as place:
            body = await body_of_request(http, self.config)
            turn = await self.begun(body, namespace)
            if body.get("stream"):
                return await _unless_left(http, self._streamed(turn, body, place))
            return await _unless_left(http, self._whole(turn))

    async def models_page(self, http: Request) -> Response:
        self.door.namespace_of(http)
        return JSONResponse({"object": "list", "data": [_model(name) for name in self._names()]})

    async def model_page(self, http: Request) -> Response:
        self.door.namespace_of(http)
        name = http.path_params["name"]
        if name not in self._names():
            raise _no_model(name, self._names())
        return JSONResponse(_model(name))

    async def feedback(self, http: Request) -> Response:
        namespace = self.door.namespace_of(http)
        body = await body_of_request(http, self.config)
        id, good = body.get("decision_id"), body.get("good")
        if not isinstance(id, str) or not isinstance(good, bool):
            raise Refused(400, 'Send {"decision_id": "…", "good": true or false}.', code="invalid_feedback")
        try:
            found = await asyncio.to_thread(self.router.explain, id)
            if found["namespace"].partition("@")[0] != namespace:
                raise UnknownDecisionError(id)
            await asyncio.to_thread(self.router.feedback, id, good)
        except UnknownDecisionError as error:
            raise Refused(404, str(error), code="unknown_decision") from None
        return JSONResponse({"decision_id": id, "good": good})

    async def health(self, _: Request) -> Response:
        return JSONResponse({"status": "ok", "serving": self.door.inside})

    async def metrics(self, http: Request) -> Response:
        from prometheus_client import CONTENT_TYPE_LATEST, generate_latest  # noqa: PLC0415 - an extra

        self.door.namespace_of(http)
        # What is scraped is read from the memory.
        return Response(await asyncio.to_thread(generate_latest, self.registry), media_type=CONTENT_TYPE_LATEST)

    # ── serving ──

    async def begun(self, body: Json, namespace: str) -> Turn:
        """A call, decided.

        Args:
            body: As of a chat completion, checked.

        Raises:
            Refused: It asks for what there is not.
        """
        request = self._request(body, namespace)
        return Turn(self.router, await self.router.adecide(request, self.models))

    async def whole(self, turn: Turn) -> Json:
        """The completion, learned from, with the decision and what it cost in `rar`."""
        completion: Json = await turn.awhole(partial(Completion, self.models))
        reply = await self.learned(turn, completion)
        costs = self.router.costs(turn.decision, reply, self.models)
        return {**completion, "rar": {**turn.decision.as_dict(), **costs}}

    def chunks(self, turn: Turn) -> AsyncGenerator[Json, None]:
        """The pieces of a streamed completion, from which `learned` is to learn once they are whole."""
        return turn.astream(partial(Completion, self.models))

    def _request(self, body: Json, namespace: str) -> Any:
        force, floor = self._asked_for(body["model"])
        extras = {} if body.get("rar") is None else body["rar"]
        if not isinstance(extras, Mapping):
            raise Refused(400, "`rar` is no object.", param="rar")
        try:
            given = overrides_of({f"rar_{name}": value for name, value in extras.items()})
            given.namespace_in(namespace, fixed=True)
        except RequestError as error:
            raise Refused(400, str(error), param="rar") from None
        if given.force is not None:
            given = replace(given, force=self._asked_for(given.force)[0] or given.force)
        namespace += floor
        known = self.turns.of(namespace, calls_answered(body["messages"]))
        sticky, guide = (None, None) if known is None else known
        return request_of(body, given, namespace, None if sticky is None else Route(sticky), guide, force)

    def _asked_for(self, name: str) -> tuple[str | None, str]:
        """The model that a client forces, if it does, and what its floor adds to the namespace."""
        if name == _ROUTED:
            return None, ""
        if name in self._floors:
            return None, self._floors[name]
        if name in self._forced:
            return self._forced[name], ""
        raise _no_model(name, self._names())

    def _names(self) -> list[str]:
        return [_ROUTED, *self._floors, *self.models]

    async def _whole(self, turn: Turn) -> Response:
        try:
            completion = await self.whole(turn)
        except Exception as error:
            raise _told(error) from error
        return JSONResponse(completion, headers=_headers(turn.decision))

    async def _streamed(self, turn: Turn, body: Json, place: Place) -> Response:
        chunks = self.chunks(turn)
        try:  # nothing is sent before a model has said something, so that an error still has its own status
            first = await anext(chunks, _END)
        except Exception as error:
            raise _told(error) from error
        options = body.get("stream_options")
        events = self._events(turn, first, chunks, bool(options and options.get("include_usage")))
        place.kept = True
        return _Stream(events, chunks, place, _headers(turn.decision))

    async def _events(
        self, turn: Turn, first: Any, chunks: AsyncGenerator[Json, None], wants_usage: bool
    ) -> AsyncGenerator[str, None]:
        passed: list[Json] = []
        facts: Json | None = turn.decision.as_dict()
        try:
            chunk: Any = first
            while chunk is not _END:
                passed.append(chunk)
                shown = chunk if wants_usage else {name: value for name, value in chunk.items() if name != "usage"}
                if shown.get("choices") or wants_usage:
                    yield _event({**shown, "rar": facts} if facts is not None else shown)
                    facts = None
                chunk = await anext(chunks, _END)
        except Exception as error:
            yield _event(_told(error).body)
            return
        await self.learned(turn, merged(passed))
        yield "data: [DONE]\n\n"

    async def learned(self, turn: Turn, completion: Json) -> Reply:
        """Hand over what was served, whole. Returns it as it was learned from."""
        decision = turn.decision
        self.turns.begun(decision, tool_call_ids(completion))
        choices = completion.get("choices") or [{}]
        if not says_something(choices[0].get("message") or {}):  # it cost something, and teaches nothing
            decision = replace(decision, request=replace(decision.request, learn=False))
        reply: Reply = turn.target.served(decision, completion)
        await self.router.alearn(decision, reply, self.models)
        return reply


class _Stream(StreamingResponse):
    """Server-sent events; however they end, the model's stream is closed and the place given back."""

    def __init__(
        self,
        events: AsyncGenerator[str, None],
        chunks: AsyncGenerator[Json, None],
        place: Place,
        headers: Mapping[str, str],
    ) -> None:
        unbuffered = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(events, media_type="text/event-stream", headers={**headers, **unbuffered})
        self._sources, self._place = (events, chunks), place

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            async with aclosing(self._sources[1]), aclosing(self._sources[0]):
                await super().__call__(scope, receive, send)
        finally:
            self._place.leave()


async def _unless_left(http: Request, work: Any) -> Response:
    """What `work` gives, which is cancelled when the client leaves."""
    task, left = asyncio.ensure_future(work), asyncio.ensure_future(_left(http))
    try:
        await asyncio.wait({task, left}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            response: Response = task.result()
            return response
        return Response(status_code=_GONE)
    finally:
        for one in (task, left):
            one.cancel()
        await asyncio.gather(task, left, return_exceptions=True)


async def _left(http: Request) -> None:
    while (await http.receive())["type"] != "http.disconnect":
        pass


def _watched() -> tuple[Any, tuple[Any, ...]]:
    """A registry of metrics and the observer that fills it, where the extra `[prometheus]` is installed."""
    if find_spec("prometheus_client") is None:
        return None, ()
    from prometheus_client import CollectorRegistry  # noqa: PLC0415 - an extra

    from rar.integrations.prometheus import Prometheus  # noqa: PLC0415 - likewise

    registry = CollectorRegistry()
    return registry, (Prometheus(registry),)


def _router_of(config: ServerConfig, observers: Sequence[Any]) -> Router:
    options: dict[str, Any] = {**config.router, "observers": observers}
    prices = {up.model: up.price for up in config.models.values() if up.price is not None}
    floors = {f"{ns}@{floor:g}": floor for ns in config.namespaces() for floor in config.floors}
    if prices:
        options["prices"] = {**prices, **options.get("prices", {})}
    if floors:
        options["floors"] = {**floors, **options.get("floors", {})}
    if isinstance(options.get("limits"), Mapping):
        options["limits"] = Limits(**options["limits"])
    if isinstance(options.get("rollout"), Mapping):
        options["rollout"] = Rollout(**options["rollout"])
    if isinstance(options.get("spend"), list):
        options["spend"] = [Ceiling(**one) if isinstance(one, Mapping) else one for one in options["spend"]]
    return Router(**options)


def _headers(decision: Decision) -> dict[str, str]:
    return {"X-RAR-Decision": decision.id, "X-RAR-Model": decision.model}


def _event(value: Json) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False, separators=(',', ':'))}\n\n"


def _model(name: str) -> Json:
    return {"id": name, "object": "model", "created": 0, "owned_by": "rar"}


def _no_model(name: str, known: list[str]) -> Refused:
    return Refused(404, f"There is no model {name!r}. Use one of {known}.", param="model", code="model_not_found")


def _told(error: Exception) -> Refused:
    """What a client is told of a call that no model answered."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, UpstreamError):
        headers = {} if error.retry_after is None else {"Retry-After": error.retry_after}
        return Refused(error.status, "", body=error.body, headers=headers)
    if isinstance(error, BudgetExceededError):
        return Refused(429, str(error), type="insufficient_quota", code="over_limit")
    if isinstance(error, UnknownModelError):
        return Refused(404, str(error), param="model", code="model_not_found")
    if isinstance(error, TimeoutError):
        return Refused(504, f"No model answered in time. {cause(error)}", type="api_error", code="timeout")
    if isinstance(error, httpx.HTTPError):
        return Refused(502, f"The model's endpoint was not reached. {cause(error)}", type="api_error")
    logger.error("A request could not be served. %s", cause(error))
    return Refused(502, f"The model gave no answer. {cause(error)}", type="api_error")


async def _failed(_: Request, error: Exception) -> Response:
    if isinstance(error, ClientDisconnect):
        return Response(status_code=_GONE)
    return _answer(_told(error))


async def _refused(_: Request, error: Exception) -> Response:
    return _answer(error if isinstance(error, Refused) else _told(error))


async def _no_path(http: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    return _answer(Refused(status, f"There is no {http.method} {http.url.path} here.", code="unknown_path"))


def _answer(refused: Refused) -> Response:
    return JSONResponse(refused.body, refused.status, refused.headers)
