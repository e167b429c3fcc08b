"""The shadow ladder, played by hand: which calls it asks for, in which order, and what it makes of the answers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rar.learning.judges import ExactJudge
from rar.learning.shadow import Findings, Ladder
from rar.sampling import FRESH, Sampling
from rar.strategy import Outcome, Steps
from rar.values import Arm, Call, Failure, Guide, Reply, Request, question

QUESTION = question("What is the capital of the country of the river Seine?", embedding=np.ones(2, np.float32))
RIGHT, WRONG = "Paris", "Berlin"
STEPS = (
    "Use when: a capital is asked for.\n1. Name the river's country.\n2. Recall that country's seat of government.\n"
    "3. Give only its name.\nAvoid: guessing."
)
REFERENCE = Reply("strong", RIGHT)


def guide(id: str) -> Guide:
    return Guide(id, "default", "answer", "1. Think of rivers.", np.ones(2, np.float32), "big", "e", "active", 2)


def play(
    steps: Steps[Findings], answer: Callable[[Call], Outcome]
) -> tuple[list[tuple[str, str, str | None]], Findings]:
    """Run `steps`, answering each call by `answer`; return the calls (model, purpose, guide id) and the findings."""
    calls: list[tuple[str, str, str | None]] = []
    try:
        batch = next(steps)
        while True:
            calls += [(call.model, call.purpose, call.guide and call.guide.id) for call in batch]
            batch = steps.send([answer(call) for call in batch])
    except StopIteration as stop:
        return calls, stop.value


def weak(call: Call, text: str) -> Reply:
    return Reply(call.model, text)


def test_rung_a_weak_alone_works_and_nothing_more_is_asked() -> None:
    calls, found = play(Ladder(ExactJudge()).steps(QUESTION, REFERENCE, [guide("g")]), lambda call: weak(call, RIGHT))

    assert calls == [("weak", "shadow", None)]
    assert [attempt.ok for attempt in found.attempts] == [True]


def test_rung_b_known_guides_are_tried_in_order_until_one_works() -> None:
    def answer(call: Call) -> Reply:
        return weak(call, RIGHT if call.guide and call.guide.id == "second" else WRONG)

    calls, found = play(Ladder(ExactJudge()).steps(QUESTION, REFERENCE, [guide("first"), guide("second")]), answer)

    assert calls == [("weak", "shadow", None), ("weak", "shadow", "first"), ("weak", "shadow", "second")]
    assert [attempt.ok for attempt in found.attempts] == [False, False, True]
    assert found.guide is None


def test_a_fair_guide_is_tried_where_the_model_was_right_alone_too() -> None:
    calls, found = play(
        Ladder(ExactJudge()).steps(QUESTION, REFERENCE, [guide("g")], fair=[guide("g")]),
        lambda call: weak(call, WRONG if call.guide else RIGHT),
    )

    assert calls == [("weak", "shadow", None), ("weak", "shadow", "g")]
    assert [attempt.ok for attempt in found.attempts] == [True, False]


def test_a_guide_that_chance_chose_is_judged_first_and_the_model_alone_beside_it() -> None:
    drawn = [Arm("weak", guide("g")), Arm("weak")]
    calls, found = play(
        Ladder(ExactJudge()).steps(QUESTION, REFERENCE, [guide("g")], drawn=drawn, fair=[guide("g")]),
        lambda call: weak(call, RIGHT),
    )

    assert calls == [("weak", "audit", "g"), ("weak", "shadow", None)]
    assert all(attempt.drawn for attempt in found.attempts)


def test_no_guide_is_written_where_none_would_pay() -> None:
    calls, _ = play(Ladder(ExactJudge()).steps(QUESTION, REFERENCE, write=False), lambda call: weak(call, WRONG))

    assert calls == [("weak", "shadow", None)]


def test_rung_c_the_strong_model_writes_a_guide_which_is_verified_by_a_fresh_sample() -> None:
    samplings: list[Sampling | None] = []

    def answer(call: Call) -> Reply:
        if call.model == "strong":
            return Reply("strong", STEPS)
        samplings.append(call.sampling)
        return weak(call, RIGHT if call.guide else WRONG)

    calls, found = play(Ladder(ExactJudge()).steps(QUESTION, REFERENCE), answer)

    assert calls == [
        ("weak", "shadow", None),
        ("strong", "guide", None),
        ("weak", "guide", "draft"),
        ("weak", "guide", "draft"),
    ]
    assert samplings == [None, None, FRESH]
    assert found.guide == STEPS
    assert [attempt.ok for attempt in found.attempts] == [False, True, True]


def test_rung_d_nothing_works_and_no_guide_is_kept() -> None:
    calls, found = play(
        Ladder(ExactJudge()).steps(QUESTION, REFERENCE, [guide("g")]),
        lambda call: Reply("strong", STEPS) if call.model == "strong" else weak(call, WRONG),
    )

    assert [(model, purpose) for model, purpose, _ in calls] == [
        ("weak", "shadow"),
        ("weak", "shadow"),
        ("strong", "guide"),
        ("weak", "guide"),
    ]
    assert found.guide is None
    assert (found.failed, found.refused) == (STEPS, "did not help on its own request")


def test_a_guide_that_gives_the_answer_away_is_refused_before_it_is_tried() -> None:
    calls, found = play(
        Ladder(ExactJudge()).steps(QUESTION, REFERENCE),
        lambda call: Reply("strong", "1. Just say Paris.") if call.model == "strong" else weak(call, WRONG),
    )

    assert len(calls) == 2
    assert found.guide is None
    assert found.refused


def test_no_more_guides_are_tried_than_allowed() -> None:
    calls, _ = play(
        Ladder(ExactJudge(), guide_tries=1, write_guides=False).steps(QUESTION, REFERENCE, [guide("a"), guide("b")]),
        lambda call: weak(call, WRONG),
    )

    assert [guide_id for _, _, guide_id in calls] == [None, "a"]


@pytest.mark.parametrize("model", ["weak", "strong"])
def test_a_call_that_fails_ends_the_climb_and_keeps_what_was_found(model: str) -> None:
    def answer(call: Call) -> Outcome:
        return Failure(call.model, TimeoutError("slow")) if call.model == model else weak(call, WRONG)

    _, found = play(Ladder(ExactJudge()).steps(QUESTION, REFERENCE), answer)

    assert found.stopped is not None and found.stopped.startswith("TimeoutError at ")
    assert len(found.attempts) == (1 if model == "strong" else 0)


def test_a_judge_that_raises_ends_the_climb_and_teaches_nothing() -> None:
    class Broken:
        name = "broken"

        def steps(self, request: Request, reference: Reply, candidate: Reply) -> Steps[object]:
            raise RuntimeError("no idea")
            yield []

    _, found = play(Ladder(Broken()).steps(QUESTION, REFERENCE), lambda call: weak(call, RIGHT))  # type: ignore[arg-type]

    assert found.attempts == []
    assert found.stopped is not None and found.stopped.startswith("RuntimeError at ")


def test_an_empty_strong_answer_teaches_nothing_and_an_empty_weak_one_is_wrong() -> None:
    _, untold = play(Ladder(ExactJudge()).steps(QUESTION, Reply("strong", " ")), lambda call: weak(call, RIGHT))
    _, wrong = play(Ladder(ExactJudge(), write_guides=False).steps(QUESTION, REFERENCE), lambda call: weak(call, ""))

    assert untold.attempts == []
    assert [attempt.ok for attempt in wrong.attempts] == [False]


def test_an_audit_that_agrees_costs_one_strong_call() -> None:
    calls, found = play(
        Ladder(ExactJudge()).audit(QUESTION, Reply("weak", RIGHT), None), lambda call: Reply(call.model, RIGHT)
    )

    assert calls == [("strong", "audit", None)]
    assert found.served is not None
    assert found.served.agrees is True
    assert [(attempt.guide, attempt.ok) for attempt in found.attempts] == [(None, True)]


def test_an_audit_that_fails_climbs_on_from_where_the_answer_came() -> None:
    served_with = guide("g")

    def answer(call: Call) -> Reply:
        return Reply("strong", RIGHT) if call.model == "strong" else weak(call, RIGHT if call.guide is None else WRONG)

    calls, found = play(Ladder(ExactJudge()).audit(QUESTION, Reply("weak", WRONG), served_with, [served_with]), answer)

    assert calls == [("strong", "audit", None), ("weak", "shadow", None)]
    assert found.served is not None
    assert found.served.agrees is False
    assert [(attempt.guide, attempt.ok) for attempt in found.attempts] == [(served_with, False), (None, True)]


def test_an_audit_whose_strong_call_fails_judges_nothing() -> None:
    _, found = play(
        Ladder(ExactJudge()).audit(QUESTION, Reply("weak", WRONG), None),
        lambda call: Failure("strong", ConnectionError("down")),
    )

    assert found.served is None
    assert found.attempts == []
