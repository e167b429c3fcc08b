"""Which guides are tried on a request, and when a new one is worth its price."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from rar.evidence import Evidence, Standing
from rar.learning.expected import Expectation
from rar.learning.policy import FloorPolicy
from rar.learning.prospects import Prospects, Scout, drawn_by_chance, weight_of
from rar.learning.shadow import Attempt, Findings
from rar.memory import SQLiteMemory
from rar.memory.base import Batch
from rar.values import STRONG, WEAK, Arm, Experience, Guide, GuideState, Match, Request, Route, Tally, Vector, question

HERE = np.array([1.0, 0.0], np.float32)
NEAR = np.array([0.8, 0.6], np.float32)
FAR = np.array([0.0, 1.0], np.float32)
ASKED = question("How far is it?", embedding=HERE)
EXPECTED = FloorPolicy().expected


@pytest.fixture
def memory() -> Iterator[SQLiteMemory]:
    with SQLiteMemory(":memory:") as opened:
        yield opened


def guide(
    id: str, place: Vector = HERE, *, helpful: int = 0, harmful: int = 0, state: GuideState = "candidate"
) -> Guide:
    return Guide(id, "default", "answer", f"steps of {id}", place, "big", f"origin of {id}", state, helpful, harmful)


def seen(id: str, *, alone: bool = False, at: float = 0.0, **guides: bool) -> Match:
    """A near request on which the model was tried alone, and with guides, by their ids."""
    tried: dict[str | None, bool] = {None: alone, **guides}
    tallies = tuple(Tally(one, "small", "big", int(ok), int(not ok), ok, at) for one, ok in tried.items())
    return Match(Experience(id, "default", "answer", "q", "s", HERE, tallies, created_at=at), 0.8)


def look(
    memory: SQLiteMemory,
    *matches: Match,
    guides: Sequence[Guide] = (),
    alone: bool = False,
    expected: Expectation | None = EXPECTED,
    request: Request = ASKED,
    now: float = 10.0,
) -> Prospects:
    memory.write(Batch(guides=tuple(guides)))
    known = Evidence("big", (Standing(WEAK, "small"),), matches=matches, start=0.5, now=now)
    return Scout(memory, None, near=0.5, tries=3, expected=expected).look(request, known, alone=alone)


def ids(guides: Sequence[Guide]) -> list[str]:
    return [one.id for one in guides]


class TestWriting:
    def test_the_first_guide_of_a_new_namespace_is_worth_it(self, memory: SQLiteMemory) -> None:
        assert look(memory).worth_writing

    def test_no_other_is_written_while_one_is_on_trial_or_works(self, memory: SQLiteMemory) -> None:
        on_trial = look(memory, *(seen(str(n)) for n in range(6)), guides=[guide("g")])
        works = look(memory, *(seen(str(n), g=True) for n in range(6)))

        assert not on_trial.worth_writing
        assert not works.worth_writing

    def test_another_is_written_once_the_last_has_a_record_and_lost(self, memory: SQLiteMemory) -> None:
        kind = (seen(str(n), g=False, at=float(n)) for n in range(8))

        assert look(memory, *kind, guides=[guide("g")]).worth_writing

    def test_each_guide_that_was_lost_makes_the_next_less_worth_it(self, memory: SQLiteMemory) -> None:
        kind = [seen(str(n), at=float(n)) for n in range(10)]
        lost = [guide(str(n), state="retired") for n in range(5)]

        worth = [look(memory, *kind, guides=lost[:many]).worth_writing for many in range(6)]

        assert worth == sorted(worth, reverse=True)
        assert worth[1] and not worth[-1]

    def test_where_guides_are_hardly_used_a_kind_must_come_again_first(self, memory: SQLiteMemory) -> None:
        unused = [guide(str(n), FAR) for n in range(4)]

        assert not look(memory, guides=unused).worth_writing
        assert look(memory, *(seen(str(n), at=float(n)) for n in range(4)), guides=unused).worth_writing

    def test_a_kind_that_no_longer_comes_is_not_worth_it(self, memory: SQLiteMemory) -> None:
        unused = [guide(str(n), FAR) for n in range(4)]
        kind = [seen(str(n), at=float(n)) for n in range(4)]

        assert not look(memory, *kind, guides=unused, now=1_000.0).worth_writing

    def test_where_the_model_alone_will_mostly_do_a_guide_saves_little(self, memory: SQLiteMemory) -> None:
        kind = [seen(str(n), alone=n > 0, at=float(n)) for n in range(8)]

        assert look(memory, *kind).worth_writing
        assert not look(memory, *kind, alone=True).worth_writing

    def test_the_published_rule_always_writes(self, memory: SQLiteMemory) -> None:
        found = look(memory, *(seen(str(n), g=True) for n in range(6)), guides=[guide("g")], expected=None)

        assert found.worth_writing and found.fair == () and ids(found.guides) == ["g"]


class TestTrying:
    def test_the_likeliest_guide_is_tried_whatever_works_and_one_that_is_new(self, memory: SQLiteMemory) -> None:
        good, new, far = guide("good", NEAR, helpful=30), guide("new"), guide("far", FAR)
        found = look(memory, *(seen(str(n), good=True) for n in range(6)), guides=[good, new, far])

        assert ids(found.fair) == ["good", "new"]

    def test_one_that_was_tried_enough_is_not_tried_beside_one_that_works(self, memory: SQLiteMemory) -> None:
        good, old = guide("good", NEAR, helpful=30), guide("old", helpful=15, harmful=15)
        found = look(memory, *(seen(str(n), good=True) for n in range(6)), guides=[good, old])

        assert ids(found.fair) == ["good"]

    def test_one_that_is_for_another_kind_is_left_alone_here(self, memory: SQLiteMemory) -> None:
        other = guide("other", NEAR, helpful=30, harmful=4)
        found = look(memory, *(seen(str(n), other=False) for n in range(8)), guides=[other])

        assert found.guides == found.fair == ()

    def test_a_guide_is_known_by_the_requests_that_it_was_tried_on(self, memory: SQLiteMemory) -> None:
        found = look(memory, seen("a", far=True), guides=[guide("far", FAR)])

        assert ids(found.fair) == ["far"]

    def test_what_was_given_up_is_not_tried(self, memory: SQLiteMemory) -> None:
        assert look(memory, guides=[guide("g", state="retired"), guide("q", state="quarantined")]).guides == ()


def test_what_chance_chose_is_judged_with_all_that_costs_less() -> None:
    known, helped = Evidence("big", (Standing(WEAK, "small"), Standing("mid", "middle"))), guide("g")

    assert drawn_by_chance(Route(STRONG), known) == []
    assert drawn_by_chance(Route(STRONG, instead_of=Arm(WEAK)), known) == [Arm(WEAK)]
    assert drawn_by_chance(Route(STRONG, instead_of=Arm("mid")), known) == [Arm("mid"), Arm(WEAK)]
    assert drawn_by_chance(Route(STRONG, instead_of=Arm(WEAK, helped)), known) == [Arm(WEAK, helped), Arm(WEAK)]


class TestDearTrials:
    """The dearer calls of the weak model are, the fewer guides are tried where it works alone, each for the more."""

    def look(self, memory: SQLiteMemory, price: float, chance: float) -> Prospects:
        memory.write(Batch(guides=(guide("g"),)))
        known = Evidence("big", (Standing(WEAK, "small", price=price),), start=0.5, now=10.0, chance=chance)
        return Scout(memory, None, near=0.5, tries=3, expected=EXPECTED).look(ASKED, known, alone=False)

    @pytest.mark.parametrize(("price", "share"), [(0.0, 1.0), (0.1, 1.0), (0.4, 0.5), (1.0, 0.2)])
    def test_chance_decides_by_their_price(self, memory: SQLiteMemory, price: float, share: float) -> None:
        drawn = [self.look(memory, price, (n + 0.5) / 100.0) for n in range(100)]

        assert sum(one.fair != () for one in drawn) == round(100 * share)
        assert {one.stands for one in drawn} == {1.0 / share}
        assert all(ids(one.guides) == ["g"] for one in drawn)  # in search of one that works, guides are tried anyway

    @pytest.mark.parametrize(("alone", "weight"), [(True, 4.0), (False, 1.0)])
    def test_a_trial_stands_for_those_that_were_passed_over(self, alone: bool, weight: float) -> None:
        by_guide, plain = attempt(guide("g"), ok=True), attempt(None, ok=alone)
        found = Findings([plain, by_guide], stands=4.0)

        assert weight_of(by_guide, found, Route(STRONG)) == weight
        assert weight_of(plain, found, Route(STRONG)) == 1.0

    def test_what_an_audit_preferred_was_tried_for_itself(self) -> None:
        helped = guide("g")
        by_guide, plain = attempt(helped, ok=True, drawn=True), attempt(None, ok=True, drawn=True)
        found, audit = Findings([by_guide, plain], stands=4.0), Route(STRONG, chance=0.5)

        assert weight_of(by_guide, found, replace(audit, instead_of=Arm(WEAK, helped))) == 2.0
        assert weight_of(by_guide, found, replace(audit, instead_of=Arm(WEAK))) == 8.0


def attempt(guide: Guide | None, *, ok: bool, drawn: bool = False) -> Attempt:
    return Attempt(WEAK, guide, ok, "exact", drawn=drawn)
