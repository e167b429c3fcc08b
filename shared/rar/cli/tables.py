"""What the command line shows, as rich renderables. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from rar.ledger import Savings
from rar.memory.base import DecisionRecord, MemoryStats, PolicyState, Spend
from rar.values import Guide
from rar.words import NOT_LEARNED, in_words

_PURPOSES = ("serve", "shadow", "guide", "judge", "audit")
_COUNTS = ("calls", "tokens in", "tokens out", "USD", "audits", "errors", "helped", "harmed")
_SHARES = ("threshold", "confidence", "similarity")
_MODEL_STYLE = {"weak": "green", "strong": "magenta"}


def stats(
    where: str, counts: MemoryStats, policies: Mapping[str, PolicyState], spending: Sequence[Spend], saved: Savings
) -> list[Any]:
    """What a memory holds, and what was spent."""
    guides = ", ".join(f"{count} {state}" for state, count in sorted(counts.guides.items())) or "none"
    held = facts_table(
        {
            "memory": where,
            "embedder": f"{counts.embedder_id}, {counts.dim} dimensions" if counts.embedder_id else "not bound yet",
            "experiences": f"{counts.experiences:,} ({counts.evicted:,} evicted)",
            "judged attempts": f"{counts.trials:,}",
            "guides": guides,
            "decisions": f"{counts.decisions:,}",
            **_unlearned(counts, spending),
        }
    )
    per_namespace = _table("Namespaces", "namespace", "threshold", "audits", "errors")
    for name, state in policies.items():
        threshold = "not moved yet" if state.threshold is None else f"{state.threshold:.3f}"
        per_namespace.add_row(escape(name), threshold, f"{state.audits:,}", f"{state.errors:,}")
    shown = [held, per_namespace] if policies else [held]
    return [*shown, spent(spending), saving(saved)] if spending else shown


def _unlearned(counts: MemoryStats, spending: Iterable[Spend]) -> dict[str, str]:
    """Rows that say what kept the router from learning, and what is not known of the costs; none where nothing did."""
    rows = {
        {"budget": "paused"}.get(code, code): f"nothing learned from {count:,} decisions: {NOT_LEARNED.get(code, code)}"
        for code, count in sorted(counts.not_learned.items(), key=lambda item: -item[1])
    }
    unpriced, estimated = (sum(getattr(spend, name) for spend in spending) for name in ("unpriced", "estimated"))
    if unpriced:
        rows["unpriced"] = f"{unpriced:,} calls of models without a known price"
    if estimated:
        rows["estimated"] = f"tokens of {estimated:,} calls were estimated from the text: the provider reported none"
    return rows


def spent(spending: Iterable[Spend]) -> Table:
    """Calls, tokens and USD by purpose and model. A tilde stands before tokens that are estimated in part or whole."""
    table = _table("Spending", "purpose", "role", "model", "calls", "tokens in", "tokens out", "USD")
    for spend in sorted(spending, key=lambda spend: (_PURPOSES.index(spend.purpose), spend.role, spend.model_id)):
        cost = f"{spend.usd:.6f}" if not spend.unpriced else f"{spend.unpriced:,} unpriced"
        about = "~" if spend.estimated else ""
        tokens = f"{about}{spend.input_tokens:,}", f"{about}{spend.output_tokens:,}"
        table.add_row(spend.purpose, role(spend.role), escape(spend.model_id), f"{spend.calls:,}", *tokens, cost)
    return table


def saving(saved: Savings) -> Table:
    """The sum under the line: served by whom, spent, and saved net of all learning."""
    share = f" ({saved.served_strong / saved.served:.0%})" if saved.served else ""
    facts = {"served": f"{saved.served:,} calls, {saved.served_strong:,} by the strong model{share}"}
    if saved.net_usd is None or saved.always_strong_usd is None:
        facts["net saving"] = "unknown: some prices are; pass --price strong=IN/OUT --price weak=IN/OUT"
    else:
        net_share = f" ({saved.net_share:+.1%})" if saved.net_share is not None else ""
        facts |= {
            "always strong": f"{saved.always_strong_usd:.6f} USD",
            "spent": f"{saved.spent_usd:.6f} USD, {saved.learning_usd:.6f} of it to learn",
            "net saving": f"[bold]{saved.net_usd:+.6f} USD{net_share}[/]",
        }
    return facts_table(facts)


def guides(found: Sequence[Guide]) -> Table:
    """Guides, a line each."""
    table = _table(f"{len(found)} guides", "id", "namespace", "state", "helped", "harmed", "written", "text")
    for guide in found:
        counts, text = (str(guide.helpful), str(guide.harmful)), escape(cut(guide.text))
        table.add_row(guide.id[:10], escape(guide.namespace), guide.state, *counts, when(guide.created_at), text)
    return table


def guide(found: Guide, origin: str | None) -> Panel:
    """One guide, whole, with the text of the request that it was written for."""
    about = (
        f"{found.state}, helped {found.helpful}, harmed {found.harmful}; by {found.author}, {when(found.created_at)}\n"
        f"written for: {origin or 'a request that is not kept'}"
    )
    return Panel(f"{escape(found.text)}\n\n[dim]{escape(about)}[/]", title=f"guide {found.id}", title_align="left")


def decisions(found: Sequence[DecisionRecord]) -> Table:
    """Decisions, a line each."""
    columns = ("id", "at", "model", "reason", "confidence", "similarity", "guide", "question")
    table = _table(f"{len(found)} decisions, newest first", *columns)
    for record in found:
        facts = record.facts
        table.add_row(
            record.id[:10],
            when(record.at),
            role(record.model),
            escape(str(facts.get("reason", ""))),
            number(facts.get("confidence")),
            number(facts.get("similarity")),
            (record.guide_id or "")[:10],
            escape(cut(str(facts.get("question") or ""))),
        )
    return table


def explanation(facts: Mapping[str, Any]) -> list[Any]:
    """A decision, the neighbours it was made from, its guide, and what was learned."""
    pair = facts.get("pair") or ()
    shown = facts_table(
        {
            "decision": str(facts.get("decision_id")),
            "at": when(float(facts.get("at", 0.0))),
            "question": escape(str(facts.get("question") or "not kept")),
            "model": role(str(facts.get("model"))),
            "reason": f"[bold]{escape(str(facts.get('reason')))}[/]",
            "in words": escape("\n".join(in_words(facts))),
            "confidence": f"{number(facts.get('confidence'))}, needed {number(facts.get('threshold'))}",
            "similarity": number(facts.get("similarity")),
            "static router": number(facts.get("prior")),
            "learned score": f"expects the strong answer to be better by {number(facts.get('learned_gap'))}",
            "audits": f"{facts.get('audits', 0)}, which moved such expectations by {number(facts.get('audit_bias'))}",
            "drift": f"{number(facts.get('drift', 0.0))} of the way to the alarm that the weak model changed",
            "key from": escape(str(facts.get("key_source"))),
            "namespace": escape(f"{facts.get('namespace')}, task {facts.get('task')}"),
            "weak, strong": escape(", ".join(map(str, pair))),
            "drafts": str(facts.get("drafts", 0)),
            "failed over": ", ".join(facts.get("failed_over") or ()) or "-",
        }
    )
    return [shown, *_neighbours(facts), *_guide_used(facts), _learned(facts)]


def _neighbours(facts: Mapping[str, Any]) -> list[Table]:
    table = _table("Neighbours, nearest first", "similarity", "same", "weak alone", "with guides", "text")
    for entry in facts.get("neighbours") or ():
        tallies = entry.get("tallies") or ()
        alone = [tally for tally in tallies if tally["guide_id"] is None]
        guided = [tally for tally in tallies if tally["guide_id"] is not None]
        text = escape(cut(entry.get("text") or "not kept"))
        same = "yes" if entry["same"] else ""
        table.add_row(number(entry["similarity"]), same, _record(alone), _record(guided), text)
    return [table] if table.row_count else []


def _record(tallies: Iterable[Mapping[str, Any]]) -> str:
    ok, bad = sum(tally["ok"] for tally in tallies), sum(tally["bad"] for tally in tallies)
    return f"{ok} ok, {bad} not" if ok or bad else "-"


def _guide_used(facts: Mapping[str, Any]) -> list[Panel]:
    used = facts.get("guide")
    if not used:
        return []
    title = f"guide {facts['guide_id']}: {used['state']}, helped {used['helpful']}, harmed {used['harmful']}"
    return [Panel(escape(used["text"]), title=title, title_align="left")]


def _learned(facts: Mapping[str, Any]) -> Table:
    learned = facts.get("learned") or {}
    if not learned.get("attempts") and not learned.get("stopped"):
        return facts_table({"learned": "nothing was tried"})
    tried = (
        f"{'alone' if attempt['guide_id'] is None else 'with guide ' + attempt['guide_id'][:10]}: "
        f"{'agreed' if attempt['ok'] else 'did not agree'} (judge {attempt['judge']})"
        for attempt in learned.get("attempts") or ()
    )
    rows = {"weak model tried": "\n".join(tried) or "-"}
    for name in ("audit_agreed", "guide_written", "guide_refused", "stopped"):
        if learned.get(name) is not None:
            rows[name.replace("_", " ")] = escape(str(learned[name]))
    return facts_table(rows)


# --- small parts ----------------------------------------------------------------------------------------------------


def facts_table(facts: Mapping[str, str]) -> Table:
    """Names and values in two columns, without lines. Values are markup."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        table.add_row(name, value)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim")
    for column in columns:
        table.add_column(
            column, justify="right" if column in _COUNTS + _SHARES else "left", no_wrap=column in {"id", "reason"}
        )
    return table


def role(name: str) -> str:
    """A role in its colour."""
    style = _MODEL_STYLE.get(name)
    return f"[{style}]{name}[/]" if style else escape(name)


def number(value: Any) -> str:
    """Three decimals, or a dash."""
    return "-" if value is None else f"{value:.3f}"


def cut(text: str, length: int = 100) -> str:
    """The text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def when(at: float) -> str:
    """Seconds since the epoch in local time."""
    return datetime.fromtimestamp(at, timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M:%S")
