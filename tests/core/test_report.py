"""The report: facts that add up, intervals, kinds, alarms, and a page that stands alone."""

from __future__ import annotations

import json
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rar import Router, SQLiteMemory
from rar.errors import ClosedError, ConfigurationError, MissingDependencyError
from rar.facts import read_facts
from rar.intervals import Share, mixed, wilson
from rar.memory.base import ALARM, Batch, DecisionRecord, PolicyStep, Spend
from rar.prices import Prices
from rar.report import Report, report
from rar.report.course import over_time, settled, step_of
from rar.report.kinds import clusters, kinds_of, names, words_of
from rar.report.money import money_of
from rar.report.quality import quality_of
from rar.report.served import Served, outcome_of, served_by, served_of
from rar.values import Experience, Request, Tally, question
from tests.core.world import easy, harbour, orchard, pair, serve

DAY = 86_400.0
START = 20_000 * DAY + 7 * 3_600
SCRIPT = "<script>alert('x')</script>"
PRICES = {"weak": (0.1, 0.4), "strong": (2.0, 8.0)}


class Clock:
    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> float:
        return self.now


def stream(count: int, rng: random.Random) -> Iterator[Request]:
    """Repeats and new questions of three kinds, some of a namespace or a text that is markup, some without a key."""
    for _ in range(count):
        number = rng.choice([rng.randint(1, 30), rng.randint(1_000, 9_999)])
        asked = rng.choice([easy, harbour, orchard])(number)
        chance = rng.random()
        if chance < 0.03:
            asked = replace(asked, key=None, key_source="none")
        elif chance < 0.06:
            asked = replace(asked, force="strong", learn=False)
        elif chance < 0.09:
            asked = replace(asked, learn=False)
        elif chance < 0.2:
            asked = replace(asked, namespace=SCRIPT)
        elif chance < 0.23:
            asked = question(f"Please repeat {SCRIPT} after me without any change: {number}")
        yield asked


def served(path: Path, count: int = 400, days: float = 6.0, **options: Any) -> tuple[Report, int]:
    """The report of a stream, and how many calls the strong model served."""
    clock, strong, rng = Clock(), 0, random.Random(4)
    options = {"audit_rate": 0.2, "learning_budget": 0.5, "prices": PRICES, **options}
    memory = SQLiteMemory(path, clock=clock)
    router = Router(memory=memory, embedder="hashing", learning="inline", seed=3, clock=clock, **options)
    models = pair()
    for n, asked in enumerate(stream(count, rng)):
        clock.now += days * DAY / count
        if n % 40 == 39:  # the weak model fails
            decision = router.decide(asked, models)
            if decision.model == "weak":
                decision = router.failover(decision, RuntimeError("down"))
            router.learn(decision, models[decision.model].call(decision.call), models)
        else:
            decision, _ = serve(router, models, asked)
        strong += decision.model == "strong"
    found = router.report()
    router.close()
    memory.close()
    return found, strong


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, int]:
    return served(tmp_path_factory.mktemp("report") / "rar.db")


class TestEveryCallIsExplained:
    def test_reasons_and_outcomes_add_up_to_the_served_calls(self, told: tuple[Report, int]) -> None:
        facts, strong = told[0].facts, told[1]

        assert facts.calls == facts.counted == 400
        assert facts.strong == strong
        assert sum(one.calls for one in facts.reasons) == sum(one.calls for one in facts.outcomes) == 400
        for counts in (facts.reasons, facts.outcomes):
            assert sum(one.calls for one in counts if one.model == "strong") == strong

    def test_every_code_has_words_of_its_own(self, told: tuple[Report, int]) -> None:
        facts = told[0].facts
        reasons, outcomes = (
            {one.code: one.words for one in facts.reasons},
            {one.code: one.words for one in facts.outcomes},
        )

        assert set(outcomes) >= {"learned", "no_key", "forced", "asked_not_to", "failed_over", "nothing_due"}
        assert "not_recorded" not in outcomes
        for words in (reasons, outcomes):
            assert len(set(words.values())) == len(words)
            assert not [code for code, said in words.items() if code == said or ("_" in code and code in said)]

    def test_a_call_shows_under_the_same_reason_on_the_page(self, told: tuple[Report, int]) -> None:
        html = told[0].html()

        for one in (*told[0].facts.reasons, *(o for o in told[0].facts.outcomes if o.model == "strong")):
            assert f">{one.code}</span>" in html
            assert f">{one.calls:,}<" in html

    def test_all_is_json(self, told: tuple[Report, int]) -> None:
        facts = json.loads(json.dumps(told[0].as_dict()))

        assert facts["calls"] == 400
        assert facts["quality"]["audits"] == told[0].facts.quality.audits > 0
        assert facts["money"]["days"][0]["usd"][0].keys() == {"purpose", "role", "usd"}

    def test_days_and_namespaces_are_looked_at_alone(self, tmp_path: Path) -> None:
        served(tmp_path / "rar.db", 120)
        with SQLiteMemory(tmp_path / "rar.db", read_only=True) as memory:
            whole = report(memory, now=START + 6 * DAY)
            late = report(memory, now=START + 6 * DAY, days=2)
            other = report(memory, namespace=SCRIPT, now=START + 6 * DAY)

        assert 0 < late.facts.calls < whole.facts.calls
        assert late.facts.start is not None and late.facts.start >= 20_005 * DAY
        assert late.facts.counted == late.facts.calls
        assert 0 < other.facts.calls < whole.facts.calls
        assert [one.name for one in other.facts.namespaces] == [SCRIPT]


class TestOutcomes:
    @pytest.mark.parametrize(
        ("model", "facts", "outcome"),
        [
            ("strong", {"learned": {"attempts": [{"ok": True}]}}, "learned"),
            (
                "strong",
                {"not_learned": "budget", "learned": {"attempts": [], "stopped": "BudgetError: spent"}},
                "budget",
            ),
            ("strong", {"why": "…", "reason": "memory_strong", "learned": {"attempts": []}}, "nothing_due"),
            ("weak", {"why": "…", "reason": "likely_weak"}, "nothing_due"),
            # Of versions that recorded no code.
            ("strong", {"learned": {"attempts": [], "stopped": "BudgetError: spent"}}, "budget"),
            ("strong", {"learned": {"attempts": [], "stopped": "judge llm cannot tell: no"}}, "undecided"),
            ("strong", {"learned": {"attempts": [], "stopped": "RuntimeError: 500"}}, "call_failed"),
            ("strong", {"reason": "forced"}, "forced"),
            ("strong", {"reason": "sticky"}, "continued_turn"),
            ("strong", {"reason": "weak_failed", "failed_over": ["weak"]}, "failed_over"),
            ("strong", {"reason": "no_evidence", "key_source": "none"}, "no_key"),
            ("strong", {"reason": "memory_strong", "key_source": "given"}, "nothing_due"),
            ("weak", {"reason": "likely_weak", "key_source": "given"}, "nothing_due"),
            ("strong", {"reason": "below_threshold", "key_source": "given"}, "not_recorded"),
            ("strong", {}, "not_recorded"),
        ],
    )
    def test_of(self, model: str, facts: dict[str, Any], outcome: str) -> None:
        assert outcome_of(model, read_facts(facts)) == outcome

    def test_an_audit_tells_by_the_served_answer_or_by_the_one_beside_it(self) -> None:
        def record(model: str, learned: dict[str, Any]) -> Served:
            facts = {"audit": True, "learned": learned}
            return served_of(DecisionRecord("a", "n", 1.0, "", None, model, facts), Prices())

        alone = {"guide_id": None, "ok": False}
        assert record("weak", {"audit_agreed": True}).agreed is True
        assert record("strong", {"attempts": [alone, {"guide_id": "g", "ok": True}]}).agreed is False
        assert record("weak", {}).agreed is None

    def test_unknown_prices_are_filled_in_where_they_are_given(self) -> None:
        facts = {"usd": None, "input_tokens": 1_000_000, "output_tokens": 0, "pair": ["s", "b"]}
        record = DecisionRecord("a", "n", 1.0, "", None, "weak", facts)

        assert served_of(record, Prices()).usd is None
        assert (served_of(record, Prices(PRICES)).usd, served_of(record, Prices(PRICES)).strong_usd) == (0.1, 2.0)


class TestReadingInParts:
    @pytest.mark.parametrize("step", [0.0, 0.5], ids=["all at one moment", "one after the other"])
    def test_no_decision_is_lost_or_told_twice(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: float
    ) -> None:
        monkeypatch.setattr("rar.report.served._PART", 7)
        records = tuple(DecisionRecord(f"d{n}", "n", 5.0 + n * step, "", None, "weak", {}) for n in range(50))
        with SQLiteMemory(tmp_path / "rar.db") as memory:
            memory.write(Batch(decisions=records))
            found, floor = served_by(memory, Prices(), namespace=None, since=0.0)

        assert [call.id for call in found] == [record.id for record in records]
        assert floor is None


class TestIntervals:
    def test_wilson_by_hand(self) -> None:
        found = wilson(8, 10)

        assert found is not None
        assert (found.value, found.low, found.high) == pytest.approx((0.8, 0.4902, 0.9433), abs=1e-4)
        assert wilson(0, 0) is None

    @pytest.mark.parametrize("count", [0, 5])
    def test_an_interval_holds_its_value_at_the_ends(self, count: int) -> None:
        found = wilson(count, 5)

        assert found is not None
        assert 0.0 <= found.low <= found.value <= found.high <= 1.0
        assert found.high - found.low > 0.4

    def test_a_mix_weighs_its_parts_and_counts_the_rest_as_one(self) -> None:
        found = mixed([(0.5, Share(0.8, 0.7, 0.9, 10)), (0.2, Share(0.5, 0.4, 0.6, 5))])

        assert found is not None
        assert (found.value, found.n) == (pytest.approx(0.8), 15)
        assert found.low == pytest.approx(0.8 - (0.05**2 + 0.02**2) ** 0.5)

    def test_a_part_that_nobody_observed_may_be_anything(self) -> None:
        found = mixed([(0.5, Share(0.9, 0.9, 0.9, 10)), (0.4, None)])

        assert found is not None
        assert found.value == pytest.approx(1 - 0.9 * 0.1)
        assert found.low == pytest.approx(found.value - 0.4 * 0.9)
        assert mixed([(0.5, None)]) is None
        assert mixed([(0.0, None)]) == Share(1.0, 1.0, 1.0, 0)


def call(reason: str, model: str = "weak", agreed: bool | None = None, at: float = 0.0) -> Served:
    return Served("", at, "n", "answer", model, reason, "learned", audited=agreed is not None, agreed=agreed)


class TestQuality:
    def test_kinds_of_weak_answers_are_estimated_apart(self) -> None:
        calls = [call("memory_weak", agreed=True)] * 20 + [call("memory_weak")] * 60
        calls += [call("audit", "strong", agreed=False)] * 5 + [call("audit", "strong", agreed=True)] * 5
        calls += [call("likely_weak")] * 10 + [call("below_threshold", "strong")] * 100
        found = quality_of(calls, 0.9)

        assert [(kind.kind, kind.served, kind.good and kind.good.value) for kind in found.kinds] == [
            ("asked before", 80, 1.0),
            ("new, weak alone", 10, 0.5),
        ]
        assert found.overall is not None
        assert found.overall.value == pytest.approx(1 - 10 / 200 * 0.5)
        assert found.floor_kept is True

    def test_a_missed_floor_is_told_and_one_in_the_interval_is_not_guessed(self) -> None:
        bad = [call("likely_weak", agreed=n % 2 == 0) for n in range(100)]
        some = [call("likely_weak", agreed=True)] * 5

        assert quality_of(bad, 0.9).floor_kept is False
        assert quality_of(some, 0.9).floor_kept is None
        assert quality_of(bad, None).floor_kept is None
        assert quality_of(bad, 0.9, graded=True).floor_kept is None

    def test_without_audits_nothing_is_known_but_of_strong_answers(self) -> None:
        assert quality_of([call("likely_weak")], 0.9).overall is None
        assert quality_of([], 0.9).overall is None
        only_strong = quality_of([call("no_evidence", "strong")], 0.9)
        assert only_strong.overall == Share(1.0, 1.0, 1.0, 0)

    def test_what_nobody_checks_is_counted_apart(self) -> None:
        found = quality_of([call("forced"), call("sticky"), call("likely_weak", agreed=True)], 0.9)

        assert (found.decided, found.never_checked) == (1, 2)

    def test_windows_follow_a_fall(self) -> None:
        calls = [call("likely_weak", agreed=n < 100, at=float(n)) for n in range(200)]
        values = [window.quality.value for window in quality_of(calls, 0.9).windows]

        assert len(values) == 10
        assert values[:5] == [1.0] * 5 and values[5:] == [0.0] * 5


class TestCourse:
    @pytest.mark.parametrize(
        ("length", "step"), [(0, 1), (40, 1), (3_000, 300), (5 * DAY, 10_800), (300 * DAY, 7 * DAY)]
    )
    def test_spans_are_few_and_usual(self, length: float, step: float) -> None:
        assert step_of(START, START + length) == step

    def test_gaps_are_spans_without_calls(self) -> None:
        calls = [call("no_evidence", "strong", at=START), call("likely_weak", at=START + 3 * DAY)]
        spans = over_time(calls)

        assert sum(span.calls for span in spans) == 2
        assert {span.seconds for span in spans} == {spans[1].start - spans[0].start}
        assert over_time([]) == ()

    def test_a_line_takes_spans_of_few_calls_together(self) -> None:
        calls = [call("likely_weak", at=START + n * 60.0) for n in range(200)]
        calls.append(call("no_evidence", "strong", at=START + 5 * DAY))
        points = settled(over_time(calls))

        assert points[-1][1] < 0.1


class TestMoney:
    def spend(self, purpose: str, role: str, calls: int, usd: float) -> Spend:
        return Spend("n", purpose, role, f"{role}-1", calls, 1_000 * calls, 0, usd)  # type: ignore[arg-type]

    def test_days_come_from_sums_of_the_ledger(self, tmp_path: Path) -> None:
        clock = Clock()
        with SQLiteMemory(tmp_path / "rar.db", clock=clock) as memory:
            for day, weak in ((0, 1), (2, 5), (3, 0)):
                clock.now = START + day * DAY
                spent = [self.spend("serve", "strong", 2, 4.0), self.spend("shadow", "weak", 1, 0.5)]
                memory.write(Batch(spending=(*spent, self.spend("serve", "weak", weak, 0.1 * weak))))
            found = money_of(
                memory, [], Prices({"strong": (1000.0, 0.0)}), namespace=None, since=0.0, until=START + 50 * DAY
            )

        usd = [round(sum(day.usd.values()), 6) for day in found.days]
        assert usd == [4.6, 0.0, 5.0, 4.5]
        assert [(point.spent, point.always_strong) for point in found.course] == [
            pytest.approx(pair) for pair in ((4.6, 5.0), (4.6, 5.0), (9.6, 14.0), (14.1, 18.0))
        ]
        assert found.savings.net_usd == pytest.approx(18.0 - 14.1)

    def test_a_young_memory_is_followed_call_by_call(self, tmp_path: Path) -> None:
        money = served(tmp_path / "rar.db", 60, days=0.02)[0].facts.money

        assert money.by_call
        assert len(money.course) == 60
        assert money.course[-1].spent == pytest.approx(money.savings.spent_usd)
        assert money.course[-1].always_strong == pytest.approx(money.savings.always_strong_usd)

    def test_unknown_prices_are_said_and_not_guessed(self, tmp_path: Path) -> None:
        found, _ = served(tmp_path / "rar.db", 40, prices=None)

        assert (found.facts.money.course, found.facts.money.days) == ((), ())
        assert found.facts.money.savings.net_usd is None
        assert "prices_unknown" in {alarm.code for alarm in found.facts.alarms}
        assert "Unknown, because the price of" in found.html()


def unit(rng: np.random.Generator, *centres: np.ndarray) -> np.ndarray:
    vector = sum(centres) + rng.normal(size=16) * 0.1
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


class TestKinds:
    def experiences(self, count: int = 20) -> list[Experience]:
        rng = np.random.default_rng(0)
        texts = (
            "What harbour fee is due for {} tonnes?",
            "Which baskets does orchard {} yield?",
            "Translate sentence {} now",
        )
        found = []
        for kind, text in enumerate(texts):
            for n in range(count):
                tallies = (Tally(None, "w", "s", int(kind == 0), int(kind > 0), kind == 0, 1.0),)
                if kind == 1:
                    tallies += (Tally("g", "w", "s", 1, 0, True, 1.0),)
                vector = unit(rng, np.eye(16)[kind])
                id = f"{kind}-{n}"
                found.append(Experience(id, "n", "answer", text.format(f"Anna{n}"), "", vector, tallies))
        return found

    def test_clusters_are_told_apart_and_named_by_their_words(self) -> None:
        calls = [replace(call("likely_weak"), experience_id="", nearest="0-1")] * 5
        calls += [replace(call("no_evidence", "strong"), experience_id="2-1")] * 3
        kinds = kinds_of(self.experiences(), {"n": ("w", "s")}, calls)

        by_word = {kind.words[0]: kind for kind in kinds}
        assert len(kinds) == 3
        fee = next(kind for kind in kinds if "harbour" in kind.words)
        assert (fee.questions, fee.alone, fee.guided, fee.neither, fee.calls, fee.strong) == (20, 20, 0, 0, 5, 0)
        orchards = next(kind for kind in kinds if "orchard" in kind.words)
        assert (orchards.alone, orchards.guided, orchards.neither) == (0, 20, 0)
        last = next(kind for kind in kinds if "translate" in kind.words)
        assert (last.neither, last.calls, last.strong) == (20, 3, 3)
        assert kinds[0] is fee and len(by_word) == 3

    def test_no_kind_is_named_by_what_one_user_wrote(self) -> None:
        found = [word for kind in kinds_of(self.experiences(), {"n": ("w", "s")}, []) for word in kind.words]

        assert found and not [word for word in found if "anna" in word]

    def test_verdicts_of_other_models_prove_nothing(self) -> None:
        kinds = kinds_of(self.experiences(), {"n": ("w2", "s")}, [])

        assert {(kind.alone, kind.guided, kind.neither, kind.weak) for kind in kinds} == {(0, 0, 0, None)}

    def test_without_text_there_are_no_kinds(self, tmp_path: Path) -> None:
        assert kinds_of([replace(one, text=None) for one in self.experiences()], {}, []) == ()
        assert kinds_of(self.experiences(4), {}, []) == ()

        found, _ = served(tmp_path / "rar.db", 80, store_text=False)
        assert found.facts.kinds == () and not found.facts.texts
        assert "store_text=False" in found.html()
        assert "harbour" not in re.sub("harbour fee is asked", "", found.html())  # but for the guide, which is text

    def test_copies_make_one_cluster(self) -> None:
        assert set(clusters(np.ones((40, 4), np.float32) / 2)) == {0}

    def test_words_of_any_script(self) -> None:
        assert words_of("Où est l'élève?") >= {"l'élève"}
        assert words_of("東京タワー") == {"東京", "京タ", "タワ", "ワー"}
        assert words_of("What is it? 12345 ab") == frozenset()

    def test_a_word_of_all_groups_names_none(self) -> None:
        groups = [[words_of("please sum harbour fees")] * 5, [words_of("please sum orchard trees")] * 5]

        assert [set(found) for found in names(groups)] == [{"harbour", "fees"}, {"orchard", "trees"}]


class TestAlarms:
    def codes(self, memory: SQLiteMemory, **options: Any) -> dict[str, bool]:
        return {alarm.code: alarm.serious for alarm in report(memory, now=START + DAY, **options).facts.alarms}

    def write(
        self, path: Path, *records: tuple[str, dict[str, Any]], steps: tuple[PolicyStep, ...] = ()
    ) -> SQLiteMemory:
        memory = SQLiteMemory(path, clock=lambda: START)
        decisions = tuple(
            DecisionRecord(f"d{n}", "default", START + n, "", None, model, {"why": "…", **facts})
            for n, (model, facts) in enumerate(records)
        )
        memory.write(Batch(decisions=decisions, steps=steps))
        return memory

    def test_a_quiet_memory_has_none(self, tmp_path: Path) -> None:
        assert self.codes(self.write(tmp_path / "rar.db")) == {}

    @pytest.mark.parametrize(
        ("code", "serious", "facts"),
        [
            ("budget", False, {"reason": "below_threshold", "not_learned": "budget"}),
            ("undecided", False, {"reason": "below_threshold", "not_learned": "undecided"}),
            ("no_key", False, {"reason": "no_evidence", "not_learned": "no_key"}),
            ("dropped", False, {"reason": "below_threshold", "not_learned": "dropped"}),
            ("weak_failed", True, {"reason": "weak_failed", "not_learned": "failed_over"}),
            ("strategy_failed", True, {"reason": "strategy_failed"}),
        ],
    )
    def test_what_should_be_rare(self, tmp_path: Path, code: str, serious: bool, facts: dict[str, Any]) -> None:
        assert self.codes(self.write(tmp_path / "rar.db", *[("strong", facts)] * 10)) == {code: serious}

    def test_a_missed_floor(self, tmp_path: Path) -> None:
        facts = {"reason": "likely_weak", "audit": True, "quality": 0.95, "learned": {"audit_agreed": False}}
        memory = self.write(tmp_path / "rar.db", *[("weak", facts)] * 30)

        assert self.codes(memory) == {"floor_missed": True}
        assert self.codes(memory, quality=0.05) == {}

    def test_a_weak_model_that_changes(self, tmp_path: Path) -> None:
        near = PolicyStep("default", 0.0, surprise=0.7 * ALARM, at=START)
        assert self.codes(self.write(tmp_path / "near.db", steps=(near,))) == {"drift": False}

        rung = PolicyStep("default", 0.0, surprise=1.1 * ALARM, at=START)
        quiet = PolicyStep("default", 0.0, surprise=0.0, at=START - 10)
        assert self.codes(self.write(tmp_path / "rung.db", steps=(quiet, rung))) == {"weak_model_changed": True}


class Page(HTMLParser):
    """What a browser would make of a page: its elements, checked to be closed in order, and its addresses."""

    VOID = frozenset({"meta", "br", "link", "hr", "img"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: Counter[str] = Counter()
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.words: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.addresses += [
            f"{tag} {name}" for name, _ in attrs if name in {"src", "href", "action", "xlink:href", "data"}
        ]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


class TestPage:
    def test_stands_alone_and_runs_nothing(self, told: tuple[Report, int]) -> None:
        html = told[0].html()
        page = Page(html)

        assert page.addresses == [] and page.handlers == []
        assert page.tags["script"] == page.tags["link"] == page.tags["iframe"] == page.tags["img"] == 0
        assert not re.search(r"https?://|url\(|@import", html)
        assert page.tags["svg"] > 10 and page.tags["title"] > 1
        assert "default-src 'none'" in html.replace("&#x27;", "'")

    def test_texts_of_users_are_escaped(self, told: tuple[Report, int]) -> None:
        facts = told[0].facts
        evil = replace(facts.guides.listed[0], text=SCRIPT, namespace=SCRIPT, author=SCRIPT)
        kind = replace(facts.kinds[0], words=(SCRIPT, '"><b onload=x>'))
        models = {"weak": SCRIPT, "strong": "b\x00\u202e"}
        changed = replace(
            facts,
            memory=f"/x/{SCRIPT[:8]}.db",
            models=models,
            guides=replace(facts.guides, listed=(evil,)),
            kinds=(kind,),
        )
        html = Report(changed).html()
        page = Page(html)

        assert SCRIPT not in html
        assert "".join(page.words).count(SCRIPT) >= 5
        assert page.tags["script"] == 0 and page.handlers == []
        assert "\x00" not in html and "\u202e" not in html
        assert any(one.name == SCRIPT for one in facts.namespaces)

    def test_is_made_for_phones_printers_and_the_dark(self, told: tuple[Report, int]) -> None:
        html = told[0].html()

        assert "width=device-width" in html
        assert all(words in html for words in ("@media print", "prefers-color-scheme: dark", "max-width: 34rem"))

    def test_an_empty_memory_has_a_page(self, tmp_path: Path) -> None:
        with SQLiteMemory(tmp_path / "rar.db") as memory:
            found = report(memory)

        assert Page(found.html()).tags["section"] >= 8
        assert "No call was served in this time." in found.html()
        assert found.as_dict()["strong_share"] is None

    def test_an_older_memory_has_a_page_that_says_what_it_lacks(self, tmp_path: Path) -> None:
        facts = {
            "reason": "below_threshold",
            "key_source": "given",
            "confidence": 0.4,
            "neighbours": [],
            "task": "answer",
        }
        records = tuple(DecisionRecord(f"d{n}", "default", START + n, "", None, "strong", facts) for n in range(30))
        with SQLiteMemory(tmp_path / "rar.db", clock=lambda: START) as memory:
            memory.write(
                Batch(decisions=records, spending=(Spend("default", "serve", "strong", "b", 40, 4_000, 0, 1.0),))
            )
            found = report(memory, now=START + DAY)

        assert [(one.code, one.calls) for one in found.facts.outcomes] == [("not_recorded", 30)]
        words = "".join(Page(found.html()).words)
        assert "10 of them have no decision here" in words
        assert "Of 30 calls an older version did not record" in words
        assert "All answers were the strong model's" in words

    def test_a_floor_that_was_not_recorded_is_asked_for(self, tmp_path: Path) -> None:
        facts = {"reason": "likely_weak", "audit": True, "learned": {"audit_agreed": True}}
        records = tuple(DecisionRecord(f"d{n}", "default", START + n, "", None, "weak", facts) for n in range(3))
        with SQLiteMemory(tmp_path / "rar.db", clock=lambda: START) as memory:
            memory.write(Batch(decisions=records))
            words = "".join(Page(report(memory, now=START + DAY).html()).words)

        assert "Which floor was asked for is not recorded in this memory" in words
        assert "floor not recorded" in words

    def test_a_notebook_shows_it_in_a_frame_of_its_own(self, told: tuple[Report, int]) -> None:
        shown = told[0]._repr_html_()

        assert shown.startswith("<iframe") and 'sandbox=""' in shown
        assert Page(shown).tags == {"iframe": 1}

    def test_save_replaces_a_report_and_nothing_else(self, told: tuple[Report, int], tmp_path: Path) -> None:
        page = told[0].save(tmp_path / "report.html")
        before = page.stat().st_size
        assert told[0].save(page).stat().st_size == before

        notes = tmp_path / "notes.html"
        notes.write_text("mine")
        for taken in (notes, tmp_path):
            with pytest.raises(ConfigurationError, match="is no report"):
                told[0].save(taken)
        assert notes.read_text() == "mine"

    def test_a_figure_sums_it_up(self, told: tuple[Report, int], tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        with SQLiteMemory(tmp_path / "rar.db") as memory:
            for place, found in enumerate((told[0], report(memory))):
                assert found.png(tmp_path / f"{place}.png").read_bytes().startswith(b"\x89PNG")

    def test_without_matplotlib_a_figure_names_the_extra(
        self, told: tuple[Report, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(MissingDependencyError, match=r"rar-llm\[eval\]"):
            told[0].png(tmp_path / "report.png")
        assert list(tmp_path.iterdir()) == []


class TestRouterReport:
    def test_what_waits_is_learned_first(self, tmp_path: Path) -> None:
        with Router(memory=tmp_path / "rar.db", embedder="hashing", quality=0.8, seed=1) as router:
            for number in range(5):
                serve(router, pair(), easy(number))
            found = router.report()

        assert found.facts.calls == found.facts.counted == 5
        assert found.facts.quality.floor == 0.8
        with pytest.raises(ClosedError):
            router.report()

    @pytest.mark.parametrize("wrong", [{"days": 0}, {"days": -1}, {"quality": 0.0}, {"quality": 95}])
    def test_what_is_out_of_range_is_refused(self, tmp_path: Path, wrong: dict[str, float]) -> None:
        with SQLiteMemory(tmp_path / "rar.db") as memory, pytest.raises(ConfigurationError, match=next(iter(wrong))):
            report(memory, **wrong)

    def test_what_cannot_work_is_refused(self, tmp_path: Path) -> None:
        with Router(memory=None) as router, pytest.raises(ConfigurationError, match="no memory"):
            router.report()
        with (
            Router(memory=tmp_path / "rar.db", embedder="hashing") as router,
            pytest.raises(ConfigurationError, match="days=0"),
        ):
            router.report(days=0)
