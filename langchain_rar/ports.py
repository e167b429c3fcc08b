"""A child as the engine's `Model`: called for drafts and for learning, seen by nobody but the engine."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.messages import BaseMessage
from langchain_core.runnables import RunnableConfig

from langchain_rar.authors import readable
from langchain_rar.children import Child, NamedModel, model_id, silent
from langchain_rar.forms import PLAIN, Form
from langchain_rar.messages import as_message, reply_of, to_native
from langchain_rar.sampling import sampled, without
from langchain_rar.silence import unseen
from rar.injection import messages_of
from rar.sampling import Sampling
from rar.values import Call, Reply

DRAFT = "rar:draft"  # the tag of drafts that are seen
FORM, ARGUMENTS = "form", "arguments"  # the keys of `Request.options`
_KEPT = 8  # samplings whose copies of a child are kept


class ChildModel:
    """One of the router's two models. Any thread may call it."""

    source = "langchain"

    def __init__(self, role: str, child: Child) -> None:
        self.role, self._given = role, child
        self._samples: dict[tuple[Sampling, bool], Child] = {}
        self.id = model_id(child) or f"{type(child).__name__}:{role}"

    def __repr__(self) -> str:
        return f"ChildModel({self.role!r}, {self.id!r})"

    @property
    def child(self) -> Child:
        """The runnable to call; a model that was given by name is made when it is first asked for."""
        return self._given.made if isinstance(self._given, NamedModel) else self._given

    def messages(self, call: Call) -> list[BaseMessage]:
        """What the call sends to this model, for whom other models' messages are without what only they can read."""
        return to_native(readable(messages_of(call), self.role, self.id))

    def call(self, call: Call) -> Reply:
        # In a context of its own, the call inherits no callbacks, no tracing parent and no stream writer.
        return contextvars.Context().run(self._call, call)

    async def acall(self, call: Call) -> Reply:
        loop = asyncio.get_running_loop()
        return await contextvars.Context().run(loop.create_task, self._acall(call))

    def _call(self, call: Call) -> Reply:
        with unseen() as config:
            return self._reply(call, self._asking(call, self._silent).invoke(self.messages(call), config))

    async def _acall(self, call: Call) -> Reply:
        with unseen() as config:
            return self._reply(call, await self._asking(call, self._silent).ainvoke(self.messages(call), config))

    def seen(self, call: Call, config: RunnableConfig) -> Reply:
        """`call`, but seen by whom the config names."""
        return self._reply(call, self._asking(call, self.child).invoke(self.messages(call), config))

    async def aseen(self, call: Call, config: RunnableConfig) -> Reply:
        return self._reply(call, await self._asking(call, self.child).ainvoke(self.messages(call), config))

    def _asking(self, call: Call, child: Child) -> Child:
        options = call.request.options
        arguments: Mapping[str, Any] = options.get(ARGUMENTS, {})
        if call.sampling is None:
            return _form(call).asking(child, arguments)
        return _form(call).asking(self._sampled(child, call.sampling), without(arguments, call.sampling))

    def _reply(self, call: Call, output: Any) -> Reply:
        return reply_of(self.role, as_message(_form(call).message_in(output)), self.id)

    @cached_property
    def _silent(self) -> Child:
        return silent(self.child)

    def _sampled(self, child: Child, sampling: Sampling) -> Child:
        # Kept, so that forms know it again.
        key = (sampling, child is self._silent)
        known = self._samples.get(key)
        if known is None:
            if len(self._samples) >= _KEPT:
                self._samples.clear()
            known = self._samples[key] = sampled(child, sampling)
        return known


class SeenModel:
    """A child whose calls are runs that tracers and handlers see. No stream shows them: they are drafts.

    Args:
        callbacks: Of the run that they belong to.
    """

    def __init__(self, model: ChildModel, callbacks: BaseCallbackManager) -> None:
        self._model, self.id = model, model.id
        told = callbacks.copy()
        told.handlers = [handler for handler in told.handlers if not _streams(handler)]
        told.inheritable_handlers = [handler for handler in told.inheritable_handlers if not _streams(handler)]
        self._config = RunnableConfig(callbacks=told, tags=[DRAFT, "nostream"], metadata={"rar_model": model.role})

    def call(self, call: Call) -> Reply:
        return self._model.seen(call, self._config)

    async def acall(self, call: Call) -> Reply:
        return await self._model.aseen(call, self._config)


def _streams(handler: object) -> bool:
    """Whether a handler makes a model stream, to show its tokens to the user."""
    return hasattr(handler, "tap_output_iter")


def _form(call: Call) -> Form:
    form: Form = call.request.options.get(FORM, PLAIN)
    return form
