"""The same question in other words: what forbids it, what the learned bound keeps, and what the router makes of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from rar import Router
from rar.context import Context
from rar.errors import ConfigurationError
from rar.learning.paraphrase import Pair, closeness, fit, stated_error
from rar.learning.policy import FloorPolicy, PaperPolicy
from rar.values import STRONG, WEAK, Decision, Request, Route, question
from rar.wording import LONGEST, Difference, difference, words_of
from tests.core.rewordings import TOPICS, easy, teach, topic, unseen
from tests.core.world import Scripted, serve

# --- how texts differ -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 3 times 14?", "What is 3 times 15?"),
        ("Is it safe to swim there?", "Is it not safe to swim there?"),
        ("Can I pay with cash?", "Can't I pay without cash?"),
        ("What is the capital of France?", "What is the capital of Spain?"),
        ("Is it not so that none came?", "Is it so that none came?"),
        ("Which is least, x or -7?", "Which is least, x or 7?"),
        ("Is the sum x + y even?", "Is the sum x - y even?"),
        ("Which holds?\nA. tea\nB. ale", "Which one holds?\nA. tea\nB. ale"),
        ("Donald Trump won. What follows?", "Sean Trump won. What follows?"),
        ("What do Indians think of India?", "What do Indians think of Spain?"),
        ("How is Messi better than Ronaldo?", "How is Ronaldo better than Messi?"),
        ("What do people in Denver think of Seattle?", "What is thought in Seattle of Denver?"),
        ("What did she do before the war?", "What did she do after the war?"),
        ("Would he help her?", "Would she help him?"),
        ("Does Anna trust Bela?", "Is Anna trusted by Bela?"),
        ("Who wrote seven of the plays?", "Who wrote eight of the plays?"),
        ("How do you convert ethane to ethene?", "How do you convert ethene to ethane?"),
        ("Ist das Wasser trinkbar?", "Ist das Wasser nicht trinkbar?"),
    ],
)
def test_what_makes_another_question_forbids(one: str, other: str) -> None:
    assert difference(words_of(one), words_of(other)) is None


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (
            "How do I change my address?",
            "How can I change the address?",
            Difference(1.0, replaced=0, added=0, opener=False, named=False, shared=2),
        ),
        (
            "Why was my card declined?",
            "What made my card get refused?",
            Difference(4 / 16, replaced=1, added=1, opener=True, named=False, shared=1),
        ),
        (
            "How can I earn money?",
            "How can I earn money in India?",
            Difference(8 / 13, replaced=0, added=1, opener=False, named=True, shared=2),
        ),
        ("Who rules Japan?", "Who is the ruler of Japan now?", Difference(5 / 17, 1, 1, False, False, 1)),
    ],
)
def test_other_differences_are_measured_both_ways_round(one: str, other: str, expected: Difference) -> None:
    for first, second in ((one, other), (other, one)):
        found = difference(words_of(first), words_of(second))
        assert found is not None
        assert found.overlap == pytest.approx(expected.overlap, abs=0.08)
        assert (found.replaced, found.added) == (expected.replaced, expected.added)
        assert (found.opener, found.named, found.shared) == (expected.opener, expected.named, expected.shared)


@pytest.mark.parametrize(
    "text",
    [
        "x" * (LONGEST + 1),
        "How do you spell this word?",
        "What does `a or b` give?",
        "東京の首都",
        "and the?",
        "",
    ],
)
def test_texts_that_cannot_be_compared_stand_for_no_other(text: str) -> None:
    assert difference(words_of(text), words_of(text)) is None


# --- the bound --------------------------------------------------------------------------------------------------------


def pair(similarity: float, agreed: float = 1.0, differed: float = 0.0) -> Pair:
    return Pair(similarity, Difference(0.5, 1, 0, False, False, 2), agreed, differed)


def drawn(n: int, seed: int) -> tuple[list[Pair], list[bool]]:
    """Pairs that agree the likelier, the nearer they are and the better their record is."""
    chance = np.random.default_rng(seed)
    similarities, shares = chance.uniform(0.7, 1.0, n), chance.uniform(0.0, 1.0, n)
    scores = 40.0 * (similarities - 0.85) + 12.0 * (shares - 0.5)
    agreed = chance.random(n) < 1.0 / (1.0 + np.exp(-scores))
    pairs = [pair(float(s), 2.0 * a, 2.0 * (1.0 - a)) for s, a in zip(similarities, shares, strict=True)]
    return pairs, agreed.tolist()


@pytest.mark.parametrize("error", [0.02, 0.05, 0.1])
def test_of_what_it_lets_pass_it_keeps_the_stated_error(error: float) -> None:
    known, agreed = drawn(3_000, 0)
    bound = fit(known, agreed, error)
    fresh, truth = drawn(6_000, 1)

    passed = [ok for one, ok in zip(fresh, truth, strict=True) if bound.chance(one) is not None]

    assert 1.0 - np.mean(passed) <= error + 0.01
    assert len(passed) > 300  # and it lets pass what it may


def test_a_chance_falls_with_similarity_and_record() -> None:
    bound = fit(*drawn(3_000, 0), 0.1)

    near, nearer = bound.chance(pair(0.93, 1.2, 0.8)), bound.chance(pair(0.96, 1.2, 0.8))

    assert near is not None and nearer is not None and nearer < near <= 0.1
    assert bound.chance(pair(0.96, 0.2, 1.8)) is None


@pytest.mark.parametrize("agreed", [[True] * 49, [True, False] * 200])
def test_few_pairs_and_pairs_that_say_nothing_let_nothing_pass(agreed: list[bool]) -> None:
    bound = fit([pair(0.9)] * len(agreed), agreed, 0.02)

    assert not bound.holds
    assert bound.chance(pair(1.0, 99.0)) is None


def test_a_pair_that_stands_for_several_counts_so() -> None:
    agreed = [True] * 100 + [False]

    assert fit([pair(0.9)] * 101, agreed, 0.03).holds
    assert not fit([pair(0.9)] * 101, agreed, 0.03, [1.0] * 100 + [5.0]).holds


def test_a_floor_bounds_the_stated_error() -> None:
    assert stated_error(0.1, FloorPolicy(0.95)) == pytest.approx(0.05)
    assert stated_error(0.02, FloorPolicy(0.95)) == 0.02
    assert stated_error(0.02, FloorPolicy(1.0)) == 0.0
    assert stated_error(0.02, PaperPolicy()) == 0.02
    assert stated_error(None, FloorPolicy()) is None
    assert closeness(-0.5) == 0.0


# --- the router -------------------------------------------------------------------------------------------------------


@contextmanager
def router(**options: Any) -> Iterator[Router]:
    usual = {"embedder": "hashing", "learning": "inline", "learning_budget": None, "audit_rate": 0.0, "seed": 1}
    with Router(memory=":memory:", **(usual | options)) as made:
        assert made.memory is not None
        yield made


def models() -> dict[str, Scripted]:
    return {
        "weak": Scripted("small", lambda call: "yes"),
        "strong": Scripted("large", lambda call: "yes"),
    }


def decide(asked: Router, n: int, **fields: Any) -> Decision:
    return asked.decide(question(unseen(n), **fields), models())


def reasons(asked: Router, **fields: Any) -> set[str]:
    return {decide(asked, n, **fields).choice.reason for n in range(TOPICS)}


def test_a_question_in_other_words_follows_the_verdict() -> None:
    with router() as asked:
        teach(asked.memory)
        decisions = [decide(asked, n) for n in range(TOPICS)]

    for n, decision in enumerate(decisions):
        assert (decision.choice.reason == "memory_paraphrase") is easy(n)
        assert decision.model == (WEAK if easy(n) else STRONG)
    route = decisions[0].choice
    assert isinstance(route, Route) and route.confidence is not None and route.expected is not None
    assert route.confidence >= 0.97 and 0.0 <= route.expected <= 0.03


def test_it_is_explained() -> None:
    with router() as asked:
        teach(asked.memory)
        decision, _ = serve(asked, models(), question(unseen(0)))
        facts = asked.explain(decision.id)

    said = "This was asked before in other words, and the weak model agreed with the strong one (similarity 0.9"
    assert facts["why"].startswith(said)
    assert facts["why"].endswith("; a chance of 2 % that it does not do so here).")


@pytest.mark.parametrize("options", [{"paraphrase": None}, {"paraphrase": 0.0}, {"quality": 1.0}])
def test_it_can_be_turned_off(options: dict[str, Any]) -> None:
    with router(**options) as asked:
        teach(asked.memory)

        assert "memory_paraphrase" not in reasons(asked)


@pytest.mark.parametrize("value", [-0.1, 2, "yes", True, math.nan])
def test_what_is_no_share_is_refused(value: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"paraphrase=.*None: take none over"):
        Router(memory=None, paraphrase=value)


def test_tools_and_texts_that_are_not_stored_follow_none() -> None:
    with router() as asked:
        teach(asked.memory, task="tools:abc")
        assert "memory_paraphrase" not in reasons(asked, task="tools:abc")
    with router(store_text=False) as asked:
        teach(asked.memory, text=False)
        assert "memory_paraphrase" not in reasons(asked)


@pytest.mark.parametrize(
    "text",
    [
        "How could I not open a {0} account at the {0} counter?",
        "How could I open 3 {0} accounts at the {0} counter?",
        "How could I open a {0} account at the {0} counter before May?",
    ],
)
def test_what_asks_something_else_follows_none(text: str) -> None:
    with router() as asked:
        teach(asked.memory)
        decision = asked.decide(question(text.format(topic(0))), models())

    assert decision.choice.reason != "memory_paraphrase"


def test_verdicts_of_a_users_context_stay_there() -> None:
    context = Context("read", "Answer by the context.", "Context: say yes to all")
    with router() as asked:
        teach(asked.memory, context=context.label(asked.memory.secret))

        assert "memory_paraphrase" not in reasons(asked)
        assert "memory_paraphrase" in reasons(asked, context=context)


def test_it_is_audited_like_a_borrowed_verdict() -> None:
    with router(audit_rate=0.05) as asked:
        teach(asked.memory)
        found = [decide(asked, n % TOPICS) for n in range(0, 10 * TOPICS, 2)]

    drawn = [one for one in found if one.choice.reason == "audit"]
    assert 0.06 < len(drawn) / len(found) < 0.2
    assert all(one.model == STRONG and one.choice.chance == pytest.approx(0.125) for one in drawn)  # type: ignore[union-attr]


def test_a_verdict_that_an_audit_refutes_is_taken_over_no_more() -> None:
    wrong = models() | {"weak": Scripted("small", lambda call: "no")}
    with router(audit_rate=0.05) as asked:
        teach(asked.memory)
        for _ in range(300):
            before, _ = serve(asked, wrong, question(unseen(0)))
            if before.choice.reason == "audit":
                break
        other: Request = question("How might I open a " + topic(0) + " account at the " + topic(0) + " counter?")
        after = asked.decide(other, wrong)

    assert before.choice.reason == "audit"
    assert after.choice.reason != "memory_paraphrase"
