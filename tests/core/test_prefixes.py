"""Prompts that providers have cached: what a switch of the model costs by that, and when it is not worth it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rar import Router
from rar.errors import ConfigurationError
from rar.evidence import Evidence, Standing
from rar.facts import read_facts
from rar.learning.policy import FloorPolicy
from rar.prefixes import KEPT, Offer, switching
from rar.prices import Prices
from rar.values import Call, Decision, Message, Reply, Request, Usage

USD = st.floats(0.0, 1.0)
CACHING = {"weak": (1.0, 5.0, 0.1), "strong": (3.0, 15.0, 0.3)}  # to read anew costs more than what is cached
FAR_APART = {"weak": (0.15, 0.6, 0.075), "strong": (2.5, 10.0, 1.25)}
LONG = "A lamp of the harbour has a keeper and a number. " * 400  # about 4,000 tokens


class Prefers:
    """A static router that finds the weak model good enough for everything."""

    def score(self, texts: Sequence[str]) -> list[float]:
        return [0.0 for _ in texts]


@dataclass
class Caching:
    """A model whose provider reports `cached` tokens of what was sent."""

    id: str
    cached: int = 3_000

    def call(self, call: Call) -> Reply:
        return Reply(call.model, "Yes.", usage=Usage(6_000, 30, cached_tokens=self.cached), model_id=self.id)

    async def acall(self, call: Call) -> Reply:
        return self.call(call)


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def router(clock: Clock, prices: Any, **options: Any) -> Router:
    policy = FloorPolicy(start=0.3, audit_rate=0.0)
    usual = {"memory": None, "static_router": Prefers(), "policy": policy, "clock": clock, "prices": prices}
    return Router(Caching("small"), Caching("large"), **{**usual, **options})


def turn(*texts: str, force: str | None = None) -> Request:
    """A conversation whose last message is the question."""
    messages = [Message("user" if at % 2 == 0 else "assistant", text) for at, text in enumerate(texts)]
    return Request(tuple(messages), texts[-1], force=force)


def serve(made: Router, request: Request, cached: int = 3_000) -> Decision:
    decision = made.decide(request)
    made.learn(decision, Caching(decision.model, cached).call(decision.call))
    return decision


class TestSwitching:
    @given(st.dictionaries(st.sampled_from(["weak", "mid"]), USD, min_size=1), USD)
    def test_where_nothing_is_cached_it_costs_nothing(self, usd: dict[str, float], reference: float) -> None:
        offers = {name: Offer(one) for name, one in {**usd, "strong": reference}.items()}

        assert not any(switching(offers, "strong").values())

    @given(USD, USD, USD)
    def test_a_model_saves_as_long_as_its_cost_is_below_one(self, weak: float, more: float, kept: float) -> None:
        strong = Offer(weak + more + 0.01, kept)
        cost = switching({"weak": Offer(weak), "strong": strong}, "strong")["weak"]

        assert (cost < 1.0 - 1e-9) <= (weak < strong.usd - strong.kept_usd + 1e-9)

    def test_a_model_that_has_it_cached_itself_costs_nothing_more(self) -> None:
        offers = {"weak": Offer(1.0, 0.9), "mid": Offer(2.0), "strong": Offer(3.0, 0.9)}

        assert switching(offers, "strong") == {"weak": 0.0, "mid": 0.45}

    def test_nothing_is_charged_where_nothing_is_saved_anyway(self) -> None:
        assert switching({"weak": Offer(1.0), "strong": Offer(1.0, 0.5)}, "strong") == {}


class TestThePolicy:
    def test_it_leaves_out_what_saves_nothing(self) -> None:
        weak = Standing("weak", "small", learned=0.0, prior=1.0)
        known = Evidence("large", (weak,), start=0.3)

        assert FloorPolicy(audit_rate=0.0).choose(known).model == "weak"
        dear = replace(known, standings=(replace(weak, cost=1.0, switch=1.2),))
        assert FloorPolicy(audit_rate=0.0).choose(dear).reason == "cached_prefix"

    def test_a_model_that_is_as_dear_without_any_cache_is_left_in(self) -> None:
        known = Evidence("large", (Standing("weak", "small", cost=1.0),))

        assert known.saving is known

    def test_cheaper_models_that_still_save_stay(self) -> None:
        weak, mid = Standing("weak", "a", cost=1.0, switch=1.0), Standing("mid", "b", cost=0.5)
        saving = Evidence("large", (weak, mid)).saving

        assert saving is not None
        assert saving.standings == (mid,)


class TestAConversation:
    def test_it_stays_where_it_is_cached_if_reading_it_anew_costs_more_than_that_saves(self, clock: Clock) -> None:
        made = router(clock, CACHING)
        assert serve(made, turn("A?")).model == "weak"
        serve(made, turn(LONG, force="strong"))

        assert serve(made, turn(LONG, "Yes.", "And now?")).choice.reason == "cached_prefix"
        assert serve(made, turn(LONG, "Yes.", "And now?", "Yes.", "And then?")).model == "strong"
        assert serve(made, turn(f"Another. {LONG}")).model == "weak"

    def test_it_may_switch_once_the_cache_is_gone(self, clock: Clock) -> None:
        made = router(clock, CACHING)
        serve(made, turn(LONG, force="strong"))
        clock.now += KEPT

        assert serve(made, turn(LONG, "Yes.", "And now?")).model == "weak"

    def test_it_switches_where_reading_anew_is_cheaper_all_the_same(self, clock: Clock) -> None:
        made = router(clock, FAR_APART)
        serve(made, turn(LONG, force="strong"))

        decision = serve(made, turn(LONG, "Yes.", "And now?"))

        evidence = decision.request.evidence
        assert decision.model == "weak"
        assert evidence is not None
        assert 0.0 < evidence.standings[0].cost < 1.0

    @pytest.mark.parametrize(
        "prices", [{"weak": (1.0, 5.0), "strong": (3.0, 15.0)}, None, {"strong": (3.0, 15.0, 0.3)}]
    )
    def test_without_prices_of_cached_tokens_nothing_changes(self, prices: Any, clock: Clock) -> None:
        made = router(clock, prices)
        serve(made, turn(LONG, force="strong"))

        decision = serve(made, turn(LONG, "Yes.", "And now?"))

        evidence = decision.request.evidence
        assert decision.model == "weak"
        assert evidence is not None
        assert (evidence.standings[0].switch, evidence.prefix) == (0.0, 0)

    def test_a_short_one_may_switch(self, clock: Clock) -> None:
        made = router(clock, CACHING)
        serve(made, turn("Short.", force="strong"))

        assert serve(made, turn("Short.", "Yes.", "And now?")).model == "weak"

    def test_a_provider_that_never_reported_cached_tokens_has_none(self, clock: Clock) -> None:
        made = router(clock, CACHING)
        serve(made, turn(LONG, force="strong"), cached=0)

        assert serve(made, turn(LONG, "Yes.", "And now?"), cached=0).model == "weak"

    def test_namespaces_share_nothing(self, clock: Clock) -> None:
        made = router(clock, CACHING)
        serve(made, turn(LONG, force="strong"))

        assert serve(made, replace(turn(LONG, "Yes.", "And now?"), namespace="other")).model == "weak"

    def test_the_strong_model_would_have_had_it_cached(self, clock: Clock) -> None:
        made = router(clock, FAR_APART)
        serve(made, turn(LONG, force="strong"))
        decision = made.decide(turn(LONG, "Yes.", "And now?"))

        costs = made.costs(decision, Caching("weak", cached=0).call(decision.call))

        prefix = decision.request.evidence.prefix if decision.request.evidence else 0
        assert prefix > 3_000
        assert costs["strong_usd"] == pytest.approx((2.5 * 6_000 - 1.25 * prefix + 10.0 * 30) / 1e6)

    def test_the_sums_know_it_as_the_decisions_do(self, clock: Clock, tmp_path: Path) -> None:
        with router(clock, FAR_APART, memory=str(tmp_path / "rar.db"), embedder="hashing", learning="off") as made:
            answers = [turn(LONG, force="strong"), turn(LONG, "Yes.", "And now?")]
            answers += [turn(LONG, "Yes.", "And now?", "Yes.", f"And {LONG}")]
            answers += [turn(*(message.text for message in answers[-1].messages), "Yes.", "And then?")]
            for request in answers[:3]:
                decision = serve(made, request, cached=3_000 if request.force else 0)
            made.policy = FloorPolicy(start=1.0, audit_rate=0.0)
            made.strategy = lambda request: "strong"
            last = made.decide(answers[3])
            made.learn(last, Caching("strong", 0).call(last.call))
            made.flush()
            told = [read_facts(record.facts).costs for record in made.memory.decisions()]
            saved = made.stats().savings
            found = made.report().facts.money

        assert decision.model == "weak"
        assert last.request.evidence is not None
        assert 0 < last.request.evidence.missed < last.request.evidence.prefix  # the strong model read the beginning
        assert saved.cache_usd is not None and saved.cache_usd > 0.0
        assert saved.always_strong_usd == pytest.approx(sum(costs.strong_usd for costs in told))
        assert found.savings == saved


class TestPrices:
    def test_a_third_number_is_the_price_of_cached_tokens(self) -> None:
        prices = Prices({"a": (2.0, 8.0, 0.5), "b": (2.0, 8.0)})
        used = Usage(1_000_000, 0, cached_tokens=1_000_000)

        assert (prices.usd("weak", "a", used), prices.usd("weak", "b", used)) == (0.5, 2.0)
        assert prices.of("weak", "a") == (2.0, 8.0)

    @pytest.mark.parametrize("price", [(1.0, 2.0, -1.0), (1.0, 2.0, 3.0, 4.0), (1.0,)])
    def test_what_is_no_price_is_refused(self, price: tuple[float, ...]) -> None:
        with pytest.raises(ConfigurationError):
            Prices({"a": price})
