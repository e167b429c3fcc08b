"""One self-contained HTML page: no script, nothing loaded, all charts inline. Pure."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files

from rar.report import sections
from rar.report.facts import ReportFacts
from rar.report.markup import Child, Markup, el, join
from rar.report.numbers import count, date, interval, percent, span, usd

GENERATOR = "rar-llm report"
# Nothing on the page may load or run anything, whatever a question, guide or name holds.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def page(facts: ReportFacts, version: str) -> str:
    """The page of `facts`, written by this `version` of the package."""
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        el("meta", name="generator", content=f"{GENERATOR} {version}"),
        el("title", f"Routing report: {facts.name}"),
        el("style", Markup(style())),
    )
    made = f"Made by rar-llm {version} on {date(facts.made_at)} from {facts.name}."
    body = el("body", el("main", _header(facts), cards(facts), *_sections(facts), el("footer", made)))
    return "<!doctype html>\n" + el("html", head, body, lang="en") + "\n"


def _sections(facts: ReportFacts) -> list[Child]:
    return [
        sections.alarms(facts),
        el("div", sections.course(facts), sections.saving(facts), class_="two"),
        sections.reasons(facts),
        sections.learned(facts),
        sections.quality(facts),
        sections.kinds(facts),
        sections.guides(facts),
        sections.spending(facts),
        sections.namespaces(facts),
        sections.limits(facts),
    ]


def _header(facts: ReportFacts) -> Markup:
    when = "no calls" if facts.start is None or facts.end is None else span(facts.start, facts.end)
    models = " beside ".join(facts.models[role] for role in ("weak", "strong") if role in facts.models)
    where = f"namespace {facts.namespace}" if facts.namespace is not None else ""
    about = " · ".join(part for part in (when, models, where) if part)
    return el("header", el("p", "Routing report", class_="soft"), el("h1", facts.name), el("p", about, class_="soft"))


def cards(facts: ReportFacts) -> Markup:
    """The figures that stand above all others."""
    saved, quality = facts.money.savings, facts.quality
    share = facts.strong_share
    net = "unknown" if saved.net_usd is None or not saved.served else usd(saved.net_usd)
    of = "" if saved.net_share is None else f"{saved.net_share:.1%} of what the strong model alone would have cost"
    kept = {True: "floor kept", False: "floor missed", None: "floor: cannot be told yet"}[quality.floor_kept]
    kept = "floor not recorded" if quality.floor is None else f"{kept} ({percent(quality.floor)})"
    if quality.overall is not None and quality.overall.n:
        checked = f"{interval(quality.overall)} by {count(quality.audits, 'check')}; {kept}"
    else:
        checked = "all answers are the strong model's" if quality.overall is not None else "no weak answer was checked"
    return el(
        "div",
        _card("Calls served", f"{facts.calls:,}", f"{facts.strong:,} by the strong model"),
        _card("Sent to strong", "–" if share is None else percent(share), _lately(facts)),
        _card("Net saving", net, of, None if saved.net_usd is None else "good" if saved.net_usd > 0.0 else "bad"),
        _card(
            "Quality",
            "unknown" if quality.overall is None else percent(quality.overall.value, 1),
            checked,
            "bad" if quality.floor_kept is False else "good" if quality.floor_kept else None,
        ),
        class_="cards",
    )


def _lately(facts: ReportFacts) -> str:
    if facts.lately is None:
        return ""
    return f"{percent(facts.lately[0])} in the first quarter, {percent(facts.lately[1])} in the last"


def _card(name: str, value: str, about: str, class_: str | None = None) -> Markup:
    return el("div", el("span", name, class_="name"), el("b", value, class_=class_), el("small", about), class_="card")


@lru_cache(maxsize=1)
def style() -> str:
    """The style sheet of the page."""
    return files("rar.report").joinpath("page.css").read_text(encoding="utf-8")


def framed(html: str, height: int = 900) -> str:
    """A page inside a notebook's cell, where neither's styles touch the other."""
    style = f"width:100%;height:{height}px;border:0"
    return join(el("iframe", srcdoc=html, style=style, sandbox="", title="Routing report"))
