"""Guides that people write: brought into form, checked as all others are, and placed among what they are for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np

from rar.embedding import Embedder, as_embedder
from rar.embedding.hashing import HashingEmbedder
from rar.errors import ConfigurationError, GuideRefusedError
from rar.guide_form import Form, form_of, style_of
from rar.guide_scan import guide_flaw
from rar.learning.guides import GuideCheck, own_check, parse_guide
from rar.memory.base import Batch, Memory
from rar.memory.exchange import MOST_GUIDE
from rar.memory.identity import keyed_digest
from rar.recall import embedded
from rar.redaction import Redaction
from rar.values import Guide, Vector, question

PERSON: Final = "person"  # the author of such guides
OwnState: TypeAlias = Literal["candidate", "active"]


@dataclass(frozen=True, slots=True)
class OwnGuide:
    """A guide as a person gives it.

    Args:
        text: In the form of a guide, which `anyway` lets it do without.
        used_for: Questions that it is for, or what they are about; none: what its first line says.
        state: `"candidate"`: it is tried, and has to prove itself. `"active"`: it is used, as if a person had approved
            it. None: as it is where the same text is known, else a candidate.
        anyway: Use it although the checks refuse its text.
    """

    text: str
    used_for: tuple[str, ...] = ()
    namespace: str = "default"
    task: str = "answer"
    state: OwnState | None = None
    anyway: bool = False


def embedder_of(memory: Memory) -> Embedder:
    """The embedder that a memory was made with, as far as it is one of our own; the usual one for a new memory.

    Raises:
        ConfigurationError: It is another one.
    """
    stats, usual = memory.stats(), as_embedder("minilm")
    if not stats.embedder_id:
        memory.bind(usual.id, usual.dim)
        return usual
    if stats.embedder_id == usual.id:
        return usual
    hashing = HashingEmbedder(max(stats.dim, 16))
    if stats.embedder_id == hashing.id:
        return hashing
    raise ConfigurationError(
        f"This memory was made with the embedder {stats.embedder_id!r}, which only your program has. Add the guide "
        "there, by `router.add_guide`."
    )


@dataclass(frozen=True)
class GuideShelf:
    """Takes guides of people into a memory. The same text for the same namespace and task is one guide.

    Args:
        redaction: Applied to texts before they are embedded or stored; None: they stay as they are.
        check: A further check of each guide, asked with each question that it is for.
    """

    memory: Memory
    embedder: Embedder
    redaction: Redaction | None = None
    check: GuideCheck | None = None

    def put(self, guides: Sequence[Guide]) -> list[Guide]:
        """Store guides that were `made`, and return them as they are kept.

        Raises:
            MemoryStoreError: They cannot be stored.
        """
        self.memory.write(Batch(guides=tuple(guides)))
        for guide in guides:
            if guide.pinned:
                self.memory.set_guide_state(guide.id, guide.state, anyway=guide.anyway)
        return [self.memory.guide(guide.id) or guide for guide in guides]

    def made(self, given: OwnGuide, now: float) -> Guide:
        """A guide that may be stored.

        Raises:
            GuideRefusedError: The checks refuse it.
            ConfigurationError: It is empty, too long, or does not say what it is for.
        """
        if given.anyway and given.state == "candidate":
            raise ConfigurationError('anyway=True uses a guide unproven. Leave out state="candidate".')
        text = self._clean(given.text).strip() if given.anyway else parse_guide(self._clean(given.text))
        if not text or len(text) > MOST_GUIDE:
            raise ConfigurationError(f"A guide has 1 to {MOST_GUIDE:,} characters, not {len(text):,}.")
        questions = self._questions(given, text)
        flaw = guide_flaw(text)
        for one in questions if self.check is not None and not given.anyway else ():
            flaw = flaw or own_check(self.check, text, question(one))
        if flaw is not None and not given.anyway:
            raise GuideRefusedError("", flaw)
        id = keyed_digest(self.memory.secret, f"guide\0{given.namespace}\0{given.task}\0{text}")
        known = self.memory.guide(id)
        guide = Guide(
            id, given.namespace, given.task, text, self._place(given.task, questions), PERSON, origin="",
            state="candidate" if known is None else known.state, created_at=now, style=style_of(text),
        )  # fmt: skip
        if given.state == "active" or given.anyway:
            return replace(guide, state="active", pinned=True, anyway=flaw is not None)
        return guide if given.state is None else replace(guide, state=given.state)

    def _questions(self, given: OwnGuide, text: str) -> Sequence[str]:
        form = form_of(text)
        purpose = (form.purpose,) if isinstance(form, Form) else ()
        questions = [cleaned for one in given.used_for or purpose if (cleaned := self._clean(one).strip())]
        if not questions:
            raise ConfigurationError("Say what the guide is for: used_for= takes some questions, or a description.")
        return questions

    def _place(self, task: str, questions: Sequence[str]) -> Vector:
        """The middle of the questions, where a guide is looked for."""
        vectors = np.array([embedded(self.embedder, task, one) for one in questions], np.float32)
        middle: Vector = vectors.mean(0)
        norm = float(np.linalg.norm(middle))
        return middle / np.float32(norm) if norm > 1e-6 else vectors[0]

    def _clean(self, text: str) -> str:
        if not isinstance(text, str):
            raise ConfigurationError(f"A guide and what it is for are texts, not a {type(text).__name__}.")
        if self.redaction is None or self.redaction.redact is None:
            return text
        cleaned = self.redaction.clean(text)
        if cleaned is None:
            raise ConfigurationError("The guide cannot be stored, for `redact` failed; the log says why.")
        return cleaned
