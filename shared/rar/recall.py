"""Recall: all that a memory, a static router and a learned score know of a request before it is decided."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from rar.context import user_label
from rar.embedding.base import Embedder
from rar.embedding.cache import CachedEmbedder
from rar.embedding.unread import apart, in_pieces
from rar.errors import EmbeddingError, ScoreError
from rar.evidence import Evidence, Standing
from rar.guarding import PASSED_ON
from rar.keys import LONG, is_long, with_work
from rar.learning.gap import PRIOR_SUPPORT
from rar.learning.labels import Corrections
from rar.learning.paraphrase import alike
from rar.learning.policy import FloorPolicy, PaperPolicy, Policy
from rar.learning.prior import Prior
from rar.learning.scores import Kind, LearnedScores, doubt, kinds_of
from rar.learning.screen import Screen
from rar.learning.verdicts import verdict
from rar.memory.base import AGAIN, ALARM, GUIDED, Memory, PolicyState, state_of
from rar.memory.identity import experience_id, keyed_digest
from rar.memory.recalling import Query, Recalled, tried_on
from rar.naming import cause
from rar.notices import Notices
from rar.observers import Observers
from rar.sameness import signature
from rar.strategy import Strategy, keeps_floor
from rar.values import WEAK, Match, Request, Vector

SAY_WHICH = (
    "If it is a prompt around a shorter question, say which: by `rar_query=`, `with rar.query(…):` or "
    "`query_extractor=`, in LangChain also by `tag_query(prompt)`. This is said once."
)
_LONG_ALIKE = 0.85  # long texts may be alike in all but what is asked, so that none decides for another by itself
_APPROVED_AMONG = 32  # guides that are looked at where only approved ones are served: some may not be


def embedded(embedder: Embedder | CachedEmbedder, task: str, key: str) -> Vector:
    """The key's embedding; of one that is not read to its end, that of its pieces.

    Of one with too many pieces it is a vector near to none but that of the same words.

    Raises:
        EmbeddingError: The embedder returned something else.
    """
    return _whole(embedder, key, _read(embedder, task, key))


def _read(embedder: Embedder | CachedEmbedder, task: str, key: str) -> Vector | None:
    """The key's embedding; None of one with too many pieces."""
    if is_long(task):
        return in_pieces(embedder, key)
    vector: Vector = embedder.embed([key])[0]
    return vector


def _whole(embedder: Embedder | CachedEmbedder, key: str, read: Vector | None) -> Vector:
    embedding = apart(signature(key), embedder.dim) if read is None else read
    if embedding.shape != (embedder.dim,) or not np.isfinite(embedding).all():
        raise EmbeddingError(embedder.id, f"a vector of shape {embedding.shape}, or numbers that are none")
    return embedding


def with_prior(
    evidence: Evidence, prior: Prior | None, notices: Notices, text: str, embedding: Vector | None = None
) -> Evidence:
    """The evidence with what the static router says; without it where it fails."""
    if prior is None:
        return evidence
    try:
        score = prior.scores([text], None if embedding is None else embedding[None])
        gap = float(prior.gaps(score)[0])
        chance = min(max(1.0 - float(score[0]), 0.0), 1.0)
        if not math.isfinite(gap + chance):
            raise ScoreError(type(prior.router).__name__)
    except PASSED_ON:
        raise
    except BaseException as error:
        notices("static_router", "The static router raised; routing goes on without it. %s", cause(error))
        return evidence
    known = gap + doubt(min(prior.rows, PRIOR_SUPPORT)) if prior.rows else None
    # A static router compares two models: the weak one with the reference.
    standings = tuple(
        replace(one, prior=chance, prior_gap=gap, learned=known) if one.model == WEAK else one
        for one in evidence.standings
    )
    return replace(evidence, standings=standings)


@dataclass(frozen=True)
class Recall:
    """Asks a memory what it knows. Any thread may call it.

    Args:
        ready: Whether the learned score of a kind can be asked now.
        decides: Whether a remembered request's verdict is all that the strategy looks at; None if it looks at more.
        same: Cosine from which a request may count as one seen before, if nothing else tells them apart.
        near: Cosine from which an older guide is looked at.
        limit: Neighbours that are looked at.
        corrections: What people said of the judge.
        drafts: Whether the strategy looks at drafts by what was learned of them.
    """

    memory: Memory
    embedder: CachedEmbedder
    screen: Screen
    scores: LearnedScores
    prior: Prior | None
    notices: Notices
    ready: Callable[[Kind], bool]
    decides: Callable[[Match, Evidence], bool] | None
    same: float
    near: float
    limit: int
    corrections: Corrections
    observers: Observers = field(default_factory=Observers)
    drafts: bool = False
    _changes: set[tuple[str, str, float]] = field(default_factory=set, init=False, repr=False)

    def __call__(self, request: Request, key: str, evidence: Evidence) -> Request:
        """The request with all that is known of it. Nothing known is no error: there is just no evidence."""
        try:
            if not self.embedder.reads(key):
                request = replace(request, task=with_work(LONG, request.task))
                self.notices(
                    "long",
                    "A question is longer than the embedder reads, so it is read in pieces, and compared with other "
                    "long ones only. %s",
                    SAY_WHICH,
                )
            found, embedding = self._search(request, key, evidence)
        except PASSED_ON:
            raise
        except BaseException as error:
            self.notices("memory", "The memory could not be searched; the strong model answers. %s", cause(error))
            return replace(request, learn=False, evidence=with_prior(evidence, self.prior, self.notices, key))
        return replace(request, embedding=embedding, evidence=found)

    def _search(self, request: Request, key: str, evidence: Evidence) -> tuple[Evidence, Vector]:
        memory, namespace, task = self.memory, request.namespace, request.task
        query = Query(
            namespace,
            task,
            experience_id(memory.secret, namespace, task, key),
            models=_states_of(evidence),
            limit=self.limit,
            # More than are looked at, for some may have been written but not approved.
            guides=_APPROVED_AMONG if self.screen.approved else 4,
            alike=self.same,
        )
        # First by its id alone, also because the index, which is approximate, might miss it.
        found = memory.recall(query)
        evidence = self._with_states(evidence, request, query.id, found)
        if found.same is not None and self.decides is not None:
            known = self._with_matches(evidence, request, key, found)
            if self.decides(known.matches[0], known):
                return known, found.same.embedding  # its verdict is all that counts: no need to embed or to search
        read = _read(self.embedder, task, key)
        embedding = _whole(self.embedder, key, read)
        own_id = query.id if found.same is not None else ""
        found = memory.recall(replace(query, id=own_id, embedding=embedding, models=()))
        evidence = self._with_matches(evidence, request, key, found)
        evidence = with_prior(evidence, self.prior, self.notices, key, None if is_long(task) else embedding)
        if read is None:
            return evidence, embedding
        evidence = self._with_scores(request, key, embedding, evidence)
        return (evidence if is_long(task) else self._with_paraphrases(request, key, evidence)), embedding

    def _with_matches(self, evidence: Evidence, request: Request, key: str, found: Recalled) -> Evidence:
        """The evidence with neighbours and guides: near ones, and such as were tried on it or on neighbours."""
        matches = self._matches(request, key, found)
        tried = tried_on(matches, self.near)
        guides = [entry for entry in found.guides if entry.similarity >= self.near or entry.guide.id in tried]
        servable = tuple(self.screen.servable(guides))
        return replace(evidence, matches=tuple(matches), guides=servable)

    def _matches(self, request: Request, key: str, found: Recalled) -> list[Match]:
        """The request itself and its neighbours; which of them is the same request is known by its words."""
        own_signature: str | None = None
        matches = [] if found.same is None else [Match(found.same, 1.0, same=True)]
        for match in found.matches:
            if match.similarity >= self.same:
                own_signature = own_signature or keyed_digest(self.memory.secret, signature(key))
                if match.experience.signature == own_signature:
                    match = replace(match, same=True)  # noqa: PLW2901 - the same match, better known
            if is_long(request.task) and not match.same:
                match = replace(match, similarity=min(match.similarity, _LONG_ALIKE))  # noqa: PLW2901 - likewise
            matches.append(match)
        return matches

    def _with_states(self, evidence: Evidence, request: Request, own_id: str, found: Recalled) -> Evidence:
        """The evidence with whose request it is, and what audits found, of the namespace and of each model."""
        secret, states, namespace = self.memory.secret, found.states, request.namespace
        standings = tuple(
            replace(
                self._with_state(one, namespace, states, evidence.now),
                correction=self.corrections.of(namespace, one.model_id, evidence.reference_id),
            )
            for one in evidence.standings
        )
        own = states[""]
        reference = self.corrections.reference(namespace, evidence.reference_id, own.reference)
        return replace(
            evidence,
            experience_id=own_id,
            context="" if request.context is None else request.context.label(secret),
            user=user_label(secret, request.user),
            standings=standings,
            state=replace(own, reference=reference),
            again=states[state_of("", AGAIN)],
        )

    def _with_state(
        self, standing: Standing, namespace: str, states: Mapping[str, PolicyState], now: float
    ) -> Standing:
        state = states[standing.model_id]
        if state.since and (namespace, standing.model_id, state.since) not in self._changes:
            self._changes.add((namespace, standing.model_id, state.since))
            logging.getLogger("rar.models").warning(
                "The %s model answers worse than it did, as if it were another. What was learned before is tried again "
                "in namespace %r.",
                standing.model,
                namespace,
            )
            self.observers.alarm("drift", namespace, standing.model_id)
        # A clock that was ahead has dated a change ahead.
        again = states[state_of(standing.model_id, AGAIN)]
        known = replace(standing, state=state, again=again, drift=state.drift / ALARM, since=min(state.since, now))
        return replace(known, guided=replace(known.helped, state=states[state_of(standing.model_id, GUIDED)]))

    def _with_scores(self, request: Request, key: str, embedding: Vector, evidence: Evidence) -> Evidence:
        """The evidence with the gaps that the scores learned from this memory expect."""
        standings = list(evidence.standings)
        # It says something of the request, whichever model it was fitted for.
        prior = next((one.prior_gap for one in standings if one.prior_gap is not None), None)
        for at, kind in enumerate(kinds_of(request.namespace, request.task, evidence)):
            one = self._with_score(standings[at], kind, key, embedding, prior)
            if evidence.guides:
                helped = self._with_score(one.helped, kind.with_guides, key, embedding, None)
                one = replace(one, guided=helped)
            if self.drafts and self.ready(kind.with_drafts):
                one = replace(one, drafts=self.scores.drafts(kind.with_drafts, key, embedding, prior))
            standings[at] = one
        return replace(evidence, standings=tuple(standings))

    def _with_paraphrases(self, request: Request, key: str, evidence: Evidence) -> Evidence:
        """The evidence with verdicts that questions in other words lend to this one; its own come first."""
        if not evidence.matches or any(match.same for match in evidence.matches):
            return evidence
        standings = list(evidence.standings)
        for at, kind in enumerate(kinds_of(request.namespace, request.task, evidence)):
            bound = self.scores.bound(kind)
            if bound is not None:
                standings[at] = replace(standings[at], alike=alike(standings[at], evidence, key, bound))
        return replace(evidence, standings=tuple(standings))

    def _with_score(self, standing: Standing, kind: Kind, key: str, embedding: Vector, prior: float | None) -> Standing:
        found = self.scores.expect(kind, key, embedding, prior) if self.ready(kind) else None
        if found is None:
            return standing
        return standing.expecting(found)


def _states_of(evidence: Evidence) -> tuple[str, ...]:
    """The policy states that a decision looks at, beside the namespace's own."""
    ids = dict.fromkeys(standing.model_id for standing in evidence.standings)
    return (state_of("", AGAIN), *ids, *(state_of(id, kind) for id in ids for kind in (AGAIN, GUIDED)))


def follows_verdicts(strategy: object, policy: Policy) -> Callable[[Match, Evidence], bool] | None:
    """Whether a remembered request's own verdict is all that a decision looks at, as `Recall.decides`."""
    if not (
        isinstance(strategy, Strategy) and keeps_floor(strategy) and isinstance(policy, (FloorPolicy, PaperPolicy))
    ):
        return None
    anywhere = isinstance(policy, PaperPolicy)

    def decides(match: Match, evidence: Evidence) -> bool:
        found = verdict(match, evidence, anywhere=anywhere)
        return found is not None and not found.untried

    return decides
