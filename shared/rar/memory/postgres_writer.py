"""What a write transaction of the PostgreSQL memory does: the rules are those of `rar.memory.transitions`."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from rar.errors import SecretError
from rar.memory.base import CachedAnswer, DecisionRecord, JudgedAnswers, Label, PolicyState, PolicyStep, Spend
from rar.memory.columns import WHOLE, sane, to_experience
from rar.memory.exchange import DaySpend, Header, Item, KeptGuide, KeptPolicy
from rar.memory.forgetting import answers_key, namespace_key
from rar.memory.pairing import LATEST, Paired, paired
from rar.memory.postgres_connections import Connection
from rar.memory.postgres_rows import tallies_of
from rar.memory.postgres_store import Held, HeldGuide, Store, spent_on
from rar.memory.postgres_tenants import Tenant
from rar.memory.postgres_tills import settle
from rar.memory.secrets import lock
from rar.memory.tills import Settled
from rar.memory.transitions import (
    SPENT_ON,
    added,
    admitted,
    decided,
    kept_guide,
    kept_until,
    moved,
    replaced,
    replaced_guide,
    surplus,
    tally_of,
    tried,
    used_until,
    went_by,
)
from rar.values import Experience, Guide, GuideState, Trial

KEPT_DECISIONS = 50_000
KEPT_LABELS = 10_000
KEPT_EFFECTS = 1_000_000
KEPT_EPOCHS = 100_000  # of deletions by people, over which nothing that was decided before is written
_AT_ONCE = 500  # records of a load that are held before they are written


class Writer(Store):
    """One write transaction."""

    def __init__(self, connection: Connection, where: str, secret: bytes, tenant: Tenant | None = None) -> None:
        super().__init__(connection, where, secret, tenant)
        self._loaded: list[Experience] = []

    def bind(self, header: Header) -> Header:
        """Bind an unbound memory to `header`; return what it is bound to."""
        if not self.bound.embedder_id and self.bound.dim in (0, header.dim):
            self.set("embedder_id", header.embedder_id)
            self.set("dim", header.dim)
            self.bound = header
        return self.bound

    # --- records ----------------------------------------------------------------------------------------------------

    def experience(self, experience: Experience) -> None:
        """Insert or update; one that is new brings its tallies."""
        self.check(experience.embedding)
        id = sane(experience.id)
        held = self.experiences.get(id)
        if held is None:
            trials, until = sum(tally.ok + tally.bad for tally in experience.tallies), 0.0
            self.grown[sane(experience.namespace)] += 1
            held = self.experiences[id] = Held(experience, trials, until, 0, new=True)
            for tally in experience.tallies:
                self.tally(id, tally)
        else:
            held.experience = replaced(held.experience, experience)
        held.until = kept_until(held.until, held.experience.updated_at, held.trials)
        held.place = held.touched = self.next()

    def guide(self, guide: Guide) -> None:
        """Insert or update; one that is new brings its counts."""
        self.check(guide.embedding)
        id = sane(guide.id)
        held = self.guides.get(id)
        guide = guide if held is None else replaced_guide(held.guide, guide)
        place = self.next()
        self.guides[id] = HeldGuide(guide, place, place)

    def trial(self, trial: Trial) -> None:
        """Count a trial; one of an experience or guide that is not known is ignored."""
        id, guide_id = sane(trial.experience_id), trial.guide_id
        held = self.experiences.get(id)
        guide = None if guide_id is None else self.guides.get(sane(guide_id))
        if held is None or (guide is None and guide_id is not None):
            return
        held.trials += 1
        held.until = kept_until(held.until, max(held.experience.updated_at, trial.at), held.trials)
        held.touched = self.next()
        self.tally(id, tally_of(trial))
        if guide is not None:
            own = trial.experience_id == guide.guide.origin
            paired = Paired() if own else self._paired(guide.guide)
            self._counted(guide, tried(guide.guide, ok=trial.ok, own=own, paired=paired), always=False)

    def _counted(self, held: HeldGuide, guide: Guide, *, always: bool) -> None:
        """Hold what may move beside a guide's text. Read models hear of it if its state moved."""
        place = self.next()
        held.place = place if always or guide.state != held.guide.state else held.place
        held.guide, held.touched = guide, place

    def _paired(self, guide: Guide) -> Paired:
        """What a guide came to on requests other than its own, beside the model alone."""
        self.store_records()
        tried = (
            "SELECT experience_id FROM @tallies WHERE guide_id = ? AND guide_id <> '' AND experience_id <> ? "
            f"GROUP BY experience_id ORDER BY max(at) DESC, experience_id LIMIT {LATEST}"
        )
        ids = [id for (id,) in self.run(tried, [guide.id, guide.origin]).fetchall()]
        tallies = tallies_of(self.connection, ids)
        rows = self.run(f"SELECT {WHOLE} FROM @experiences WHERE id = ANY(?)", [ids], binary=True).fetchall()
        return paired(guide, [(one.embedding, tallies[one.id]) for one in map(to_experience, rows)])

    def pin(self, id: str, state: GuideState, *, anyway: bool = False) -> bool:
        """Set a guide's state as a person decided; whether there is such a guide."""
        self.read_guides([id])
        held = self.guides.get(id)
        if held is not None:
            self._counted(held, decided(held.guide, state, anyway=anyway), always=True)
        return held is not None

    def step(self, step: PolicyStep) -> None:
        key = sane(step.namespace), sane(step.model)
        self.policies[key] = moved(self.policies.get(key, PolicyState()), step)
        self.told = True

    def spend(self, day: int, spend: Spend) -> None:
        """Add to what was spent on that day."""
        key = spent_on(day, spend)
        self.spending[key] = added(self.spending.get(key), spend)

    def decision(self, record: DecisionRecord) -> None:
        """Insert, or replace: what a lesson found comes later than the decision."""
        known = self.decisions.get(sane(record.id), record)
        self.decisions[sane(record.id)] = replace(record, namespace=known.namespace, at=known.at)

    def used(self, record: DecisionRecord) -> None:
        held = self.experiences.get(sane(record.experience_id)) if went_by(record) else None
        if held is not None and (until := used_until(held.until, record.at)) != held.until:
            held.until = until
            if not held.place:
                self.run("UPDATE @experiences SET keep_until = ? WHERE id = ?", [until, sane(record.experience_id)])

    def label(self, label: Label) -> None:
        """Insert, or replace what was said of the same decision before."""
        self.labels[sane(label.decision_id)] = label

    def judged(self, judged: JudgedAnswers) -> None:
        """Insert, or replace what the same attempt came to before."""
        key = sane(judged.decision_id), judged.place
        self.judged_answers.pop(key, None)
        self.judged_answers[key] = judged

    def cached(self, answer: CachedAnswer) -> None:
        """Insert or replace; then what is over, and what there is no room for, goes."""
        key = sane(answer.namespace), sane(answer.key)
        self.cached_answers.pop(key, None)
        self.cached_answers[key] = answer

    def settle(self, settled: Sequence[Settled]) -> None:
        settle(self.connection, settled)

    def effect(self, key: str) -> bool:
        """Note what this transaction does; whether it was not done before. Its lesson is learned by that."""
        row = self.run("INSERT INTO @effects (key) VALUES (?) ON CONFLICT DO NOTHING RETURNING n", [key]).fetchone()
        if self.tenant is None:
            self.run("DELETE FROM @lessons WHERE effect = ?", [key])
        if row is not None and row[0] % 1_000 == 0:
            self.run("DELETE FROM @effects WHERE n <= ?", [row[0] - KEPT_EFFECTS])
        return row is not None

    def put(self, item: Item, *, as_it_is: bool = False) -> None:
        """Replace what has the id of `item` with it, counts and all.

        Args:
            as_it_is: Also a guide that somebody else's memory would have to prove again.
        """
        if isinstance(item, Experience):
            self._loaded.append(item)
            if len(self._loaded) >= _AT_ONCE:
                self._put_loaded()
            return
        self._put_loaded()
        if isinstance(item, KeptGuide):
            self.run("DELETE FROM @guides WHERE id = ?", [item.guide.id])
            self.guide(kept_guide(item) if as_it_is else admitted(item, self._paired(item.guide).helped))
        elif isinstance(item, KeptPolicy):
            self.policies[sane(item.namespace), sane(item.model)] = item.state
            self.told = True
        elif isinstance(item, DaySpend):
            self.spending.pop(spent_on(item.day, item.spend), None)
            where = " AND ".join(f"{name} = ?" for name in ("day", *SPENT_ON))
            self.run(
                f"DELETE FROM @spending WHERE {where}", [item.day, *(getattr(item.spend, one) for one in SPENT_ON)]
            )
            self.spend(item.day, item.spend)
        elif isinstance(item, Label):
            self.label(item)
        elif isinstance(item, JudgedAnswers):
            self.judged(item)
        else:
            self.decision(item)
        if len(self.decisions) + len(self.labels) + len(self.judged_answers) >= _AT_ONCE:
            self.store()

    def _put_loaded(self) -> None:
        if not self._loaded:
            return
        some = list({sane(one.id): one for one in self._loaded}.values())
        self._loaded = []
        self._drop("experiences", [one.id for one in some])
        for one in some:
            self.experience(one)
        self.store()
        self.experiences, self.tallies = {}, {}

    # --- deletions --------------------------------------------------------------------------------------------------

    def _drop(self, table: str, ids: Sequence[str]) -> list[tuple[str, str]]:
        """Delete records by id; the ids that there were, with their namespaces."""
        deleted = self.run(f"DELETE FROM @{table} WHERE id = ANY(?) RETURNING id, namespace", [list(ids)])
        rows: list[tuple[str, str]] = deleted.fetchall()
        if table == "experiences":
            for namespace, many in Counter(namespace for _, namespace in rows).items():
                self.run("UPDATE @counters SET experiences = experiences - ? WHERE namespace = ?", [many, namespace])
        return rows

    def forget(self, ids: Iterable[str]) -> list[tuple[str, str]]:
        """Delete experiences and guides; return the ids that there were, with their namespaces."""
        ids = list(dict.fromkeys(ids))
        gone = [row for table in ("experiences", "guides") for row in self._drop(table, ids)]
        self.many(
            "INSERT INTO @deletions (id, xid, n, place) VALUES (?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET xid = excluded.xid, n = excluded.n, place = excluded.place",
            [(id, self.xid, self.next(), self._place(namespace)) for id, namespace in dict(gone).items()],
        )
        return gone

    def _place(self, namespace: str | None) -> str | None:
        """The digest of a namespace, by which its tenant hears of a deletion; of any of its own where none is known."""
        if self.tenant is None:
            return None if namespace is None else namespace_key(self.secret, namespace)
        return self.tenant.places[0] if namespace is None else self.tenant.place(namespace)

    def erase(self, ids: Iterable[str], namespace: str | None) -> int:
        """Delete for good, with the decisions; return how many experiences and guides there were."""
        ids = list(ids)
        gone = self.forget(ids)
        for table in ("decisions", "labels", "judged", "cached") if ids else ():
            self.run(f"DELETE FROM @{table} WHERE experience_id = ANY(?)", [ids])
        spaces: dict[str, str | None] = {**dict.fromkeys(ids), **dict(gone)}
        keys = {id: self._place(name) for id, name in spaces.items()}
        place = ""
        if namespace is not None:
            for table in ("experiences", "guides"):
                rows = self.run(f"SELECT id FROM @{table} WHERE namespace = ?", [namespace]).fetchall()
                gone += self.forget(id for (id,) in rows)
            for table in ("policy", "spending", "decisions", "labels", "judged", "cached", "counters", "reserved"):
                self.run(f"DELETE FROM @{table} WHERE namespace = ?", [namespace])
            place = namespace_key(self.secret, namespace)
            keys[place] = self._place(namespace)
            keys |= {namespace_key(key, namespace): self._place(namespace) for key, _ in self._keys(namespace)}
        self._forgotten(keys, ids, place)
        return len(gone)

    def drop_answers(self, namespace: str | None) -> int:
        """Delete judged and cached answers for good; return how many there were."""
        where, values = ("", []) if namespace is None else ("WHERE namespace = ?", [namespace])
        asked = [self.run(f"DELETE FROM @{table} {where} RETURNING 1", values) for table in ("judged", "cached")]
        gone = sum(len(deleted.fetchall()) for deleted in asked)
        keys = {answers_key(key, namespace): home for key, home in self._keys(namespace)}
        self._forgotten({answers_key(self.secret, namespace): self._place(namespace), **keys})
        return gone

    def _keys(self, namespace: str | None) -> list[tuple[bytes, str]]:
        """The keys of the tenants that a namespace is of, or of all, as far as they lie open, with a place of each."""
        if self.tenant is not None:
            return []
        rows = self.run(
            "SELECT one.value, other.value FROM @tenants AS one JOIN @tenants AS other USING (role) "
            "WHERE one.key = 'secret' AND other.key = 'namespaces' AND one.value <> ''"
        ).fetchall()
        known = [(bytes.fromhex(key), json.loads(places)) for key, places in rows]
        return [
            (key, next(iter(places.values())) if namespace is None else places[namespace])
            for key, places in known
            if namespace is None or namespace in places
        ]

    def _forgotten(self, keys: Mapping[str, str | None], ids: Sequence[str] = (), place: str = "") -> None:
        """Begin another epoch, before which nothing of these was decided that may still be written.

        Args:
            keys: With the places of what was deleted, by which tenants hear of it.
            ids, place: Of what is gone for good, if anything is: no lesson on it waits, no machine's files hold it.
        """
        if self.tenant is not None:
            (self.epoch,) = self.run("SELECT @delete_for_good(?::text[], ?)", [list(ids), place]).fetchone() or (0,)
        else:
            self.epoch += 1
            self.set("epoch", self.epoch)
            if ids or place:
                self.run("DELETE FROM @indexes")
                self.run("DELETE FROM @lessons WHERE place = ? OR experience_id = ANY(?)", [place, list(ids)])
        self.many(
            "INSERT INTO @forgotten VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET epoch = excluded.epoch",
            [(key, self.epoch, where) for key, where in keys.items()],
        )
        self.run("DELETE FROM @forgotten WHERE epoch < ?", [self.epoch - KEPT_EPOCHS])
        self.told = True

    def take_key(self, key: bytes, secret: bytes | None) -> None:
        """Take the key of another memory; one that is not empty refuses. `secret` locks it, if it is kept elsewhere."""
        if self.tenant is not None:
            raise SecretError(self.where, "a tenant's key stays its own")
        for table in ("experiences", "guides", "policy", "spending", "decisions", "labels", "judged", "tenants"):
            if self.run(f"SELECT 1 FROM @{table} LIMIT 1").fetchone():
                raise SecretError(self.where, "it is not empty, and has another key")
        self.set("secret", "" if secret else key.hex())
        for name, value in lock(key, secret).named().items() if secret else ():
            self.set(name, value.hex())

    def tidy(self, cap: int) -> None:
        """Store all, and evict what is over the bounds."""
        self._put_loaded()
        decided_, labelled = bool(self.decisions), bool(self.labels)
        self.store()
        for namespace, new in self.all_grown.items():
            count = self.sizes[namespace] + new if namespace in self.sizes else self._size(namespace)
            if many := surplus(count, cap):
                least = "SELECT id FROM @experiences WHERE namespace = ? ORDER BY keep_until, id LIMIT ?"
                ids = [id for (id,) in self.run(least, [namespace, many]).fetchall()]
                self.forget(ids)
                self.run("UPDATE @counters SET evicted = evicted + ? WHERE namespace = ?", [len(ids), namespace])
        for table, kept, due in (("decisions", KEPT_DECISIONS, decided_), ("labels", KEPT_LABELS, labelled)):
            if due:
                self.run(f"DELETE FROM @{table} WHERE n <= (SELECT max(n) FROM @{table}) - ?", [kept])

    def _size(self, namespace: str) -> int:
        row = self.run("SELECT experiences FROM @counters WHERE namespace = ?", [namespace]).fetchone()
        return int(row[0]) if row else 0

    # --- ending ---

    def finish(self) -> None:
        """Store what is held, and tell other processes."""
        self._put_loaded()
        self.store()
        self._prune()
        if self.told:
            self.run("SELECT pg_notify('rar_' || (SELECT value FROM @meta WHERE key = 'identity'), '')")
