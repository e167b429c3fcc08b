"""The router: recall, decide, learn. Framework-neutral; plugins make the serving call themselves."""

from __future__ import annotations

from typing import Any

from rar.drive import Models
from rar.values import Decision, Reply, Request


class Router:
    """Routes requests between a weak and a strong model, and learns. May be shared by many wrappers and threads.

    How a plugin uses it, in every mode (sync shown)::

        decision = router.decide(request, models)          # never raises for trouble of ours: it degrades to strong
        while True:
            if isinstance(decision.choice, Answer): -> play back decision.choice.reply natively; break
            try:
                reply = <call models[decision.model] natively with messages_of(decision.call)>; break
            except Exception as error:                     # before the first token only
                decision = router.failover(decision, error)  # the next decision, or raises `error`
        <stamp decision.as_dict() on the response>
        router.learn(decision, reply, models)              # after success only; returns at once

    `models` is `{"weak": Model, "strong": Model}` of the wrapper that was called (see `rar.drive.Model`): its `call` must
    honour `call.request.options` (tools, stop, ...), be silent (empty context, no callbacks, no streaming), and for
    `call.fresh` skip caches and use temperature 0.7 where the model has such a field.
    """

    def decide(self, request: Request, models: Models | None = None) -> Decision:
        raise NotImplementedError

    async def adecide(self, request: Request, models: Models | None = None) -> Decision:
        raise NotImplementedError

    def failover(self, decision: Decision, error: Exception) -> Decision:
        """The decision to try next after `error`, before any token was passed on; raises `error` when none is left."""
        raise NotImplementedError

    def learn(self, decision: Decision, reply: Reply, models: Models | None = None) -> None:
        """Hand over a served reply (whole, also when it was streamed). Returns at once unless `learning="inline"`."""
        raise NotImplementedError

    def feedback(self, decision_id: str, good: bool) -> None:
        raise NotImplementedError

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all that was handed over is learned; False if `timeout` seconds were not enough."""
        raise NotImplementedError

    async def aflush(self, timeout: float | None = None) -> bool:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError

    def stats(self) -> Any:
        raise NotImplementedError

    def explain(self, decision_id: str) -> dict[str, Any]:
        raise NotImplementedError
