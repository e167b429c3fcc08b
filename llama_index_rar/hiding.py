"""Calls that no observer sees: the framework tells its handlers of every call in the process, the engine's included.

A dispatcher knows no exception for one caller. What it does look at anew with every call is its lists of handlers, so
those are put in place of which are empty for the engine's own calls. This is the one thing of the framework that this
plugin changes, and the change is seen by no handler and no other caller.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from llama_index.core.instrumentation.event_handlers import BaseEventHandler
from llama_index_instrumentation import root_manager

_unseen: ContextVar[bool] = ContextVar("rar_unseen", default=False)


class OwnHandler(BaseEventHandler):
    """A handler of this plugin's, which is told of the engine's calls too."""


class _Handlers(list[Any]):
    """A dispatcher's handlers, as they are to be told of the present call."""

    def __iter__(self) -> Iterator[Any]:
        told = super().__iter__()
        return (handler for handler in told if isinstance(handler, OwnHandler)) if _unseen.get() else told


@contextmanager
def unseen() -> Iterator[None]:
    """Calls inside reach no event handler and no span handler, and OpenTelemetry is told to look away."""
    for dispatcher in list(root_manager.dispatchers.values()):  # again, for applications replace the lists
        for name in ("event_handlers", "span_handlers"):
            handlers = getattr(dispatcher, name)
            if handlers and not isinstance(handlers, _Handlers):
                setattr(dispatcher, name, _Handlers(handlers))
    hidden = _unseen.set(True)
    try:
        with _without_telemetry():
            yield
    finally:
        _unseen.reset(hidden)


@contextmanager
def _without_telemetry() -> Iterator[None]:
    if "opentelemetry.context" not in sys.modules:
        yield
        return
    from opentelemetry import context  # noqa: PLC0415 - only where the application has loaded it
    from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY  # noqa: PLC0415 - likewise

    token = context.attach(context.set_value(_SUPPRESS_INSTRUMENTATION_KEY, True))
    try:
        yield
    finally:
        context.detach(token)
