"""Hearing of what other processes wrote: by notifications, and by asking now and then where none arrive."""

from __future__ import annotations

import os
import select
import threading
import weakref
from contextlib import suppress
from typing import Protocol

import psycopg

from rar.errors import RarError
from rar.memory.postgres_connections import Connection

POLL = 0.5  # seconds between two looks at a memory that is quiet: a pooler in between may swallow notifications
_BREATH = 0.01  # seconds between two reads ahead, which decisions have for themselves
_TOGETHER = 0.1  # seconds in which notifications are gathered before the next look
_LONGEST = 5.0  # seconds between two attempts to reach a server that is away


class Memory(Protocol):
    """Who is to be told."""

    channel: str

    def open(self) -> Connection: ...

    def look(self, connection: Connection) -> None: ...

    def read_ahead(self) -> bool: ...


class Listener:
    """A thread that has a memory look at what changed. It ends when it is told to, or with the memory."""

    def __init__(self, memory: Memory) -> None:
        self._memory = weakref.ref(memory)
        self._wake, self._waker = os.pipe()
        self._ended = False
        self._thread = threading.Thread(target=self._listen, name="rar-listen", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self) -> None:
        """Have the thread end, and wait for it."""
        self._ended = True
        with suppress(OSError):
            os.write(self._waker, b"x")
        if self._thread is not threading.current_thread():
            self._thread.join(2.0 * POLL)  # it is a daemon: a server that does not answer holds nobody up

    def _listen(self) -> None:
        away = POLL
        while not self._ended:
            connection: Connection | None = None
            with suppress(psycopg.Error, RarError):
                memory = self._memory()
                if memory is None:
                    break
                connection = memory.open()
                with suppress(psycopg.errors.ReadOnlySqlTransaction):  # a replica tells nothing: it is asked
                    connection.run(f'LISTEN "{memory.channel}"')
                del memory
                while (more := self._look(connection)) is not None:
                    away = POLL
                    self._wait(None, _BREATH if more else _TOGETHER)
                    if not more:
                        self._wait(connection.raw.pgconn.socket, POLL - _TOGETHER)
            if connection is not None:
                with suppress(psycopg.Error):
                    connection.raw.close()
            self._wait(None, away)
            away = min(2.0 * away, _LONGEST)
        for end in (self._wake, self._waker):
            with suppress(OSError):
                os.close(end)

    def _look(self, connection: Connection) -> bool | None:
        """Have the memory look, and read ahead; whether there is more to read, or None at the end."""
        memory = self._memory()
        if memory is None or self._ended:
            self._ended = True
            return None
        for _ in connection.raw.notifies(timeout=0):
            pass  # what it says does not matter
        memory.look(connection)
        return memory.read_ahead()

    def _wait(self, socket: int | None, seconds: float) -> None:
        """Until something arrives, for so long at most."""
        if not self._ended:
            select.select([self._wake] if socket is None else [self._wake, socket], [], [], seconds)
