"""A cascade that learns in production which drafts may be served: `Cascade("learned")`."""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rar import Answer, Reply, Route, Router
from rar.errors import ConfigurationError, UnknownNameError
from rar.evidence import Evidence, Expected, Standing
from rar.facts import attempts_of
from rar.learning.crossfit import belief
from rar.learning.drafting import Drafting, with_drafts
from rar.learning.learner import Lesson
from rar.learning.packing import Packer, unpack
from rar.learning.policy import FloorPolicy
from rar.learning.signs import SIZE, signs_of
from rar.memory.base import PolicyState
from rar.recent import slim
from rar.strategies import Cached, Cascade
from rar.strategy import drafters, keeps_floor
from rar.values import Call, Choice, Decision, Draft, question
from tests.core.world import Scripted, serve

_NAMES = ["amber", "birch", "cedar", "delta", "ember", "flint", "grove", "heron", "iris", "juniper", "kelp", "larch"]
PRICES = {"weak": (0.1, 0.1), "strong": (1.0, 1.0)}


def asked(n: int) -> str:
    """A question that does not show whether the weak model knows the answer."""
    words = random.Random(n).sample(_NAMES, 4)
    return f"On which shelf is the {' '.join(words)} box number {n}?"


def _shelf(call: Call) -> int:
    found = re.search(r"number (\d+)", call.request.key or "")
    assert found is not None
    return int(found[1]) * 7 % 100


def _knows(shelf: int) -> bool:
    return shelf % 2 == 0


def _weak(call: Call) -> str:
    shelf = _shelf(call)
    return f"Shelf {shelf}." if _knows(shelf) else f"I am not certain, but perhaps it could be on shelf {shelf + 1}."


def pair() -> dict[str, Scripted]:
    return {"weak": Scripted("small-1", _weak), "strong": Scripted("big-1", lambda call: f"Shelf {_shelf(call)}.")}


def same_shelf(request: object, reference: Reply, candidate: Reply) -> bool:
    return re.findall(r"\d+", reference.text) == re.findall(r"\d+", candidate.text)


def router(memory: Any = ":memory:", **options: Any) -> Router:
    usual: dict[str, Any] = {
        "strategy": Cascade("learned"), "embedder": "hashing", "judge": same_shelf, "learning": "inline",
        "guides": False, "seed": 0, "prices": PRICES,
    }  # fmt: skip
    return Router(memory=memory, **{**usual, **options})


def run(router: Router, numbers: range, models: dict[str, Scripted] | None = None) -> list[Decision]:
    models = models or pair()
    return [serve(router, models, question(asked(n)))[0] for n in numbers]


def accepted(decisions: list[Decision]) -> list[int]:
    """The shelves that were asked for where a draft was served."""
    found = [re.search(r"number (\d+)", d.request.key or "") for d in decisions if isinstance(d.choice, Answer)]
    return [int(match[1]) * 7 % 100 for match in found if match is not None]


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Decision], dict[str, Scripted]]:
    """A memory after 200 requests, what was decided, and the models with their calls."""
    path, models = tmp_path_factory.mktemp("taught") / "rar.db", pair()
    with router(path) as first:
        return path, run(first, range(200), models), models


def test_while_nothing_is_known_every_draft_is_escalated_and_judged_by_the_answer() -> None:
    models = pair()
    with router() as new:
        decisions = run(new, range(8), models)

        assert {decision.choice.reason for decision in decisions} == {"drafts_rejected"}
        assert (models["weak"].calls, models["strong"].calls) == (Counter(draft=8), Counter(serve=8))
        facts = new.explain(decisions[-1].id)
    (attempt,) = attempts_of(facts, "small-1", "big-1")
    assert len(attempt.signs) == SIZE


def test_it_learns_which_drafts_are_good(taught: tuple[Path, list[Decision], dict[str, Scripted]]) -> None:
    _, decisions, models = taught
    served = accepted(decisions[100:])

    assert len(served) > 25  # of about 50 that are good
    assert np.mean([_knows(shelf) for shelf in served]) > 0.95
    assert models["strong"].calls["audit"] == models["weak"].calls["shadow"] == 0


def test_some_good_drafts_are_checked_by_serving_the_strong_answer(
    taught: tuple[Path, list[Decision], dict[str, Scripted]],
) -> None:
    audits = [decision for decision in taught[1] if decision.choice.reason == "audit"]

    assert 5 < len(audits) < 60
    assert all(isinstance(one.choice, Route) and one.model == "strong" and one.choice.drafts for one in audits)
    with router(taught[0]) as known:
        assert known.stats().quality["default"]["new"].audits >= len(audits) - 1


def test_what_was_learned_outlives_the_process(taught: tuple[Path, list[Decision], dict[str, Scripted]]) -> None:
    with router(taught[0], read_only=True) as next_one:
        served = accepted(run(next_one, range(500, 540)))

    assert len(served) > 10
    assert all(map(_knows, served))


def test_trials_of_rar_teach_it_too(tmp_path: Path) -> None:
    path = tmp_path / "rar.db"
    with router(path, strategy=None, quality=0.999) as rar:
        run(rar, range(100))
    with router(path) as cascade:
        assert len(accepted(run(cascade, range(200, 260)))) > 10


def test_the_same_seed_decides_the_same() -> None:
    with router() as one, router() as other:
        first, second = (run(each, range(50)) for each in (one, other))

    assert [d.choice.reason for d in first] == [d.choice.reason for d in second]


def test_a_question_that_was_judged_needs_no_draft(taught: tuple[Path, list[Decision], dict[str, Scripted]]) -> None:
    models = pair()
    with router(taught[0], read_only=True) as known:
        decisions = run(known, range(40), models)

    reasons = {decision.choice.reason for decision in decisions}
    assert reasons <= {"memory_weak", "memory_strong", "memory_unsure", "draft_accepted", "drafts_rejected"}
    assert {"memory_weak", "memory_strong"} <= reasons
    assert models["weak"].calls["draft"] <= 8


def test_no_draft_is_asked_for_where_it_costs_more_than_it_may_save(
    taught: tuple[Path, list[Decision], dict[str, Scripted]],
) -> None:
    models = pair()
    dear = {"weak": (0.99, 0.99), "strong": (1.0, 1.0)}
    with router(taught[0], read_only=True, prices=dear) as known:
        decisions = run(known, range(600, 610), models)

    assert {decision.choice.reason for decision in decisions} == {"no_draft"}
    assert models["weak"].calls == Counter()


def test_nothing_is_kept_of_a_text_where_none_may_be() -> None:
    with router(store_text=False) as private:
        found = accepted(run(private, range(110)))

        assert len(found) > 5
        assert all("box number" not in str(record.facts) for record in private.memory.decisions())  # type: ignore[union-attr]


def test_without_a_memory_the_strong_model_answers() -> None:
    models = pair()
    with router(None) as plain:
        assert [decision.choice.reason for decision in run(plain, range(3), models)] == ["no_evidence"] * 3
    assert models["weak"].calls == Counter()


def test_a_draft_that_fails_costs_nobody_an_answer() -> None:
    models = pair()
    models["weak"].answer = lambda call: ""
    with router() as new:
        assert [decision.choice.reason for decision in run(new, range(3), models)] == ["drafts_failed"] * 3
    assert models["weak"].calls == Counter(draft=3)


def test_a_cache_may_go_around_it() -> None:
    cached = Cached(Cascade("learned"))

    assert keeps_floor(cached)
    assert drafters(cached) == ("weak",)


@pytest.mark.parametrize(
    ("models", "threshold"), [(["weak", "coder"], 0.5), (["weak", "weak", "strong"], 0.5), (["weak", "strong"], 0.7)]
)
def test_what_cannot_work_is_refused(models: list[str], threshold: float) -> None:
    with pytest.raises(ConfigurationError):
        Cascade("learned", models, threshold)


def test_a_name_that_does_not_exist_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="learned"):
        Cascade("leaned")  # type: ignore[arg-type]


# --- its parts ------------------------------------------------------------------------------------------------------


class Score:
    """Expects the first sign for a gap."""

    reach = 0.1

    def expect(self, signs: Any) -> Expected:
        return Expected(float(signs[0]), 0.0, 0.2, 200)


def evidence(*, draw: float = 0.99, chance: float = 0.99, learned: float = 0.3, price: float = 0.1) -> Evidence:
    standing = Standing("weak", "small-1", learned=learned, examples=200, price=price, drafts=Score())
    return Evidence("big-1", (standing,), state=PolicyState(threshold=0.8, calls=500), draw=draw, chance=chance)


def draft(gap: float) -> Draft:
    return Draft(Reply("weak", "4"), Expected(gap, 0.0, 0.2, 200))


def test_a_draft_is_served_by_what_is_expected_of_it_and_not_of_the_question() -> None:
    known = evidence(learned=0.9)
    choose = Drafting(FloorPolicy()).choose

    served = choose(known.standings[0], known, (draft(0.02),))
    assert (served.model, served.reason, served.expected) == ("weak", "draft_accepted", pytest.approx(0.02))
    assert choose(known.standings[0], known, (draft(0.4),)).reason == "drafts_rejected"
    checked = choose(known.standings[0], evidence(draw=0.0), (draft(0.02),))
    assert (checked.model, checked.reason, checked.audit) == ("strong", "audit", True)


@pytest.mark.parametrize(
    ("learned", "price", "worth"),
    [(0.2, 0.1, True), (0.3, 0.02, True), (0.3, 0.5, False), (0.9, 0.1, False)],
)
def test_a_draft_is_worth_asking_for_by_its_chance_and_its_price(learned: float, price: float, worth: bool) -> None:
    known = evidence(learned=learned, price=price)

    assert Drafting(FloorPolicy()).worth_asking(known.standings[0], known) is worth


def test_chance_has_some_hopeless_drafts_asked_for_all_the_same() -> None:
    curious, idle = evidence(learned=0.9, chance=0.0), evidence(learned=0.9, chance=0.0, draw=1.0)

    assert Drafting(FloorPolicy()).worth_asking(curious.standings[0], curious)
    assert not Drafting(FloorPolicy()).worth_asking(idle.standings[0], idle)


def test_audits_are_held_against_what_was_expected_of_the_draft() -> None:
    known = evidence()
    found = with_drafts(known, Route("strong", drafts=(draft(0.07),)))

    assert found.standings[0].learned == 0.07
    assert with_drafts(known, Route("strong")) is known


def test_signs_tell_doubt_whole_numbers_and_agreement_and_quote_nothing() -> None:
    request = question("How much is 17 plus 25?")
    sure, unsure = signs_of(request, Reply("weak", "42")), signs_of(request, Reply("weak", "Perhaps 41.5"))
    alike = signs_of(request, Reply("coder", "42"), [Reply("weak", "42")])
    apart = signs_of(request, Reply("coder", "42"), [Reply("weak", "41")])

    assert len(sure) == len(unsure) == SIZE
    assert sure != unsure
    assert (alike[-2:], apart[-2:], sure[-2:]) == ((1.0, 1.0), (-1.0, 1.0), (0.0, 0.0))


def test_a_wary_fit_believes_little_of_what_luck_may_have_brought() -> None:
    chance = np.random.default_rng(0)
    parts, noise = chance.normal(size=(200, 2)), chance.normal(size=200)
    ones = np.ones(200)
    lucky, real = parts[:, 0] + 4.0 * noise, parts[:, 0] + 0.1 * noise

    assert belief(parts, lucky, ones, wary=True)[0] < belief(parts, lucky, ones)[0] - 0.2
    assert belief(parts, real, ones, wary=True)[0] > 0.95


def test_a_kept_decision_holds_no_text_of_a_draft() -> None:
    choices: list[Choice] = [
        Route("strong", drafts=(draft(0.1),)),
        Answer(Reply("weak", "4"), by=Route("weak", drafts=(draft(0.1),))),
    ]
    for choice in choices:
        kept = slim(Decision("d", question("2 + 2?"), choice, 0.0)).route

        assert kept is not None
        assert [one.reply.text for one in kept.drafts] == [""]


def test_a_lesson_with_drafts_can_be_studied_by_another_process() -> None:
    packer = Packer(b"secret")
    found = Route("strong", None, "drafts_rejected", 0.5, drafts=(draft(0.4),), spares=True)
    decision = Decision("d", replace(question("2 + 2?"), evidence=evidence()), found, 0.0)

    packed = packer.pack(Lesson(decision, Reply("strong", "4"), pair()))

    assert packed is not None
    (back,) = unpack(packed, pair()).decision.choice.drafts  # type: ignore[union-attr]
    assert (back.reply.text, back.expected) == ("4", draft(0.4).expected)
