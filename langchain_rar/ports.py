"""A child as the engine's `Model`: called for drafts and for learning, seen by nobody but the engine."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from langchain_core.messages import BaseMessage

from langchain_rar.authors import readable
from langchain_rar.children import Child, NamedModel, model_id, silent
from langchain_rar.forms import PLAIN, Form
from langchain_rar.messages import as_message, reply_of, to_langchain
from langchain_rar.sampling import sampled, without
from langchain_rar.silence import unseen
from rar.injection import messages_of
from rar.sampling import Sampling
from rar.values import Call, Reply

FORM, ARGUMENTS = "form", "arguments"  # the keys of `Request.options`
_KEPT = 8  # samplings whose copies of a child are kept


class ChildModel:
    """One of the router's two models. Any thread may call it."""

    def __init__(self, role: str, child: Child) -> None:
        self.role, self._given = role, child
        self._samples: dict[Sampling, Child] = {}
        self.id = model_id(child) or f"{type(child).__name__}:{role}"

    def __repr__(self) -> str:
        return f"ChildModel({self.role!r}, {self.id!r})"

    @property
    def child(self) -> Child:
        """The runnable to call; a model that was given by name is made when it is first asked for."""
        return self._given.made if isinstance(self._given, NamedModel) else self._given

    def messages(self, call: Call) -> list[BaseMessage]:
        """What the call sends to this model, for whom other models' messages are without what only they can read."""
        return [to_langchain(message) for message in readable(messages_of(call), self.role, self.id)]

    def call(self, call: Call) -> Reply:
        # In a context of its own, the call inherits no callbacks, no tracing parent and no stream writer.
        return contextvars.Context().run(self._call, call)

    async def acall(self, call: Call) -> Reply:
        loop = asyncio.get_running_loop()
        return await contextvars.Context().run(loop.create_task, self._acall(call))

    def _call(self, call: Call) -> Reply:
        with unseen() as config:
            return self._reply(call, self._asking(call).invoke(self.messages(call), config))

    async def _acall(self, call: Call) -> Reply:
        with unseen() as config:
            return self._reply(call, await self._asking(call).ainvoke(self.messages(call), config))

    def _asking(self, call: Call) -> Child:
        options = call.request.options
        arguments: Mapping[str, Any] = options.get(ARGUMENTS, {})
        if call.sampling is None:
            return _form(call).asking(self._silent, arguments)
        return _form(call).asking(self._sampled(call.sampling), without(arguments, call.sampling))

    def _reply(self, call: Call, output: Any) -> Reply:
        return reply_of(self.role, as_message(_form(call).message_in(output)), self.id)

    @cached_property
    def _silent(self) -> Child:
        return silent(self.child)

    def _sampled(self, sampling: Sampling) -> Child:
        # Kept, so that forms know it again.
        known = self._samples.get(sampling)
        if known is None:
            if len(self._samples) >= _KEPT:
                self._samples.clear()
            known = self._samples[sampling] = sampled(self._silent, sampling)
        return known


def _form(call: Call) -> Form:
    form: Form = call.request.options.get(FORM, PLAIN)
    return form
