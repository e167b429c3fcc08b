"""What a decision asks of a memory, in one call."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rar.values import Experience, Guide, GuideMatch, Match, Vector

if TYPE_CHECKING:
    from rar.memory.base import Memory, PolicyState


@dataclass(frozen=True, slots=True)
class Query:
    """A request that is to be decided.

    Args:
        id: Under which it is remembered, if it is (`experience_id`); empty: it is known not to be.
        embedding: None: only what is known of this very request is asked for.
        models: Ids of the models whose policy states are wanted beside the namespace's own.
        limit: Neighbours at most.
        guides: Near guides at most, and such as were tried on neighbours.
        alike: Cosine from which a neighbour may turn out to be the same request in other words.
    """

    namespace: str
    task: str
    id: str = ""
    embedding: Vector | None = field(default=None, compare=False, repr=False)
    models: tuple[str, ...] = ()
    limit: int = 16
    guides: int = 4
    alike: float = 0.9


@dataclass(frozen=True, slots=True)
class Recalled:
    """What a memory knows of a request.

    Args:
        same: The request itself, with its embedding.
        matches: Its neighbours without itself, nearest first.
        guides: Active guides: the near ones, nearest first, and then those that were tried on `same`, on a neighbour
            that is `alike`, or on most neighbours, however far they are.
        states: Policy states by model id; the namespace's own under `""`.
    """

    same: Experience | None
    matches: tuple[Match, ...]
    guides: tuple[GuideMatch, ...]
    states: Mapping[str, PolicyState]


def recalled(memory: Memory, query: Query) -> Recalled:
    """What `Memory.recall` returns, by the memory's other methods."""
    same = memory.experience(query.id) if query.id else None
    matches: list[Match] = []
    near: list[GuideMatch] = []
    if query.embedding is not None:
        matches = memory.search(query.embedding, namespace=query.namespace, task=query.task, limit=query.limit)
        near = memory.search_guides(query.embedding, namespace=query.namespace, task=query.task, limit=query.guides)
    return put_together(
        query,
        same,
        matches,
        near,
        guides=lambda ids: (guide for id in ids if (guide := memory.guide(id)) is not None),
        states={model: memory.policy_state(query.namespace, model) for model in ("", *query.models)},
    )


def put_together(
    query: Query,
    same: Experience | None,
    matches: Sequence[Match],
    near: Sequence[GuideMatch],
    *,
    guides: Callable[[list[str]], Iterable[Guide]],
    states: Mapping[str, PolicyState],
) -> Recalled:
    """What was found, with the guides that were tried on the request.

    Args:
        guides: Gives those of these ids that there are.
    """
    others = tuple(match for match in matches if same is None or match.experience.id != same.id)
    alike = [match.experience for match in others if match.similarity >= query.alike]
    found = {entry.guide.id for entry in near}
    tried = _guides_of(alike if same is None else [same, *alike])
    often = _guides_of([match.experience for match in others]).most_common(query.guides)
    missing = [id for id in dict.fromkeys((*tried, *(id for id, _ in often))) if id not in found]
    embedding = query.embedding if query.embedding is not None or same is None else same.embedding
    farther = [
        GuideMatch(guide, 0.0 if embedding is None else float(guide.embedding @ embedding))
        for guide in (guides(missing) if missing else ())
        if guide.state == "active"
    ]
    return Recalled(same, others, (*near, *farther), states)


def tried_on(matches: Iterable[Match], near: float) -> list[str]:
    """The guides that were tried on the request or on neighbours that are near, those of most first."""
    return [
        id
        for id, _ in _guides_of(one.experience for one in matches if one.same or one.similarity >= near).most_common()
    ]


def _guides_of(experiences: Iterable[Experience]) -> Counter[str]:
    """On how many of these each guide was tried."""
    return Counter(id for one in experiences for tally in one.tallies if (id := tally.guide_id) is not None)
