"""Logs of other tools as recorded requests: what a floor would have saved on them, before any user is touched."""

from __future__ import annotations

from rar.logs.readers import FORMATS, read_log
from rar.logs.recorded import Recorded, load, mask

__all__ = ["FORMATS", "Recorded", "load", "mask", "read_log"]
