"""The queue of lessons in PostgreSQL. `procrastinate` carries it: it hands out jobs and finds dead workers.

A job names a lesson; the lesson itself is in a table of the memory, so that it goes with what is deleted, and no log of
the queue can show it. Procrastinate's tables are in the memory's schema. It finds them by the search path.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import fields, replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import procrastinate
from procrastinate import exceptions, jobs, retry, schema

from rar.errors import ConfigurationError, MissingMemoryError
from rar.memory.base import Batch
from rar.memory.lessons import PackedLesson
from rar.memory.postgres_connections import NOW
from rar.memory.queueing import DeadLesson, QueueState, RetryLater
from rar.naming import cause

if TYPE_CHECKING:
    from rar.memory.postgres_connections import Connection
    from rar.memory.postgres_reads import PostgresReads

logger = logging.getLogger("rar")

_TASK = "rar.lesson"
_ANY = "rar"  # the name of the queue for lessons that any models can study
_DEATHS = 5  # workers that may die of one lesson
_COLUMNS = tuple(field.name for field in fields(PackedLesson))
_LONG_AGO = datetime(2000, 1, 1, tzinfo=timezone.utc)
_MARK = "procrastinate"  # the key in `meta` of the newest migration of procrastinate that was applied


class PostgresQueue:
    """As `rar.memory.queueing.LessonQueue` says."""

    def __init__(self, server: PostgresReads) -> None:
        self._server = server

    # --- deferring --------------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        if self._server.tenant is not None:
            raise ConfigurationError(
                "A tenant has no right to the queue of lessons, whose workers see all namespaces. Learn by "
                "learning='background'."
            )
        newest = _migrations()[-1][0]
        if self._applied() != newest:
            self._server.ask(_installed)

    def _applied(self) -> str | None:
        row = self._server.one("SELECT value FROM @meta WHERE key = ?", [_MARK])
        return None if row is None else str(row[0])

    def defer(self, connection: Connection, batch: Batch) -> Batch:
        """Have the lessons of `batch` wait, in the transaction of `connection`; the batch as it is to be written.

        Of a request that another lesson waits for, or is about, none is added. Its decision says so.
        """
        _find_tables(connection)
        keys = sorted({lesson.alone for lesson in batch.deferred})
        # No savepoint: in a pipeline psycopg would take it for a transaction of its own, and commit the job too early.
        connection.run(
            "SELECT count(pg_advisory_xact_lock(hashtextextended(key, 0))) FROM unnest(?::text[]) AS key", [keys]
        )
        known = {
            name
            for (name,) in connection.run(
                "SELECT queueing_lock FROM @procrastinate_jobs WHERE queueing_lock = ANY(?) "
                "AND status IN ('todo', 'doing')",
                [keys],
            )
        }
        elsewhere = set()
        for lesson in batch.deferred:
            if lesson.alone in known:
                elsewhere.add(lesson.decision_id)
            else:
                self._defer(connection, lesson)
            known.add(lesson.alone)
        records = tuple(
            replace(one, facts={**one.facts, "not_learned": "elsewhere"}) if one.id in elsewhere else one
            for one in batch.decisions
        )
        return replace(batch, decisions=records)

    def _defer(self, connection: Connection, lesson: PackedLesson) -> None:
        job = jobs.Job(
            queue=_queue_of(lesson.source), task_name=_TASK, lock=lesson.about, queueing_lock=lesson.alone,
            task_kwargs={"effect": lesson.effect},
        )  # fmt: skip
        try:
            self._sync.job_manager.defer_job(job, connection=connection.raw)
        except exceptions.ConnectorException as error:  # as where a right is missing: it is the database's to name
            raise error.__cause__ or error from None
        values = [getattr(lesson, name) for name in _COLUMNS]
        connection.run(
            f"INSERT INTO @lessons ({', '.join(_COLUMNS)}, at) VALUES ({', '.join('?' * len(values))}, {NOW}) "
            "ON CONFLICT DO NOTHING",
            values,
        )

    @cached_property
    def _sync(self) -> procrastinate.App:
        # Never opened: it only says things on the connections that it is given.
        return procrastinate.App(connector=procrastinate.SyncPsycopgConnector())

    # --- looking ----------------------------------------------------------------------------------------------------

    def state(self) -> QueueState:
        if self._applied() is None:
            return QueueState()
        row = self._server.one(
            "SELECT count(*) FILTER (WHERE status = 'todo'), "
            "count(*) FILTER (WHERE status = 'todo' AND scheduled_at > now()), "
            "count(*) FILTER (WHERE status = 'doing'), count(*) FILTER (WHERE status = 'failed'), "
            f"coalesce(max({NOW} - at) FILTER (WHERE status = 'todo'), 0.0), "
            "(SELECT count(*) FROM @procrastinate_workers WHERE last_heartbeat > now() - interval '1 minute') "
            "FROM @procrastinate_jobs LEFT JOIN @lessons ON effect = args->>'effect' WHERE task_name = ?",
            [_TASK],
        )
        assert row is not None
        waiting, later, running, dead, age, workers = row
        return QueueState(waiting, later, running, dead, float(age), workers)

    def dead(self, limit: int = 100) -> list[DeadLesson]:
        if self._applied() is None:
            return []
        rows = self._server.all(
            f"SELECT id::text, decision_id, attempts, {NOW} - at, coalesce(error, '') FROM @procrastinate_jobs "
            "JOIN @lessons ON effect = args->>'effect' WHERE task_name = ? AND status = 'failed' "
            "ORDER BY id DESC LIMIT ?",
            [_TASK, limit],
        )
        return [DeadLesson(*row) for row in rows]

    def retry(self, ids: Sequence[str] = ()) -> int:
        return self._settle_dead(
            "UPDATE @procrastinate_jobs SET status = 'todo', attempts = 0, scheduled_at = NULL", ids
        )

    def drop(self, ids: Sequence[str] = ()) -> int:
        def dropping(connection: Connection) -> int:
            rows = self._dead_rows(connection, "DELETE FROM @procrastinate_jobs", ids)
            connection.run("DELETE FROM @lessons WHERE effect = ANY(?)", [[effect for (effect,) in rows]])
            return len(rows)

        return 0 if self._applied() is None else self._server.transact(dropping)

    def _settle_dead(self, what: str, ids: Sequence[str]) -> int:
        if self._applied() is None:
            return 0
        return self._server.transact(lambda connection: len(self._dead_rows(connection, what, ids)))

    @staticmethod
    def _dead_rows(connection: Connection, what: str, ids: Sequence[str]) -> list[Any]:
        _find_tables(connection)
        named = "" if not ids else " AND id::text = ANY(?)"
        rows: list[Any] = connection.run(
            f"{what} WHERE task_name = ? AND status = 'failed'{named} RETURNING args->>'effect'",
            [_TASK, *([list(ids)] if ids else [])],
        ).fetchall()
        return rows

    # --- working ----------------------------------------------------------------------------------------------------

    def work(
        self,
        study: Callable[[PackedLesson], None],
        retry: RetryLater,
        *,
        sources: Sequence[str] = (),
        lanes: int = 4,
        wait: bool = True,
        grace: float = 60.0,
        stalled: float = 30.0,
    ) -> None:
        if self._applied() is None:
            raise MissingMemoryError(self._server.where, "it has no queue of lessons yet")
        asyncio.run(_Work(self._server, study, retry, stalled).run(sources, lanes, wait=wait, grace=grace))


class _Work:
    """One worker's run."""

    def __init__(
        self, server: PostgresReads, study: Callable[[PackedLesson], None], retry: RetryLater, stalled: float
    ) -> None:
        self._server, self._study, self._retry, self._stalled = server, study, retry, stalled
        options = dict(server.address.options)
        name = server.address.schema.replace("\\", "\\\\").replace(" ", "\\ ")
        options["options"] = f'{options.get("options", "")} -c search_path="{name}"'.strip()
        self._app = procrastinate.App(
            connector=procrastinate.PsycopgConnector(kwargs=options, min_size=1, max_size=4, timeout=10.0)
        )
        self._later = _Later(retry)
        self._compare_clocks()
        self._app.task(self._lesson, name=_TASK, pass_context=True, retry=self._later)

    def _compare_clocks(self) -> None:
        row = self._server.one(f"SELECT {NOW}", [])
        assert row is not None
        self._later.ahead = time.time() - float(row[0])

    async def run(self, sources: Sequence[str], lanes: int, *, wait: bool, grace: float) -> None:
        for name in ("procrastinate", "psycopg.pool"):
            logging.getLogger(name).setLevel(logging.CRITICAL)  # what fails is said by us, and kept
        asyncio.get_running_loop().set_exception_handler(_said)
        async with self._app.open_async():
            working = asyncio.ensure_future(
                self._app.run_worker_async(
                    queues=[_ANY, *map(_queue_of, sources)], concurrency=lanes, wait=wait,
                    fetch_job_polling_interval=1.0, abort_job_polling_interval=60.0, install_signal_handlers=False,
                    delete_jobs="successful", update_heartbeat_interval=self._stalled / 3.0,
                    stalled_worker_timeout=self._stalled,
                )
            )  # fmt: skip
            sweeping = asyncio.create_task(self._sweep())
            _when_told(lambda: _end(working, grace))
            try:
                await working
            except asyncio.CancelledError:
                logger.info("The worker was told to stop; no lesson is under way here any more.")
            finally:
                sweeping.cancel()
                with suppress(asyncio.CancelledError):
                    await sweeping

    def _lesson(self, context: Any, effect: str) -> None:
        lesson = self._read(effect)
        if lesson is None:
            return  # it was learned, or deleted
        try:
            contextvars.Context().run(self._study, lesson)
        except BaseException as error:
            self._note(effect, cause(error))
            raise

    def _read(self, effect: str) -> PackedLesson | None:
        row = self._server.one(f"SELECT {', '.join(_COLUMNS)} FROM @lessons WHERE effect = ?", [effect])
        return None if row is None else PackedLesson(*row)

    def _note(self, effect: str, error: str) -> None:
        logger.warning("A lesson was not learned. %s", error)
        self._server.transact(
            lambda connection: connection.run("UPDATE @lessons SET error = ? WHERE effect = ?", [error, effect])
        )

    async def _sweep(self) -> None:
        """Again and again, give the lessons of dead workers to others."""
        manager = self._app.job_manager
        while True:
            try:
                found = list(await manager.get_stalled_jobs(seconds_since_heartbeat=self._stalled))
                await asyncio.to_thread(self._compare_clocks)
            except Exception as error:
                found = []
                logger.warning("Lessons of dead workers could not be looked for. %s", cause(error))
            for job in found:
                with suppress(exceptions.ConnectorException):  # another worker gave it back first
                    await self._give_back(job)
            await asyncio.sleep(self._stalled / 3.0)

    async def _give_back(self, job: jobs.Job) -> None:
        if job.attempts + 1 < _DEATHS:
            await self._app.job_manager.retry_job(job, retry_at=_LONG_AGO)  # clocks differ
            return
        said = f"{_DEATHS} workers died of it"
        await asyncio.to_thread(self._note, str(job.task_kwargs["effect"]), said)
        await self._app.job_manager.finish_job(job, jobs.Status.FAILED, delete_job=False)


class _Later(retry.BaseRetryStrategy):  # type: ignore[misc]
    def __init__(self, after: RetryLater) -> None:
        self._after = after
        self.ahead = 0.0  # seconds that this machine's clock is before the server's, which says what is due

    def get_retry_decision(self, *, exception: BaseException, job: jobs.Job) -> retry.RetryDecision | None:
        seconds = self._after(exception, job.attempts)
        if seconds is None:
            return None
        at = datetime.fromtimestamp(time.time() - self.ahead + seconds, timezone.utc)
        return retry.RetryDecision(retry_at=at)


def _said(_: Any, context: dict[str, Any]) -> None:
    """Log what no caller hears of, such as a job that was given to others meanwhile: it is theirs then."""
    error = context.get("exception")
    logger.info("A lesson's job was not ended here. %s", cause(error) if error is not None else context["message"])


def _when_told(stop: Callable[[], None]) -> None:
    """Have `stop` called once by SIGTERM or SIGINT, where this is the main thread."""
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError, RuntimeError, ValueError):
            asyncio.get_running_loop().add_signal_handler(number, stop)


def _end(working: asyncio.Future[None], grace: float) -> None:
    """Take no more lessons. A thread in which one hangs would hold up the process: it ends without it then."""
    working.cancel()
    end = threading.Timer(grace, os._exit, (1,))
    end.daemon = True
    end.start()
    working.add_done_callback(lambda _: end.cancel())


def _queue_of(source: str) -> str:
    return f"{_ANY}.{source}" if source else _ANY


def _find_tables(connection: Connection) -> None:
    """Have procrastinate's statements find its tables, till the end of the transaction."""
    connection.run("SELECT set_config('search_path', quote_ident(?), true)", [connection.schema])


def _migrations() -> list[tuple[str, str]]:
    """Procrastinate's, by name, in their order."""
    files = Path(schema.SchemaManager.get_migrations_path()).glob("*.sql")
    return sorted((file.name, file.read_text("utf-8")) for file in files)


def _installed(connection: Connection) -> None:
    # Not by `transact`, whose pipeline takes one statement at a time: procrastinate's files hold many.
    with connection.raw.transaction():
        _install(connection)


def _install(connection: Connection) -> None:
    connection.run("SELECT pg_advisory_xact_lock(hashtextextended('rar-queue ' || ?, 0))", [connection.schema])
    row = connection.run("SELECT value FROM @meta WHERE key = ?", [_MARK]).fetchone()
    migrations = _migrations()
    _find_tables(connection)
    if row is None:
        statements = [schema.SchemaManager.get_schema()]
    else:
        statements = [text for name, text in migrations if name > row[0]]
    for statement in statements:
        connection.raw.execute(statement)
    connection.run(
        "INSERT INTO @meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
        [_MARK, migrations[-1][0]],
    )
