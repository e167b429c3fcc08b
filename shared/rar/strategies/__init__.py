"""Strategies: who answers a request. One file each."""

from rar.strategies.agreement import AgreementCascade
from rar.strategies.approximation import Approximation
from rar.strategies.best_of import BestOf
from rar.strategies.blended import Blended
from rar.strategies.cascade import Cascade
from rar.strategies.cascade_routing import CascadeRouting
from rar.strategies.chain_of_thought import ChainOfThought
from rar.strategies.rar import RAR
from rar.strategies.scorer import LearnedScorer, Scorer
from rar.strategies.search import CascadeSearch, FoundCascade, Frontier
from rar.strategies.self_consistency import SelfConsistency
from rar.strategies.threshold import Threshold

__all__ = [
    "RAR",
    "AgreementCascade",
    "Approximation",
    "BestOf",
    "Blended",
    "Cascade",
    "CascadeRouting",
    "CascadeSearch",
    "ChainOfThought",
    "FoundCascade",
    "Frontier",
    "LearnedScorer",
    "Scorer",
    "SelfConsistency",
    "Threshold",
]
