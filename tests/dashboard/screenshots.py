"""Takes the screenshots of the dashboard's page in the documentation.

python -m tests.dashboard.screenshots docs/images
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

from rar import Router
from rar.memory import SQLiteMemory
from tests.core.world import easy, harbour, orchard, pair, serve
from tests.dashboard.running import running

PRICES = {"weak": (0.1, 0.4), "strong": (2.0, 8.0)}
PAGES = ("overview", "decisions", "guides", "learning", "kinds", "evaluations")
HOUR = 3_600.0


class Clock:
    now = 20_776 * 24 * HOUR + 8 * HOUR  # a morning in November

    def __call__(self) -> float:
        return self.now


def lived(file: Path, calls: int = 420, days: float = 6.0) -> None:
    """A memory in which a router has learned for some days of what a harbour office is asked."""
    clock, chance, models = Clock(), random.Random(4), pair()
    memory = SQLiteMemory(file, clock=clock)
    options: dict[str, Any] = {"embedder": "hashing", "learning": "inline", "prices": PRICES, "learning_budget": None}
    with Router(memory=memory, seed=3, quality=0.9, clock=clock, **options) as router:
        for _ in range(calls):
            clock.now += days * 24 * HOUR / calls
            serve(router, models, chance.choice([easy, harbour, orchard])(chance.randint(1, 60)))
    memory.close()


def shoot(url: str, folder: Path) -> None:
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        page = browser.new_page(base_url=url, viewport={"width": 1_200, "height": 1_000}, color_scheme="light")
        for name in PAGES:
            page.goto("/" if name == "overview" else f"/{name}", wait_until="networkidle")
            if name == "evaluations":
                page.get_by_role("link", name="harbour, floor").click()
            page.wait_for_timeout(2_500)
            page.screenshot(path=folder / f"dashboard-{name}.png")
        page.goto("/decisions")
        page.get_by_label("Question or id").fill("harbour")
        page.wait_for_timeout(2_500)
        page.locator("tbody tr", has_text="likely_guided").locator("a").first.click()
        page.wait_for_timeout(2_500)
        page.screenshot(path=folder / "dashboard-decision.png")
        browser.close()
    for file in folder.glob("dashboard-*.png"):  # as a page of few colours, a third of the size
        Image.open(file).convert("RGB").quantize(96).save(file, optimize=True)


def main() -> None:
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory() as folder:
        memory, reports = Path(folder) / "harbour.db", Path(folder) / "reports"
        lived(memory)
        evaluate = [sys.executable, "-m", "rar.cli", "eval", "memory", str(memory), "--quality", "0.9"]
        evaluate += ["--price", "weak=0.1/0.4", "--price", "strong=2/8", "--out", str(reports / "harbour, floor 0.9")]
        subprocess.run(evaluate, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        with running("harbour.db", "--reports", str(reports), cwd=folder) as url:
            shoot(url, target)


if __name__ == "__main__":
    main()
