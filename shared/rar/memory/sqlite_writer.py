"""What a write transaction of the SQLite memory does."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import astuple, replace

import numpy as np

from rar.errors import DimensionError
from rar.learning.guides import admitted, next_state
from rar.learning.origins import joined, shortened
from rar.memory.base import Batch, DecisionRecord, PolicyState, PolicyStep, Spend
from rar.memory.exchange import DaySpend, Header, Item, KeptGuide, KeptPolicy
from rar.memory.forgetting import Gone, namespace_key
from rar.memory.sqlite_rows import (
    ANYWAY,
    DECISION,
    EXPERIENCE,
    GUIDE,
    POLICY,
    TALLY,
    Connection,
    header_of,
    meta,
    of_origins,
    to_tally,
)
from rar.values import Experience, Guide, GuideState, Origin, Tally, Trial, Vector

DAY = 86_400.0
KEPT_DECISIONS = 50_000
KEPT_DELETIONS = 1_000_000  # sequence numbers over which deletions are remembered for followers
KEPT_EPOCHS = 100_000  # of deletions by people, over which nothing that was decided before is written
MONTH = 30 * DAY  # by which each trial, up to two, has a record kept longer
MOST = 2**48  # of a day's calls or tokens: many such days still add up to what SQLite can hold


class Writer:
    """One write transaction."""

    def __init__(self, connection: Connection, where: str, secret: bytes) -> None:
        self._run = connection.run
        self._where, self._secret = where, secret
        self._seq: int = meta(connection, "seq")
        self._bound = header_of(connection)
        self.epoch: int = meta(connection, "epoch")
        self._grown: set[str] = set()

    def finish(self) -> None:
        self._run("UPDATE meta SET value = ? WHERE key = 'seq'", [self._seq])

    def bind(self, header: Header) -> Header:
        """Bind an unbound memory to `header`; return what it is bound to."""
        if not self._bound.embedder_id and self._bound.dim in (0, header.dim):
            self._run("UPDATE meta SET value = ? WHERE key = 'embedder_id'", [header.embedder_id])
            self._set_dim(header.dim)
            self._bound = header
        return self._bound

    def experience(self, experience: Experience) -> None:
        """Insert or update; one that is new brings its tallies."""
        blob, seq = self._blob(experience.embedding), self._next(experience.id)
        known = self._run("SELECT namespace FROM experiences WHERE id = ?", [experience.id]).fetchone()
        if known is None:
            trials = sum(tally.ok + tally.bad for tally in experience.tallies)
            self._run(
                f"INSERT INTO experiences ({EXPERIENCE}, trials, keep_until, seq, touched, embedding) "
                f"VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?7 + min(?9, 2) * {MONTH}, ?10, ?10, ?11)",
                [experience.id, experience.namespace, experience.task, experience.text, experience.signature,
                 experience.created_at, experience.updated_at, experience.source, trials, seq, blob],
            )  # fmt: skip
            for tally in experience.tallies:
                self._tally(experience.id, tally)
            self._grown.add(experience.namespace)
        else:
            self._run(
                "UPDATE experiences SET text = ?2, signature = ?3, updated_at = ?4, source = ?5, "
                f"keep_until = max(keep_until, ?4 + min(trials, 2) * {MONTH}), seq = ?6, touched = ?6, embedding = ?7 "
                "WHERE id = ?1",
                [
                    experience.id,
                    experience.text,
                    experience.signature,
                    experience.updated_at,
                    experience.source,
                    seq,
                    blob,
                ],
            )

    def guide(self, guide: Guide, *, pinned: bool = False) -> None:
        """Insert or update; one that is new brings its counts."""
        blob, seq = self._blob(guide.embedding), self._next(guide.id)
        self._run(
            f"INSERT INTO guides ({GUIDE}, seq, touched) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET text = excluded.text, author = excluded.author, origin = excluded.origin, "
            "state = CASE WHEN pinned THEN state ELSE excluded.state END, embedding = excluded.embedding, "
            "seq = excluded.seq, touched = excluded.touched",
            [guide.id, guide.namespace, guide.task, guide.text, guide.author, guide.origin, guide.state, guide.helpful,
             guide.harmful, guide.created_at, pinned, blob, seq, seq],
        )  # fmt: skip

    def trial(self, trial: Trial) -> None:
        guide = None
        if trial.guide_id is not None:
            counts = "SELECT state, helpful, harmful, pinned, origin FROM guides WHERE id = ?"
            guide = self._run(counts, [trial.guide_id]).fetchone()
            if guide is None:
                return
        self._seq += 1
        known = self._run(
            "UPDATE experiences SET trials = trials + 1, touched = ?3, "
            f"keep_until = max(keep_until, max(updated_at, ?2) + min(trials + 1, 2) * {MONTH}) WHERE id = ?1",
            [trial.experience_id, trial.at, self._seq],
        ).rowcount
        if not known:
            return
        ok = int(trial.ok)
        where = Origin(trial.context, trial.user, ok, 1 - ok, trial.ok, trial.at)
        tally = Tally(
            trial.guide_id, trial.weak_id, trial.strong_id, ok, 1 - ok, trial.ok, trial.at, trial.gap, trial.weight,
            shortened((where,)),
        )  # fmt: skip
        self._tally(trial.experience_id, tally)
        if guide is not None:
            state, helpful, harmful, pinned, origin = guide[0], guide[1] + ok, guide[2] + 1 - ok, guide[3], guide[4]
            others = self._helped(trial.guide_id, origin) if state == "candidate" else 0
            after = state if pinned else next_state(state, helpful, harmful, others)
            self._run(
                "UPDATE guides SET helpful = ?2, harmful = ?3, seq = CASE WHEN state = ?4 THEN seq ELSE ?5 END, "
                "state = ?4, touched = ?5 WHERE id = ?1",
                [trial.guide_id, helpful, harmful, after, self._seq],
            )

    def _helped(self, guide_id: str | None, origin: str) -> int:
        """The requests on which a guide helped, but for the one that it was written for."""
        count = (
            "SELECT count(DISTINCT experience_id) FROM tallies "
            "WHERE guide_id = ? AND guide_id != '' AND experience_id != ? AND ok > 0"
        )
        return int(self._run(count, [guide_id, origin]).fetchone()[0])

    def pin(self, id: str, state: GuideState, *, anyway: bool = False) -> bool:
        self._seq += 1
        pinned = "UPDATE guides SET state = ?, pinned = ?, seq = ?, touched = ? WHERE id = ?"
        return self._run(pinned, [state, ANYWAY if anyway else 1, self._seq, self._seq, id]).rowcount > 0

    def step(self, step: PolicyStep) -> None:
        key = [step.namespace, step.model]
        known = self._run(f"SELECT {POLICY} FROM policy WHERE namespace = ? AND model = ?", key).fetchone()
        self.policy(step.namespace, step.model, PolicyState(*known or ()).after(step))

    def policy(self, namespace: str, model: str, state: PolicyState) -> None:
        values = [namespace, model, *astuple(state)]
        marks = ", ".join("?" * len(values))
        self._run(f"INSERT OR REPLACE INTO policy (namespace, model, {POLICY}) VALUES ({marks})", values)

    def spend(self, day: int, spend: Spend, *, anew: bool = False) -> None:
        key = [day, spend.namespace, spend.purpose, spend.role, spend.model_id]
        if anew:
            self._run("DELETE FROM spending WHERE day=? AND namespace=? AND purpose=? AND role=? AND model_id=?", key)
        self._run(
            "INSERT INTO spending VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET "
            "calls = calls + excluded.calls, "
            f"input_tokens = min(input_tokens + excluded.input_tokens, {MOST}), "
            f"output_tokens = min(output_tokens + excluded.output_tokens, {MOST}), usd = usd + excluded.usd, "
            "unpriced = unpriced + excluded.unpriced, estimated = estimated + excluded.estimated",
            [
                *key,
                *(min(count, MOST) for count in (spend.calls, spend.input_tokens, spend.output_tokens)),
                spend.usd,
                min(spend.unpriced, MOST),
                min(spend.estimated, MOST),
            ],
        )

    def decision(self, record: DecisionRecord) -> None:
        """Insert, or replace: what a lesson found comes later than the decision."""
        code = record.facts.get("not_learned")
        self._run(
            f"INSERT INTO decisions ({DECISION}, not_learned) VALUES (?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET experience_id = excluded.experience_id, guide_id = excluded.guide_id, "
            "model = excluded.model, facts = excluded.facts, not_learned = excluded.not_learned",
            [record.id, record.namespace, record.at, record.experience_id, record.guide_id, record.model,
             json.dumps(dict(record.facts), default=str), code if isinstance(code, str) else None],
        )  # fmt: skip

    def used(self, record: DecisionRecord) -> None:
        """Keep what a decision went by as if it had been tried twice. Most days nothing is written for that."""
        known = record.facts.get("neighbours") or ()
        if any(neighbour.get("experience_id") == record.experience_id for neighbour in known):
            self._run(
                "UPDATE experiences SET keep_until = ?2 WHERE id = ?1 AND keep_until < ?2 - ?3",
                [record.experience_id, record.at + 2 * MONTH, DAY],
            )

    def put(self, item: Item) -> None:
        """Replace what has the id of `item` with it, counts and all."""
        if isinstance(item, Experience):
            self._run("DELETE FROM experiences WHERE id = ?", [item.id])
            self.experience(item)
        elif isinstance(item, KeptGuide):
            self._run("DELETE FROM guides WHERE id = ?", [item.guide.id])
            others = self._helped(item.guide.id, item.guide.origin)
            state = admitted(item.guide.state, item.guide.text, others=others, pinned=item.pinned)
            self.guide(replace(item.guide, state=state), pinned=item.pinned)
        elif isinstance(item, KeptPolicy):
            self.policy(item.namespace, item.model, item.state)
        elif isinstance(item, DaySpend):
            self.spend(item.day, item.spend, anew=True)
        else:
            self.decision(item)

    def forget(self, ids: Iterable[str]) -> int:
        """Delete experiences and guides; return how many there were."""
        gone = 0
        for id in ids:
            found = [
                self._run(f"DELETE FROM {table} WHERE id = ?", [id]).rowcount for table in ("experiences", "guides")
            ]
            if any(found):
                gone += sum(found)
                self._run("INSERT INTO deletions VALUES (?, ?)", [self._next(id), id])
        return gone

    def left(self, batch: Batch) -> Batch:
        """`batch` without what was deleted since its epoch."""
        if batch.epoch is None or batch.epoch >= self.epoch:
            return batch
        keys = self._run("SELECT key FROM forgotten WHERE epoch > ?", [batch.epoch]).fetchall()
        return Gone(self._secret, frozenset(key for (key,) in keys)).without(batch)

    def erase(self, ids: Iterable[str], namespace: str | None) -> int:
        """Delete for good, with the decisions; return how many experiences and guides there were."""
        ids = list(ids)
        self.epoch += 1
        self._run("UPDATE meta SET value = ? WHERE key = 'epoch'", [self.epoch])
        gone, keys = self.forget(ids), list(ids)
        for id in ids:
            self._run("DELETE FROM decisions WHERE experience_id = ?", [id])
        if namespace is not None:
            gone += self._forget_namespace(namespace)
            keys.append(namespace_key(self._secret, namespace))
        for key in keys:
            self._run("INSERT OR REPLACE INTO forgotten VALUES (?, ?)", [key, self.epoch])
        self._run("DELETE FROM forgotten WHERE epoch < ?", [self.epoch - KEPT_EPOCHS])
        return gone

    def _forget_namespace(self, namespace: str) -> int:
        both = "SELECT id FROM experiences WHERE namespace = ?1 UNION ALL SELECT id FROM guides WHERE namespace = ?1"
        gone = self.forget([id for (id,) in self._run(both, [namespace]).fetchall()])
        for table in ("policy", "spending", "decisions", "counters"):
            self._run(f"DELETE FROM {table} WHERE namespace = ?", [namespace])
        return gone

    def tidy(self, cap: int) -> None:
        """Evict what is over the bounds, some more than needed so that it is not due at every write."""
        for namespace in self._grown:
            count = self._run("SELECT experiences FROM counters WHERE namespace = ?", [namespace]).fetchone()[0]
            if count > cap:
                least = "SELECT id FROM experiences WHERE namespace = ? ORDER BY keep_until, id LIMIT ?"
                ids = [id for (id,) in self._run(least, [namespace, count - cap + min(cap // 100, 256)]).fetchall()]
                self.forget(ids)
                self._run("UPDATE counters SET evicted = evicted + ? WHERE namespace = ?", [len(ids), namespace])
        self._run("DELETE FROM deletions WHERE seq < ?", [self._seq - KEPT_DELETIONS])
        self._run("DELETE FROM decisions WHERE n <= (SELECT max(n) FROM decisions) - ?", [KEPT_DECISIONS])

    def _next(self, id: str) -> int:
        """The next sequence number, for a change of `id`, which is no more deleted by it."""
        self._seq += 1
        self._run("DELETE FROM deletions WHERE id = ?", [id])
        return self._seq

    def _tally(self, experience_id: str, tally: Tally) -> None:
        key = [experience_id, tally.guide_id or "", tally.weak_id, tally.strong_id]
        where = "WHERE experience_id = ? AND guide_id = ? AND weak_id = ? AND strong_id = ?"
        known = self._run(f"SELECT {TALLY} FROM tallies {where}", key).fetchone()
        origins = tally.origins if known is None else joined(to_tally(known), tally)
        self._run(
            f"INSERT INTO tallies (experience_id, {TALLY}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT DO UPDATE SET origins = excluded.origins, ok = ok + excluded.ok, bad = bad + excluded.bad, "
            "gap = CASE WHEN gap IS NULL AND excluded.gap IS NULL THEN NULL "
            "ELSE ifnull(gap, bad) + ifnull(excluded.gap, excluded.bad) END, "
            "weight = max(weight, excluded.weight), "
            "last_ok = excluded.last_ok, at = excluded.at",  # the last to arrive, whatever its clock says
            [*key, tally.ok, tally.bad, tally.last_ok, tally.at, tally.gap, tally.weight, of_origins(origins)],
        )

    def _blob(self, embedding: Vector) -> bytes:
        vector = np.asarray(embedding, "<f4")
        if not self._bound.dim and vector.ndim == 1 and len(vector):
            self._set_dim(len(vector))
            self._bound = Header(self._bound.embedder_id, len(vector))
        if vector.shape != (self._bound.dim,):
            raise DimensionError(
                self._where, f"they have {self._bound.dim} numbers, the one to store has {vector.shape}"
            )
        return vector.tobytes()

    def _set_dim(self, dim: int) -> None:
        self._run("UPDATE meta SET value = ? WHERE key = 'dim'", [dim])
