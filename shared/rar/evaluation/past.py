"""A memory's own past as a table: what would another quality floor have cost?"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rar.errors import EvaluationDataError
from rar.evaluation.table import Table
from rar.facts import read_facts
from rar.learning.verdicts import of_pair, works
from rar.memory import open_memory
from rar.memory.base import Memory, Spend
from rar.memory.following import Follower
from rar.values import STRONG, WEAK, Experience


@dataclass(frozen=True)
class Past:
    """What a memory remembers of the calls that it saw.

    Args:
        table: Judged calls in the order in which they came; the strong score is 1, the weak one says whether its answer
            was found to agree.
        calls: All calls of that time, judged or not. Answers of the weak model that nobody checked are not judged, so
            that `table` is richer in what the strong model answered than the calls were.
        served_strong: Share of all calls that the strong model answered.
        texts: Whether the memory keeps questions; if not, `table.texts` has ids in their place.
    """

    table: Table
    calls: int
    served_strong: float
    texts: bool = True


def read_memory(path: str | Path, *, namespace: str | None = None, since: float = 0.0) -> Past:
    """Read the past of a memory file, which is not written to.

    Args:
        path: The file.
        namespace: Only this one.
        since: Seconds since the epoch; what was decided before is left out.

    Raises:
        MemoryStoreError: The file cannot be used.
        EvaluationDataError: It holds no judged call of that time.
    """
    with closing(open_memory(path, create=False, read_only=True)) as memory:
        return past_of(memory, namespace=namespace, since=since)


def past_of(memory: Memory, *, namespace: str | None = None, since: float = 0.0) -> Past:
    """As `read_memory`, of an open memory. The pair of models is that of the last call."""
    records = memory.decisions(namespace=namespace, since=since, limit=10_000_000)[::-1]
    looked_at = (read_facts(record.facts).evidence for record in reversed(records))
    weak_id, strong_id = next((seen.pair for seen in looked_at if seen and seen.pair), ("", ""))
    embedded = _experiences(memory)
    known: dict[str, Experience | None] = {}
    rows: list[tuple[Experience, bool]] = []
    for record in records:
        if record.experience_id not in known:
            known[record.experience_id] = memory.experience(record.experience_id)
        found = known[record.experience_id]
        alone = [t for t in of_pair(found, weak_id, strong_id) if t.guide_id is None] if found is not None else []
        if found is not None and alone and found.id in embedded:
            rows.append((found, works(alone[0])))
    if not rows:
        raise EvaluationDataError(memory.where, f"none of its {len(records)} calls was judged, or none is that young")
    spending = memory.spending(namespace, since=since)
    usd = {role: _mean_usd(spending, role) for role in (WEAK, STRONG)}
    n = len(rows)
    table = Table.of_scores(
        tuple(found.text or found.id for found, _ in rows),
        np.array([float(ok) for _, ok in rows]),
        np.ones(n),
        weak_cost=None if None in usd.values() else np.full(n, usd[WEAK]),
        strong_cost=None if None in usd.values() else np.full(n, usd[STRONG]),
        tokens=_mean_tokens(spending, n),
        vectors=np.array([embedded[found.id].embedding for found, _ in rows], np.float32),
        embedder_id=memory.stats().embedder_id,
        weak_id=weak_id,
        strong_id=strong_id,
        name=Path(memory.where).name,
    )
    served_strong = sum(record.model == STRONG for record in records) / len(records)
    return Past(table, len(records), served_strong, all(found.text for found, _ in rows))


def _experiences(memory: Memory) -> dict[str, Experience]:
    """All experiences with their embeddings, by id."""
    found: dict[str, Experience] = {}
    for changes in Follower(memory.changes).news():
        found = {} if changes.reset else found
        found.update((experience.id, experience) for experience in changes.experiences)
        for id in changes.deleted:
            found.pop(id, None)
    return found


def _mean_usd(spending: list[Spend], role: str) -> float | None:
    """USD of a serving call; None where calls have no price or there was none."""
    served = [spend for spend in spending if spend.purpose == "serve" and spend.role == role]
    calls = sum(spend.calls for spend in served)
    if not calls or any(spend.unpriced for spend in served):
        return None
    return sum(spend.usd for spend in served) / calls


def _mean_tokens(spending: list[Spend], n: int) -> npt.NDArray[np.float64] | None:
    """Mean input and output tokens of serving calls of both models, for `n` rows; None where one served none."""
    means = []
    for role in (WEAK, STRONG):
        served = [spend for spend in spending if spend.purpose == "serve" and spend.role == role]
        calls = sum(spend.calls for spend in served)
        if not calls:
            return None
        counts = sum(spend.input_tokens for spend in served), sum(spend.output_tokens for spend in served)
        means.append([count / calls for count in counts])
    return np.tile(np.array(means), (n, 1, 1))
