"""Strategies: who answers a request. One file each."""

from rar.strategies.cascade import Cascade
from rar.strategies.rar import RAR
from rar.strategies.threshold import Threshold

__all__ = ["RAR", "Cascade", "Threshold"]
