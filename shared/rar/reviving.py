"""Decisions of another process, or of long ago, made of what the memory keeps of them."""

from __future__ import annotations

from rar.embedding.cache import CachedEmbedder
from rar.evidence import Evidence, Standing
from rar.facts import read_facts
from rar.memory.base import DecisionRecord, Memory
from rar.memory.identity import experience_id
from rar.recall import embedded
from rar.values import STRONG, Decision, Request, Route


def revived(record: DecisionRecord, memory: Memory, embedder: CachedEmbedder, epoch: int | None) -> Decision | None:
    """Enough of a decision to remember its question; None where its whole text is not known."""
    facts = read_facts(record.facts)
    evidence, question, task = facts.evidence, facts.question, facts.task
    if evidence is None or evidence.pair is None or question is None:
        return None
    own_id = experience_id(memory.secret, record.namespace, task, question)
    if own_id != record.experience_id:
        return None  # cut, or of another memory
    model_id, reference_id = evidence.pair
    standings = () if record.model == STRONG else (Standing(record.model, model_id),)
    request = Request(
        (), question, facts.key_source, record.namespace, task,
        embedding=embedded(embedder, task, question), evidence=Evidence(reference_id, standings, own_id),
    )  # fmt: skip
    return Decision(record.id, request, Route(record.model), record.at, epoch=epoch)
