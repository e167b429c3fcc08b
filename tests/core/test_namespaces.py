"""What `stats` says of each namespace: money, floor, budgets, drift; and what waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rar import Ceiling, Router
from rar.memory.base import ALARM, Batch, PolicyStep
from tests.core.world import easy, harbour, pair, serve

MakeRouter = Callable[..., Router]


@pytest.fixture
def router(tmp_path: Path) -> Iterator[MakeRouter]:
    made: list[Router] = []

    def make(**options: Any) -> Router:
        usual: dict[str, Any] = {
            "memory": tmp_path / "rar.db", "embedder": "hashing", "learning": "inline", "seed": 1,
            "prices": {"weak": (1.0, 1.0), "strong": (10.0, 10.0)},
        }  # fmt: skip
        made.append(Router(**{**usual, **options}))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_each_namespace_has_its_own_money_and_floor(router: MakeRouter) -> None:
    asked = router(floors={"law": 0.99}, quality=0.9)
    for namespace, numbers in {"law": range(2), "sport": range(3)}.items():
        for number in numbers:
            serve(asked, pair(), replace(harbour(number), namespace=namespace))  # type: ignore[arg-type]

    known = asked.stats().namespaces
    assert {name: (one.savings.served, one.floor) for name, one in known.items()} == {
        "law": (2, 0.99),
        "sport": (3, 0.9),
    }
    assert known["law"].models.keys() == {"small-1"}


def test_a_budget_that_is_spent_has_nothing_left(router: MakeRouter) -> None:
    asked = router(learning_budget=0.05, judge_budget=None)
    assert asked.stats().namespaces == {}
    for number in range(6):
        serve(asked, pair(), harbour(number))  # type: ignore[arg-type]

    (known,) = asked.stats().namespaces.values()
    assert known.budget_left.keys() == {"learning"}
    assert known.budget_left["learning"] < 0.5
    assert asked.stats().paused > 0


def test_drift_is_how_near_the_alarm_is(router: MakeRouter) -> None:
    asked = router()
    serve(asked, pair(), harbour(1))  # type: ignore[arg-type]
    assert asked.memory is not None
    asked.memory.write(Batch(steps=(PolicyStep("default", 0.0, model="small-1", surprise=ALARM / 2, at=1.0),)))

    assert asked.stats().namespaces["default"].models["small-1"].drift == pytest.approx(0.5, abs=0.15)


def test_what_is_left_under_each_ceiling(router: MakeRouter) -> None:
    spend = [Ceiling(1.0), Ceiling(0.5, per="namespace"), Ceiling(0.1, per="thread")]
    asked = router(spend=spend, memory=None)
    asked.learn(asked.decide(easy(1), pair()), pair()["strong"].call(asked.decide(easy(1), pair()).call), pair())

    left = asked.stats().ceilings
    assert left.keys() == {"1 USD per day", "0.5 USD per namespace"}
    assert left["1 USD per day"][""] < 1.0
    assert left["0.5 USD per namespace"]["default"] < 0.5


def test_nothing_waits_where_all_is_learned(router: MakeRouter) -> None:
    asked = router()
    serve(asked, pair(), harbour(1))  # type: ignore[arg-type]

    assert (asked.stats().waited, asked.stats().behind) == (0.0, 0.0)
