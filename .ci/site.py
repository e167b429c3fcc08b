"""A hook of MkDocs: links that leave `docs/` lead to the repository, where they lead on GitHub too."""

from __future__ import annotations

import posixpath
import re
from typing import Any

_UPWARDS = re.compile(r"\]\((\.\./[^)\s]+)\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    folder = posixpath.join("docs", posixpath.dirname(page.file.src_uri))

    def link(found: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(folder, found[1]))
        return found[0] if target.startswith("docs/") else f"]({config.repo_url}/blob/main/{target})"

    return _UPWARDS.sub(link, markdown)
