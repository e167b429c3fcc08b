"""MultiLevel: small classifiers label what they are sure of, larger ones the rest (Tabi, EuroSys 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from typing_extensions import Self

from rar.errors import ConfigurationError, NotFittedError
from rar.keys import has_form
from rar.linear import Array, sigmoid, softmax
from rar.naming import shown
from rar.options import Number, named_arguments
from rar.routers import saving
from rar.strategies.level_fit import FittedLevels, LevelFacts, LevelFit, in_order, name_of, places_of
from rar.strategies.level_search import LevelPlan
from rar.strategies.levels import (
    Ask,
    ChatLevel,
    Classifier,
    LabelledTexts,
    TextClassifier,
    mean_logprob,
    pruned,
)
from rar.strategy import Steps, ask_all
from rar.values import STRONG, WEAK, Answer, Call, Choice, Message, Reply, Request, Route, Sampling

KIND = "multi-level"
_MOST_LEVELS = 4


@dataclass(frozen=True)
class Prediction:
    """A label that levels of classifiers gave.

    Args:
        levels: Places of those that were asked.
        text: What the last of them read.
    """

    label: str
    chances: Array = field(repr=False)
    levels: tuple[int, ...]
    text: str

    @property
    def confidence(self) -> float:
        return float(self.chances.max())


@dataclass(frozen=True)
class _Visit:
    level: int
    chances: Array
    draft: Reply | None = None


@named_arguments
class MultiLevel:
    """Have the first level label a text, and the next one where it is not sure enough. Made ready by `fit`.

    Levels are local classifiers or names of chat models, the cheapest first. All choose among the same few labels; a
    chat model's prompt has to name them. Requests with tools or a schema, and those without a question, go to the
    strong model.

    Args:
        levels: One to four. `fit` may leave some of them out.
        target_accuracy: Share of right labels that the cheapest plan has to reach; None: that of the last level.
        costs: What asking each level costs, in any unit. None: seconds, measured by `fit`, of classifiers alone.
        spread: Above 0, texts near a threshold are passed on by chance, with a sigmoid of this width.
        prune: Send the next level only the words that mattered, where a fit shows that its labels stay as good.
    """

    def __init__(
        self,
        levels: Sequence[Classifier | str],
        target_accuracy: float | None = None,
        *,
        costs: Sequence[float] | None = None,
        spread: float = 0.0,
        prune: bool = True,
    ) -> None:
        if isinstance(levels, str) or not all(
            isinstance(level, str) or (isinstance(level, Classifier) and not isinstance(level, type))
            for level in levels
        ):
            raise ConfigurationError(f"levels={shown(levels)}: each is a classifier or the name of a chat model.")
        if not 1 <= len(levels) <= _MOST_LEVELS:
            raise ConfigurationError(f"There are {len(levels)} levels. Pass one to {_MOST_LEVELS}.")
        Number(0.0, 1.0, optional=True)("target_accuracy", target_accuracy)
        Number(0.0)("spread", spread)
        if costs is None and any(isinstance(level, str) for level in levels):
            raise ConfigurationError("A chat model's cost is not measured. Pass costs=, one for each level.")
        if costs is not None and len(costs) != len(levels):
            raise ConfigurationError(f"costs={shown(costs)} are not {len(levels)} numbers, one for each level.")
        self.levels, self.target_accuracy, self.costs = tuple(levels), target_accuracy, costs
        self.spread, self.prune = spread, prune
        self._fitted: FittedLevels | None = None

    def __repr__(self) -> str:
        names = ", ".join(map(name_of, self.levels))
        if self._fitted is None:
            return f"MultiLevel([{names}], {self.target_accuracy})"
        plan = self._fitted.plan
        return f"MultiLevel([{names}], asks {list(plan.levels)} below {[round(c, 3) for c in plan.thresholds]})"

    # --- what was found ---------------------------------------------------------------------------------------------

    @property
    def models(self) -> Sequence[str]:
        """The chat models among the levels, and the one that stands in."""
        return (*(level for level in self.levels if isinstance(level, str)), STRONG)

    @property
    def labels(self) -> tuple[str, ...]:
        return self._found.labels

    @property
    def plan(self) -> LevelPlan:
        """The levels that are asked, and below which confidence the next one is."""
        return self._found.plan

    @property
    def facts(self) -> tuple[LevelFacts, ...]:
        """Of each level, in the order in which they were given."""
        return self._found.facts

    @property
    def ensemble(self) -> bool:
        """Whether the label is that of all levels that were asked, weighted by their accuracy, or of the last."""
        return self._found.ensemble

    @property
    def cuts(self) -> tuple[float, ...]:
        """The share of the mean importance below which words are left out, at each step; 0 where none are."""
        return self._found.cuts

    @property
    def _found(self) -> FittedLevels:
        if self._fitted is None:
            raise NotFittedError(type(self).__name__)
        return self._fitted

    def fit(self, val: LabelledTexts, *, ask: Ask | None = None) -> Self:
        """Scale each level's chances, and choose levels, thresholds, pruning and ensemble on these texts.

        Args:
            ask: Gives a chat model's answers to texts. It is asked for answers that `val` lacks, and for those to
                pruned texts; without it, chat models are sent whole texts.

        Raises:
            TrainingDataError: A label is known to no classifier, or answers are missing.
        """
        fit = LevelFit(self.levels, val, ask)
        self._fitted = fit.found(self.target_accuracy, self.costs, self.spread, prune=self.prune)
        return self

    # --- answering --------------------------------------------------------------------------------------------------

    def predict(self, text: str) -> Prediction:
        """The label of a text, of a plan that asks classifiers alone.

        Raises:
            ConfigurationError: A level of the plan is a chat model.
        """
        found, sent, visits = self._found, text, list[_Visit]()
        for step, level in enumerate(found.plan.levels):
            classifier = self.levels[level]
            if isinstance(classifier, str):
                raise ConfigurationError(f"The plan asks {classifier!r}, a chat model. Route requests by it instead.")
            visits.append(_Visit(level, self._chances(found, level, sent)))
            if step == len(found.plan.thresholds) or self._stays(visits[-1], step, 0.5)[0]:
                break
            sent = pruned(classifier, sent, found.cuts[step])
        chances = self._mixed(found, visits)
        levels = tuple(visit.level for visit in visits)
        return Prediction(found.labels[int(chances.argmax())], chances, levels, sent)

    def steps(self, request: Request) -> Steps[Choice]:
        found = self._found
        if request.key is None or has_form(request.task):
            return Route(STRONG, reason="no_labels")
        sent, chance = request.key, 0.5 if request.evidence is None else request.evidence.chance
        visits: list[_Visit] = []
        for step, level in enumerate(found.plan.levels):
            asked, is_last = self.levels[level], step == len(found.plan.thresholds)
            if isinstance(asked, str):
                messages = _with_text(request, sent)
                if is_last and not found.ensemble:
                    return Route(asked, reason="last_level", messages=messages)
                visit = yield from self._draft(found, level, asked, request, messages)
                if isinstance(visit, Reply):  # it gave no label
                    return Answer(visit, "no_label")
                if visit is None:
                    continue
            else:
                visit = _Visit(level, self._chances(found, level, sent))
            visits.append(visit)
            stays, chance = (True, chance) if is_last else self._stays(visit, step, chance)
            if stays:
                return self._answer(found, visits)
            if not isinstance(asked, str):
                sent = pruned(asked, sent, found.cuts[step])
        return Route(STRONG, reason="drafts_failed")

    def _draft(
        self, found: FittedLevels, level: int, model: str, request: Request, messages: tuple[Message, ...] | None
    ) -> Steps[_Visit | Reply | None]:
        """What a chat model says; the reply itself where it is the last one and names no label, None where it fails."""
        chat = found.chats[level]
        sampling = Sampling(logprobs=True) if chat.logprobs else None
        (draft,) = yield from ask_all([Call(model, request, purpose="draft", sampling=sampling, messages=messages)])
        if not isinstance(draft, Reply) or draft.empty:
            return None
        said = places_of(found.labels, [draft.text])
        if said[0] < 0:
            return draft if level == found.plan.levels[-1] else None
        logits = chat.logits(said, [mean_logprob(draft)])
        return _Visit(level, softmax(logits / found.facts[level].temperature)[0], draft)

    def _chances(self, found: FittedLevels, level: int, text: str) -> Array:
        classifier = self.levels[level]
        assert not isinstance(classifier, str)
        scaled = in_order(classifier, [text], found.labels) / found.facts[level].temperature
        return np.asarray(softmax(scaled)[0], np.float64)

    def _stays(self, visit: _Visit, step: int, chance: float) -> tuple[bool, float]:
        """Whether a level's label is kept, and a number of [0, 1) for the next draw."""
        confidence, threshold = float(visit.chances.max()), self._found.plan.thresholds[step]
        if not self.spread:
            return confidence >= threshold, chance
        away = float(sigmoid(np.array((threshold - confidence) / self.spread)))
        return (True, chance) if chance >= away else (False, chance / away)

    def _mixed(self, found: FittedLevels, visits: Sequence[_Visit]) -> Array:
        if not found.ensemble:
            return visits[-1].chances
        weights = np.array([found.facts[visit.level].accuracy for visit in visits])
        return np.asarray(weights @ np.stack([visit.chances for visit in visits]) / weights.sum(), np.float64)

    def _answer(self, found: FittedLevels, visits: Sequence[_Visit]) -> Answer:
        chances = self._mixed(found, visits)
        last = visits[-1].draft
        if last is not None and not found.ensemble:
            return Answer(last, "label", float(chances.max()))
        label = int(chances.argmax())
        said = (visit.draft for visit in reversed(visits) if visit.draft is not None)
        draft = next((one for one in said if places_of(found.labels, [one.text])[0] == label), None)
        reply = Reply(WEAK, found.labels[label], model_id=KIND) if draft is None else draft
        return Answer(reply, "label", float(chances[label]))

    # --- files ------------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Write levels and all that was found into a folder, which is made where it is missing.

        Raises:
            ConfigurationError: A level is a classifier of your own, which no file of ours holds.
        """
        found, arrays, levels = self._found, dict[str, Any](), list[Any]()
        for at, level in enumerate(self.levels):
            if isinstance(level, str):
                levels.append(level)
                arrays[f"{at}.truth"] = found.chats[at].truth
            elif isinstance(level, TextClassifier):
                levels.append(level.facts())
                arrays |= {f"{at}.{name}": array for name, array in level.model.arrays().items()}
            else:
                raise ConfigurationError(f"{shown(level)} cannot be saved: only `TextClassifier`s and chat models can.")
        config = {"target_accuracy": self.target_accuracy, "costs": self.costs, "spread": self.spread}
        about = {
            "levels": levels, "labels": list(found.labels), "facts": [asdict(one) for one in found.facts],
            "lines": {str(at): chat.line for at, chat in found.chats.items()}, "plan": asdict(found.plan),
            "ensemble": found.ensemble, "cuts": list(found.cuts),
        }  # fmt: skip
        return saving.write(Path(folder), KIND, config, about, arrays, kind=KIND)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            RouterFileError: It is missing, damaged, of a newer version, or something else.
        """
        saved = saving.read_known(Path(folder), kind=KIND, name=KIND)
        with saving.blamed(saved):
            about, levels, chats = saved.about, list[Any](), dict[int, ChatLevel]()
            for at, level in enumerate(about["levels"]):
                own = {name.partition(".")[2]: one for name, one in saved.arrays.items() if name.startswith(f"{at}.")}
                if isinstance(level, str):
                    line = about["lines"][str(at)]
                    chats[at] = ChatLevel(level, own["truth"], None if line is None else (line[0], line[1]))
                levels.append(level if isinstance(level, str) else TextClassifier.of_saved(saved, level, own))
            made = cls(levels, **saved.config)
            plan = about["plan"]
            made._fitted = FittedLevels(
                tuple(about["labels"]), tuple(LevelFacts(**one) for one in about["facts"]), chats,
                LevelPlan(**{**plan, "levels": tuple(plan["levels"]), "thresholds": tuple(plan["thresholds"])}),
                bool(about["ensemble"]), tuple(about["cuts"]),
            )  # fmt: skip
            return made


def _with_text(request: Request, text: str) -> tuple[Message, ...] | None:
    """The request's messages with `text` as the question; None where nothing is to change, or it is unclear."""
    last = max((at for at, one in enumerate(request.messages) if one.role == "user"), default=None)
    if last is None or request.key is None or text == request.key:
        return None
    said = request.messages[last]
    if said.text.count(request.key) != 1:
        return None
    changed = Message("user", said.text.replace(request.key, text), suffix=said.suffix)
    return (*request.messages[:last], changed, *request.messages[last + 1 :])
