"""Calls that no tracer, handler or stream of the user's sees, however it was attached."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler, CallbackManager
from langchain_core.runnables import RunnableConfig
from langchain_core.tracers import context as tracers
from langchain_core.tracers.stdout import ConsoleCallbackHandler
from langsmith.run_helpers import tracing_context

from rar.unseen import suppress_spans


@contextmanager
def unseen() -> Iterator[RunnableConfig]:
    """A config for runs that nobody sees. Enter it in a context of its own (`contextvars.Context().run`).

    To no run under it a handler can be added. What LangChain attaches to every run by itself is turned off: LangSmith,
    which the environment or a context switched on, and handlers that packages registered for all runs.
    """
    with tracing_context(enabled=False):
        tracers.tracing_v2_callback_var.set(_MUTE)  # type: ignore[arg-type]
        for hook in getattr(tracers, "_configure_hooks", ()):
            hook[0].set(_MUTE)
        suppress_spans()
        # What is under a chain gets a plain manager, in which the quiet console keeps the place of a loud one.
        manager = CallbackManager(_Deaf(), inheritable_handlers=_Deaf([_QUIET_CONSOLE]))
        yield {"callbacks": manager, "tags": ["rar:shadow", "nostream"]}


class _Mute(BaseCallbackHandler):
    """Stands where a handler would be put if there were none."""

    ignore_llm = ignore_chain = ignore_agent = ignore_retriever = ignore_retry = True
    ignore_chat_model = ignore_custom_event = True


class _QuietConsole(_Mute, ConsoleCallbackHandler):
    """What `set_debug(True)` looks for before it adds its own."""


class _Deaf(list[BaseCallbackHandler]):
    """Handlers that stay as they are."""

    def append(self, handler: BaseCallbackHandler) -> None:
        pass

    def extend(self, handlers: Iterable[BaseCallbackHandler]) -> None:
        pass

    def copy(self) -> Any:
        return _Deaf(self)


_MUTE = _Mute()
_QUIET_CONSOLE = _QuietConsole()
