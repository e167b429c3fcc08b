"""What every memory promises: a backend's test class inherits `MemoryContract` and brings one fixture."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from rar.errors import ClosedError, DimensionError, EmbedderMismatchError, ImportFormatError
from rar.memory import kept
from rar.memory.base import (
    Batch,
    CachedAnswer,
    Changes,
    DecisionRecord,
    JudgedAnswers,
    Label,
    Memory,
    PolicyState,
    PolicyStep,
    Spend,
)
from rar.memory.forgetting import Gone
from rar.memory.identity import experience_id, keyed_digest
from rar.memory.recalling import Query
from rar.memory.transitions import moved
from rar.sameness import signature
from rar.values import Experience, Guide, Origin, Tally, Trial, Vector

DIM = 4
EAST, NORTH, UP, LATE = np.eye(DIM, dtype=np.float32)
FAR_FUTURE = 4e9


def between(a: Vector, b: Vector, share: float = 0.5) -> Vector:
    """The unit vector on the way from `a` to `b`."""
    mixed = (1 - share) * a + share * b
    return (mixed / np.linalg.norm(mixed)).astype(np.float32)


def experience(id: str, embedding: Vector = EAST, **fields: Any) -> Experience:
    defaults: dict[str, Any] = {
        "namespace": "default",
        "task": "answer",
        "text": f"text of {id}",
        "signature": f"sig {id}",
    }
    return Experience(id, embedding=embedding, **{**defaults, **fields})


def guide(id: str, embedding: Vector = EAST, **fields: Any) -> Guide:
    defaults: dict[str, Any] = {
        "namespace": "default", "task": "answer", "text": f"steps of {id}", "author": "strong-1", "origin": "a",
    }  # fmt: skip
    return Guide(id, embedding=embedding, **{**defaults, **fields})


def trial(experience_id: str, *, ok: bool = True, guide_id: str | None = None, at: float = 1.0) -> Trial:
    return Trial(experience_id, guide_id, "weak-1", "strong-1", ok, at)


def spend(usd: float, **fields: Any) -> Spend:
    defaults: dict[str, Any] = {"namespace": "default", "purpose": "serve", "role": "strong", "model_id": "strong-1"}
    return Spend(**{**defaults, **fields}, calls=1, input_tokens=10, output_tokens=5, usd=usd)


def decision(id: str, at: float = 1.0, **fields: Any) -> DecisionRecord:
    defaults: dict[str, Any] = {
        "namespace": "default", "experience_id": "a", "guide_id": None, "model": "weak", "facts": {"reason": "known"},
    }  # fmt: skip
    return DecisionRecord(id, at=at, **{**defaults, **fields})


def label(decision_id: str, at: float = 1.0, **fields: Any) -> Label:
    defaults: dict[str, Any] = {
        "namespace": "default", "experience_id": "a", "weak_id": "weak-1", "strong_id": "strong-1", "judge": "letter",
        "judged": 1.0, "weak": 1.0, "strong": 0.0,
    }  # fmt: skip
    return Label(decision_id, at=at, **{**defaults, **fields})


def judged(decision_id: str, place: int = 0, **fields: Any) -> JudgedAnswers:
    defaults: dict[str, Any] = {
        "namespace": "default", "experience_id": "a", "weak_id": "weak-1", "strong_id": "strong-1", "judge": "letter",
        "agrees": False, "gap": 1.0, "prompt": '[{"role": "user", "content": "What is 2+2?"}]', "weak": "5",
        "strong": "4", "at": 1.0,
    }  # fmt: skip
    return JudgedAnswers(decision_id, place, **{**defaults, **fields})


def cached(key: str, at: float = 1.0, **fields: Any) -> CachedAnswer:
    defaults: dict[str, Any] = {
        "namespace": "default", "kind": "plain", "experience_id": "a", "question": "What is 2+2?", "model": "strong",
        "model_id": "strong-1", "text": f"4, says {key}", "used_at": at,
    }  # fmt: skip
    return CachedAnswer(key=key, at=at, **{**defaults, **fields})


def found(
    memory: Memory, embedding: Vector = EAST, namespace: str = "default", task: str = "answer", limit: int = 16
) -> list[str]:
    return [match.experience.id for match in memory.search(embedding, namespace=namespace, task=task, limit=limit)]


def found_guides(memory: Memory, embedding: Vector = EAST, **options: Any) -> list[str]:
    hits = memory.search_guides(embedding, **{"namespace": "default", "task": "answer", **options})
    return [hit.guide.id for hit in hits]


def everything(memory: Memory) -> Changes:
    return memory.changes(0, 1_000)


class Told:
    """Hears of deletions."""

    def __init__(self) -> None:
        self.gone: list[Gone] = []

    def forget(self, gone: Gone) -> None:
        self.gone.append(gone)


class MemoryContract:
    """The fixture `fresh` of a subclass makes an empty memory, a new one at each call."""

    @pytest.fixture
    def memory(self, fresh: Callable[[], Memory]) -> Iterator[Memory]:
        with closing(fresh()) as memory:
            memory.bind("test-1", DIM)
            yield memory

    @pytest.fixture
    def other(self, fresh: Callable[[], Memory]) -> Iterator[Memory]:
        """One that is bound to no embedder."""
        with closing(fresh()) as memory:
            yield memory

    # ── experiences ──

    def test_an_empty_memory_finds_nothing(self, memory: Memory) -> None:
        assert found(memory) == []
        assert found_guides(memory) == []

    def test_the_nearest_comes_first(self, memory: Memory) -> None:
        memory.write(
            Batch((experience("far", NORTH), experience("near", between(EAST, NORTH, 0.1)), experience("same", EAST)))
        )

        assert found(memory) == ["same", "near", "far"]
        assert [round(match.similarity, 3) for match in memory.search(EAST, namespace="default", task="answer")] == [
            1.0,
            round(0.9 / float(np.hypot(0.9, 0.1)), 3),
            0.0,
        ]

    def test_an_opposite_embedding_is_at_minus_one(self, memory: Memory) -> None:
        memory.write(Batch((experience("a", -EAST),)))

        assert memory.search(EAST, namespace="default", task="answer")[0].similarity == -1.0

    def test_ties_are_ordered_by_id_also_at_the_limit(self, memory: Memory) -> None:
        memory.write(Batch(tuple(experience(id) for id in "hcgabfed")))

        assert found(memory, limit=3) == ["a", "b", "c"]
        assert found(memory) == list("abcdefgh")

    def test_the_norm_of_the_query_does_not_matter(self, memory: Memory) -> None:
        memory.write(Batch((experience("a", EAST), experience("b", NORTH))))
        slanted = between(EAST, NORTH, 0.3)

        small, large = (memory.search(slanted * norm, namespace="default", task="answer") for norm in (0.001, 1000.0))
        assert small == large

    @pytest.mark.parametrize("query", [np.zeros(DIM, np.float32), np.full(DIM, np.nan, np.float32)])
    def test_a_query_without_direction_is_like_nothing(self, memory: Memory, query: Vector) -> None:
        memory.write(Batch((experience("a"),)))

        assert [match.similarity for match in memory.search(query, namespace="default", task="answer")] == [0.0]

    def test_limit_bounds_what_is_found(self, memory: Memory) -> None:
        memory.write(Batch(tuple(experience(str(n), between(EAST, NORTH, n / 10)) for n in range(6))))

        assert found(memory, limit=2) == ["0", "1"]

    def test_matches_carry_tallies_and_no_embedding(self, memory: Memory) -> None:
        memory.write(Batch((experience("a"),), trials=(trial("a", at=7.0),)))

        (match,) = memory.search(EAST, namespace="default", task="answer")
        assert match.experience == experience("a", tallies=(Tally(None, "weak-1", "strong-1", 1, 0, True, 7.0),))
        assert match.experience.embedding.size == 0

    def test_an_experience_is_read_as_it_was_written(self, memory: Memory) -> None:
        written = experience(
            "a", between(EAST, UP), text="¿Qué? 你好 \0 end", created_at=1.5, updated_at=2.5, source="langchain"
        )
        memory.write(Batch((written,)))

        read = memory.experience("a")
        assert read == written
        assert np.array_equal(read.embedding, written.embedding)

    def test_an_unknown_id_is_none(self, memory: Memory) -> None:
        assert memory.experience("no") is None
        assert memory.guide("no") is None
        assert memory.decision("no") is None

    def test_a_text_may_be_left_out(self, memory: Memory) -> None:
        memory.write(Batch((experience("a", text=None),)))

        assert memory.experience("a").text is None
        assert memory.search(EAST, namespace="default", task="answer")[0].experience.text is None

    def test_a_megabyte_of_text_is_kept(self, memory: Memory) -> None:
        memory.write(Batch((experience("a", text="x" * 2**20),)))

        assert len(memory.experience("a").text) == 2**20
        assert len(memory.search(EAST, namespace="default", task="answer")[0].experience.text) == 2**20

    def test_lone_surrogates_break_neither_write_nor_search(self, memory: Memory) -> None:
        broken = "a\ud800b"
        memory.write(
            Batch((experience("a", text=broken, namespace=broken, source=broken),), (guide("g", text=broken),))
        )

        assert found(memory, namespace=broken) == ["a"]
        assert memory.experience("a").text.startswith("a")
        assert memory.guide("g").text.endswith("b")
        assert memory.delete(namespace=broken) == 1

    def test_a_known_id_is_replaced_and_keeps_its_counts(self, memory: Memory) -> None:
        memory.write(Batch((experience("a", EAST), experience("b", between(EAST, NORTH))), trials=(trial("a"),)))
        memory.write(Batch((experience("a", NORTH, text="new"),)))

        assert found(memory) == ["b", "a"]
        assert memory.experience("a").text == "new"
        assert [tally.ok for tally in memory.experience("a").tallies] == [1]

    def test_namespaces_and_tasks_see_nothing_of_each_other(self, memory: Memory) -> None:
        memory.write(
            Batch(
                (experience("a"), experience("b", namespace="other"), experience("c", task="tools:1")),
                (
                    guide("g", state="active"),
                    guide("h", namespace="other", state="active"),
                    guide("i", task="t", state="active"),
                ),
            )
        )

        assert found(memory) == ["a"]
        assert found(memory, namespace="other") == ["b"]
        assert found(memory, task="tools:1") == ["c"]
        assert found_guides(memory) == ["g"]
        assert found_guides(memory, namespace="other") == ["h"]
        assert found(memory, namespace="nobody") == []

    # ── trials and guides ──

    def test_trials_add_up_by_guide_and_models(self, memory: Memory) -> None:
        memory.write(Batch((experience("a"),), (guide("g"),)))
        memory.write(
            Batch(trials=(trial("a", ok=False, at=1.0), trial("a", ok=True, at=2.0), trial("a", guide_id="g", at=3.0)))
        )
        memory.write(Batch(trials=(trial("a", ok=False, at=1.5),)))

        assert memory.experience("a").tallies == (
            # The last to arrive counts as the last, whatever its clock says: clocks are set back.
            Tally(None, "weak-1", "strong-1", ok=1, bad=2, last_ok=False, at=1.5),
            Tally("g", "weak-1", "strong-1", ok=1, bad=0, last_ok=True, at=3.0),
        )
        assert memory.stats().trials == 4

    def test_a_search_sees_a_trial_at_once(self, memory: Memory) -> None:
        memory.write(Batch((experience("a"),)))
        assert memory.search(EAST, namespace="default", task="answer")[0].experience.tallies == ()

        memory.write(Batch(trials=(trial("a"),)))

        (match,) = memory.search(EAST, namespace="default", task="answer")
        assert [tally.ok for tally in match.experience.tallies] == [1]

    def test_a_trial_of_what_is_unknown_is_ignored(self, memory: Memory) -> None:
        memory.write(
            Batch(
                (experience("a"),), (guide("g"),), (trial("no"), trial("a", guide_id="no"), trial("no", guide_id="g"))
            )
        )

        assert memory.experience("a").tallies == ()
        assert (memory.guide("g").helpful, memory.guide("g").harmful) == (0, 0)
        assert memory.stats().trials == 0

    def test_guides_that_help_two_other_requests_become_active_and_are_then_found(self, memory: Memory) -> None:
        memory.write(Batch(tuple(experience(id) for id in "abc"), (guide("g", origin="a"),)))
        assert found_guides(memory) == []
        assert found_guides(memory, states=("candidate",)) == ["g"]

        memory.write(Batch(trials=tuple(trial(id, guide_id="g") for id in "aaababb")))
        assert memory.guide("g").state == "candidate"  # one other, however often
        memory.write(Batch(trials=(trial("c", ok=False, guide_id="g"),)))
        assert memory.guide("g").state == "candidate"  # it did not help there
        memory.write(Batch(trials=(trial("c", guide_id="g"),)))

        assert memory.guide("g").state == "active"
        assert (memory.guide("g").helpful, memory.guide("g").harmful) == (4, 1)  # its own request proves nothing
        assert found_guides(memory) == ["g"]
        assert found_guides(memory, states=("candidate",)) == []

    def test_a_guide_must_help_where_the_model_alone_does_not(self, memory: Memory) -> None:
        memory.write(Batch(tuple(experience(id) for id in "abcd"), (guide("g", origin="a"),)))

        memory.write(Batch(trials=(*map(trial, "bcd"), *(trial(id, guide_id="g") for id in "bcd"))))

        assert (memory.guide("g").state, memory.guide("g").helpful) == ("candidate", 3)

    def test_a_guide_that_does_better_than_the_model_alone_stays_though_it_often_fails(self, memory: Memory) -> None:
        ids = "bcdefghijk"
        memory.write(Batch(tuple(map(experience, ids)), (guide("g"), guide("h"))))

        alone = [trial(id, ok=False) for id in ids]
        half = [trial(id, guide_id="g", ok=id in ids[:5]) for id in ids]
        never = [trial(id, guide_id="h", ok=False) for id in ids[5:]]
        memory.write(Batch(trials=(*alone, *half, *never)))

        assert (memory.guide("g").state, memory.guide("h").state) == ("active", "retired")

    def test_what_another_guide_can_do_is_held_against_none(self, memory: Memory) -> None:
        memory.write(Batch(tuple(map(experience, "bcdefg")), (guide("g"), guide("h"))))

        alone = [trial(id, ok=False) for id in "bcdefg"]
        other = [trial(id, guide_id="h") for id in "bcdefg"]
        memory.write(Batch(trials=(*alone, *other, *(trial(id, guide_id="g", ok=False) for id in "bcdefg"))))

        assert (memory.guide("g").state, memory.guide("h").state) == ("candidate", "active")

    def test_a_failed_trial_counts_once_however_many_other_guides_worked(self, memory: Memory) -> None:
        memory.write(Batch((experience("b"),), tuple(map(guide, "ghi"))))

        others = (trial("b", guide_id="h"), trial("b", guide_id="i"))
        memory.write(Batch(trials=(*others, *(trial("b", ok=False, guide_id="g") for _ in range(2)))))

        assert memory.guide("g").state == "candidate"  # it takes three

    def test_guides_that_harm_are_retired(self, memory: Memory) -> None:
        memory.write(
            Batch(
                (experience("a"), experience("b")),
                (guide("g", state="active"),),
                tuple(trial("b", ok=False, guide_id="g") for _ in range(9)),
            )
        )

        assert memory.guide("g").state == "retired"
        assert found_guides(memory) == []

    def test_a_search_for_guides_shows_their_counts(self, memory: Memory) -> None:
        memory.write(Batch((experience("a"), experience("b")), (guide("g", state="active"),)))
        assert memory.search_guides(EAST, namespace="default", task="answer")[0].guide.helpful == 0

        memory.write(Batch(trials=(trial("b", guide_id="g"),)))

        assert memory.search_guides(EAST, namespace="default", task="answer")[0].guide.helpful == 1

    def test_guides_of_several_states_are_found_in_one_order(self, memory: Memory) -> None:
        memory.write(
            Batch(
                guides=(
                    guide("c", between(EAST, NORTH, 0.2)),
                    guide("b", state="active"),
                    guide("a"),
                    guide("r", state="retired"),
                )
            )
        )

        assert found_guides(memory, states=("active", "candidate")) == ["a", "b", "c"]
        assert found_guides(memory, states=("active", "candidate"), limit=1) == ["a"]

    def test_what_a_person_decided_about_a_guide_stands(self, memory: Memory) -> None:
        memory.write(Batch((experience("b"),), (guide("g", state="active"),)))
        memory.set_guide_state("g", "retired")
        assert found_guides(memory) == []

        memory.write(
            Batch(guides=(guide("g", state="active"),), trials=tuple(trial("b", guide_id="g") for _ in range(5)))
        )

        assert (memory.guide("g").state, memory.guide("g").helpful) == ("retired", 5)
        memory.set_guide_state("g", "active")
        memory.write(Batch(trials=tuple(trial("b", ok=False, guide_id="g") for _ in range(30))))
        assert memory.guide("g").state == "active"

    def test_the_state_of_an_unknown_guide_cannot_be_set(self, memory: Memory) -> None:
        with pytest.raises(LookupError, match="nobody"):
            memory.set_guide_state("nobody", "active")

    def test_guides_are_listed_oldest_first(self, memory: Memory) -> None:
        memory.write(
            Batch(
                guides=(
                    guide("new", created_at=2.0),
                    guide("old", created_at=1.0),
                    guide("far", namespace="o", state="active"),
                )
            )
        )

        assert [guide.id for guide in memory.guides()] == ["far", "old", "new"]
        assert [guide.id for guide in memory.guides(namespace="default")] == ["old", "new"]
        assert [guide.id for guide in memory.guides(states=("active",))] == ["far"]
        assert np.array_equal(memory.guides()[0].embedding, EAST)

    # ── all or nothing ──

    def test_a_batch_with_an_embedding_of_another_length_stores_nothing(self, memory: Memory) -> None:
        wrong = experience("b", np.ones(DIM + 1, np.float32))
        with pytest.raises(DimensionError, match=str(DIM)):
            memory.write(Batch((experience("a"), wrong), steps=(PolicyStep("default", 0.1),), spending=(spend(1.0),)))

        assert memory.stats().experiences == 0
        assert memory.policy_state("default") == PolicyState()
        assert memory.spending() == []
        assert everything(memory).experiences == ()

    def test_a_query_of_another_length_is_refused(self, memory: Memory) -> None:
        with pytest.raises(DimensionError):
            memory.search(np.ones(DIM - 1, np.float32), namespace="default", task="answer")

    def test_an_empty_batch_changes_nothing(self, memory: Memory) -> None:
        memory.write(Batch())

        assert everything(memory).cursor == 0

    def test_bind_accepts_the_same_embedder_and_names_both_otherwise(self, memory: Memory) -> None:
        memory.bind("test-1", DIM)
        with pytest.raises(EmbedderMismatchError, match=r"test-1.*test-2"):
            memory.bind("test-2", DIM)
        with pytest.raises(EmbedderMismatchError):
            memory.bind("test-1", DIM + 1)

        assert (memory.stats().embedder_id, memory.stats().dim) == ("test-1", DIM)

    # ── the log ──

    def test_changes_tell_upserts_with_embeddings_oldest_first(self, memory: Memory) -> None:
        memory.write(Batch((experience("a"), experience("b", NORTH)), (guide("g", UP),)))
        memory.write(Batch((experience("a", LATE),)))

        changes = everything(memory)
        assert [e.id for e in changes.experiences] == ["b", "a"]
        assert np.array_equal(changes.experiences[1].embedding, LATE)
        assert np.array_equal(changes.guides[0].embedding, UP)
        assert memory.changes(changes.cursor) == Changes(changes.cursor)

    def test_changes_come_in_pages(self, memory: Memory) -> None:
        memory.write(Batch(tuple(experience(f"{n:02}") for n in range(7)), (guide("g"), guide("h"))))

        ids, cursor, more, pages = [], 0, True, 0
        while more:
            page = memory.changes(cursor, 3)
            ids += [item.id for item in (*page.experiences, *page.guides)]
            cursor, more, pages = page.cursor, page.more, pages + 1

        assert ids == [*(f"{n:02}" for n in range(7)), "g", "h"]
        assert pages == 3

    def test_changes_tell_deletions_until_the_id_is_written_again(self, memory: Memory) -> None:
        memory.write(Batch((experience("a"), experience("b"))))
        cursor = everything(memory).cursor
        memory.delete(ids=["a", "b"])
        memory.write(Batch((experience("b"),)))

        changes = memory.changes(cursor)
        assert changes.deleted == ("a",)
        assert [e.id for e in changes.experiences] == ["b"]

    def test_a_trial_does_not_send_the_embedding_again(self, memory: Memory) -> None:
        memory.write(Batch((experience("a"),), (guide("g"),)))
        cursor = everything(memory).cursor
        memory.write(Batch(trials=(trial("a", guide_id="g"),)))

        changes = memory.changes(cursor)
        assert (changes.experiences, changes.guides) == ((), ())

    def test_a_follower_from_another_log_is_told_to_start_anew(self, memory: Memory) -> None:
        assert memory.changes(10**9).reset
        assert memory.changes(10**9).cursor == 0

    # ── recall ──

    def test_recall_gives_a_request_and_its_neighbours_and_what_is_known_of_its_models(self, memory: Memory) -> None:
        memory.write(
            Batch(
                (experience("a"), experience("b", between(EAST, NORTH)), experience("c", NORTH)),
                (guide("near", state="active"), guide("trial", state="candidate")),
                steps=(PolicyStep("default", 0.1), PolicyStep("default", 0.0, audit=True, model="small")),
            )
        )

        query = Query("default", "answer", "a", EAST, models=("small", "large"), limit=2)
        found_ = memory.recall(query)

        assert found_.same == memory.experience("a")
        assert found_.same.embedding.shape == (DIM,)
        assert [match.experience.id for match in found_.matches] == ["b"]
        assert [(entry.guide.id, round(entry.similarity, 3)) for entry in found_.guides] == [("near", 1.0)]
        assert found_.states == {model: memory.policy_state("default", model) for model in ("", "small", "large")}
        assert asyncio.run(memory.arecall(query)) == found_
        unknown = memory.recall(replace(query, id="never"))
        assert (unknown.same, [match.experience.id for match in unknown.matches]) == (None, ["a", "b"])

    def test_recall_without_an_embedding_gives_what_is_known_of_the_request_alone(self, memory: Memory) -> None:
        far = guide("far", NORTH, state="active")
        memory.write(Batch((experience("a"), experience("b")), (far,), (trial("a", guide_id="far"),)))

        found_ = memory.recall(Query("default", "answer", "a"))

        assert found_.same == memory.experience("a")
        assert found_.matches == ()
        assert [(entry.guide.id, entry.similarity) for entry in found_.guides] == [("far", 0.0)]
        nothing = memory.recall(Query("default", "answer", "never"))
        assert (nothing.same, nothing.matches, nothing.guides) == (None, (), ())
        assert nothing.states == {"": PolicyState()}

    def test_recall_gives_the_guides_that_were_tried_on_what_may_be_the_same_request(self, memory: Memory) -> None:
        guides = tuple(guide(id, NORTH, state="active") for id in ("alike", "other", "retired"))
        tried = (trial("a", guide_id="alike"), trial("b", guide_id="other"), trial("a", guide_id="retired"))
        memory.write(Batch((experience("a"), experience("b", between(EAST, NORTH))), guides, tried))
        memory.set_guide_state("retired", "retired")

        found_ = memory.recall(Query("default", "answer", embedding=EAST, guides=1, alike=0.9))

        assert {entry.guide.id for entry in found_.guides} == {"alike"}

    # ── policy, spending, decisions ──

    def test_residuals_and_references_move_their_means(self, memory: Memory) -> None:
        steps = [PolicyStep("default", 0.0, audit=True, residual=0.5, reference=0.5), PolicyStep("default", 0.0)]
        memory.write(Batch(steps=tuple(steps)))

        state = memory.policy_state("default")

        assert state == moved(moved(PolicyState(), steps[0]), steps[1])
        assert 0.0 < state.bias < 0.5
        assert 0.5 < state.reference < 1.0

    def test_trials_keep_their_gaps_and_weights(self, memory: Memory) -> None:
        graded = trial("a", ok=True)
        memory.write(
            Batch(experiences=(experience("a", EAST),), trials=(replace(graded, gap=-0.5, weight=4.0), graded))
        )

        found = memory.experience("a")

        assert found is not None
        assert (found.tallies[0].gap, found.tallies[0].weight) == (-0.5, 4.0)
        assert found.tallies[0].mean_gap == -0.25

    def test_experiences_of_a_kind_come_newest_first_with_embeddings_and_tallies(self, memory: Memory) -> None:
        memory.write(Batch(experiences=(experience("a", EAST), experience("b", EAST))))
        memory.write(Batch(trials=(trial("a", ok=True),)))

        found = memory.experiences(namespace="default", task="answer")

        assert [one.id for one in found] == ["a", "b"]
        assert found[0].tallies
        assert found[0].embedding.shape == EAST.shape
        assert [one.id for one in memory.experiences(namespace="default", task="answer", limit=1)] == ["a"]
        assert memory.experiences(namespace="other", task="answer") == []

    def test_steps_add_up_from_their_start_and_are_clipped(self, memory: Memory) -> None:
        assert memory.policy_state("default") == PolicyState(None, 0, 0)

        memory.write(Batch(steps=(PolicyStep("default", 0.1, audit=True, error=True, start=0.6),)))
        assert memory.policy_state("default") == PolicyState(pytest.approx(0.7), 1, 1, calls=1)
        memory.write(Batch(steps=(PolicyStep("default", 0.9, audit=True), PolicyStep("default", -0.25))))
        assert memory.policy_state("default") == PolicyState(pytest.approx(0.75), 2, 1, calls=3)
        memory.write(Batch(steps=(PolicyStep("default", -5.0, low=0.2),)))
        assert memory.policy_state("default").threshold == 0.2
        assert memory.policy_state("other") == PolicyState()

    def test_each_model_has_a_policy_state_of_its_own_beside_its_namespaces(self, memory: Memory) -> None:
        steps = [
            PolicyStep("default", 0.1, reference=0.5),
            PolicyStep("default", 0.0, audit=True, error=True, residual=0.5, model="small"),
            PolicyStep("default", 0.0, audit=True, model="mid"),
            PolicyStep("default", 0.0, audit=True, surprise=9.0, at=5.0, model="small"),
        ]
        memory.write(Batch(steps=tuple(steps)))

        assert memory.policy_state("default") == moved(PolicyState(), steps[0])
        assert memory.policy_state("default", "small") == moved(moved(PolicyState(), steps[1]), steps[3])
        assert memory.policy_state("default", "mid") == moved(PolicyState(), steps[2])
        assert memory.policy_state("default", "large") == memory.policy_state("other", "small") == PolicyState()

    def test_spending_adds_up_by_purpose_and_model(self, memory: Memory) -> None:
        memory.write(Batch(spending=(spend(1.0), spend(0.5), spend(2.0, purpose="shadow"))))
        memory.write(
            Batch(
                spending=(
                    spend(0.25, estimated=1, unpriced=1, cached_tokens=4, prefix_tokens=3),
                    spend(4.0, namespace="other"),
                )
            )
        )

        assert [(s.namespace, s.purpose, s.calls, s.usd) for s in memory.spending()] == [
            ("default", "serve", 3, 1.75),
            ("default", "shadow", 1, 2.0),
            ("other", "serve", 1, 4.0),
        ]
        assert [s.usd for s in memory.spending("other")] == [4.0]
        assert memory.spending(since=FAR_FUTURE) == []
        assert (memory.spending()[0].input_tokens, memory.spending()[0].output_tokens) == (30, 15)
        assert (memory.spending()[0].unpriced, memory.spending()[0].estimated) == (1, 1)
        assert memory.spending()[0].cached_tokens == 4

    def test_what_was_not_learned_is_counted_by_its_code(self, memory: Memory) -> None:
        coded = [decision(f"{n}", float(n)) for n in range(3)]
        paused = tuple(replace(one, facts={**one.facts, "not_learned": "budget"}) for one in coded[:2])
        memory.write(Batch(decisions=(*paused, coded[2])))
        memory.write(Batch(decisions=paused))  # written again, it is still one decision
        memory.write(Batch(decisions=(replace(paused[0], id="o", namespace="other"),)))

        assert memory.stats().not_learned == {"budget": 3}
        assert memory.stats("default").not_learned == {"budget": 2}
        memory.delete(namespace="default")
        assert memory.stats().not_learned == {"budget": 1}

    def test_decisions_come_newest_first(self, memory: Memory) -> None:
        memory.write(Batch(decisions=(decision("a", 1.0), decision("c", 3.0), decision("b", 2.0, namespace="other"))))

        assert [record.id for record in memory.decisions()] == ["c", "b", "a"]
        assert [record.id for record in memory.decisions(since=2.0)] == ["c", "b"]
        assert [record.id for record in memory.decisions(until=2.0)] == ["b", "a"]
        assert [record.id for record in memory.decisions(since=2.0, until=2.0, limit=1)] == ["b"]
        assert [record.id for record in memory.decisions(limit=1)] == ["c"]
        assert [record.id for record in memory.decisions(namespace="other")] == ["b"]
        assert memory.decision("a") == decision("a", 1.0)

    def test_labels_come_oldest_first_and_the_last_word_on_a_decision_counts(self, memory: Memory) -> None:
        first = label("d", 2.0, expected=0.25, drawn=True, weight=0.5)
        memory.write(Batch(labels=(first, label("e", 1.0), label("f", 3.0, namespace="other"))))

        assert memory.labels() == [label("e", 1.0), first, label("f", 3.0, namespace="other")]
        assert memory.labels("other") == [label("f", 3.0, namespace="other")]
        assert memory.stats().namespaces == ("default", "other")

        memory.write(Batch(labels=(label("d", 4.0, strong=1.0),)))
        assert memory.labels("default") == [label("e", 1.0), label("d", 4.0, strong=1.0)]

    def test_labels_go_with_what_they_are_about(self, memory: Memory) -> None:
        memory.write(Batch((experience("a"), experience("b")), labels=(label("d"), label("e", experience_id="b"))))
        epoch = memory.epoch

        memory.delete(ids=["a"])

        assert memory.labels() == [label("e", experience_id="b")]
        memory.write(Batch(labels=(label("d"),), epoch=epoch))
        assert memory.labels() == [label("e", experience_id="b")]

    # ── answers ──

    def test_judged_answers_come_newest_first_and_each_attempt_once(self, memory: Memory) -> None:
        first, second = judged("d"), judged("d", 1, guide_id="g", agrees=True, gap=-0.5)
        memory.write(Batch(judged=(first, second, judged("e", namespace="other"))))

        assert list(memory.judged_answers()) == [judged("e", namespace="other"), second, first]
        assert list(memory.judged_answers("other")) == [judged("e", namespace="other")]
        assert list(memory.judged_answers("never")) == []
        assert memory.stats().namespaces == ("default", "other")

        memory.write(Batch(judged=(replace(first, weak="four"),)))
        assert [one.weak for one in memory.judged_answers("default")] == ["four", "5"]

    def test_a_bounded_number_of_judged_answers_is_kept(self, memory: Memory, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(kept, "KEPT_JUDGED", 2)
        memory.write(Batch(judged=tuple(judged(id) for id in "abc")))

        assert [one.decision_id for one in memory.judged_answers()] == ["c", "b"]

    def test_a_cached_answer_is_found_by_its_namespace_and_key(self, memory: Memory) -> None:
        memory.write(Batch(cached=(cached("k"), cached("k", namespace="other", until=3.0))))

        assert memory.cached_answer("default", "k") == cached("k")
        assert memory.cached_answer("other", "k") == cached("k", namespace="other", until=3.0)
        assert memory.cached_answer("default", "never") is None
        memory.write(Batch(cached=(cached("k", 2.0, text="anew"),)))
        assert memory.cached_answer("default", "k") == cached("k", 2.0, text="anew")

    def test_cached_answers_are_found_by_kind_and_experience(self, memory: Memory) -> None:
        kept_ = (cached("k"), cached("l", experience_id="b"), cached("m", kind="loud"), cached("n", namespace="other"))
        memory.write(Batch(cached=kept_))

        assert {one.key for one in memory.cached_near("default", "plain", ["a", "b", "never"])} == {"k", "l"}
        assert memory.cached_near("default", "plain", []) == []

    def test_cached_answers_go_when_their_time_is_over_and_the_longest_unused_first(self, memory: Memory) -> None:
        memory.write(Batch(cached=(cached("a", 1.0, until=4.0), cached("b", 2.0), cached("c", 3.0))))
        memory.write(Batch(cached=(cached("b", 2.0, used_at=5.0), cached("o", 1.0, namespace="other"))))
        assert [memory.cached_answer("default", key) is not None for key in "abc"] == [False, True, True]

        memory.write(Batch(cached=(cached("d", 6.0, room=2),)))

        assert [memory.cached_answer("default", key) is not None for key in "bcd"] == [True, False, True]
        assert memory.cached_answer("other", "o") is not None

    def test_answers_go_with_what_they_are_about(self, memory: Memory) -> None:
        about = {"experience_id": "b"}
        memory.write(Batch((experience("a"), experience("b")), judged=(judged("d"), judged("e", **about))))
        memory.write(Batch(cached=(cached("k"), cached("l", **about))))
        epoch = memory.epoch

        memory.delete(ids=["a"])

        assert [one.decision_id for one in memory.judged_answers()] == ["e"]
        assert (memory.cached_answer("default", "k"), memory.cached_answer("default", "l")) == (
            None,
            cached("l", **about),
        )
        memory.write(Batch(judged=(judged("d"),), cached=(cached("k"),), epoch=epoch))
        assert [one.decision_id for one in memory.judged_answers()] == ["e"]
        assert memory.cached_answer("default", "k") is None

    @pytest.mark.parametrize("namespace", ["default", None])
    def test_answers_can_be_dropped_alone(self, memory: Memory, namespace: str | None) -> None:
        told = Told()
        memory.watch(told.forget)
        memory.write(Batch((experience("a"),), judged=(judged("d"),), cached=(cached("k"),)))
        memory.write(Batch(judged=(judged("e", namespace="other"),)))
        epoch = memory.epoch

        assert memory.drop_answers(namespace) == (2 if namespace else 3)

        assert [one.decision_id for one in memory.judged_answers()] == (["e"] if namespace else [])
        assert memory.cached_answer("default", "k") is None
        assert memory.experience("a") is not None
        late = Batch((experience("b"),), judged=(judged("d"),), cached=(cached("k"),), epoch=epoch)
        memory.write(late)
        assert [one.decision_id for one in memory.judged_answers("default")] == []
        assert memory.cached_answer("default", "k") is None
        assert memory.experience("b") is not None
        (gone,) = told.gone
        assert (gone.answers("default"), gone.answers("other")) == (True, namespace is None)
        memory.write(Batch(judged=(judged("d"),)))
        assert [one.decision_id for one in memory.judged_answers("default")] == ["d"]

    # ── delete, export, load ──

    def test_deleted_ids_are_gone_everywhere(self, memory: Memory) -> None:
        memory.write(Batch((experience("a"), experience("b")), (guide("g", state="active"),), (trial("a"),)))
        assert found(memory) == ["a", "b"]

        assert memory.delete(ids=["a", "g", "never"]) == 2

        assert found(memory) == ["b"]
        assert found_guides(memory) == []
        assert memory.experience("a") is None
        assert (memory.stats().experiences, memory.stats().trials, memory.stats().guides) == (1, 0, {})

    def test_a_deleted_namespace_leaves_nothing_behind(self, memory: Memory) -> None:
        self.fill(memory, "default")
        self.fill(memory, "other")

        assert memory.delete(namespace="default") == 3

        assert memory.labels("default") == []
        assert memory.stats().namespaces == ("other",)
        assert [record["namespace"] for record in memory.export() if record["kind"] != "header"] == ["other"] * 9
        assert memory.policy_state("default") == memory.policy_state("default", "weak-1") == PolicyState()
        assert found(memory) == []

    def test_an_export_loads_to_the_same_in_an_empty_memory(self, memory: Memory, other: Memory) -> None:
        self.fill(memory, "default")
        memory.set_guide_state("default-g", "retired")
        records = [json.loads(json.dumps(record)) for record in memory.export()]

        assert other.load(records) == len(records) - 1 == 9

        new_id = experience_id(other.secret, "default", "answer", "What is 2+2?")
        assert other.search(EAST, namespace="default", task="answer")[0].experience.id == new_id
        (kept,) = other.guides()
        assert (kept.origin, kept.state, kept.helpful) == (new_id, "retired", 1)
        assert other.experience(new_id).tallies == memory.experience("default-a").tallies
        assert other.experience(new_id).signature == keyed_digest(other.secret, signature("What is 2+2?"))
        assert other.decisions()[0].experience_id == new_id
        assert other.labels() == [replace(one, experience_id=new_id) for one in memory.labels()]
        assert list(other.judged_answers()) == [replace(one, experience_id=new_id) for one in memory.judged_answers()]
        assert other.policy_state("default") == memory.policy_state("default")
        assert other.policy_state("default", "weak-1") == memory.policy_state("default", "weak-1") != PolicyState()
        assert other.spending() == memory.spending()
        assert other.stats() == memory.stats()
        assert other.stats().not_learned == {"undecided": 1}
        other.write(Batch(trials=tuple(trial(new_id, guide_id="default-g") for _ in range(5))))
        assert other.guides()[0].state == "retired"  # pinned there too

    def test_a_policy_state_of_an_older_export_is_its_namespaces(self, memory: Memory, other: Memory) -> None:
        memory.write(Batch(steps=(PolicyStep("default", 0.1, audit=True),)))
        header, policy = memory.export()
        del policy["model"]

        other.load([header, policy])

        assert other.policy_state("default") == memory.policy_state("default")

    def test_trials_are_kept_by_context_and_user(self, memory: Memory) -> None:
        where = {"context": "read:f:1", "user": "u"}
        memory.write(Batch((experience("a"),), trials=(trial("a"), replace(trial("a", at=2.0), **where))))
        memory.write(Batch(trials=(replace(trial("a", ok=False, at=3.0), **where),)))

        (tally,) = memory.experience("a").tallies
        assert (tally.ok, tally.bad, tally.last_ok) == (2, 1, False)
        plain, other = sorted(tally.origins, key=lambda origin: origin.context)
        assert (plain.context, plain.user, plain.ok, plain.bad) == ("", "", 1, 0)
        assert other == Origin("read:f:1", "u", 1, 1, False, 3.0)
        assert memory.search(EAST, namespace="default", task="answer")[0].experience.tallies == (tally,)

    def test_plain_trials_of_unknown_users_need_no_record_of_where_they_were_made(self, memory: Memory) -> None:
        memory.write(Batch((experience("a"),), trials=(trial("a"), trial("a", ok=False))))

        assert memory.experience("a").tallies[0].origins == ()

    def test_contexts_and_users_are_exported_and_taken_for_none_of_ones_own(
        self, memory: Memory, other: Memory
    ) -> None:
        where = {"context": "read:f:1", "user": "u"}
        memory.write(Batch((experience("a", text=None),), trials=(trial("a"), replace(trial("a"), **where))))

        records = [json.loads(json.dumps(record)) for record in memory.export()]
        other.load(records)

        origins = other.experience("a").tallies[0].origins
        assert {(origin.context, origin.user) for origin in origins} == {("", ""), ("~read:f:1", "~u")}
        for record in records[1:]:
            for tally in record["tallies"]:
                del tally["origins"]  # as an older version exported it
        other.load(records)
        assert other.experience("a").tallies[0].origins == ()

    def test_a_record_without_text_keeps_its_id(self, memory: Memory, other: Memory) -> None:
        memory.write(Batch((experience("a", text=None),)))

        other.load(memory.export())

        assert other.experience("a") == memory.experience("a")

    def test_loading_twice_is_loading_once(self, memory: Memory, other: Memory) -> None:
        self.fill(memory, "default")
        records = list(memory.export())

        other.load(records)
        first = list(other.export())
        other.load(records)

        assert sorted(map(str, other.export())) == sorted(map(str, first))

    def test_an_export_may_be_of_one_namespace(self, memory: Memory) -> None:
        self.fill(memory, "default")
        self.fill(memory, "other")

        namespaces = [record.get("namespace") for record in memory.export("other")]
        assert namespaces == [None, *["other"] * 9]

    @pytest.mark.parametrize(
        ("place", "damage", "said"),
        [
            (1, lambda r: {**r, "format": "something"}, "record 1: no header"),
            (1, lambda r: {**r, "version": 99}, "record 1: format version 99"),
            (2, lambda r: {k: v for k, v in r.items() if k != "embedding"}, "record 2: field 'embedding' is missing"),
            (2, lambda r: {**r, "embedding": "AAAA"}, "record 2: field 'embedding'"),
            (2, lambda r: {**r, "embedding": "§"}, "record 2: field 'embedding'"),
            (2, lambda r: {**r, "tallies": [3]}, "record 2: 3 is no object"),
            (2, lambda r: {**r, "created_at": float("nan")}, "record 2: field 'created_at'"),
            (3, lambda r: {**r, "namespace": 5}, "record 3: field 'namespace' is 5"),
            (4, lambda r: {**r, "state": "magic"}, "record 4: field 'state' is 'magic'"),
            (5, lambda r: {**r, "kind": "novel"}, "record 5: kind 'novel'"),
            (6, lambda r: {**r, "model": 5}, "record 6: field 'model' is 5"),
            (7, lambda r: [], "record 7: "),
            (8, lambda r: {**r, "facts": "none"}, "record 8: field 'facts'"),
            (9, lambda r: {**r, "weak": 2.0}, "record 9: field 'weak' is 2.0"),
            (10, lambda r: {**r, "gap": 2.0}, "record 10: field 'gap' is 2.0"),
            (10, lambda r: {**r, "prompt": '["What is 2+2?"]'}, "record 10: field 'prompt'"),
            (10, lambda r: {**r, "weak": "a" * (kept.LONGEST + 1)}, "record 10: field 'weak'"),
        ],
    )
    def test_a_bad_record_is_named_and_nothing_is_loaded(
        self, memory: Memory, other: Memory, place: int, damage: Any, said: str
    ) -> None:
        self.fill(memory, "default")
        records = list(memory.export())
        records[place - 1] = damage(records[place - 1])

        with pytest.raises(ImportFormatError, match=said):
            other.load(records)

        assert other.stats().experiences == 0
        assert list(other.export())[1:] == []

    def test_an_export_without_a_header_is_refused(self, memory: Memory) -> None:
        with pytest.raises(ImportFormatError, match="record 1"):
            memory.load([])

    def test_an_export_of_another_embedder_is_refused(self, memory: Memory, other: Memory) -> None:
        other.bind("test-2", DIM)

        with pytest.raises(EmbedderMismatchError, match=r"test-2.*test-1"):
            other.load(memory.export())

    # ── sharing and ending ──

    def test_sixteen_threads_write_and_search_and_nothing_is_lost(self, memory: Memory) -> None:
        def work(thread: int) -> None:
            for n in range(10):
                id = f"{thread:02}-{n}"
                memory.write(
                    Batch((experience(id, between(EAST, NORTH, thread / 16)),), trials=(trial(id), trial("00-0")))
                )
                assert id in found(memory, between(EAST, NORTH, thread / 16), limit=200)

        with ThreadPoolExecutor(16) as pool:
            list(pool.map(work, range(16)))

        assert len(found(memory, limit=200)) == memory.stats().experiences == 160
        assert memory.stats().trials == 160 + sum(tally.ok for tally in memory.experience("00-0").tallies) - 1

    def test_each_method_says_that_the_memory_was_closed(self, memory: Memory) -> None:
        memory.close()
        memory.close()

        calls: list[Any] = [
            lambda: memory.bind("test-1", DIM),
            lambda: memory.write(Batch((experience("a"),))),
            lambda: memory.search(EAST, namespace="default", task="answer"),
            lambda: memory.search_guides(EAST, namespace="default", task="answer"),
            lambda: memory.experience("a"),
            lambda: memory.guide("g"),
            memory.guides,
            lambda: memory.set_guide_state("g", "active"),
            memory.changes,
            lambda: memory.policy_state("default"),
            lambda: memory.recall(Query("default", "answer")),
            memory.spending,
            lambda: memory.decision("d"),
            memory.decisions,
            memory.labels,
            memory.stats,
            lambda: memory.delete(ids=["a"]),
            lambda: list(memory.export()),
            lambda: memory.load([]),
        ]
        for call in calls:
            with pytest.raises(ClosedError):
                call()

    def test_statistics_are_told_by_namespace(self, memory: Memory) -> None:
        self.fill(memory, "default")
        self.fill(memory, "other")

        stats = memory.stats("other")
        assert (stats.experiences, stats.guides, stats.trials, stats.decisions) == (2, {"candidate": 1}, 2, 1)
        assert stats.namespaces == ("other",)
        assert memory.stats().experiences == 4

    # ── what is done once ──

    def test_a_batch_with_an_effect_is_written_once(self, memory: Memory) -> None:
        batch = Batch((experience("a"),), trials=(trial("a"),), steps=(PolicyStep("default", 0.1),), effect="d/do")

        assert not memory.applied("d/do")
        for _ in range(2):
            memory.write(batch)

        assert memory.applied("d/do") and not memory.applied("d/check")
        assert memory.stats().trials == 1
        assert memory.policy_state("default").threshold == pytest.approx(0.6)

    def test_an_effect_that_could_not_be_written_can_be_written_later(self, memory: Memory) -> None:
        memory.write(Batch((experience("a"),)))
        with pytest.raises(DimensionError):
            memory.write(Batch((experience("b", np.ones(3, np.float32)),), effect="d/do"))

        assert not memory.applied("d/do")
        memory.write(Batch((experience("b"),), effect="d/do"))
        assert memory.stats().experiences == 2

    def test_an_effect_counts_also_where_nothing_else_is_written(self, memory: Memory) -> None:
        memory.write(Batch(effect="d/do"))

        assert memory.applied("d/do")

    def test_of_threads_that_write_an_effect_at_once_one_does(self, memory: Memory) -> None:
        memory.write(Batch((experience("a"),)))
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda _: memory.write(Batch(trials=(trial("a"),), effect="d/do")), range(8)))

        assert memory.stats().trials == 1

    def test_one_owner_at_a_time_has_a_claim(self, memory: Memory) -> None:
        assert memory.claim("k", "one", 60.0) and memory.claim("k", "one", 60.0) and memory.claim("other", "two", 60.0)
        assert not memory.claim("k", "two", 60.0)

        memory.release("k", "two")
        assert not memory.claim("k", "two", 60.0)
        memory.release("k", "one")
        assert memory.claim("k", "two", 60.0)

    def test_a_claim_ends_with_its_time(self, memory: Memory) -> None:
        assert memory.claim("k", "one", 0.0)
        assert memory.claim("k", "two", 60.0)

    @staticmethod
    def fill(memory: Memory, namespace: str) -> None:
        """Two experiences, two policy states, and one each of guide, spending, decision, label and judged answers.

        That is nine to export; a cached answer is not exported.
        """
        a = experience(f"{namespace}-a", namespace=namespace, text="What is 2+2?")
        b = experience(f"{namespace}-b", NORTH, namespace=namespace, text="Why?")
        memory.write(
            Batch(
                (a, b),
                (guide(f"{namespace}-g", namespace=namespace, origin=a.id),),
                (trial(a.id), trial(b.id, guide_id=f"{namespace}-g")),
                (PolicyStep(namespace, 0.1, audit=True), PolicyStep(namespace, 0.0, error=True, model="weak-1")),
                (spend(1.0, namespace=namespace),),
                (
                    decision(
                        f"{namespace}-d",
                        namespace=namespace,
                        experience_id=a.id,
                        facts={"reason": "known", "not_learned": "undecided"},
                    ),
                ),
                (label(f"{namespace}-d", namespace=namespace, experience_id=a.id),),
                (judged(f"{namespace}-d", namespace=namespace, experience_id=a.id, guide_id=f"{namespace}-g"),),
                (cached("k", namespace=namespace, experience_id=a.id),),
            )
        )
