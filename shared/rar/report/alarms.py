"""What a report says needs somebody's attention. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rar.memory.base import ALARM, PolicyState
from rar.report.money import Money
from rar.report.quality import Quality
from rar.report.served import Served
from rar.report.words import LEARNED, advice, outcome_in_words

_NEAR = 0.5  # of the way to the alarm that the weak model changed: half is rare while nothing did
_NOTABLE = 0.1  # share of calls from which something that ought to be rare is worth a line
_LEAST = 5  # cases below which a share says nothing


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something to look at. `serious`: quality or money is at stake now."""

    code: str
    serious: bool
    what: str
    todo: str = ""


def alarms_of(
    calls: Sequence[Served], quality: Quality, money: Money, policies: Mapping[str, PolicyState], since: float
) -> tuple[Alarm, ...]:
    """Serious ones first."""
    found = [*_of_quality(quality), *_of_drift(policies, since), *_of_calls(calls), *_of_money(money)]
    return tuple(sorted(found, key=lambda alarm: not alarm.serious))


def _of_quality(quality: Quality) -> Iterator[Alarm]:
    if quality.floor_kept is False and quality.overall is not None and quality.floor is not None:
        what = f"The quality floor of {quality.floor:g} is missed: audits put quality at {quality.overall.value:.1%}"
        yield Alarm(
            "floor_missed",
            True,
            f"{what}, at most {quality.overall.high:.1%}.",
            "Raise quality= or audit_rate=, and look at the kinds of question below for where the weak model fails.",
        )
    elif quality.floor is not None and quality.windows and not quality.graded:
        last = quality.windows[-1].quality
        if last.high < quality.floor:
            yield Alarm(
                "floor_missed_lately",
                True,
                f"Lately quality is below the floor of {quality.floor:g}: {last.value:.1%}, at most {last.high:.1%}.",
                "If it stays so, see which kinds of question below the weak model fails at.",
            )


def _of_drift(policies: Mapping[str, PolicyState], since: float) -> Iterator[Alarm]:
    for name, state in policies.items():
        if state.since and state.quiet >= since:
            yield Alarm(
                "weak_model_changed",
                True,
                f"In namespace {name} the weak model began to answer worse than it did, as if it were another.",
                "What was learned before is being tried again. Check whether its provider changed it.",
            )
        if state.drift / ALARM >= _NEAR:
            what = f"In namespace {name} the weak model does worse than expected: {state.drift / ALARM:.0%} of the way"
            todo = "Nothing yet: more confidence is asked for meanwhile."
            yield Alarm("drift", False, f"{what} to the alarm that it changed.", todo)


def _of_calls(calls: Sequence[Served]) -> Iterator[Alarm]:
    outcomes, reasons = Counter(call.outcome for call in calls), Counter(call.reason for call in calls)
    strong = sum(call.strong for call in calls)
    if outcomes["budget"] >= _LEAST and outcomes["budget"] > _NOTABLE / 2 * strong:
        what = f"Learning paused for {outcomes['budget']:,} of {strong:,} strong answers: its budget was spent."
        yield Alarm("budget", False, what, advice("budget"))
    judged = outcomes[LEARNED] + outcomes["undecided"]
    if outcomes["undecided"] >= _LEAST and outcomes["undecided"] > _NOTABLE * judged:
        what = f"The judge could not tell in {outcomes['undecided']:,} of {judged:,} comparisons."
        yield Alarm("undecided", False, what, advice("undecided"))
    for code in ("no_key", "call_failed", "dropped"):
        if outcomes[code] >= _LEAST and outcomes[code] > _NOTABLE * len(calls):
            what = f"Nothing was learned from {outcomes[code]:,} of {len(calls):,} calls: {outcome_in_words(code)}."
            yield Alarm(code, False, what, advice(code))
    for model, other in (("weak", "strong"), ("strong", "weak")):
        failed = reasons[f"{model}_failed"]
        if failed >= _LEAST and failed > _NOTABLE / 2 * len(calls):
            what = f"The {model} model failed in {failed:,} of {len(calls):,} calls; the {other} one answered."
            yield Alarm(f"{model}_failed", True, what, "The log names the errors (logger rar).")
    for reason, what in (("strategy_failed", "The strategy raised an error"), ("closed", "The router was closed")):
        if reasons[reason]:
            said = f"{what} in {reasons[reason]:,} calls; the strong model answered."
            yield Alarm(reason, True, said, "The log says more (logger rar).")


def _of_money(money: Money) -> Iterator[Alarm]:
    if money.unpriced:
        yield Alarm(
            "prices_unknown",
            False,
            f"The price of {money.unpriced:,} calls is not known, so that saving cannot be told in USD.",
            "Pass prices= to the router, or --price strong=IN/OUT --price weak=IN/OUT to this report.",
        )
    net = money.savings.net_usd
    if net is not None and net < 0.0 and money.savings.served:
        yield Alarm(
            "net_loss",
            False,
            f"Learning has cost {-net:.4g} USD more than routing saved so far.",
            "This is usual at first. If it stays so, questions repeat too seldom: lower learning_budget=.",
        )
