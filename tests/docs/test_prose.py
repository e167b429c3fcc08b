"""The pages keep to short sentences: 15 words on average, seldom more than 30."""

from __future__ import annotations

import re
from pathlib import Path

from tests.docs.blocks import PAGES, ROOT

PROSE = [*PAGES, ROOT / "SECURITY.md"]
_SKIPPED = re.compile(r"```.*?```|<!--.*?-->", re.DOTALL)
_NO_PROSE = ("#", "|", ":::", "options:")  # titles, tables, entries of the reference
_ITEM = re.compile(r"(?:[-*]|\d+\.)\s+")
_END = re.compile(r"(?<=[.!?])[*_\"')\]]*\s+(?=[\"'(*_\[]*[A-Z0-9])")


def paragraphs(page: Path) -> list[str]:
    found, lines = [], []
    for line in [*_SKIPPED.sub("", page.read_text(encoding="utf-8")).splitlines(), ""]:
        text = line.strip()
        ends, item = not text or text.startswith(_NO_PROSE), _ITEM.match(text)
        if (ends or item) and lines:
            found.append(" ".join(lines))
            lines = []
        if not ends:
            lines.append(text[item.end() :] if item else text)
    return found


def sentences(page: Path) -> list[str]:
    plain = [re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "Code", text)) for text in paragraphs(page)]
    return [sentence for text in plain for sentence in _END.split(text) if re.search(r"\w", sentence)]


def lengths(page: Path) -> list[int]:
    return [sum(bool(re.search(r"\w", word)) for word in sentence.split()) for sentence in sentences(page)]


def test_a_sentence_ends_where_a_reader_would_say_so(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# Title\n\nOne [two](three.md) `f.g()`. **Four**\nfive, e.g. six!\n- Seven.\n\n| no | prose |\n", "utf-8"
    )

    assert lengths(page) == [3, 4, 1]


def test_sentences_are_short() -> None:
    words = [count for page in PROSE for count in lengths(page)]

    assert len(words) > 1_000
    assert sum(words) / len(words) <= 15


def test_hardly_any_sentence_is_long() -> None:
    for page in PROSE:
        words = lengths(page)
        assert sum(count > 30 for count in words) <= 0.04 * len(words), page.name


def test_semicolons_are_rare() -> None:
    found = [sentence for page in PROSE for sentence in sentences(page)]

    assert sum(";" in sentence for sentence in found) <= 0.02 * len(found)
