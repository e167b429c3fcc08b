"""The one folder for what can be made again: joined weights, and embeddings of replayed texts."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_OURS, _BEFORE = "rar-llm", "rar"  # 0.1.0 kept embeddings in a folder of another name


def cache_folder() -> Path:
    """`RAR_CACHE`, else `rar-llm` in the user's cache folder: `XDG_CACHE_HOME`, or the platform's."""
    if given := os.environ.get("RAR_CACHE"):
        return Path(given)
    return _folder(_OURS)


def cached_file(name: str) -> Path:
    """Where a file is kept, for example `"embeddings/x.sqlite"`: where an earlier version left it, if only there."""
    file, before = cache_folder() / name, _folder(_BEFORE) / name
    return before if not os.environ.get("RAR_CACHE") and before.exists() and not file.exists() else file


def _folder(name: str) -> Path:
    if base := os.environ.get("XDG_CACHE_HOME"):
        return Path(base) / name
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / name / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / name
    return Path.home() / ".cache" / name
