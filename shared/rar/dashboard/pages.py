"""The pages: overview, decisions, one decision, guides, learning, kinds, evaluations, one evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from nicegui import run, ui

from rar.dashboard.desk import Desk
from rar.dashboard.look import report_style
from rar.dashboard.views import Filter, roles, success, when
from rar.errors import RarError
from rar.own_guides import OwnGuide
from rar.report import sections
from rar.report.facts import ReportFacts
from rar.report.markup import Child, el
from rar.report.page import cards
from rar.values import Guide, GuideState
from rar.views import Explained
from rar.words import in_words

_EVERY: Final = 2.0  # seconds between looks at whether there is something new
_PAGES: Final = (
    ("/", "Overview", "speed"),
    ("/decisions", "Decisions", "alt_route"),
    ("/guides", "Guides", "menu_book"),
    ("/learning", "Learning", "school"),
    ("/kinds", "Kinds", "category"),
    ("/evaluations", "Evaluations", "query_stats"),
)
_ACTIONS: Final[tuple[tuple[str, GuideState, str], ...]] = (
    ("Approve", "active", "check"),
    ("Retire", "retired", "archive"),
    ("Quarantine", "quarantined", "block"),
)
_LEAST: Final = 4  # characters of an id that tell it from others in a title


def build(desk: Desk) -> None:
    """Define all pages."""
    ui.page("/", title="RAR")(partial(_overview, desk))
    ui.page("/decisions", title="RAR: decisions")(partial(_decisions, desk))
    ui.page("/decision/{id}", title="RAR: a decision")(_with_id(desk))
    ui.page("/guides", title="RAR: guides")(partial(_guides, desk))
    ui.page("/learning", title="RAR: learning")(partial(_learning, desk))
    ui.page("/kinds", title="RAR: kinds of questions")(partial(_kinds, desk))
    ui.page("/evaluations", title="RAR: evaluations")(partial(_evaluations, desk))
    ui.page("/evaluation/{name:path}", title="RAR: an evaluation")(_of_report(desk))


# ── the frame ──


@contextmanager
def _frame(desk: Desk, title: str) -> Iterator[None]:
    ui.add_css(report_style())
    dark = ui.dark_mode(None)
    with ui.left_drawer().props("width=190 breakpoint=900") as drawer:
        for path, name, icon in _PAGES:
            with ui.link(target=path).classes("no-underline row items-center q-py-xs text-inherit"):
                ui.icon(icon).classes("q-mr-sm")
                ui.label(name)
    with ui.header().classes("items-center bg-primary q-py-xs"):
        ui.button(icon="menu", on_click=drawer.toggle).props("flat color=white aria-label=Menu")
        ui.label("RAR").classes("text-h6")
        ui.label(desk.memory.where).classes("ellipsis gt-xs").style("max-width: 24rem; opacity: .8")
        ui.space()
        light_or_dark = ui.button(icon="contrast", on_click=lambda: dark.set_value(not dark.value))
        light_or_dark.props("flat color=white aria-label='Light or dark'")
    with ui.column().classes("w-full q-mx-auto items-stretch").style("max-width: 72rem"):
        ui.label(title).classes("text-h5")
        yield


def _html(*children: Child) -> None:
    ui.html(el("div", *children, class_="rar"), sanitize=False).classes("w-full")


def _live(desk: Desk, show: Callable[[], Any]) -> None:
    """Show again as soon as there is something new."""
    seen: list[object] = [None]

    async def look() -> None:
        pulse = await run.io_bound(desk.pulse)
        if pulse != seen[0]:
            changed, seen[0] = seen[0] is not None, pulse
            if changed:
                await show()

    ui.timer(_EVERY, look)


def _keeper(chosen: dict[str, Any], name: str, show: Callable[[], Any]) -> Callable[[Any], Any]:
    """Keeps what somebody chose, and shows what comes of it."""

    async def keep(event: Any) -> None:
        chosen[name] = event.value
        await show()

    return keep


def _choice(label: str, options: Any, chosen: dict[str, Any], name: str, show: Callable[[], Any]) -> None:
    ui.select(options, label=label, value=chosen[name], on_change=_keeper(chosen, name, show)).props("dense").style(
        "min-width: 9rem"
    )


async def _reported(desk: Desk, title: str, draw: Callable[[ReportFacts], Sequence[Child]]) -> None:
    """A page made of parts of the report, for a namespace and some days, live."""
    chosen: dict[str, Any] = {"namespace": "all", "days": 0}

    @ui.refreshable
    async def body() -> None:
        namespace = None if chosen["namespace"] == "all" else chosen["namespace"]
        facts = await run.io_bound(desk.facts, namespace, chosen["days"] or None)
        if facts is not None:
            _html(*draw(facts))

    with _frame(desk, title):
        names = ["all", *(await run.io_bound(desk.memory.stats)).namespaces]
        with ui.row():
            days = {0: "all that is kept", 1: "today", 7: "7 days", 30: "30 days"}
            _choice("Namespace", names, chosen, "namespace", body.refresh)
            _choice("Time", days, chosen, "days", body.refresh)
        await body()
        _live(desk, body.refresh)


async def _overview(desk: Desk) -> None:
    await _reported(
        desk,
        "Overview",
        lambda facts: [
            cards(facts),
            sections.alarms(facts),
            el("div", sections.course(facts), sections.saving(facts), class_="two"),
            sections.reasons(facts),
            sections.quality(facts),
            sections.namespaces(facts),
        ],
    )


async def _learning(desk: Desk) -> None:
    await _reported(
        desk, "Learning", lambda facts: [sections.learned(facts), sections.spending(facts), sections.limits(facts)]
    )


async def _kinds(desk: Desk) -> None:
    await _reported(desk, "Kinds of questions", lambda facts: [sections.kinds(facts)])


# ── decisions ──

_COLUMNS: Final = [
    {"name": name, "label": label, "field": name, "align": "left", "sortable": True}
    for name, label in (
        ("at", "At (UTC)"), ("model", "Model"), ("reason", "Reason"), ("confidence", "Confidence"),
        ("learned", "Learned"), ("question", "Question"),
    )
]  # fmt: skip


async def _decisions(desk: Desk) -> None:
    chosen: dict[str, str] = asdict(Filter())

    @ui.refreshable
    async def table() -> None:
        found = await run.io_bound(desk.rows, Filter(**{name: value or "" for name, value in chosen.items()}))
        shown = (
            ui.table(columns=_COLUMNS, rows=[asdict(row) for row in found or ()], row_key="id", pagination=25)
            .classes("w-full")
            .props("wrap-cells dense :grid='Quasar.Screen.lt.sm'")
        )
        shown.on("rowClick", lambda event: ui.navigate.to(f"/decision/{event.args[1]['id']}"))
        shown.add_slot("body-cell-question", _QUESTION_CELL)
        shown.add_slot("item", _CARD)

    with _frame(desk, "Decisions"):
        facts = await run.io_bound(desk.facts)
        models = {"": "any", **{name: name for name in roles(facts.models)}}
        reasons = {"": "any", **{one.code: one.code for one in facts.reasons}}
        names = {"": "any", **{name: name for name in facts.held.namespaces}}
        with ui.row().classes("items-end"):
            search = ui.input("Question or id", on_change=_keeper(chosen, "text", table.refresh))
            search.props("dense clearable debounce=300")
            _choice("Model", models, chosen, "model", table.refresh)
            _choice("Reason", reasons, chosen, "reason", table.refresh)
            _choice("Namespace", names, chosen, "namespace", table.refresh)
        await table()
        _live(desk, table.refresh)


# Text is put in by Vue, which escapes it.
_QUESTION_CELL: Final = (
    '<q-td :props="props"><a :href="`/decision/${props.row.id}`" class="text-inherit">'
    "{{ props.value ? props.value.slice(0, 160) : props.row.id }}</a></q-td>"
)
_CARD: Final = (
    '<div class="q-pa-xs col-12"><q-card flat bordered class="q-pa-sm"><a :href="`/decision/${props.row.id}`" '
    'class="text-inherit">{{ props.row.question.slice(0, 160) || props.row.id }}</a><div class="text-caption">'
    "{{ props.row.at }} · {{ props.row.model }} · {{ props.row.reason }}</div></q-card></div>"
)


def _with_id(desk: Desk) -> Callable[[str], Any]:
    async def page(id: str) -> None:
        await _decision(desk, id)

    return page


async def _decision(desk: Desk, id: str) -> None:
    with _frame(desk, f"Decision {id[: 2 * _LEAST]}"):
        try:
            record = await run.io_bound(desk.record, id)
            found = await run.io_bound(desk.explained, record)
            floors = await run.io_bound(desk.at_floors, record)
            models = await run.io_bound(desk.by_models, record)
        except RarError as error:
            ui.label(str(error))
            return
        facts = found.facts
        said = el("ul", *(el("li", line) for line in in_words(facts)), class_="plain")
        about = f"{when(facts.at)} UTC · namespace {facts.namespace} · task {facts.task} · {facts.model}"
        question = el("p", facts.question or "The question is not kept.")
        _html(
            sections.section("What was asked", question, el("p", about, class_="soft")),
            sections.section("Why", said),
            _otherwise(facts.quality, floors),
            sections.section("What each model would have cost", _table(
                ("model", "id", "USD"),
                [(f"{one.name}{' (served)' if one.served else ''}", one.model_id, _usd(one.usd)) for one in models],
            )),
            _neighbours(found),
            sections.section("Guide", el("pre", found.guide.text), el("p", success(found.guide), class_="soft"))
            if found.guide else None,
            sections.section("What was learned", _learned(facts)),
        )  # fmt: skip


def _neighbours(found: Explained) -> Child:
    """The questions that a decision was made from."""
    rows = []
    for fact, one in found.neighbours:
        tallies = () if one is None else one.tallies
        tried = ", ".join(f"{t.ok} ok, {t.bad} not{' with a guide' if t.guide_id else ''}" for t in tallies)
        text = None if one is None else one.text
        rows.append((f"{fact.similarity:.3f}", "yes" if fact.same else "", text or "not kept", tried))
    columns = ("similarity", "the same", "question", "weak model")
    return sections.section("Neighbours", _table(columns, rows)) if rows else None


def _otherwise(floor: float | None, floors: Sequence[Any]) -> Child:
    """What other floors would have made of it."""
    now = "no floor was set" if floor is None else f"the floor was {floor:g}"
    rows = [
        (
            f"{one.floor:g}", "-" if one.needed is None else f"{one.needed:.2f}", f"{one.share:.0%}",
            "not known" if one.cheaper is None else "a cheaper model" if one.cheaper else "the strong model",
        )
        for one in floors
    ]  # fmt: skip
    intro = f"Estimated from what is expected of the latest decisions; {now}."
    table = _table(("floor", "confidence needed", "share of cheaper answers", "this one"), rows)
    return sections.section("What another floor would have done", table, intro=intro)


def _learned(facts: Any) -> Child:
    learned = facts.learned
    if learned is None or not (learned.attempts or learned.stopped):
        return el("p", f"Nothing was tried{f': {facts.not_learned}' if facts.not_learned else ''}.")
    tried = [
        f"{one.model or 'weak'} {'alone' if one.guide_id is None else 'with guide ' + one.guide_id[: 2 * _LEAST]}: "
        f"{'agreed' if one.ok else 'did not agree'} ({one.judge})"
        for one in learned.attempts
    ]
    return el("ul", *(el("li", line) for line in (*tried, *filter(None, [learned.stopped]))), class_="plain")


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Child:
    head = el("thead", el("tr", *(el("th", name) for name in columns)))
    body = el("tbody", *(el("tr", *(el("td", cell) for cell in row)) for row in rows))
    return el("table", head, body, class_="rows")


def _usd(value: float | None) -> str:
    return "no price is known" if value is None else f"{value:.6f}"


# ── guides ──


async def _guides(desk: Desk) -> None:
    @ui.refreshable
    async def shelf() -> None:
        found = await run.io_bound(desk.guides)
        if not found:
            ui.label("No guide was written yet.")
        for guide in found:
            _guide(desk, guide, shelf.refresh)

    with _frame(desk, "Guides"):
        if desk.manage:
            with ui.row():
                ui.button("Add your own", icon="add", on_click=lambda: _dialog(desk, None, shelf.refresh))
        else:
            ui.label("This page only looks. Start it with --manage to approve, retire, edit or add guides.").classes(
                "text-caption"
            )
        await shelf()
        _live(desk, shelf.refresh)


def _guide(desk: Desk, guide: Guide, changed: Callable[[], Any]) -> None:
    with ui.card().classes("w-full").mark(f"guide-{guide.id}"):
        with ui.row().classes("items-center w-full"):
            ui.badge(guide.state + (", by hand" if guide.pinned else "")).mark("state")
            ui.label(success(guide)).classes("text-caption")
            ui.space()
            about = f"{guide.namespace} · {guide.task} · by {guide.author} · {when(guide.created_at)}"
            ui.label(about).classes("text-caption")
        _html(el("pre", guide.text))
        if desk.manage:
            with ui.row():
                for name, state, icon in _ACTIONS:
                    if state != guide.state or not guide.pinned:
                        ui.button(name, icon=icon, on_click=partial(_decide, desk, guide, state, changed)).props(
                            "flat dense"
                        )
                ui.button("Edit", icon="edit", on_click=partial(_dialog, desk, guide, changed)).props("flat dense")


async def _decide(desk: Desk, guide: Guide, state: GuideState, changed: Callable[[], Any]) -> None:
    try:
        await run.io_bound(desk.decide, guide.id, state)
        ui.notify(f"The guide is {state} now.")
    except (RarError, LookupError) as error:
        ui.notify(str(error), type="negative")
    await changed()


def _dialog(desk: Desk, guide: Guide | None, changed: Callable[[], Any]) -> None:
    """Write a guide, or another text in the place of one."""
    with ui.dialog() as dialog, ui.card().style("min-width: min(90vw, 36rem)"):
        ui.label("Your own guide" if guide is None else "Another text").classes("text-h6")
        text = (
            ui.textarea("Guide", value=_FORM if guide is None else guide.text)
            .props("autogrow outlined")
            .classes("w-full")
        )
        used_for = ui.input("A question that it is for").classes("w-full") if guide is None else None
        namespace = ui.input("Namespace", value="default") if guide is None else None

        async def save() -> None:
            try:
                if guide is not None:
                    await run.io_bound(desk.edit, guide, text.value)
                else:
                    assert used_for is not None and namespace is not None
                    questions = tuple(filter(None, [(used_for.value or "").strip()]))
                    given = OwnGuide(text.value, questions, namespace.value or "default")
                    await run.io_bound(desk.add, given)
            except RarError as error:
                ui.notify(str(error), type="negative", multi_line=True)
                return
            dialog.close()
            await changed()

        with ui.row():
            ui.button("Save", on_click=save)
            ui.button("Cancel", on_click=dialog.close).props("flat")
    dialog.open()


_FORM: Final = "Use when: \n1. \n2. \nAvoid: "


# ── evaluations ──


async def _evaluations(desk: Desk) -> None:
    with _frame(desk, "Evaluations"):
        found = await run.io_bound(desk.evaluations)
        if not found:
            ui.label("Start the dashboard with --reports DIR, a folder into which `rar eval --out` wrote reports.")
        for one in found or ():
            with ui.row().classes("items-baseline"):
                ui.link(one.name, f"/evaluation/{one.name}")
                ui.label(f"{when(one.at)} UTC").classes("text-caption")


def _of_report(desk: Desk) -> Callable[[str], Any]:
    async def page(name: str) -> None:
        with _frame(desk, f"Evaluation {name}"):
            text = await run.io_bound(desk.evaluation, name)
            if text is None:
                ui.label("There is no such report in the folder of --reports.")
            else:
                ui.markdown(text, extras=["tables"]).classes("w-full").style("overflow-x: auto")

    return page
