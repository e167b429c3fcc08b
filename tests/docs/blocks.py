"""The fenced blocks of a Markdown page, and what the comment above one says about running it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "cookbook" / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
]

_FENCE = re.compile(
    r"(?P<note><!--(?:(?!-->).)*-->\n)?^(?P<indent>[ ]*)```(?P<language>[^\n`]*)\n(?P<code>.*?)^(?P=indent)```[ ]*$",
    re.DOTALL | re.MULTILINE,
)
_NOT_RUN = re.compile(r"<!--\s*not run by the tests: (?P<why>.+?)\s*-->", re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block. `line` counts from 1 and is that of its first line of code."""

    page: Path
    line: int
    language: str
    code: str
    note: str

    @property
    def why_not_run(self) -> str | None:
        found = _NOT_RUN.search(self.note)
        return found["why"] if found is not None else None


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in _FENCE.finditer(text):
        line = text.count("\n", 0, found.start("code")) + 1
        yield Block(page, line, found["language"].strip(), found["code"], found["note"] or "")


def script_of(page: Path) -> str:
    """All Python of a page as one script, each line where it is on the page, so that errors name the page's lines."""
    lines: list[str] = []
    for block in blocks(page):
        if block.language == "python" and block.why_not_run is None:
            lines += [""] * (block.line - 1 - len(lines))
            lines += block.code.splitlines()
    return "\n".join(lines) + "\n" if lines else ""


def commands_of(page: Path) -> list[str]:
    """The lines of a page's shell blocks that are run, continued ones joined, without comments."""
    found = []
    for block in blocks(page):
        if block.language == "bash" and block.why_not_run is None:
            joined = block.code.replace("\\\n", " ")
            found += [
                line.strip() for line in joined.splitlines() if line.strip() and not line.lstrip().startswith("#")
            ]
    return found
