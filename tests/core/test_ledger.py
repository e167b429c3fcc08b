"""The ledger, worked by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rar.accounts import Account, account
from rar.errors import ConfigurationError
from rar.ledger import Ledger
from rar.memory.base import Spend
from rar.prices import Prices
from rar.savings import merge, savings
from rar.values import Call, Message, Reply, Usage, question

PRICES = Prices({"small": (0.1, 0.4), "strong": (2.0, 8.0)})
MILLION = Usage(1_000_000, 1_000_000)


def test_prices_are_found_by_model_then_by_role_then_publicly() -> None:
    prices = Prices({"big": (1.0, 2.0), "strong": (3.0, 4.0)})

    assert prices.of("strong", "big") == (1.0, 2.0)
    assert prices.of("strong", "unheard-of") == (3.0, 4.0)
    assert prices.of("weak", "gpt-4o-mini") == pytest.approx((0.15, 0.6))
    assert prices.of("weak", "unheard-of") is None


def test_a_free_model_has_a_price() -> None:
    assert Prices({"local": (0.0, 0.0)}).usd("weak", "local", MILLION) == 0.0


@pytest.mark.parametrize("price", [0.5, (1.0,), ("a", "b"), (-1.0, 1.0), (float("nan"), 1.0), None])
def test_a_price_that_is_no_pair_of_numbers_is_refused(price: object) -> None:
    with pytest.raises(ConfigurationError, match="prices\\['small'\\]"):
        Prices({"small": price})  # type: ignore[dict-item]


def test_calls_add_up_by_purpose_and_model() -> None:
    ledger = Ledger(PRICES)
    ledger.add("default", "serve", "weak", "small", Usage(10, 5))
    ledger.add("default", "serve", "weak", "small", Usage(20, 5))
    ledger.add("default", "shadow", "weak", "small", Usage(1, 1))

    assert ledger.pending() == [
        Spend("default", "serve", "weak", "small", 2, 30, 10, pytest.approx(7e-6)),
        Spend("default", "shadow", "weak", "small", 1, 1, 1, pytest.approx(5e-7)),
    ]
    assert len(ledger.drain()) == 2
    assert ledger.pending() == []


def test_what_could_not_be_stored_is_taken_back_and_counted_once() -> None:
    ledger = Ledger(PRICES)
    ledger.add("default", "serve", "weak", "small", Usage(10, 5))
    taken = ledger.drain()
    ledger.add("default", "serve", "weak", "small", Usage(1, 0))
    ledger.restore(taken)

    (spend,) = ledger.pending()
    assert (spend.calls, spend.input_tokens) == (2, 11)


def test_an_unknown_price_is_counted_as_such_and_not_as_free() -> None:
    ledger = Ledger(Prices())
    ledger.add("default", "serve", "weak", "unheard-of", MILLION)

    (spend,) = ledger.pending()
    assert (spend.usd, spend.unpriced) == (0.0, 1)
    assert savings([spend], ledger.prices).spent_usd is None


def count(ledger: Ledger, call: Call, reply: Reply) -> None:
    ledger.called(ledger.event_of(call, reply, call.request, at=0.0, decision_id="d"))


def test_what_a_provider_says_a_call_cost_counts_before_its_tokens_prices() -> None:
    ledger = Ledger(PRICES)
    call = Call("weak", question("Which river?"))
    told = Reply("weak", "The Seine.", usage=Usage(10, 5), model_id="small", usd=0.25)

    count(ledger, call, told)
    count(ledger, call, replace(told, cached=True))

    assert [spend.usd for spend in ledger.pending()] == [0.25]
    assert ledger.costs(call, told, ["strong"])["usd"] == 0.25
    assert ledger.costs(call, replace(told, cached=True), ["strong"])["usd"] == 0.0
    assert ledger.costs(call, told, ["strong"])["strong_usd"] == pytest.approx(6e-5)


def test_what_was_asked_of_a_call_by_a_strategy_shares_its_cost() -> None:
    ledger = Ledger(PRICES)
    asked = question("Which river?")
    call = Call("weak", asked, messages=(Message("user", "Think first. " * 3 + "Which river?"),))

    count(ledger, call, Reply("weak", "The Seine.", usage=Usage(40, 10), usd=1.0))

    spent = {spend.purpose: spend.usd for spend in ledger.pending()}
    assert set(spent) == {"serve", "draft"}
    assert sum(spent.values()) == pytest.approx(1.0)
    assert 0.0 < spent["draft"] < spent["serve"]


def test_the_saving_is_net_of_learning() -> None:
    spending = [
        Spend("default", "serve", "weak", "small", 3, 3_000_000, 1_000_000, usd=0.7),
        Spend("default", "serve", "strong", "big", 1, 1_000_000, 1_000_000, usd=10.0),
        Spend("default", "shadow", "weak", "small", 1, 1_000_000, 0, usd=0.1),
        Spend("default", "audit", "strong", "big", 1, 500_000, 0, usd=1.0),
    ]

    saved = savings(spending, PRICES)

    assert saved.served == 4
    assert saved.served_strong == 1
    assert saved.strong_calls == 2
    assert saved.always_strong_usd == pytest.approx(10.0 + 3 * 2.0 + 1 * 8.0)
    assert saved.spent_usd == pytest.approx(11.8)
    assert saved.learning_usd == pytest.approx(1.1)
    assert saved.net_usd == pytest.approx(24.0 - 11.8)
    assert saved.net_share == pytest.approx(12.2 / 24.0)


def test_a_router_that_learned_more_than_it_saved_shows_a_loss() -> None:
    spending = [
        Spend("default", "serve", "strong", "big", 1, 1_000_000, 0, usd=2.0),
        Spend("default", "guide", "strong", "big", 1, 1_000_000, 0, usd=2.0),
    ]

    assert savings(spending, PRICES).net_usd == pytest.approx(-2.0)


def test_learning_pauses_when_it_cost_its_share_and_goes_on_when_serving_caught_up() -> None:
    ledger = Ledger(PRICES, budget_share=0.2)
    assert not ledger.may_learn("default", "shadow", "weak")  # nothing was served yet
    ledger.add("default", "serve", "strong", "big", Usage(1_000_000, 0))  # 2 USD
    ledger.add("default", "audit", "strong", "big", Usage(500_000, 0))  # 1 USD, which has a bound of its own
    assert ledger.may_learn("default", "shadow", "weak")
    ledger.add("default", "guide", "strong", "big", Usage(200_000, 0))  # 0.4 USD
    assert not ledger.may_learn("default", "shadow", "weak")
    assert not ledger.may_learn("other", "shadow", "weak")  # namespaces earn for themselves
    ledger.add("default", "serve", "strong", "big", Usage(1_000_000, 0))
    assert ledger.may_learn("default", "shadow", "weak")


def test_a_dear_call_waits_until_the_budget_has_room_for_it_while_cheap_ones_go_on() -> None:
    ledger = Ledger(PRICES, budget_share=0.2)
    for _ in range(24):
        ledger.add("default", "serve", "strong", "big", Usage(1_000, 0))  # 0.002 USD

    assert ledger.may_learn("default", "shadow", "weak")
    assert not ledger.may_learn("default", "guide", "strong")  # as dear as five answers, for all that is known
    for _ in range(2):
        ledger.add("default", "serve", "strong", "big", Usage(1_000, 0))
    assert ledger.may_learn("default", "guide", "strong")


def test_audits_go_on_when_the_budget_is_spent_and_end_at_the_daily_cap() -> None:
    ledger = Ledger(PRICES, budget_share=0.2, usd_per_day=1.0)
    ledger.add("default", "serve", "weak", "small", MILLION)

    assert ledger.may_learn("default", "audit", "strong")
    ledger.add("default", "audit", "strong", "big", Usage(500_000, 0))
    assert not ledger.may_learn("default", "audit", "strong")


def test_weak_answers_earn_no_budget() -> None:
    ledger = Ledger(PRICES, budget_share=0.2)
    ledger.add("default", "serve", "weak", "small", MILLION)

    assert not ledger.may_learn("default", "shadow", "weak")


def test_a_daily_cap_ends_with_the_day() -> None:
    ledger = Ledger(PRICES, budget_share=None, usd_per_day=1.0)
    ledger.add("default", "guide", "strong", "big", Usage(500_000, 0), now=86_400.0)

    assert not ledger.may_learn("default", "guide", "strong", now=86_400.0 + 3_600.0)
    assert ledger.may_learn("default", "guide", "strong", now=2 * 86_400.0)


def test_the_budget_outlives_the_process() -> None:
    ledger = Ledger(PRICES, budget_share=0.2)
    ledger.seed([Spend("default", "serve", "strong", "big", 1, 1_000_000, 0, usd=2.0)])
    assert ledger.may_learn("default", "shadow", "weak")
    ledger.seed([Spend("default", "shadow", "weak", "small", 1, 4_000_000, 0, usd=0.4)])
    assert not ledger.may_learn("default", "shadow", "weak")


@pytest.mark.parametrize("name", ["learning_budget", "learning_usd_per_day"])
def test_a_negative_budget_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        Ledger(PRICES, budget_share=-1.0 if name == "learning_budget" else 0.2, usd_per_day=-1.0)


def test_judges_have_a_budget_of_their_own() -> None:
    served, judged = replace(WHOLE, calls=100, usd=10.0), Spend("default", "judge", "strong", "big", 20, usd=1.0)
    shadow = replace(TENTH, usd=2.0)
    ledger = Ledger(PRICES, budget_share=0.2, judge_share=0.1)

    ledger.seed([served, replace(judged, usd=0.9)])
    assert ledger.may_learn("default", "judge", "strong") and ledger.may_learn("default", "shadow", "weak")
    ledger.seed([replace(judged, usd=0.1)])
    assert not ledger.may_learn("default", "judge", "strong")
    assert ledger.may_learn("default", "shadow", "weak")

    ledger = Ledger(PRICES, budget_share=0.2, judge_share=None)
    ledger.seed([served, shadow, judged])
    assert ledger.may_learn("default", "judge", "strong") and not ledger.may_learn("default", "shadow", "weak")


def test_merging_keeps_models_apart() -> None:
    spends = [Spend("default", "serve", "weak", model, 1) for model in ("a", "b", "a")]

    assert [(spend.model_id, spend.calls) for spend in merge(spends)] == [("a", 2), ("b", 1)]


TENTH = Spend("default", "shadow", "weak", "small", 2, 100_000, 0)
WHOLE = Spend("default", "serve", "strong", "big", 3, 1_000_000, 0)
AUDIT = Spend("default", "audit", "strong", "big", 9, 1_000_000, 0, usd=9.0)


@pytest.mark.parametrize(
    ("prices", "weak_usd", "strong_usd", "expected"),
    [
        # Known, in USD.
        ({"weak": (0.5, 0.0), "strong": (2.0, 0.0)}, 0.05, 2.0, Account(2.0, 0.05, 0.0, calls=False)),
        # The weak model at a tenth of the strong one, the strong one at ten times the weak one, both in nominal USD.
        ({"strong": (2.0, 0.0)}, None, 2.0, Account(2.0, pytest.approx(0.02), 0.0, calls=False)),
        ({"weak": (0.5, 0.0)}, 0.05, None, Account(pytest.approx(5.0), 0.05, 0.0, calls=False)),
        ({}, None, None, Account(pytest.approx(1.0), pytest.approx(0.01), 0.0, calls=False)),
        # Free: the weak one alone, which says nothing of the strong one, and the strong one, where calls are counted.
        ({"weak": (0.0, 0.0), "strong": (2.0, 0.0)}, 0.0, 2.0, Account(2.0, 0.0, 0.0, calls=False)),
        ({"weak": (0.0, 0.0)}, 0.0, None, Account(pytest.approx(1.0), 0.0, 0.0, calls=False)),
        ({"weak": (0.0, 0.0), "strong": (0.0, 0.0)}, 0.0, 0.0, Account(3, 2, 0, calls=True)),
        ({"strong": (0.0, 0.0)}, None, 0.0, Account(3, 2, 0, calls=True)),
    ],
)
def test_the_account_of_learning_by_what_is_known_of_prices(
    prices: dict[str, tuple[float, float]], weak_usd: float | None, strong_usd: float | None, expected: Account
) -> None:
    weak = replace(TENTH, usd=weak_usd or 0.0, unpriced=0 if weak_usd is not None else TENTH.calls)
    strong = replace(WHOLE, usd=strong_usd or 0.0, unpriced=0 if strong_usd is not None else WHOLE.calls)

    assert account([weak, strong, AUDIT], Prices(prices)) == expected


def test_calls_before_there_were_tokens_are_counted_until_there_are() -> None:
    """A memory of an earlier version may hold streamed answers with no tokens at all."""
    ledger = Ledger(PRICES, budget_share=0.2)
    ledger.seed([Spend("default", "serve", "strong", "big", 10)])

    assert ledger.may_learn("default", "shadow", "weak")


def test_estimated_calls_are_counted_and_added_up() -> None:
    ledger = Ledger(PRICES)
    for estimated in (True, False, True):
        ledger.add("default", "serve", "weak", "small", Usage(10, 5, estimated))

    (spend,) = merge(ledger.pending(), ledger.pending())
    assert (spend.calls, spend.estimated) == (6, 4)


def test_cached_tokens_have_a_price_of_their_own_where_one_is_public() -> None:
    usage = Usage(1_000_000, 0, cached_tokens=600_000)

    assert Prices().usd("strong", "gpt-4o", usage) == pytest.approx(0.4 * 2.5 + 0.6 * 1.25)
    assert Prices().usd("strong", "gpt-4", usage) == pytest.approx(30.0)  # whose provider caches nothing
    assert Prices({"strong": (3.0, 9.0)}).usd("strong", "gpt-4o", usage) == pytest.approx(3.0)
    assert Prices().of("strong", "gpt-4o") == (2.5, 10.0)


def test_always_strong_is_priced_with_the_same_cached_tokens() -> None:
    cached = Usage(1_000_000, 0, cached_tokens=600_000)
    ledger = Ledger(Prices())
    ledger.add("default", "serve", "weak", "gpt-4o-mini", cached)
    ledger.add("default", "serve", "strong", "gpt-4o", cached)

    saved = savings(ledger.pending(), ledger.prices)

    assert saved.always_strong_usd == pytest.approx(2 * (0.4 * 2.5 + 0.6 * 1.25))
    assert [spend.cached_tokens for spend in ledger.pending()] == [600_000, 600_000]


def test_caches_that_a_change_of_the_model_lost_are_taken_off_once() -> None:
    used, prices = Usage(1_000_000, 0), Prices({"weak": (0.2, 0.8), "strong": (2.5, 10.0, 1.25)})
    ledger = Ledger(prices)
    ledger.add("default", "serve", "weak", "small", used, prefix_tokens=600_000)
    ledger.add("default", "serve", "strong", "large", used, prefix_tokens=100_000)
    ledger.add("default", "draft", "weak", "small", used)

    saved = savings(merge(ledger.pending()[:1], ledger.pending()[1:]), prices)

    assert saved.cache_usd == pytest.approx(0.7 * 1.25)
    assert saved.always_strong_usd == pytest.approx(2 * 2.5 - 0.7 * 1.25)
    assert saved.net_usd == pytest.approx(2 * 2.5 - 0.7 * 1.25 - 0.2 - 2.5 - 0.2)
