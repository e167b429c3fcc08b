"""The dashboard in a real browser: Debian's Chromium, driven by Playwright."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rar import Router
from rar.values import question
from tests.core.world import Scripted, easy, harbour, serve, strong_answer, weak_answer
from tests.dashboard.running import running
from tests.dashboard.test_views import fill

pytest.importorskip("nicegui", reason="the dashboard needs the extra [dashboard]")
playwright = pytest.importorskip("playwright.sync_api", reason="Playwright drives the browser: pip install playwright")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
PAGES = ("/", "/decisions", "/guides", "/learning", "/kinds", "/evaluations")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
]


@dataclass(frozen=True)
class Shown:
    """A dashboard that runs."""

    url: str
    memory: Path | str


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as running:
        opened = running.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def shown(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Shown]:
    place: Any = tmp_path_factory.mktemp("dashboard") / "rar.db"
    if request.param == "postgres":
        request.getfixturevalue("own_cache")
        place = request.getfixturevalue("postgres").fresh()
    memory = fill(place, 60)
    reports = tmp_path_factory.mktemp("reports")
    (reports / "first").mkdir()
    (reports / "first" / "report.md").write_text("# A floor\n\n| quality | saved |\n| --- | --- |\n| 95% | 40% |\n")
    with running(str(memory), "--reports", str(reports)) as url:
        yield Shown(url, memory)


@pytest.fixture
def page(browser: Any, shown: Shown) -> Iterator[Any]:
    """A page on which nothing went wrong."""
    wrong: list[str] = []
    opened = browser.new_page(base_url=shown.url)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("console", lambda said: wrong.append(said.text) if said.type == "error" else None)
    yield opened
    opened.close()
    assert not wrong


@pytest.mark.parametrize("path", PAGES)
def test_every_page_loads(page: Any, path: str) -> None:
    page.goto(path)
    page.wait_for_selector("text=RAR")
    page.wait_for_timeout(500)


def test_the_overview_says_what_was_saved(page: Any) -> None:
    page.goto("/")

    playwright.expect(page.locator(".card", has_text="Calls served")).to_have_count(1)
    playwright.expect(page.locator(".card", has_text="Calls served").locator("b")).to_have_text("60")
    playwright.expect(page.locator(".card", has_text="Net saving").locator("b")).to_contain_text(" USD")


def test_decisions_are_filtered_and_one_is_explained(page: Any) -> None:
    page.goto("/decisions")
    rows = page.locator("tbody tr")
    playwright.expect(rows).to_have_count(25)
    page.get_by_label("Question or id").fill("no such question")
    playwright.expect(page.get_by_text("No data available")).to_be_visible()
    page.get_by_label("Question or id").fill("")
    playwright.expect(rows).to_have_count(25)

    rows.locator("a").first.click()

    page.wait_for_url(re.compile("/decision/"))
    for title in ("What was asked", "Why", "What another floor would have done", "What each model would have cost"):
        playwright.expect(page.get_by_text(title, exact=True)).to_be_visible()


def test_a_report_of_an_evaluation_is_read(page: Any) -> None:
    page.goto("/evaluations")
    page.get_by_role("link", name="first").click()

    playwright.expect(page.get_by_role("heading", name="A floor")).to_be_visible()
    playwright.expect(page.locator("td", has_text="40%")).to_be_visible()


def test_a_guide_that_is_approved_is_used_by_the_next_decision(page: Any, shown: Shown) -> None:
    models = {"weak": Scripted("small-1", weak_answer), "strong": Scripted("big-1", strong_answer)}

    def guided(numbers: range) -> list[bool]:
        options: Any = {"embedder": "hashing", "learning": "inline", "guides": "review", "learning_budget": None}
        with Router(memory=shown.memory, **options) as router:
            return [serve(router, models, harbour(n))[0].guide is not None for n in numbers]

    assert not any(guided(range(100, 108)))
    page.goto("/guides")
    card = page.locator(".q-card", has_text="harbour fee").first
    card.get_by_role("button", name="Approve").click()
    playwright.expect(card.get_by_text("active, by hand")).to_be_visible()

    assert any(guided(range(200, 208)))


def test_what_happens_meanwhile_is_shown(page: Any, shown: Shown) -> None:
    page.goto("/")
    calls = page.locator(".card", has_text="Calls served").locator("b")
    playwright.expect(calls).to_have_text(re.compile(r"^\d+$"))
    before = int(calls.inner_text())
    models = {"weak": Scripted("small-1", weak_answer), "strong": Scripted("big-1", strong_answer)}

    with Router(memory=shown.memory, embedder="hashing", learning="inline") as router:
        serve(router, models, easy(1))

    playwright.expect(calls).to_have_text(str(before + 1), timeout=15_000)


def test_text_of_questions_is_text(page: Any, shown: Shown) -> None:
    models = {"weak": Scripted("small-1", weak_answer), "strong": Scripted("big-1", strong_answer)}
    hostile = "<img src=x onerror=alert(1)> {{ 7 * 7 }}"
    with Router(memory=shown.memory, embedder="hashing", learning="inline") as router:
        serve(router, models, question(hostile))
    page.goto("/decisions")
    page.get_by_label("Question or id").fill("onerror")

    playwright.expect(page.get_by_text(hostile)).to_be_visible()
    assert page.locator("img[src=x]").count() == 0


def test_it_fits_a_phone_in_the_dark(browser: Any, shown: Shown) -> None:
    page = browser.new_page(base_url=shown.url, viewport={"width": 390, "height": 800}, color_scheme="dark")
    for path in PAGES:
        page.goto(path)
        page.wait_for_timeout(800)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, path
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(20, 20, 23)"
    page.close()
