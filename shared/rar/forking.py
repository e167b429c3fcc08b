"""What a fork needs: threads are gone in the child, and a lock or a file may have been in use by one of them."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeAlias

Method: TypeAlias = Callable[[], None]


class _Hooks:
    """Bound methods of objects that may die, called by one hook of the interpreter's, which can never be taken back."""

    def __init__(self) -> None:
        self._methods: dict[int, weakref.WeakMethod[Method]] = {}
        self._next = 0

    def add(self, method: Method) -> None:
        number, self._next = self._next, self._next + 1
        self._methods[number] = weakref.WeakMethod(method, lambda _: self._methods.pop(number, None))

    def __call__(self) -> None:
        for method in [alive() for alive in list(self._methods.values())]:
            if method is not None:
                method()


FORK_WAITS = 10.0  # seconds

_before, _in_child = _Hooks(), _Hooks()


def in_forked_child(method: Method) -> None:
    """Call the bound `method` in every child forked while its object lives; nothing where the system cannot fork."""
    _in_child.add(method)


def before_fork(method: Method) -> None:
    """Call the bound `method` in a process that is about to fork, when all gates are empty."""
    _before.add(method)


class _Passage:
    """Who is inside any gate, and whether the process is about to fork."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.moved = threading.Condition()
        self.inside = Counter[int]()  # by thread, how deep
        self.forker = 0

    def clear(self) -> None:
        """Let nobody in any more, and wait until those who are inside have left."""
        deadline = time.monotonic() + FORK_WAITS
        with self.moved:
            self.forker = me = threading.get_ident()
            while self.inside.keys() - {me} and (left := deadline - time.monotonic()) > 0.0:
                self.moved.wait(left)
            for gate in list(_gates):
                gate.torn = bool(gate.users.keys() - {me})

    def reopen(self) -> None:
        with self.moved:
            self.forker = 0
            for gate in list(_gates):
                gate.torn = False
            self.moved.notify_all()


class Gate:
    """Around what no other thread may be in the middle of while the process forks: the child would inherit its half.

    That is all that takes locks which nobody can renew: SQLite's, and those of numeric libraries. A fork waits until
    all have left, `FORK_WAITS` seconds at most, and meanwhile nobody gets in; `torn` then says in the child that
    somebody was still inside. A thread that is inside may enter again, here or elsewhere.
    """

    def __init__(self) -> None:
        self.torn = False
        self.users = Counter[int]()
        _gates.add(self)

    def __enter__(self) -> None:
        me = threading.get_ident()
        with _passage.moved:
            while _passage.forker not in (0, me) and me not in _passage.inside:
                _passage.moved.wait(FORK_WAITS)
            _passage.inside[me] += 1
            self.users[me] += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        me = threading.get_ident()
        with _passage.moved:
            for users in (_passage.inside, self.users):
                users[me] -= 1
                if users[me] <= 0:
                    del users[me]
            if _passage.forker:
                _passage.moved.notify_all()

    def empty(self) -> None:
        """Forget the threads of the parent, in a child."""
        self.users = Counter[int]()


class Lock:
    """A lock that is free in a forked child, whoever held it in the parent."""

    def __init__(self) -> None:
        self._renew()
        in_forked_child(self._renew)

    def _renew(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()

    def __deepcopy__(self, memo: dict[int, Any]) -> Lock:
        return Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Lock, ()


_gates: weakref.WeakSet[Gate] = weakref.WeakSet()
_passage = _Passage()
LOADING = Gate()  # around what is imported at first use: a module that is half loaded stays so in the child
NUMERIC = Gate()  # around numeric libraries, whose threads and locks do not survive a fork that finds them at work


def _renew() -> None:
    _passage.renew()
    for gate in list(_gates):
        gate.empty()


if hasattr(os, "register_at_fork"):
    # Those before a fork run last first, those after it first first: nobody is inside while the methods run.
    os.register_at_fork(before=_before, after_in_child=_renew)
    os.register_at_fork(before=_passage.clear, after_in_parent=_passage.reopen, after_in_child=_in_child)
