"""What a write transaction of the PostgreSQL memory reads and stores.

It locks the namespaces that it writes to, and reads what they hold of its records. What becomes of them is stored
together: a handful of round trips, whatever a batch holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rar.errors import DimensionError
from rar.memory import kept
from rar.memory.base import Batch, CachedAnswer, DecisionRecord, JudgedAnswers, Label, PolicyState, Spend
from rar.memory.columns import (
    A_GUIDE,
    CACHED,
    DECISION,
    EXPERIENCE,
    GUIDE,
    JUDGED,
    LABEL,
    POLICY,
    SPEND,
    TALLY,
    WHOLE,
    pinned_as,
    sane,
    to_experience,
    to_guide,
)
from rar.memory.exchange import Header
from rar.memory.forgetting import Gone
from rar.memory.postgres_connections import Connection
from rar.memory.postgres_rows import cursor_of, lock_number
from rar.memory.postgres_tenants import Tenant
from rar.memory.postgres_vectors import MARK, put_experiences, put_guides
from rar.memory.transitions import SPENT_ON, added, merged, went_by
from rar.values import Experience, Guide, Tally, Vector

KEPT_DELETIONS = 1_000_000  # that are remembered for followers
PRUNED_EACH = 64  # transactions


@dataclass
class Held:
    """An experience as it is to be stored."""

    experience: Experience
    trials: int
    until: float
    place: int  # in the log of this transaction; 0 if it was not written
    touched: int = 0
    new: bool = False


@dataclass
class HeldGuide:
    """The same of a guide."""

    guide: Guide
    place: int
    touched: int = 0


class Store:
    """What a transaction holds of a memory: read once, changed here, and stored together.

    Args:
        where, secret: The memory's.
        tenant: As whom this is done; None: as one who may write to all.
    """

    def __init__(self, connection: Connection, where: str, secret: bytes, tenant: Tenant | None = None) -> None:
        self.run, self.many = connection.run, connection.many
        self.connection = connection
        self.where, self.secret, self.tenant = where, secret, tenant
        self.experiences: dict[str, Held | None] = {}  # None: known not to be there
        self.guides: dict[str, HeldGuide | None] = {}
        self.tallies: dict[tuple[str, ...], Tally] = {}
        self.moved_tallies: set[tuple[str, ...]] = set()
        self.policies: dict[tuple[str, str], PolicyState] = {}
        self.spending: dict[tuple[Any, ...], Spend] = {}
        self.decisions: dict[str, DecisionRecord] = {}
        self.labels: dict[str, Label] = {}
        self.judged_answers: dict[tuple[str, int], JudgedAnswers] = {}
        self.cached_answers: dict[tuple[str, str], CachedAnswer] = {}
        self.grown = Counter[str]()
        self.all_grown = Counter[str]()
        # What was read at the beginning, so that storing waits for nothing.
        self.vectors: str | None = None  # where pgvector is, if embeddings are written for it
        self.sizes: dict[str, int] = {}  # experiences of a namespace
        self.there: dict[tuple[str, str], bool] = {}  # whether a table holds an id
        self.spent: dict[tuple[Any, ...], Spend | None] = {}
        self._n = 0
        self.told = False  # whether there is something that other processes are to hear of

    # --- beginning --------------------------------------------------------------------------------------------------

    def lock(self, namespaces: Iterable[str] | None) -> None:
        """Have no other process write to these namespaces till the end; None: to any."""
        self._locked(self._ask_for(namespaces))

    def _ask_for(self, namespaces: Iterable[str] | None) -> Any:
        whole = lock_number(self.connection.schema)
        if namespaces is None:
            self.run("SELECT pg_advisory_xact_lock(?::bigint)", [whole])
        else:
            keys = sorted({lock_number(self.connection.schema, sane(name)) for name in namespaces})
            self.run(
                "SELECT pg_advisory_xact_lock_shared(?::bigint), "
                "(SELECT count(pg_advisory_xact_lock(key)) FROM unnest(?::bigint[]) AS key)",
                [whole, keys],
            )
        return self.run(
            "SELECT key, value FROM @meta WHERE key IN ('embedder_id', 'dim', 'epoch', 'pgvector') "
            "UNION ALL SELECT 'xid', pg_current_xact_id()::text"
        )

    def _locked(self, asked: Any) -> None:
        found = dict(asked)
        self.bound = Header(found["embedder_id"], int(found["dim"]))
        self.epoch, self.xid = int(found["epoch"]), int(found["xid"])
        self.vectors = found.get(MARK)
        self.connection.transaction = found["xid"]

    def begin(self, batch: Batch, day: int) -> Batch:
        """Lock what `batch` writes to, and read what is known of it; returns it without what was deleted since."""
        known = {one.id for one in batch.experiences} | {one.id for one in batch.guides}
        others = {trial.experience_id for trial in batch.trials} | {trial.guide_id for trial in batch.trials}
        elsewhere = [sane(id) for id in others - known if id is not None]
        parts: tuple[Sequence[Any], ...] = (
            batch.experiences, batch.guides, batch.steps, batch.spending, batch.decisions, batch.labels, batch.judged,
            batch.cached,
        )  # fmt: skip
        names: set[str] = {one.namespace for part in parts for one in part}
        if elsewhere:
            for table in ("experiences", "guides"):
                rows = self.run(f"SELECT DISTINCT namespace FROM @{table} WHERE id = ANY(?)", [elsewhere])
                names |= {name for (name,) in rows}
        # All is asked before the first of it is waited for. Each statement sees what was committed before the lock.
        locked = self._ask_for(names)
        records, beside = self._ask_records(batch), self._ask_beside(batch, day)
        self._locked(locked)
        self._read_records(records)
        self._read_beside(beside)
        return self._left(batch)

    def _left(self, batch: Batch) -> Batch:
        if batch.epoch is None or batch.epoch >= self.epoch:
            return batch
        keys = self.run("SELECT key FROM @forgotten WHERE epoch > ?", [batch.epoch]).fetchall()
        return Gone(self.secret, frozenset(key for (key,) in keys)).without(batch)

    def _ask_records(self, batch: Batch) -> tuple[Iterable[Any], ...]:
        tried_ids = [sane(trial.experience_id) for trial in batch.trials]
        went = [sane(record.experience_id) for record in batch.decisions if went_by(record)]
        guide_ids = [one.id for one in batch.guides] + [
            one.guide_id for one in batch.trials if one.guide_id is not None
        ]
        return (
            self._ask(
                f"SELECT trials, keep_until, {WHOLE} FROM @experiences WHERE id = ANY(?)",
                [*(sane(one.id) for one in batch.experiences), *tried_ids, *went],
            ),
            self._ask(f"SELECT experience_id, {TALLY.columns} FROM @tallies WHERE experience_id = ANY(?)", tried_ids),
            self._ask(f"SELECT {A_GUIDE} FROM @guides WHERE id = ANY(?)", [sane(id) for id in guide_ids]),
        )

    def _read_records(self, asked: tuple[Iterable[Any], ...]) -> None:
        experiences, tallies, guides = asked
        for trials, until, *row in experiences:
            self.experiences[row[0]] = Held(to_experience(row), trials, until, 0)
        for owner, *row in tallies:
            tally = TALLY.value(row)
            self.tallies[_tally_key(owner, tally)] = tally
        self._hold_guides(guides)

    def _ask_beside(self, batch: Batch, day: int) -> tuple[Iterable[Any], ...]:
        """What is added to beside the records."""
        steps = list(dict.fromkeys((sane(step.namespace), sane(step.model)) for step in batch.steps))
        keys = [spent_on(day, one) for one in batch.spending]
        ids = [sane(one.id) for one in batch.decisions], [sane(one.decision_id) for one in batch.labels]
        grown = list(dict.fromkeys(sane(one.namespace) for one in batch.experiences))
        self.spent = dict.fromkeys(keys)
        self.there = {
            **dict.fromkeys((("decisions", id) for id in ids[0]), False),
            **dict.fromkeys((("labels", id) for id in ids[1]), False),
        }
        self.sizes = dict.fromkeys(grown, 0)
        return (
            self._ask(
                f"SELECT namespace, model, {POLICY.columns} FROM @policy "
                "WHERE (namespace, model) IN (SELECT * FROM unnest(?::text[], ?::text[]))",
                *map(list, zip(*steps, strict=True)),
            ),
            self._ask_spent(keys),
            self._ask("SELECT 'decisions', id FROM @decisions WHERE id = ANY(?)", ids[0]),
            self._ask("SELECT 'labels', decision_id FROM @labels WHERE decision_id = ANY(?)", ids[1]),
            self._ask("SELECT namespace, experiences FROM @counters WHERE namespace = ANY(?)", grown),
        )

    def _read_beside(self, asked: tuple[Iterable[Any], ...]) -> None:
        policies, spent, decided, labelled, sizes = asked
        for name, model, *state in policies:
            self.policies[name, model] = POLICY.value(state)
        self.spent.update(_spent_of(spent))
        self.there.update(((table, id), True) for rows in (decided, labelled) for table, id in rows)
        self.sizes.update(sizes)

    def _ask(self, sql: str, *columns: list[Any]) -> Iterable[Any]:
        """The rows of a statement, which is made if there is something to ask for."""
        return self.run(sql, columns) if columns and columns[0] else ()

    def read_guides(self, ids: list[str]) -> None:
        self._hold_guides(self._ask(f"SELECT {A_GUIDE} FROM @guides WHERE id = ANY(?)", ids))

    def _hold_guides(self, rows: Iterable[Any]) -> None:
        for row in rows:
            self.guides[row[0]] = HeldGuide(to_guide(row), 0)

    def tally(self, experience_id: str, tally: Tally) -> None:
        key = _tally_key(experience_id, tally)
        self.tallies[key] = merged(self.tallies.get(key), tally)
        self.moved_tallies.add(key)

    # --- storing ----------------------------------------------------------------------------------------------------

    def store(self) -> None:
        spent = self._ask_spent([key for key in self.spending if key not in self.spent])
        decided = self._there("decisions", "id", self.decisions)
        labelled = self._there("labels", "decision_id", self.labels)
        self.store_records()
        self.many(
            f"INSERT INTO @policy (namespace, model, {POLICY.columns}, touched) VALUES (?, ?, {POLICY.marks}, ?) "
            f"ON CONFLICT (namespace, model) DO UPDATE SET {POLICY.assigned()}, touched = excluded.touched",
            [(*key, *POLICY.row(state), self.xid) for key, state in self.policies.items()],
        )
        self._store_spending(spent)
        self._replace(
            decided, "decisions", "id", f"{DECISION.columns}, not_learned", {"id", "namespace", "at"},
            {id: [*DECISION.row(one), _code(one)] for id, one in self.decisions.items()},
        )  # fmt: skip
        self._replace(
            labelled, "labels", "decision_id", LABEL.columns, {"decision_id"},
            {id: LABEL.row(one) for id, one in self.labels.items()},
        )  # fmt: skip
        self.policies, self.decisions, self.labels = {}, {}, {}
        self._store_answers()

    def store_records(self) -> None:
        """Store experiences, their tallies, and guides."""
        held = [one for one in self.experiences.values() if one is not None and one.touched]
        written = [one for one in held if one.place]
        self._revive([sane(one.experience.id) for one in written])
        self.many(
            f"INSERT INTO @experiences ({EXPERIENCE.columns}, trials, keep_until, xid, n, touched, "
            f"touched_n, embedding) VALUES ({EXPERIENCE.marks}, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET "
            f"{EXPERIENCE.assigned('id')}, trials = excluded.trials, keep_until = excluded.keep_until, "
            "xid = excluded.xid, n = excluded.n, touched = excluded.touched, touched_n = excluded.touched_n, "
            "embedding = excluded.embedding",
            [
                (*EXPERIENCE.row(one.experience), one.trials, one.until, self.xid, one.place, self.xid, one.touched,
                 _blob(one.experience.embedding))
                for one in written
            ],
        )  # fmt: skip
        if self.vectors:
            put_experiences(self.connection, self.vectors, [one.experience for one in written])
        self.many(
            "UPDATE @experiences SET trials = ?, keep_until = ?, touched = ?, touched_n = ? WHERE id = ?",
            [(one.trials, one.until, self.xid, one.touched, one.experience.id) for one in held if not one.place],
        )
        self.many(
            f"INSERT INTO @tallies (experience_id, {TALLY.columns}) VALUES (?, {TALLY.marks}) "
            "ON CONFLICT (experience_id, guide_id, weak_id, strong_id) DO UPDATE SET "
            f"{TALLY.assigned('guide_id', 'weak_id', 'strong_id')}",
            [(key[0], *TALLY.row(self.tallies[key])) for key in sorted(self.moved_tallies)],
        )
        self.many(
            "INSERT INTO @counters (namespace, experiences) VALUES (?, ?) ON CONFLICT (namespace) DO UPDATE SET "
            "experiences = counters.experiences + excluded.experiences",
            sorted(self.grown.items()),
        )
        for one in held:
            one.place = one.touched = 0
        self.all_grown.update(self.grown)
        self.grown, self.moved_tallies = Counter(), set()
        self._store_guides()

    def _store_guides(self) -> None:
        held = [one for one in self.guides.values() if one is not None and one.touched]
        written = [one for one in held if one.place]
        self._revive([sane(one.guide.id) for one in written])
        self.many(
            f"INSERT INTO @guides ({GUIDE.columns}, pinned, embedding, xid, n, touched) "
            f"VALUES ({GUIDE.marks}, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET {GUIDE.assigned('id')}, "
            "pinned = excluded.pinned, embedding = excluded.embedding, xid = excluded.xid, n = excluded.n, "
            "touched = excluded.touched",
            [
                (
                    *GUIDE.row(one.guide),
                    pinned_as(one.guide),
                    _blob(one.guide.embedding),
                    self.xid,
                    one.place,
                    self.xid,
                )
                for one in written
            ],
        )
        if self.vectors:
            put_guides(self.connection, self.vectors, [one.guide for one in written])
        self.many(
            "UPDATE @guides SET helpful = ?, harmful = ?, touched = ? WHERE id = ?",
            [(one.guide.helpful, one.guide.harmful, self.xid, one.guide.id) for one in held if not one.place],
        )
        for one in held:
            one.place = one.touched = 0

    def _ask_spent(self, keys: Sequence[tuple[Any, ...]]) -> Iterable[Any]:
        """What was spent before on the days and for the purposes of what is spent now."""
        return self._ask(
            f"SELECT day, {SPEND.columns} FROM @spending WHERE (day, {', '.join(SPENT_ON)}) IN "
            "(SELECT * FROM unnest(?::bigint[], ?::text[], ?::text[], ?::text[], ?::text[]))",
            *map(list, zip(*keys, strict=True)),
        )

    def _store_spending(self, asked: Iterable[Any]) -> None:
        known = {**self.spent, **_spent_of(asked)}
        sums = {key: added(known.get(key), spend) for key, spend in self.spending.items()}
        self.many(
            f"INSERT INTO @spending (day, {SPEND.columns}) VALUES (?, {SPEND.marks}) "
            f"ON CONFLICT (day, {', '.join(SPENT_ON)}) DO UPDATE SET {SPEND.assigned(*SPENT_ON)}",
            [(key[0], *SPEND.row(spend)) for key, spend in sums.items()],
        )
        self.spent, self.spending = {}, {}

    def _store_answers(self) -> None:
        """Store judged and cached answers as the newest. Of the cached, what is over or without room goes."""
        judged, cached = self.judged_answers, self.cached_answers
        self.many("DELETE FROM @judged WHERE decision_id = ? AND place = ?", list(judged))
        self.many(
            f"INSERT INTO @judged ({JUDGED.columns}) VALUES ({JUDGED.marks})", list(map(JUDGED.row, judged.values()))
        )
        if judged:
            self.run("DELETE FROM @judged WHERE n <= (SELECT max(n) FROM @judged) - ?", [kept.KEPT_JUDGED])
        self.many("DELETE FROM @cached WHERE namespace = ? AND key = ?", list(cached))
        self.many(
            f"INSERT INTO @cached ({CACHED.columns}) VALUES ({CACHED.marks})", list(map(CACHED.row, cached.values()))
        )
        for one in {answer.namespace: answer for answer in cached.values()}.values():
            self.run("DELETE FROM @cached WHERE namespace = ? AND until <= ?", [one.namespace, one.used_at])
            self.run(
                "DELETE FROM @cached WHERE n IN (SELECT n FROM @cached WHERE namespace = ? "
                "ORDER BY used_at DESC, n DESC OFFSET ?)",
                [one.namespace, one.room],
            )
        self.judged_answers, self.cached_answers = {}, {}

    def _there(self, table: str, key: str, ids: Iterable[str]) -> Iterable[Any]:
        """Those of these ids that there are, but for those of which that is known."""
        unknown = [id for id in ids if (table, id) not in self.there]
        return self._ask(f"SELECT {key} FROM @{table} WHERE {key} = ANY(?)", unknown)

    def _replace(
        self, there: Iterable[Any], table: str, key: str, columns: str, kept: set[str], rows: dict[str, list[Any]]
    ) -> None:
        """Insert rows, or replace all but `kept` of those that are `there`."""
        known = {id for (id,) in there} | {id for id in rows if self.there.get((table, id))}
        names = columns.split(", ")
        self.many(
            f"INSERT INTO @{table} ({columns}) VALUES ({', '.join('?' * len(names))})",
            [row for id, row in rows.items() if id not in known],
        )
        moving = [place for place, name in enumerate(names) if name not in kept]
        self.many(
            f"UPDATE @{table} SET {', '.join(f'{names[place]} = ?' for place in moving)} WHERE {key} = ?",
            [(*(row[place] for place in moving), id) for id, row in rows.items() if id in known],
        )
        for id in rows:
            self.there.pop((table, id), None)

    def _revive(self, ids: list[str]) -> None:
        """These are no more deleted."""
        if ids:
            self.run("DELETE FROM @deletions WHERE id = ANY(?)", [ids])

    def _prune(self) -> None:
        """Forget the oldest deletions that were only kept for followers; those who are behind begin anew."""
        if self.xid % PRUNED_EACH or self.tenant is not None:
            return
        row = self.run(
            "SELECT xid, n FROM @deletions ORDER BY xid DESC, n DESC OFFSET ? LIMIT 1", [KEPT_DELETIONS]
        ).fetchone()
        if row is not None:
            self.run("DELETE FROM @deletions WHERE (xid, n) <= (?, ?)", list(row))
            self.set("pruned", cursor_of(*row))

    def next(self) -> int:
        """The next place in the log of this transaction."""
        self._n += 1
        self.told = True
        return self._n

    def check(self, embedding: Vector) -> None:
        shape = np.shape(embedding)
        if not self.bound.dim and len(shape) == 1 and shape[0]:
            claim = "UPDATE @meta SET value = ? WHERE key = 'dim' AND value = '0' RETURNING value"
            if self.run(claim, [str(shape[0])]).fetchone() is None:  # another process was first
                (dim,) = self.run("SELECT value FROM @meta WHERE key = 'dim'").fetchone() or ("0",)
                self.bound = Header(self.bound.embedder_id, int(dim))
            else:
                self.bound = Header(self.bound.embedder_id, shape[0])
        if shape != (self.bound.dim,):
            raise DimensionError(self.where, f"they have {self.bound.dim} numbers, the one to store has {shape}")

    def set(self, key: str, value: object) -> None:
        self.run("UPDATE @meta SET value = ? WHERE key = ?", [str(value), key])


def _tally_key(experience_id: str, tally: Tally) -> tuple[str, ...]:
    return experience_id, sane(tally.guide_id or ""), sane(tally.weak_id), sane(tally.strong_id)


def spent_on(day: int, spend: Spend) -> tuple[Any, ...]:
    return day, *(sane(getattr(spend, name)) for name in SPENT_ON)


def _spent_of(rows: Iterable[Any]) -> dict[tuple[Any, ...], Spend]:
    return {spent_on(day, spend := SPEND.value(row)): spend for day, *row in rows}


def _code(record: DecisionRecord) -> str | None:
    code = record.facts.get("not_learned")
    return code if isinstance(code, str) else None


def _blob(embedding: Vector) -> bytes:
    return np.asarray(embedding, "<f4").tobytes()
