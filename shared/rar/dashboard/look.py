"""The dashboard's looks: the report's style sheet inside a page that has one of its own, and the frame of all pages."""

from __future__ import annotations

import re
from functools import lru_cache

from rar.report.page import style

_ROOT = re.compile(r":root \{(.*?)\}", re.DOTALL)
_PRINT = re.compile(r"@media print \{.*\Z", re.DOTALL)
_DARK = re.compile(r"@media \(prefers-color-scheme: dark\) \{\s*:root \{.*?\}\s*\}", re.DOTALL)
_PAGE_OWN = re.compile(r"^(?:body|main|\* ) ?\{[^}]*\}$", re.MULTILINE)


@lru_cache(maxsize=1)
def report_style() -> str:
    """The report's style, for what stands in an element of class `rar`, in the page's light or dark."""
    whole = _PRINT.sub("", style())
    light, dark = _ROOT.findall(whole)[:2]
    rest = _PAGE_OWN.sub("", _ROOT.sub("", _DARK.sub("", whole)))
    return (
        f"body.body--light {{{light}}} body.body--dark {{{dark}}} "
        "body { background: var(--page) !important; color: var(--ink); } "
        f".rar {{ width: 100%; min-width: 0; {rest} }} "
        ".rar :is(h2, h3) { font-weight: 600; line-height: 1.3; letter-spacing: normal; }"
    )
