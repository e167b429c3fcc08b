"""Tables and lists of facts that fit a terminal, and that a pipe gets whole: one line a row, no lines drawn.

A terminal's width is kept, and that of `COLUMNS` where it is set; a pipe or file without it has no width.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderableType
from rich.text import Text

_GAP = 2  # spaces between columns
_LEGIBLE = 24  # a column that may be cut keeps so much while others can be left out for it
_LEAST = 8  # and so much in any case
# What would move a terminal's cursor or turn its text around: controls, and Unicode's overrides of direction.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a `Grid`.

    Args:
        cut: Its text may end in an ellipsis where the terminal is narrow; other columns break lines between words.
        spare: Left out where the terminal is narrow, the highest first; 0: never.
        varies: Left out of a terminal where all rows have the same in it.
    """

    name: str
    right: bool = False
    cut: bool = False
    spare: int = 0
    varies: bool = False


@dataclass(frozen=True)
class Grid:
    """A table without lines."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Text | str, ...], ...]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        if self.title:
            yield Text(self.title, style="bold")
        width = width_of(console)
        cells = [tuple(_text(cell, one_line=width is None) for cell in row) for row in self.rows]
        shown, widths = _fitted(self.columns, cells, width)
        yield from _lines(console, self.columns, shown, widths, [Text(c.name, style="dim") for c in self.columns])
        for row in cells:
            yield from _lines(console, self.columns, shown, widths, row)


@dataclass(frozen=True)
class Facts:
    """Names and values in two columns. Values are texts, or strings without markup."""

    facts: Mapping[str, Text | str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        names = max((len(name) for name in self.facts), default=0)
        width = width_of(console)
        for name, value in self.facts.items():
            whole = _text(value)
            room = None if width is None else max(width - names - _GAP, _LEAST)
            lines = list(whole.split("\n") if room is None else whole.wrap(console, room))
            for place, part in enumerate(lines or [Text()]):
                left = (name if place == 0 else "").ljust(names + _GAP)
                yield _stripped(Text.assemble((left, "dim"), part))


def width_of(console: Console) -> int | None:
    """Columns that output must keep to; None for a pipe or a file."""
    return console.width if console.is_terminal or os.environ.get("COLUMNS", "").isdigit() else None


def show(*renderables: RenderableType, console: Console | None = None) -> None:
    """Print, a blank line between one and the next; nothing is cropped that was not laid out for a width."""
    console = console or Console(highlight=False)
    for place, renderable in enumerate(renderables):
        if place:
            console.print()
        console.print(renderable, soft_wrap=isinstance(renderable, Grid | Facts) or width_of(console) is None)


def line(text: str) -> str:
    """Any text on one line, without what would control a terminal."""
    return _CONTROLS.sub("", " ".join(text.split()))


def paragraph(text: str) -> str:
    """Any text with its line breaks, without what would control a terminal."""
    return _CONTROLS.sub("", text.replace("\r\n", "\n"))


# --- layout ---------------------------------------------------------------------------------------------------------


def _text(cell: Text | str, *, one_line: bool = False) -> Text:
    text = cell if isinstance(cell, Text) else Text(paragraph(cell))
    return Text(" ").join(text.split("\n")) if one_line else text


def _fitted(
    columns: Sequence[Column], rows: Sequence[Sequence[Text]], width: int | None
) -> tuple[list[int], dict[int, int]]:
    """The places of the columns that are shown, and their widths."""
    shown = list(range(len(columns)))
    if width is None:
        return shown, {i: max([len(columns[i].name), *(_widest(row[i]) for row in rows)]) for i in shown}
    shown = [i for i in shown if not columns[i].varies or len({row[i].plain for row in rows}) > 1]
    while True:
        widths = {i: max([len(columns[i].name), *(_widest(row[i]) for row in rows)]) for i in shown}
        if _total(widths) <= width:
            return shown, widths
        # First names break their lines, then what may be cut is, then columns go, and at last cells break theirs.
        least = {i: max([_word(columns[i].name), *(_widest(row[i]) for row in rows)]) for i in shown}
        least |= {i: min(least[i], max(_LEGIBLE, _word(columns[i].name))) for i in shown if columns[i].cut}
        spare = max((i for i in shown if columns[i].spare), key=lambda i: columns[i].spare, default=None)
        if _total(least) <= width or spare is None:
            break
        shown.remove(spare)
    if _total(least) <= width:
        return shown, _narrowed(widths, least, width)
    words = {i: max([_word(columns[i].name), *(_word(row[i].plain) for row in rows)]) for i in shown}
    return shown, _narrowed(least, {i: _LEAST if columns[i].cut else words[i] for i in shown}, width)


def _narrowed(widths: dict[int, int], least: Mapping[int, int], width: int) -> dict[int, int]:
    """`widths` with the widest made narrower, down to `least`, until they fit."""
    while _total(widths) > width:
        wide = [i for i in widths if widths[i] > least[i]]
        if not wide:
            break
        widths[max(wide, key=lambda i: widths[i])] -= 1
    return widths


def _total(widths: Mapping[int, int]) -> int:
    return sum(widths.values()) + _GAP * max(len(widths) - 1, 0)


def _widest(text: Text) -> int:
    return max((part.cell_len for part in text.split("\n")), default=0)


def _word(text: str) -> int:
    return max((Text(word).cell_len for word in text.split()), default=0)


def _lines(
    console: Console, columns: Sequence[Column], shown: Sequence[int], widths: Mapping[int, int], row: Sequence[Text]
) -> Iterator[Text]:
    limited = width_of(console) is not None
    parts: list[list[Text]] = []
    for i in shown:
        cell = row[i].copy()
        if columns[i].cut and limited:
            cell.truncate(widths[i], overflow="ellipsis")
            parts.append([cell])
        else:
            parts.append(list(cell.wrap(console, max(widths[i], 1))) if limited else [cell])
    for place in range(max((len(part) for part in parts), default=0)):
        whole = Text()
        for n, (i, part) in enumerate(zip(shown, parts, strict=True)):
            cell = part[place] if place < len(part) else Text()
            space = " " * max(widths[i] - cell.cell_len, 0)
            whole.append(" " * (_GAP if n else 0))
            whole.append_text(Text(space) + cell if columns[i].right else cell + Text(space))
        yield _stripped(whole)


def _stripped(text: Text) -> Text:
    text.rstrip()
    text.no_wrap, text.overflow = True, "ignore"
    return text
