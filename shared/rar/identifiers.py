"""New ids: 32 hex digits that nobody can guess."""

from __future__ import annotations

import os

from rar.forking import Lock, in_forked_child

_BYTES, _AT_ONCE = 16, 256  # the system is asked once for so many, since asking takes longer than all the rest


class _Ids:
    def __init__(self) -> None:
        self._lock = Lock()
        self._forget()
        in_forked_child(self._forget)

    def _forget(self) -> None:
        self._pool, self._at = b"", 0

    def new(self) -> str:
        with self._lock:
            if self._at >= len(self._pool):
                self._pool, self._at = os.urandom(_BYTES * _AT_ONCE), 0
            self._at += _BYTES
            return self._pool[self._at - _BYTES : self._at].hex()


new_id = _Ids().new
