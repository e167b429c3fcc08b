"""Strategies: who answers a request. One file each."""

from rar.strategies.agreement import AgreementCascade
from rar.strategies.answer_selector import AnswerSelector
from rar.strategies.approximation import Approximation
from rar.strategies.best_of import BestOf
from rar.strategies.best_of_n import BestOfN
from rar.strategies.blended import Blended
from rar.strategies.cached import Cached
from rar.strategies.cascade import Cascade
from rar.strategies.cascade_routing import CascadeRouting
from rar.strategies.chain_of_thought import ChainOfThought
from rar.strategies.experts import Experts
from rar.strategies.few_shot import FewShot, PromptSelector
from rar.strategies.fused import Fused
from rar.strategies.levels import Classifier, LabelledTexts, TextClassifier
from rar.strategies.multi_level import MultiLevel
from rar.strategies.pair_ranker import Pair, PairRanker
from rar.strategies.rar import RAR
from rar.strategies.scorer import LearnedScorer, Scorer
from rar.strategies.search import CascadeSearch, FoundCascade, Frontier
from rar.strategies.self_consistency import SelfConsistency
from rar.strategies.thoughts import PromptTask, Task
from rar.strategies.threshold import Threshold
from rar.strategies.tree_of_thoughts import TreeOfThoughts

__all__ = [
    "RAR",
    "AgreementCascade",
    "AnswerSelector",
    "Approximation",
    "BestOf",
    "BestOfN",
    "Blended",
    "Cached",
    "Cascade",
    "CascadeRouting",
    "CascadeSearch",
    "ChainOfThought",
    "Classifier",
    "Experts",
    "FewShot",
    "FoundCascade",
    "Frontier",
    "Fused",
    "LabelledTexts",
    "LearnedScorer",
    "MultiLevel",
    "Pair",
    "PairRanker",
    "PromptSelector",
    "PromptTask",
    "Scorer",
    "SelfConsistency",
    "Task",
    "TextClassifier",
    "Threshold",
    "TreeOfThoughts",
]
