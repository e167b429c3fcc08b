"""A page to look at a memory while it works: `rar dashboard MEMORY`; needs the extra `[dashboard]`."""

from __future__ import annotations
