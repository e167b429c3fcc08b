"""Which run of the framework's a call is, where the framework has such runs: observers find its trace by that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_run: ContextVar[object] = ContextVar("rar_run", default=None)


def current_run() -> object:
    """The id of the run that the present call is; None where its plugin says nothing."""
    return _run.get()


@contextmanager
def running(id: object) -> Iterator[None]:
    """Calls of a router inside are the run `id`."""
    token = _run.set(id)
    try:
        yield
    finally:
        _run.reset(token)
