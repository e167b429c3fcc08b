"""What a write transaction of the SQLite memory does."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from rar.errors import DimensionError, SecretError
from rar.memory import kept
from rar.memory.base import (
    Batch,
    CachedAnswer,
    DecisionRecord,
    JudgedAnswers,
    Label,
    PolicyState,
    PolicyStep,
    Spend,
)
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
    to_experience,
    to_guide,
)
from rar.memory.exchange import DaySpend, Header, Item, KeptGuide, KeptPolicy
from rar.memory.forgetting import Gone, answers_key, namespace_key
from rar.memory.pairing import LATEST, Paired, paired
from rar.memory.secrets import lock
from rar.memory.sqlite_rows import Connection, by_id, header_of, meta, tallies_of
from rar.memory.sqlite_tills import reserve, settle
from rar.memory.tills import Ask, Granted, Settled
from rar.memory.transitions import (
    SPENT_ON,
    added,
    admitted,
    decided,
    kept_guide,
    kept_until,
    merged,
    moved,
    replaced,
    replaced_guide,
    surplus,
    tally_of,
    tried,
    used_until,
    went_by,
)
from rar.values import Experience, Guide, GuideState, Tally, Trial, Vector

KEPT_DECISIONS = 50_000
KEPT_LABELS = 10_000
KEPT_EFFECTS = 1_000_000
KEPT_DELETIONS = 1_000_000  # sequence numbers over which deletions are remembered for followers
KEPT_EPOCHS = 100_000  # of deletions by people, over which nothing that was decided before is written


class Writer:
    """One write transaction: it reads what is there, and stores what `rar.memory.transitions` says that it becomes."""

    def __init__(self, connection: Connection, where: str, secret: bytes) -> None:
        self._connection, self._run = connection, connection.run
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
        known = self._run(
            f"SELECT trials, keep_until, {WHOLE} FROM experiences WHERE id = ?", [experience.id]
        ).fetchone()
        if known is None:
            trials, until = sum(tally.ok + tally.bad for tally in experience.tallies), 0.0
            self._grown.add(experience.namespace)
        else:
            trials, until = known[:2]
            experience = replaced(to_experience(known[2:]), experience)
        until = kept_until(until, experience.updated_at, trials)
        self._run(
            f"INSERT INTO experiences ({EXPERIENCE.columns}, trials, keep_until, seq, touched, embedding) "
            f"VALUES ({EXPERIENCE.marks}, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET {EXPERIENCE.assigned('id')}, "
            "keep_until = excluded.keep_until, seq = excluded.seq, touched = excluded.touched, "
            "embedding = excluded.embedding",
            [*EXPERIENCE.row(experience), trials, until, seq, seq, blob],
        )
        if known is None:
            for tally in experience.tallies:
                self._tally(experience.id, tally)

    def guide(self, guide: Guide) -> None:
        """Insert or update; one that is new brings its counts."""
        blob, seq = self._blob(guide.embedding), self._next(guide.id)
        known = self._guide(guide.id)
        if known is not None:
            guide = replaced_guide(known, guide)
        self._run(
            f"INSERT OR REPLACE INTO guides ({A_GUIDE}, seq, touched) VALUES ({GUIDE.marks}, ?, ?, ?, ?)",
            [*GUIDE.row(guide), pinned_as(guide), blob, seq, seq],
        )

    def trial(self, trial: Trial) -> None:
        """Count a trial; one of an experience or guide that is not known is ignored."""
        guide = None if trial.guide_id is None else self._guide(trial.guide_id)
        known = self._run(
            "SELECT updated_at, trials, keep_until FROM experiences WHERE id = ?", [trial.experience_id]
        ).fetchone()
        if known is None or (guide is None and trial.guide_id is not None):
            return
        self._seq += 1
        updated_at, trials, until = known
        self._run(
            "UPDATE experiences SET trials = ?2, keep_until = ?3, touched = ?4 WHERE id = ?1",
            [trial.experience_id, trials + 1, kept_until(until, max(updated_at, trial.at), trials + 1), self._seq],
        )
        self._tally(trial.experience_id, tally_of(trial))
        if guide is not None:
            own = trial.experience_id == guide.origin
            moved = tried(guide, ok=trial.ok, own=own, paired=Paired() if own else self._paired(guide))
            self._counted(moved, changed_from=guide.state)

    def _counted(self, guide: Guide, *, changed_from: GuideState | None = None) -> None:
        """Store what may move beside a guide's text. Read models hear of it if its state moved."""
        self._seq += 1
        self._run(
            "UPDATE guides SET helpful = ?2, harmful = ?3, state = ?4, pinned = ?5, "
            "seq = CASE WHEN ?4 = ?6 THEN seq ELSE ?7 END, touched = ?7 WHERE id = ?1",
            [guide.id, guide.helpful, guide.harmful, guide.state, pinned_as(guide), changed_from, self._seq],
        )

    def _guide(self, id: str) -> Guide | None:
        row = self._run(f"SELECT {A_GUIDE} FROM guides WHERE id = ?", [id]).fetchone()
        return None if row is None else to_guide(row)

    def _paired(self, guide: Guide) -> Paired:
        """What a guide came to on requests other than its own, beside the model alone."""
        tried = (
            "SELECT experience_id FROM tallies WHERE guide_id = ? AND guide_id != '' AND experience_id != ? "
            f"GROUP BY experience_id ORDER BY max(at) DESC, experience_id LIMIT {LATEST}"
        )
        ids = [id for (id,) in self._run(tried, [guide.id, guide.origin]).fetchall()]
        tallies = tallies_of(self._connection, ids)
        vectors = by_id(self._connection, "SELECT id, embedding FROM experiences WHERE id", ids)
        return paired(guide, [(np.frombuffer(blob, "<f4"), tallies[id]) for id, blob in vectors])

    def pin(self, id: str, state: GuideState, *, anyway: bool = False) -> bool:
        """Set a guide's state as a person decided; whether there is such a guide."""
        guide = self._guide(id)
        if guide is not None:
            self._counted(decided(guide, state, anyway=anyway))
        return guide is not None

    def step(self, step: PolicyStep) -> None:
        key = [step.namespace, step.model]
        row = self._run(f"SELECT {POLICY.columns} FROM policy WHERE namespace = ? AND model = ?", key).fetchone()
        known = PolicyState() if row is None else POLICY.value(row)
        self.policy(step.namespace, step.model, moved(known, step))

    def policy(self, namespace: str, model: str, state: PolicyState) -> None:
        self._run(
            f"INSERT OR REPLACE INTO policy (namespace, model, {POLICY.columns}) VALUES (?, ?, {POLICY.marks})",
            [namespace, model, *POLICY.row(state)],
        )

    def spend(self, day: int, spend: Spend, *, anew: bool = False) -> None:
        """Add to what was spent on that day.

        Args:
            anew: Nothing was, so that this is all.
        """
        row = None
        if not anew:
            where = " AND ".join(f"{name} = ?" for name in ("day", *SPENT_ON))
            key = [day, *(getattr(spend, name) for name in SPENT_ON)]
            row = self._run(f"SELECT {SPEND.columns} FROM spending WHERE {where}", key).fetchone()
        whole = added(None if row is None else SPEND.value(row), spend)
        self._run(
            f"INSERT OR REPLACE INTO spending (day, {SPEND.columns}) VALUES (?, {SPEND.marks})",
            [day, *SPEND.row(whole)],
        )

    def reserve(self, owner: str, asks: Sequence[Ask]) -> list[Granted]:
        return reserve(self._run, owner, asks)

    def settle(self, settled: Sequence[Settled]) -> None:
        settle(self._run, settled)

    def decision(self, record: DecisionRecord) -> None:
        """Insert, or replace: what a lesson found comes later than the decision."""
        code = record.facts.get("not_learned")
        self._run(
            f"INSERT INTO decisions ({DECISION.columns}, not_learned) VALUES ({DECISION.marks}, ?) "
            f"ON CONFLICT (id) DO UPDATE SET {DECISION.assigned('id', 'namespace', 'at')}, "
            "not_learned = excluded.not_learned",
            [*DECISION.row(record), code if isinstance(code, str) else None],
        )

    def label(self, label: Label) -> None:
        """Insert, or replace what was said of the same decision before."""
        self._run(f"INSERT OR REPLACE INTO labels ({LABEL.columns}) VALUES ({LABEL.marks})", LABEL.row(label))
        self._run("DELETE FROM labels WHERE n <= (SELECT max(n) FROM labels) - ?", [KEPT_LABELS])

    def judged(self, judged: JudgedAnswers) -> None:
        """Insert, or replace what the same attempt came to before."""
        self._run(f"INSERT OR REPLACE INTO judged ({JUDGED.columns}) VALUES ({JUDGED.marks})", JUDGED.row(judged))
        self._run("DELETE FROM judged WHERE n <= (SELECT max(n) FROM judged) - ?", [kept.KEPT_JUDGED])

    def cached(self, answer: CachedAnswer) -> None:
        """Insert or replace; then what is over, and what there is no room for, goes."""
        self._run(f"INSERT OR REPLACE INTO cached ({CACHED.columns}) VALUES ({CACHED.marks})", CACHED.row(answer))
        here = answer.namespace
        self._run("DELETE FROM cached WHERE namespace = ? AND until <= ?", [here, answer.used_at])
        self._run(
            "DELETE FROM cached WHERE n IN (SELECT n FROM cached WHERE namespace = ? "
            "ORDER BY used_at DESC, n DESC LIMIT -1 OFFSET ?)",
            [here, answer.room],
        )

    def drop_answers(self, namespace: str | None) -> int:
        """Delete judged and cached answers for good; return how many there were."""
        where, values = ("", []) if namespace is None else ("WHERE namespace = ?", [namespace])
        gone = sum(self._run(f"DELETE FROM {table} {where}", values).rowcount for table in ("judged", "cached"))
        self._forgotten([answers_key(self._secret, namespace)])
        return gone

    def used(self, record: DecisionRecord) -> None:
        """Keep longer what a decision went by."""
        if not went_by(record):
            return
        row = self._run("SELECT keep_until FROM experiences WHERE id = ?", [record.experience_id]).fetchone()
        if row is not None and (until := used_until(row[0], record.at)) != row[0]:
            self._run("UPDATE experiences SET keep_until = ? WHERE id = ?", [until, record.experience_id])

    def effect(self, key: str) -> bool:
        """Note what this transaction does; whether it was not done before."""
        new: bool = self._run("INSERT OR IGNORE INTO effects (key) VALUES (?)", [key]).rowcount > 0
        self._run("DELETE FROM effects WHERE n <= (SELECT max(n) FROM effects) - ?", [KEPT_EFFECTS])
        return new

    def claim(self, key: str, owner: str, now: float, until: float) -> bool:
        self._run("DELETE FROM claims WHERE until <= ? OR (key = ? AND owner = ?)", [now, key, owner])
        return bool(self._run("INSERT OR IGNORE INTO claims VALUES (?, ?, ?)", [key, owner, until]).rowcount > 0)

    def release(self, key: str, owner: str) -> None:
        self._run("DELETE FROM claims WHERE key = ? AND owner = ?", [key, owner])

    def put(self, item: Item, *, as_it_is: bool = False) -> None:
        """Replace what has the id of `item` with it, counts and all.

        Args:
            as_it_is: Also a guide that somebody else's memory would have to prove again.
        """
        if isinstance(item, Experience):
            self._run("DELETE FROM experiences WHERE id = ?", [item.id])
            self.experience(item)
        elif isinstance(item, KeptGuide):
            self._run("DELETE FROM guides WHERE id = ?", [item.guide.id])
            self.guide(kept_guide(item) if as_it_is else admitted(item, self._paired(item.guide).helped))
        elif isinstance(item, KeptPolicy):
            self.policy(item.namespace, item.model, item.state)
        elif isinstance(item, DaySpend):
            self.spend(item.day, item.spend, anew=True)
        elif isinstance(item, Label):
            self.label(item)
        elif isinstance(item, JudgedAnswers):
            self.judged(item)
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
        self._run("DELETE FROM meta WHERE key = 'index'")
        gone, keys = self.forget(ids), list(ids)
        for id in ids:
            for table in ("decisions", "labels", "judged", "cached"):
                self._run(f"DELETE FROM {table} WHERE experience_id = ?", [id])
        if namespace is not None:
            gone += self._forget_namespace(namespace)
            keys.append(namespace_key(self._secret, namespace))
        self._forgotten(keys)
        return gone

    def _forgotten(self, keys: Iterable[str]) -> None:
        """Begin another epoch, before which nothing of these was decided that may still be written."""
        self.epoch += 1
        self._run("UPDATE meta SET value = ? WHERE key = 'epoch'", [self.epoch])
        for key in keys:
            self._run("INSERT OR REPLACE INTO forgotten VALUES (?, ?)", [key, self.epoch])
        self._run("DELETE FROM forgotten WHERE epoch < ?", [self.epoch - KEPT_EPOCHS])

    def take_key(self, key: bytes, secret: bytes | None) -> None:
        """Take the key of another memory; one that is not empty refuses. `secret` locks it, if it is kept elsewhere."""
        for table in ("experiences", "guides", "policy", "spending", "decisions", "labels", "judged"):
            if self._run(f"SELECT 1 FROM {table} LIMIT 1").fetchone():
                raise SecretError(self._where, "it is not empty, and has another key")
        self._run("UPDATE meta SET value = ? WHERE key = 'secret'", [b"" if secret else key])
        for name, value in lock(key, secret).named().items() if secret else ():
            self._run("INSERT OR REPLACE INTO meta VALUES (?, ?)", [name, value])

    def mark_index(self, token: str, epoch: int) -> bool:
        """Mark the files of the index, unless something was deleted since `epoch`; whether that was done."""
        if self.epoch == epoch:
            self._run("INSERT OR REPLACE INTO meta VALUES ('index', ?)", [token])
        return self.epoch == epoch

    def _forget_namespace(self, namespace: str) -> int:
        both = "SELECT id FROM experiences WHERE namespace = ?1 UNION ALL SELECT id FROM guides WHERE namespace = ?1"
        gone = self.forget([id for (id,) in self._run(both, [namespace]).fetchall()])
        for table in ("policy", "spending", "decisions", "labels", "judged", "cached", "counters", "reserved"):
            self._run(f"DELETE FROM {table} WHERE namespace = ?", [namespace])
        return gone

    def tidy(self, cap: int) -> None:
        """Evict what is over the bounds, some more than needed so that it is not due at every write."""
        for namespace in self._grown:
            count = self._run("SELECT experiences FROM counters WHERE namespace = ?", [namespace]).fetchone()[0]
            if many := surplus(count, cap):
                least = "SELECT id FROM experiences WHERE namespace = ? ORDER BY keep_until, id LIMIT ?"
                ids = [id for (id,) in self._run(least, [namespace, many]).fetchall()]
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
        key: list[Any] = [experience_id, tally.guide_id or "", tally.weak_id, tally.strong_id]
        row = self._run(
            f"SELECT {TALLY.columns} FROM tallies "
            "WHERE experience_id = ? AND guide_id = ? AND weak_id = ? AND strong_id = ?",
            key,
        ).fetchone()
        whole = merged(None if row is None else TALLY.value(row), tally)
        self._run(
            f"INSERT OR REPLACE INTO tallies (experience_id, {TALLY.columns}) VALUES (?, {TALLY.marks})",
            [experience_id, *TALLY.row(whole)],
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
