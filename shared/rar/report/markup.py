"""HTML and SVG in which every text is escaped unless it is markup already. Pure."""

from __future__ import annotations

import re
from html import escape
from typing import TypeAlias

# What XML forbids, and what would turn the direction of the text around it.
_UNPRINTABLE = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")
_VOID = frozenset({"br", "meta", "link", "hr"})


class Markup(str):
    """A string that is HTML. Everything else that is put into an element is text."""

    __slots__ = ()


Child: TypeAlias = "str | float | Markup | None"


def text(value: str) -> Markup:
    """Any text as HTML."""
    return Markup(escape(_UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", value), quote=True))


def join(*children: Child) -> Markup:
    """Children one after the other; None is nothing."""
    return Markup(
        "".join(child if isinstance(child, Markup) else text(str(child)) for child in children if child is not None)
    )


def el(tag: str, /, *children: Child, **attributes: str | float | None) -> Markup:
    """An element. An attribute's name may end in `_` (`class_`), `_` within it is a hyphen; None leaves it out."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{text(f"{value:g}" if isinstance(value, float) else str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{join(*children)}</{tag}>")
