"""What the command line shows, laid out by `rar.cli.layout`. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from rich.text import Text

from rar.cli.layout import Column, Facts, Grid, line, paragraph
from rar.facts import DecisionFacts, EvidenceFacts, LearnedFacts, read_facts
from rar.memory.base import ALARM, DecisionRecord, MemoryStats, PolicyState, Spend
from rar.report import ReportFacts
from rar.report.numbers import count, interval, usd
from rar.savings import Savings
from rar.values import STRONG, WEAK, Guide, Tally
from rar.views import Explained
from rar.words import NOT_LEARNED, in_words

_STYLES = {"steps": "steps", "example": "a worked example"}
_PURPOSES = ("serve", "draft", "shadow", "guide", "judge", "audit")
_MODEL_STYLE = {"weak": "green", "strong": "magenta"}
_ID = 10  # characters of an id that a table shows; any unambiguous beginning is understood


def stats(
    where: str,
    counts: MemoryStats,
    namespaces: Mapping[str, tuple[MemoryStats, PolicyState]],
    spending: Sequence[Spend],
    saved: Savings,
) -> list[Any]:
    """What a memory holds, each of its namespaces, what was spent, and what was saved."""
    held = {
        "memory": where,
        "embedder": f"{counts.embedder_id}, {counts.dim} dimensions" if counts.embedder_id else "not bound yet",
        "experiences": f"{counts.experiences:,} ({counts.evicted:,} evicted)",
        "judged attempts": f"{counts.trials:,}",
        "guides": ", ".join(f"{n} {state}" for state, n in sorted(counts.guides.items())) or "none",
        "decisions": f"{counts.decisions:,}",
        **_unlearned(counts, spending),
    }
    shown: list[Any] = [Facts(held)]
    if namespaces:
        shown.append(_namespaces(namespaces, spending))
    return [*shown, spent(spending), saving(saved)] if spending else shown


def _unlearned(counts: MemoryStats, spending: Iterable[Spend]) -> dict[str, str]:
    """Rows that say what kept the router from learning, and what is not known of the costs; none where nothing did."""
    rows = {
        {"budget": "paused"}.get(code, code): f"nothing learned from {n:,} decisions: {NOT_LEARNED.get(code, code)}"
        for code, n in sorted(counts.not_learned.items(), key=lambda item: (-item[1], item[0]))
    }
    unpriced, estimated = (sum(getattr(spend, name) for spend in spending) for name in ("unpriced", "estimated"))
    if unpriced:
        rows["unpriced"] = f"{unpriced:,} calls of models without a known price"
    if estimated:
        rows["estimated"] = f"tokens of {estimated:,} calls were estimated from the text: the provider reported none"
    return rows


def _namespaces(found: Mapping[str, tuple[MemoryStats, PolicyState]], spending: Sequence[Spend]) -> Grid:
    columns = (
        Column("namespace", cut=True),
        Column("served", right=True),
        Column("to strong", right=True),
        Column("threshold", right=True),
        Column("audits", right=True),
        Column("failed", right=True, spare=3),
        Column("undecided", right=True, spare=2),
        Column("paused", right=True, spare=1),
        Column("drift", right=True, spare=4),
    )
    rows = []
    for name, (counts, state) in found.items():
        serve = [spend for spend in spending if spend.namespace == name and spend.purpose == "serve"]
        served, strong = sum(s.calls for s in serve), sum(s.calls for s in serve if s.role == STRONG)
        threshold = "-" if state.threshold is None else f"{state.threshold:.3f}"
        missed = (f"{counts.not_learned.get(code, 0):,}" for code in ("undecided", "budget"))
        numbers = f"{served:,}", f"{strong / served:.0%}" if served else "-", threshold
        audits = f"{state.audits:,}", f"{state.errors:,}"
        rows.append((line(name), *numbers, *audits, *missed, f"{state.drift / ALARM:.0%}"))
    return Grid("Namespaces", columns, tuple(rows))


def spent(spending: Iterable[Spend]) -> Grid:
    """Calls, tokens and USD by namespace, purpose and model. A tilde says that tokens were estimated in part."""
    columns = (
        Column("namespace", cut=True, varies=True),
        Column("purpose"),
        Column("role"),
        Column("model", cut=True),
        Column("calls", right=True),
        Column("tokens in", right=True, spare=1),
        Column("tokens out", right=True, spare=1),
        Column("USD", right=True),
    )
    found = sorted(spending, key=lambda s: (s.namespace, _PURPOSES.index(s.purpose), s.role, s.model_id))
    rows = []
    for spend in found:
        cost = f"{spend.usd:.6f}" if not spend.unpriced else "unknown"
        about = "~" * bool(spend.estimated)
        tokens = f"{about}{spend.input_tokens:,}", f"{about}{spend.output_tokens:,}"
        named = line(spend.namespace), spend.purpose, role(spend.role), line(spend.model_id)
        rows.append((*named, f"{spend.calls:,}", *tokens, cost))
    return Grid("Spending", columns, tuple(rows))


def saving(saved: Savings) -> Facts:
    """The sum under the line: served by whom, spent, and saved net of all learning."""
    share = f" ({saved.served_strong / saved.served:.0%})" if saved.served else ""
    facts: dict[str, Text | str] = {
        "served": f"{saved.served:,} calls, {saved.served_strong:,} by the strong model{share}"
    }
    if saved.net_usd is None or saved.always_strong_usd is None:
        facts["net saving"] = "unknown: some prices are; pass --price strong=IN/OUT --price weak=IN/OUT"
    else:
        net_share = f" ({saved.net_share:+.1%})" if saved.net_share is not None else ""
        facts |= {
            "always strong": f"{saved.always_strong_usd:.6f} USD",
            "spent": f"{saved.spent_usd:.6f} USD, {saved.learning_usd:.6f} of it to learn",
            **({"lost caches": f"{saved.cache_usd:.6f} USD, taken off"} if saved.cache_usd else {}),
            "net saving": Text(f"{saved.net_usd:+.6f} USD{net_share}", style="bold"),
        }
    return Facts(facts)


def guides(found: Sequence[Guide]) -> Grid:
    """Guides, a line each."""
    columns = (
        Column("id"),
        Column("namespace", cut=True, varies=True),
        Column("state"),
        Column("helped", right=True),
        Column("harmed", right=True),
        Column("written", spare=1),
        Column("by", spare=2),
        Column("text", cut=True),
    )
    rows = tuple(
        (
            guide.id[:_ID],
            line(guide.namespace),
            f"{guide.state}{', by hand' if guide.pinned else ''}",
            str(guide.helpful),
            str(guide.harmful),
            when(guide.created_at),
            line(guide.author),
            line(guide.text),
        )
        for guide in found
    )
    return Grid(count(len(found), "guide"), columns, rows)


def guide(found: Guide, origin: str | None, same: Guide | None) -> list[Any]:
    """One guide, whole, with the text of the request that it was written for.

    Args:
        same: An older guide that says nearly the same.
    """
    about = {
        "guide": found.id,
        "namespace": line(f"{found.namespace}, task {found.task}"),
        "state": f"{found.state}, helped {found.helpful}, harmed {found.harmful}",
        "written": f"{when(found.created_at)} by {line(found.author)}, as {_STYLES[found.style]}",
        "written for": paragraph(origin or ("a request that is not kept" if found.origin else "what a person named")),
    }
    if same is not None:
        about["says the same as"] = f"{same.id}, which its trials count for"
    return [Facts(about), Text(paragraph(found.text))]


def decisions(found: Sequence[DecisionRecord]) -> Grid:
    """Decisions, a line each."""
    columns = (
        Column("id"),
        Column("at", spare=3),
        Column("namespace", cut=True, varies=True, spare=2),
        Column("model"),
        Column("reason"),
        Column("confidence", right=True, spare=4),
        Column("similarity", right=True, spare=5),
        Column("guide", spare=6),
        Column("question", cut=True),
    )
    rows = tuple(
        (
            record.id[:_ID],
            when(record.at),
            line(record.namespace),
            role(record.model),
            line(facts.reason),
            number(facts.confidence),
            number(facts.similarity),
            (record.guide_id or "")[:_ID],
            line(facts.question or ""),
        )
        for record, facts in ((record, read_facts(record.facts)) for record in found)
    )
    return Grid(f"{count(len(found), 'decision')}, newest first", columns, rows)


def explanation(found: Explained) -> list[Any]:
    """A decision, the neighbours it was made from, its guide, and what was learned."""
    facts, evidence = found.facts, found.facts.evidence or EvidenceFacts()
    gap = evidence.learned_gap
    shown: dict[str, Text | str] = {
        "decision": facts.decision_id,
        "at": when(facts.at),
        "question": paragraph(facts.question or "not kept"),
        "model": role(facts.model),
        "reason": Text(line(facts.reason), style="bold"),
        "in words": "\n".join(map(line, in_words(facts))),
        "confidence": f"{number(facts.confidence)}, needed {number(facts.needed)}",
        "similarity": number(facts.similarity),
        "static router": number(evidence.prior),
        "learned score": "-" if gap is None else f"expects the strong answer to be better by {number(gap)}",
        "audits": f"{evidence.audits}, which moved such expectations by {number(evidence.audit_bias)}",
        "drift": f"{number(evidence.drift)} of the way to the alarm that the weak model changed",
        "key from": line(facts.key_source),
        "namespace": line(f"{facts.namespace}, task {facts.task}"),
        "weak, strong": line(", ".join(evidence.pair or ())),
        "drafts": str(facts.drafts),
        "failed over": ", ".join(facts.failed_over) or "-",
    }
    return [Facts(shown), *_calls(facts), *_neighbours(found), *_guide_used(found.guide), _learned(facts.learned)]


def _calls(facts: DecisionFacts) -> list[Grid]:
    """The calls behind an answer, where there was more than the one that served it."""
    columns = (
        Column("model"), Column("purpose"), Column("input", right=True), Column("output", right=True),
        Column("seconds", right=True), Column("USD", right=True), Column("failed"),
    )  # fmt: skip
    rows = [
        (
            role(call.model), line(call.purpose), str(call.input_tokens), str(call.output_tokens),
            number(call.seconds), "-" if call.usd is None else f"{call.usd:.6f}", "yes" if call.failed else "",
        )
        for call in facts.calls
    ]  # fmt: skip
    return [Grid("Calls, in their order", columns, tuple(rows))] if len(rows) > 1 else []


def _neighbours(found: Explained) -> list[Grid]:
    columns = (
        Column("similarity", right=True),
        Column("same"),
        Column("weak alone"),
        Column("with guides"),
        Column("text", cut=True),
    )
    rows = []
    for fact, experience in found.neighbours:
        tallies = experience.tallies if experience is not None else ()
        alone = [tally for tally in tallies if tally.guide_id is None]
        guided = [tally for tally in tallies if tally.guide_id is not None]
        same = "yes" if fact.same else ""
        text = line((experience.text if experience is not None else None) or "not kept")
        rows.append((number(fact.similarity), same, _record(alone), _record(guided), text))
    return [Grid("Neighbours, nearest first", columns, tuple(rows))] if rows else []


def _record(tallies: Iterable[Tally]) -> str:
    ok, bad = sum(tally.ok for tally in tallies), sum(tally.bad for tally in tallies)
    return f"{ok} ok, {bad} not" if ok or bad else "-"


def _guide_used(used: Guide | None) -> list[Text]:
    if used is None:
        return []
    title = f"Guide {used.id}: {used.state}, helped {used.helpful}, harmed {used.harmful}"
    return [Text.assemble((title, "bold"), "\n", paragraph(used.text))]


def _learned(learned: LearnedFacts | None) -> Facts:
    if learned is None or not (learned.attempts or learned.stopped):
        return Facts({"learned": "nothing was tried"})
    tried = (
        f"{'' if attempt.model in ('', WEAK) else line(attempt.model) + ', '}"
        f"{'alone' if attempt.guide_id is None else 'with guide ' + attempt.guide_id[:_ID]}: "
        f"{'agreed' if attempt.ok else 'did not agree'} (judge {attempt.judge})"
        for attempt in learned.attempts
    )
    rows = {"weak model tried": "\n".join(tried) or "-"}
    for name in ("audit_agreed", "guide_written", "guide_refused", "stopped"):
        if (value := getattr(learned, name)) is not None:
            rows[name.replace("_", " ")] = line(str(value))
    return Facts(rows)


def summary(facts: ReportFacts) -> Facts:
    """A report in a few lines."""
    share, quality, net = facts.strong_share, facts.quality, facts.money.savings
    calls = "none in this time" if share is None else f"{facts.calls:,}, {share:.0%} sent to the strong model"
    told: dict[str, Text | str] = {"calls": calls}
    if share is not None:
        of = "" if net.net_share is None else f" ({net.net_share:+.1%})"
        told["net saving"] = "unknown: some prices are" if net.net_usd is None else usd(net.net_usd) + of
        told["quality"] = (
            "unknown: no weak answer was checked"
            if quality.overall is None
            else "all answers were the strong model's"
            if not quality.overall.n
            else f"{quality.overall.value:.1%}, {interval(quality.overall)} by {count(quality.audits, 'check')}"
        )
    if facts.alarms:
        told["attention"] = Text("\n".join(line(alarm.what) for alarm in facts.alarms), "yellow")
    return Facts(told)


# --- small parts ----------------------------------------------------------------------------------------------------


def role(name: str) -> Text:
    """A role in its colour."""
    return Text(line(name), style=_MODEL_STYLE.get(name, ""))


def number(value: Any) -> str:
    """Three decimals, or a dash."""
    return "-" if value is None else f"{value:.3f}"


def cut(text: str, length: int = 100) -> str:
    """The text on one line."""
    whole = line(text)
    return whole if len(whole) <= length else whole[: length - 1] + "…"


def when(at: float) -> str:
    """Seconds since the epoch in local time."""
    return datetime.fromtimestamp(at, timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M:%S")
