"""Questions that were judged in several wordings each: the weak model can do half of them."""

from __future__ import annotations

from rar.embedding import HashingEmbedder
from rar.memory import Batch, Memory
from rar.memory.identity import experience_id, keyed_digest
from rar.sameness import signature
from rar.values import Experience, Trial

TOPICS = 32
_SYLLABLES = ("bar", "den", "fol", "gim", "hus", "kar", "lom", "nes")
WORDINGS = (
    "How do I open a {0} account at the {0} counter?",
    "How can I open a {0} account at the {0} counter?",
    "How would I open a {0} account at the {0} counter?",
    "How should I open a {0} account at the {0} counter?",
)
UNSEEN = "How could I open a {0} account at the {0} counter?"


def topic(n: int) -> str:
    return "".join(_SYLLABLES[(n >> shift) % 8] for shift in (0, 3)) + "ic"


def easy(n: int) -> bool:
    return n % 2 == 0


def unseen(n: int) -> str:
    """A question on topic `n` in words that nobody used yet."""
    return UNSEEN.format(topic(n))


def teach(
    memory: Memory, *, task: str = "answer", weak: str = "small", strong: str = "large", text: bool = True,
    context: str = "",
) -> None:  # fmt: skip
    """Have a memory know all topics in all wordings but one."""
    embedder = HashingEmbedder()
    memory.bind(embedder.id, embedder.dim)
    questions = [(wording.format(topic(n)), easy(n)) for n in range(TOPICS) for wording in WORDINGS]
    vectors = embedder.embed([question for question, _ in questions])
    experiences, trials = [], []
    for (question, ok), vector in zip(questions, vectors, strict=True):
        id = experience_id(memory.secret, "default", task, question)
        experiences.append(
            Experience(
                id, "default", task, question if text else None, keyed_digest(memory.secret, signature(question)),
                vector, created_at=1.0, updated_at=1.0,
            )
        )  # fmt: skip
        trials.append(Trial(id, None, weak, strong, ok, 1.0, context=context))
    memory.write(Batch(experiences=tuple(experiences), trials=tuple(trials)))
