"""A hook of MkDocs: links that leave `docs/` lead to the repository, where they lead on GitHub too."""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"\]\(\.\./([^)\s]+)\)")


def on_page_markdown(markdown: str, *, config: Any, **_: Any) -> str:
    return _OUTSIDE.sub(rf"]({config.repo_url}/blob/main/\1)", markdown)
