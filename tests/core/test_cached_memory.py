"""A completion cache in a memory: shared by processes, apart by namespace, deleted with what it is about."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rar import FunctionModel, Reply, Request, Router, SQLiteMemory
from rar.errors import ConfigurationError, UnknownModelError
from rar.memory.base import Memory
from rar.strategies import Cached
from rar.values import Answer, Vector, question
from tests.extending.dict_memory import DictMemory

MOON, FAR = "How far away is the moon?", "What is the distance to the moon?"


class Near:
    """An embedder to which all texts are nearly alike."""

    id, dim = "near", 4

    def embed(self, texts: list[str]) -> Vector:
        rows = np.ones((len(texts), 4), np.float32)
        rows[:, 0] += [len(text) / 1_000.0 for text in texts]
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


class Asked:
    """A router of two models that count how often they are asked, and what."""

    def __init__(self, strategy: Cached, memory: Any, **options: Any) -> None:
        self.prompts: list[str] = []
        self.ruling: Callable[[str], str] = lambda prompt: "[[same]]"
        self.models = {name: FunctionModel(self._model, id) for name, id in (("weak", "small"), ("strong", "large"))}
        defaults = {"embedder": Near(), "learning": "inline", "learning_budget": None, "guides": False, "seed": 0}
        self.router = Router(*self.models.values(), memory=memory, strategy=strategy, **{**defaults, **options})

    def _model(self, messages: Any) -> str:
        text = messages[-1].text
        self.prompts.append(text)
        return self.ruling(text) if "[[same]]" in text else f"{text} Well."

    def __call__(self, request: Request | str) -> tuple[str, str]:
        """The answer, and the reason for who gave it."""
        request = question(request) if isinstance(request, str) else request
        decision = self.router.decide(request)
        choice = decision.choice
        reply = choice.reply if isinstance(choice, Answer) else self.models[decision.model].call(decision.call)
        self.router.learn(decision, reply)
        return reply.text, choice.reason


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "rar.db"


@pytest.fixture
def memory(path: Path) -> Iterator[Memory]:
    with SQLiteMemory(path) as memory:
        yield memory


def test_another_process_gives_the_answer_too(path: Path) -> None:
    ask = Asked(Cached("weak"), path)
    assert ask(MOON)[1] == "not_cached"
    ask.router.close()

    other = Asked(Cached("weak"), path)
    assert other(MOON) == (f"{MOON} Well.", "cached")
    assert other("Please, how far away is  the moon?")[1] == "cached"
    assert other.prompts == []
    other.router.close()


def test_what_waits_to_be_written_is_found_at_once(path: Path) -> None:
    ask = Asked(Cached("weak"), path, learning="background")

    assert [ask(MOON)[1] for _ in range(2)] == ["not_cached", "cached"]
    ask.router.close()
    with SQLiteMemory(path) as memory:
        assert memory.stats().namespaces == ("default",)


def test_of_a_stream_with_repeats_exactly_these_hit(memory: Memory) -> None:
    rng = np.random.default_rng(0)
    cache, seen, hits = Cached("weak"), set[int](), 0
    ask = Asked(cache, memory, embedder="hashing")
    for number in rng.choice(40, 100).tolist():
        answer, reason = ask(f"What is {number} squared?")
        assert answer == f"What is {number} squared? Well."
        assert (reason == "cached") is (number in seen)
        hits += number in seen
        seen.add(number)

    assert (cache.hits, cache.misses, len(cache)) == (hits, 100 - hits, 0)


def test_namespaces_share_nothing_and_take_their_answers_with_them(memory: Memory) -> None:
    ask = Asked(Cached("weak"), memory)
    first = [ask(question(MOON, namespace=name))[1] for name in ("a", "b", "a")]
    assert first == ["not_cached", "not_cached", "cached"]

    memory.delete(namespace="a")

    assert ask(question(MOON, namespace="a"))[1] == "not_cached"
    assert ask(question(MOON, namespace="b"))[1] == "cached"


def test_answers_are_dropped_alone_by_whatever_process(memory: Memory, path: Path) -> None:
    ask = Asked(Cached("weak"), memory)
    ask(MOON)
    with SQLiteMemory(path) as elsewhere:
        assert elsewhere.drop_answers() == 1

    assert ask(MOON)[1] == "not_cached"


def test_an_answer_goes_with_its_question(memory: Memory) -> None:
    ask = Asked(Cached("strong"), memory)
    ask(MOON)
    (known,) = memory.experiences(namespace="default", task="answer")
    assert ask(MOON)[1] == "cached"

    memory.delete(ids=[known.id])

    assert ask(MOON)[1] == "not_cached"


def test_answers_grow_old_by_the_routers_clock(memory: Memory) -> None:
    now = [1_000.0]
    ask = Asked(Cached("weak", ttl=60.0), memory, clock=lambda: now[0])
    ask(MOON)
    now[0] = 1_059.0
    assert ask(MOON)[1] == "cached"
    now[0] = 1_061.0
    assert ask(MOON)[1] == "not_cached"


def test_there_is_room_for_so_many_and_the_longest_unused_goes(memory: Memory) -> None:
    now = [0.0]
    cache = Cached("weak", max_entries=2)
    ask = Asked(cache, memory, clock=lambda: now[0], embedder="hashing")
    for hour, text in enumerate(("One?", "Two?", "One?", "Three?"), 1):
        now[0] = 7_200.0 * hour
        ask(text)
    ask.router.close()

    again = Asked(cache, memory, embedder="hashing")
    assert [again.router.decide(question(text)).choice.reason for text in ("One?", "Two?", "Three?")] == [
        "cached", "not_cached", "cached",
    ]  # fmt: skip


@pytest.mark.parametrize("options", [{"store_text": False}, {"redact": lambda text: text.replace("moon", "[where]")}])
def test_what_may_not_be_stored_is_kept_in_this_process_alone(
    memory: Memory, path: Path, options: dict[str, Any]
) -> None:
    cache = Cached("weak")
    ask = Asked(cache, memory, **options)

    assert [ask(MOON)[1] for _ in range(2)] == ["not_cached", "cached"]
    assert len(cache) == 1
    ask.router.flush()
    assert b"moon? Well" not in path.read_bytes()
    assert memory.drop_answers() == 0


def test_a_memory_that_is_only_read_gives_answers_and_gets_none(path: Path) -> None:
    ask = Asked(Cached("weak"), path)
    ask(MOON)
    ask.router.close()

    reader = Asked(Cached("weak"), path, read_only=True)
    assert reader(MOON)[1] == "cached"
    assert [reader("Who are you?")[1] for _ in range(2)] == ["not_cached", "cached"]
    reader.router.close()
    with SQLiteMemory(path) as memory:
        assert memory.drop_answers() == 1


def test_a_memory_that_fails_costs_no_answer(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(DictMemory):
        def cached_answer(self, namespace: str, key: str) -> Any:
            raise OSError("gone")

    ask = Asked(Cached("weak"), Broken())
    with caplog.at_level(logging.WARNING, "rar"):
        assert [ask(MOON)[1] for _ in range(2)] == ["not_cached", "cached"]  # kept in this process

    assert sum("Kept answers could not be looked at" in record.message for record in caplog.records) == 1


def test_the_memory_holds_no_hash_that_can_be_guessed(memory: Memory) -> None:
    ask = Asked(Cached("weak"), memory)
    ask(MOON)
    other = DictMemory()
    again = Asked(Cached("weak"), other)
    again(MOON)

    (mine,) = memory.cached_near("default", ask.router._kept.key(kind()), [id_of(ask)])  # type: ignore[union-attr]
    (theirs,) = other.cached_near("default", again.router._kept.key(kind()), [id_of(again)])  # type: ignore[union-attr]
    assert (mine.text, mine.question) == (theirs.text, theirs.question)
    assert mine.key != theirs.key


def kind() -> str:
    from rar.strategies.cached import keys_of

    keys = keys_of(question(MOON))
    assert keys is not None
    return keys.kind


def id_of(ask: Asked) -> str:
    evidence = ask.router.decide(question(MOON)).request.evidence
    assert evidence is not None
    return evidence.experience_id


# --- similar questions ------------------------------------------------------------------------------------------------


def test_similar_questions_are_not_answered_unless_asked_for(memory: Memory) -> None:
    ask = Asked(Cached("strong"), memory)
    ask(MOON)

    assert ask(FAR)[1] == "not_cached"


def test_a_model_has_to_say_in_both_orders_that_two_questions_are_the_same(memory: Memory) -> None:
    ask = Asked(Cached("strong", same="weak"), memory)
    ask(MOON)
    ask.prompts.clear()

    assert ask(FAR) == (f"{MOON} Well.", "cached_near")
    first, second = (prompt for prompt in ask.prompts if "[[same]]" in prompt)
    assert first.index(FAR) < first.index(MOON)
    assert second.index(MOON) < second.index(FAR)
    spent = {(spend.purpose, spend.role): spend.calls for spend in ask.router.stats().spending}
    assert spent["judge", "weak"] == 2


@pytest.mark.parametrize("ruling", [
    lambda prompt: "[[different]]",
    lambda prompt: "[[same]]" if prompt.index(FAR) < prompt.index(MOON) else "[[different]]",
    lambda prompt: "They are the same.",
    lambda prompt: "[[same]], or rather not",
])  # fmt: skip
def test_in_doubt_two_questions_differ(memory: Memory, ruling: Callable[[str], str]) -> None:
    ask = Asked(Cached("strong", same="weak"), memory)
    ask(MOON)
    ask.ruling = ruling

    assert ask(FAR)[1] == "not_cached"


@pytest.mark.parametrize("other", ["How far away is the moon not?", "How far away are 2 moons?"])
def test_questions_that_differ_in_numbers_or_negations_are_shown_to_nobody(memory: Memory, other: str) -> None:
    shown: list[tuple[str, str]] = []
    ask = Asked(Cached("strong", same=lambda one, other: bool(shown.append((one, other))) or True), memory)
    ask(MOON)

    assert (ask(other)[1], shown) == ("not_cached", [])
    assert (ask(FAR)[1], len(shown)) == ("cached_near", 1)


def test_the_answer_to_a_question_that_gives_orders_is_not_given_to_another(memory: Memory) -> None:
    ask = Asked(Cached("strong", same=lambda *_: True), memory)
    ask("How far away is the moon? Just say five miles.")

    assert ask(MOON)[1] == "not_cached"


@pytest.mark.parametrize("change", [{"namespace": "other"}, {"arguments": "abc"}])
def test_a_similar_question_is_one_of_the_same_kind(memory: Memory, change: dict[str, Any]) -> None:
    ask = Asked(Cached("strong", same=lambda *_: True), memory)
    ask(MOON)

    assert ask(question(FAR, **change))[1] == "not_cached"
    assert ask(FAR)[1] == "cached_near"


def test_what_was_given_to_a_similar_question_is_not_kept_under_it(memory: Memory) -> None:
    ask = Asked(Cached("strong", same=lambda *_: True), memory)
    ask(MOON)

    assert [ask(FAR)[1] for _ in range(2)] == ["cached_near"] * 2
    assert memory.drop_answers() == 1


def test_a_judge_that_fails_costs_no_answer(memory: Memory) -> None:
    def model(messages: Any) -> str:
        raise ConnectionError

    ask = Asked(Cached("strong", same="weak"), memory, learning="inline")
    ask(MOON)
    ask.models["weak"] = FunctionModel(model, "small")

    decision = ask.router.decide(question(FAR), ask.models)
    assert decision.choice.reason == "not_cached"
    ask.router.learn(decision, Reply("strong", "far"), ask.models)


def test_what_cannot_work_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="same="):
        Cached("weak", same=3)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="near"):
        Cached("weak", near=2.0)
    with pytest.raises(UnknownModelError, match="gpt"):
        Asked(Cached("weak", same="gpt"), None)
