"""What became of a memory's calls: as data, as one page, as a figure.

`report(memory)` looks at any `Memory`; `Router.report()` and `rar report` call it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rar.errors import ConfigurationError
from rar.memory.base import Memory
from rar.prices import Prices
from rar.report.facts import ReportFacts, gather
from rar.report.page import GENERATOR, framed, page

__all__ = ["Report", "ReportFacts", "report"]


@dataclass(frozen=True)
class Report:
    """What became of a memory's calls. A notebook shows it as the page."""

    facts: ReportFacts

    def as_dict(self) -> dict[str, Any]:
        """All that the page says, JSON-able."""
        return self.facts.as_dict()

    def html(self) -> str:
        """One self-contained page: no script, nothing that is loaded from elsewhere."""
        return page(self.facts, version("rar-llm"))

    def save(self, path: str | os.PathLike[str] = "report.html") -> Path:
        """Write the page to `path`; an older report there is replaced, any other file is left alone.

        Raises:
            ConfigurationError: A file that is no report is there.
        """
        file = Path(path)
        check_out(file)
        file.write_text(self.html(), encoding="utf-8")
        return file

    def png(self, path: str | os.PathLike[str]) -> Path:
        """Draw the summary as an image, with matplotlib (extra `[eval]`); a file of that name is replaced.

        Raises:
            MissingDependencyError: matplotlib is not installed.
        """
        from rar.report.figure import figure  # noqa: PLC0415 - optional

        file = Path(path)
        figure(self.facts).savefig(file, dpi=150, format="png")
        return file

    def _repr_html_(self) -> str:
        return framed(self.html())


def report(
    memory: Memory,
    *,
    namespace: str | None = None,
    days: float | None = None,
    prices: Mapping[str, Sequence[float]] | Prices | None = None,
    quality: float | None = None,
    now: float | None = None,
) -> Report:
    """Look at a memory.

    Args:
        memory: Open, may be read-only.
        namespace: Only this one.
        days: Only so many days, today included, cut down to whole UTC days; None: all that is kept.
        prices: USD per million input and output tokens by model id or role, for calls that had no price.
        quality: The floor to compare with; None for the one that the memory recorded.
        now: Seconds since the epoch; None for the clock's.

    Raises:
        ConfigurationError: `days` or `quality` is out of range.
    """
    if days is not None and not days > 0.0:
        raise ConfigurationError(f"days={days!r} is no time. Pass for example 7, or None for all that is kept.")
    if quality is not None and not 0.0 < quality <= 1.0:
        raise ConfigurationError(f"quality={quality!r} is not in (0, 1]. It is a share of the strong model's quality.")
    known = prices if isinstance(prices, Prices) else Prices(prices)
    at = time.time() if now is None else now
    return Report(gather(memory, now=at, namespace=namespace, days=days, prices=known, floor=quality))


def check_out(file: Path) -> None:
    """Refuse to replace a file that is no report.

    Raises:
        ConfigurationError: It is something else.
    """
    if not file.exists():
        return
    head = "" if file.is_dir() else file.read_text(encoding="utf-8", errors="replace")[:4_000]
    if GENERATOR not in head:
        raise ConfigurationError(f"{str(file)!r} exists and is no report. Name another file with --out.")
