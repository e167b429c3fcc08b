"""The sections of a page, each from its part of the facts. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rar.intervals import Share
from rar.report import charts
from rar.report.charts import legend, swatch
from rar.report.course import DAY
from rar.report.facts import Count, ReportFacts
from rar.report.guides import GuideUse
from rar.report.kinds import LEAST, Kind
from rar.report.markup import Child, Markup, el, join
from rar.report.money import PARTS, Money
from rar.report.numbers import count, interval, percent, usd
from rar.report.quality import Quality
from rar.report.words import advice, purpose_in_words
from rar.values import STRONG, WEAK

_LEAST_SHARE = 0.995  # from which a part of a bar is drawn as the whole


_FEW = 3  # columns that a phone shows beside each other


@dataclass(frozen=True, slots=True)
class _Row:
    """Words with a bar under them, then numbers."""

    first: Child
    bar: Markup | None
    cells: tuple[Child, ...]
    total: bool = False


def section(title: str, *children: Child, intro: str = "", class_: str | None = None) -> Markup:
    return el("section", el("h2", title), el("p", intro, class_="soft") if intro else None, *children, class_=class_)


def alarms(facts: ReportFacts) -> Markup:
    """What needs attention."""
    if not facts.alarms:
        return section("Needs attention", el("p", "Nothing.", class_="good"))
    rows = (
        el(
            "li",
            el("strong", "Serious: ") if alarm.serious else None,
            alarm.what,
            el("span", alarm.todo, class_="todo") if alarm.todo else None,
            class_="serious" if alarm.serious else None,
        )
        for alarm in facts.alarms
    )
    return section("Needs attention", el("ul", *rows, class_="alarms"))


def course(facts: ReportFacts) -> Markup:
    """The share of strong answers over time."""
    title = "Share sent to the strong model"
    if facts.strong_share is None:
        return section(title, el("p", "No call was served in this time."))
    if len(facts.course) < 2:
        share = (
            f"{percent(facts.strong_share)} of {count(facts.calls, 'call')}, too close together for a line over time."
        )
        return section(title, el("p", share))
    said = "Below it, the number of calls. Times are UTC."
    if facts.lately is not None:
        first, last = facts.lately
        said = f"{percent(first)} in the first quarter of the calls, {percent(last)} in the last. {said}"
    return section(title, charts.share_over_time(facts.course), intro=said)


def saving(facts: ReportFacts) -> Markup:
    """What was saved net, over time."""
    money = facts.money
    if not money.savings.served:
        return section("Net saving", el("p", "Nothing was spent in this time."))
    if money.savings.net_usd is None:
        what = f"Unknown, because the price of {count(money.unpriced, 'call')} is not known."
        how = "Pass prices= to the router, or --price strong=IN/OUT --price weak=IN/OUT to this report."
        return section("Net saving", el("p", what), el("p", how, class_="soft"))
    lines = legend(("always", "the strong model alone"), ("spent", "spent, learning included"))
    drawn: Markup = el("p", "A line over time needs two days, or calls whose cost was recorded one by one.")
    if len(money.course) > 1:
        step = (facts.course[0].seconds if facts.course else 1.0) if money.by_call else DAY
        drawn = join(charts.money_over_time(money.course, step), lines)
    return section("Net saving", drawn, intro=_saved_in_words(money))


def _saved_in_words(money: Money) -> str:
    saved = money.savings
    if (
        saved.net_usd is None
        or saved.always_strong_usd is None
        or saved.spent_usd is None
        or saved.learning_usd is None
    ):
        return ""
    share = "" if saved.net_share is None else f" ({saved.net_share:.1%})"
    done = f"Saved {usd(saved.net_usd)}{share}" if saved.net_usd >= 0.0 else f"Lost {usd(-saved.net_usd)} so far"
    lost = f", with {usd(saved.cache_usd)} saved by caches that were lost here" if saved.cache_usd else ""
    return (
        f"{done}: {usd(saved.spent_usd)} were spent, {usd(saved.learning_usd)} of it to learn; the strong model alone "
        f"would have cost {usd(saved.always_strong_usd)} for the same answers{lost}."
    )


def spending(facts: ReportFacts) -> Markup:
    """Sums by purpose, and over time where there are days."""
    money = facts.money
    days = join()
    if len(money.days) > 1:
        used = [part for part in PARTS if any(day.usd.get(part) for day in money.days)]
        days = join(
            charts.spending_by_day(money.days),
            legend(*(("-".join(part), _purpose(*part)) for part in used)),
        )
    known = money.unpriced == 0
    most = max((part.usd if known else part.tokens for part in money.purposes), default=0) or 1
    rows = (
        _row(
            join(swatch(f"{part.purpose}-{part.role}"), _purpose(part.purpose, part.role)),
            charts.parts_bar(
                [((part.usd if known else part.tokens) / most, f"{part.purpose}-{part.role}")], f"{part.calls} calls"
            ),
            f"{part.calls:,}",
            ("~" if part.estimated else "") + f"{part.tokens:,}",
            usd(part.usd) if not part.unpriced else "unknown",
        )
        for part in money.purposes
    )
    estimated = (
        f"~: no provider reported the tokens of {count(money.estimated, 'call')}; they were estimated from the text."
        if money.estimated
        else ""
    )
    table = _table(("what for", "calls", "tokens", "cost"), rows)
    return section(
        "Spending by purpose",
        days,
        table,
        el("p", estimated, class_="note") if estimated else None,
        intro="Guides, checks, judging and tries of the weak model are the cost of learning.",
        class_="long",
    )


def _purpose(purpose: str, role: str) -> str:
    words = purpose_in_words(purpose, role)
    return f"{words} ({role})" if purpose in ("audit", "judge") else words


def reasons(facts: ReportFacts) -> Markup:
    """Why each model answered."""
    parts: list[Child] = []
    for model in dict.fromkeys(one.model for one in facts.reasons):
        mine = [one for one in facts.reasons if one.model == model]
        total = sum(one.calls for one in mine)
        share = f"{count(total, 'call')}, {percent(total / facts.calls, 1)} of all"
        parts.append(el("h3", f"The {model} model answered: {share}"))
        parts.append(_table(("because", "calls", "of these"), (_counted(one, total) for one in mine)))
    return section("Why", *(parts or [el("p", "No call was served in this time.")]), class_="long")


def learned(facts: ReportFacts) -> Markup:
    """What was learned from strong answers, and why nothing was from the others."""
    mine = [one for one in facts.outcomes if one.model == STRONG]
    total = sum(one.calls for one in mine)
    if not total:
        return section("What strong answers taught", el("p", "The strong model answered nothing in this time."))
    intro = "Each answer of the strong model is a chance to try the weak one on the same question."
    rows = [*(_counted(one, total) for one in mine), _row("all strong answers", None, f"{total:,}", "100%", total=True)]
    table = _table(("what came of it", "calls", "of these"), rows)
    others = [one for one in facts.outcomes if one.model == WEAK and one.code != "nothing_due"]
    parts = [f"{one.calls:,} {one.code.replace('_', ' ')}" for one in others]
    note = f"Weak answers that were checked, or ought to have been: {', '.join(parts)}." if parts else ""
    return section(
        "What strong answers taught", table, el("p", note, class_="note") if note else None, intro=intro, class_="long"
    )


def _counted(one: Count, total: int) -> _Row:
    todo = advice(one.code)
    words = join(
        _sentence(one.words), " ", el("span", one.code, class_="code"), el("div", todo, class_="note") if todo else None
    )
    share = one.calls / total
    bar = charts.parts_bar(
        [(share, one.model if one.model in (STRONG, WEAK) else "other")], f"{percent(share)} of these"
    )
    return _row(words, bar, f"{one.calls:,}", percent(share, 1 if share < _LEAST_SHARE else 0))


def quality(facts: ReportFacts) -> Markup:
    """What audits say, against the floor."""
    found = facts.quality
    title = "Quality, from audits"
    if not facts.calls:
        return section(title, el("p", "No call was served in this time."))
    if found.overall is None:
        what = el("p", "Unknown: no weak answer was checked in this time.")
        return section(title, what, el("p", "audit_rate= sets how many are.", class_="soft"))
    if not found.overall.n:
        return section(title, el("p", "All answers were the strong model's, so that nothing was lost."))
    shares = [found.overall, *(kind.good for kind in found.kinds if kind.good)]
    least = charts.least_of(shares, found.floor)
    rows = [
        _row(
            join(kind.kind, el("div", f"{kind.served:,} served", class_="code")),
            charts.range_bar(kind.good, least, found.floor) if kind.good else None,
            "none checked" if kind.good is None else f"{kind.good.n:,}",
            "unknown" if kind.good is None else _with_interval(kind.good),
        )
        for kind in found.kinds
    ]
    whole = join("all answers", el("div", f"{found.decided:,}, strong ones included", class_="code"))
    rows.append(
        _row(
            whole,
            charts.range_bar(found.overall, least, found.floor),
            f"{found.audits:,}",
            _with_interval(found.overall),
        )
    )
    floor = [("floor", f"the floor of {percent(found.floor)}")] if found.floor is not None else []
    over_time: list[Child] = []
    if found.windows:
        over_time = [el("h3", "Over time"), charts.quality_over_time(found.windows, found.floor)]
    return section(
        title,
        legend(("quality", f"quality, from {percent(least)} to 100%"), ("band", "95% interval"), *floor),
        _table(("answers", "checked", "good enough"), rows),
        *over_time,
        intro=_quality_in_words(found),
        class_="long",
    )


def _quality_in_words(found: Quality) -> str:
    if found.floor is None:
        floor = "Which floor was asked for is not recorded in this memory: pass --quality."
    elif found.graded:
        floor = f"The floor of {percent(found.floor)} is about grades, which this share understates."
    elif found.floor_kept is None:
        floor = f"Whether the floor of {percent(found.floor)} is kept cannot be told yet: it lies in the interval."
    else:
        floor = f"The floor of {percent(found.floor)} is {'kept' if found.floor_kept else 'missed'}."
    return f"{floor} Good enough means that the judge found the weak answer as good as the strong model's."


def _with_interval(share: Share) -> Markup:
    return join(percent(share.value, 1), el("div", interval(share), class_="code"))


def kinds(facts: ReportFacts) -> Markup:
    """How the weak model fares by kind of question."""
    title = "The weak model by kind of question"
    if not facts.kinds:
        few = f"Too few questions were tried to tell kinds apart: it takes {LEAST}."
        hidden = "This memory stores no text (store_text=False), so that kinds of question cannot be named."
        return section(title, el("p", few if facts.texts or not facts.held.experiences else hidden))
    asked = sum(kind.calls for kind in facts.kinds)
    rows = (_kind(kind, asked) for kind in facts.kinds)
    colours = ("weak", "alone"), ("guided", "with a guide"), ("strong", "not")
    return section(
        title,
        legend(*colours),
        _table(("kind", "questions", "weak is good enough", "of calls", "to strong"), rows),
        intro="Questions that were tried, grouped by likeness and named by the words that tell the groups apart. "
        "A word names a group only if three questions share it.",
        class_="long",
    )


def _kind(kind: Kind, asked: int) -> _Row:
    tried = kind.alone + kind.guided + kind.neither
    said = f"{kind.alone} alone, {kind.guided} with a guide, {kind.neither} not"
    parts = ((kind.alone, "weak"), (kind.guided, "guided"), (kind.neither, "strong"))
    bar = charts.parts_bar([(n / tried, colour) for n, colour in parts], said) if tried else None
    good = join("untried") if kind.weak is None else _with_interval(kind.weak)
    calls = percent(kind.calls / asked) if asked else "–"
    share = percent(kind.strong / kind.calls) if kind.calls else "–"
    return _row(", ".join(kind.words) or "of no common words", bar, f"{kind.questions:,}", good, calls, share)


def guides(facts: ReportFacts) -> Markup:
    """What became of guides."""
    found = facts.guides
    states = found.states
    if not states and not found.refused:
        return section("Guides", el("p", "None was written so far."))
    in_use = ", ".join(f"{states[state]:,} {state}" for state in states) or "none"
    refused = sum(found.refused.values())
    rows = (
        _row(
            join(
                el("details", el("summary", _first_line(one.text)), el("pre", one.text)),
                _of_guide(one),
            ),
            None,
            one.state,
            f"{one.helpful:,} / {one.harmful:,}",
            f"{one.served:,}",
        )
        for one in found.listed
    )
    return section(
        "Guides",
        el("p", f"The memory holds: {in_use}. They served {count(found.served, 'answer')}."),
        el("p", f"In this time {found.written:,} were written and kept, {refused:,} refused{':' if refused else '.'}"),
        el("ul", *(el("li", f"{n:,}: {why}") for why, n in found.refused.items()), class_="plain") if refused else None,
        _table(("guide", "state", "helped / harmed", "answers"), rows) if found.listed else None,
        class_="long",
    )


def _of_guide(guide: GuideUse) -> Markup:
    said = f"{guide.id[:10]}, by {guide.author or 'nobody known'}, namespace {guide.namespace}"
    return el("div", said, class_="code")


def namespaces(facts: ReportFacts) -> Markup | None:
    """One row each, where there are several."""
    if len(facts.namespaces) < 2:
        return None
    shown = facts.namespaces[:30]
    rows = (
        _row(
            one.name,
            None,
            f"{one.calls:,}",
            percent(one.strong / one.calls) if one.calls else "–",
            "unknown" if one.savings.net_usd is None else usd(one.savings.net_usd),
            "not moved" if one.threshold is None else f"{one.threshold:.2f}",
            f"{one.errors:,} of {one.audits:,}",
        )
        for one in shown
    )
    more = len(facts.namespaces) - len(shown)
    columns = ("namespace", "calls", "to strong", "net saving", "threshold", "audits failed")
    note = el("p", f"{more:,} more are not shown.", class_="note") if more else None
    return section("Namespaces", _table(columns, rows), note, class_="long")


def limits(facts: ReportFacts) -> Markup:
    """What this page cannot know."""
    said = ["An answer counts as good if it agrees with the strong model's. Where that is wrong, so is the count."]
    if facts.counted > facts.calls:
        gone = facts.counted - facts.calls
        said.append(
            f"The ledger counted {count(facts.counted, 'served call')}; {gone:,} of them have no decision here: "
            "a memory keeps the last 50,000. Money is about all of them, everything else about those that are kept."
        )
    if facts.quality.never_checked:
        said.append(
            f"{count(facts.quality.never_checked, 'weak answer')} (forced, later calls of a turn, after a failure, "
            "or by a strategy of its own) are never checked, and not in the quality."
        )
    unaudited = [kind.kind for kind in facts.quality.kinds if kind.served and kind.good is None]
    if unaudited and facts.quality.overall is not None:
        said.append(f"No answer was checked of: {', '.join(unaudited)}. The interval lets them be anything.")
    unknown = sum(one.calls for one in facts.outcomes if one.code == "not_recorded")
    if unknown:
        said.append(f"Of {count(unknown, 'call')} an older version did not record whether anything was learned.")
    if facts.held.evicted:
        said.append(f"{count(facts.held.evicted, 'question')} gave way to newer ones and are not among the kinds.")
    return section("What this page cannot know", el("ul", *(el("li", one) for one in said), class_="plain"))


# --- small parts ----------------------------------------------------------------------------------------------------


def _table(columns: Sequence[str], rows: Iterable[_Row]) -> Markup:
    """A table; where it has many columns, a narrow page shows them one under the other, each with its name."""
    head = el("tr", *(el("th", name, class_="n" if place else None) for place, name in enumerate(columns)))
    body = (
        el(
            "tr",
            el("td", row.first, row.bar),
            *(el("td", cell, class_="n", data_name=name) for cell, name in zip(row.cells, columns[1:], strict=True)),
            class_="total" if row.total else None,
        )
        for row in rows
    )
    many = " many" if len(columns) > _FEW else ""
    return el("table", el("thead", head), el("tbody", *body), class_=f"rows{many}")


def _row(first: Child, bar: Markup | None, *cells: Child, total: bool = False) -> _Row:
    return _Row(first, bar, cells, total)


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:].rstrip(".") + "."


def _first_line(text: str) -> str:
    return text.strip().split("\n", 1)[0][:160]
