"""Cascade: ask from cheap to dear, keep the first draft that is accepted (FrugalGPT, arXiv 2305.05176, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from typing_extensions import Self

from rar.errors import ConfigurationError, UnknownNameError
from rar.naming import fields_repr, shown
from rar.options import SHARE, check_names, named_arguments
from rar.outcomes import Outcomes
from rar.routers import saving
from rar.routers.base import LearnedRouter, Progress
from rar.strategies.online import learned
from rar.strategies.scorer import KIND, LearnedScorer, Scorer
from rar.strategies.search import CascadeSearch, FoundCascade
from rar.strategy import Steps, ask_all
from rar.values import STRONG, WEAK, Answer, Call, Choice, Reply, Request, Route, Sampling

_THRESHOLD = 0.5
Accept: TypeAlias = Callable[[Request, Reply], float | Steps[float]]


@named_arguments
@dataclass(frozen=True)
class Cascade:
    """Ask `models` in turn. The last one is routed to, not asked, so its answer can stream.

    A draft that raised, or is empty, is not accepted. Rejected drafts are never shown to the user. `Cascade.fit` finds
    models and thresholds on outcomes.

    Args:
        accept: Told the request and a draft, says whether it is good enough: a bool, or a score from 0 to 1 that
            `threshold` is held against. It may itself be written as steps that ask a model. Or a `Scorer`, which is
            also told what earlier models replied. `"learned"`: what the router judges teaches it, and its `quality=`
            is kept. `models` then end with `"strong"`, whose answers judge the drafts.
        threshold: The least score that is accepted: one for all drafts, or one for each model but the last. A learned
            one takes what keeps the floor.
        found: What `fit` found; None: the cascade was put together by hand.
    """

    accept: Accept | Scorer | Literal["learned"]
    models: Sequence[str] = (WEAK, STRONG)
    threshold: float | Sequence[float] = _THRESHOLD
    found: FoundCascade | None = field(default=None, repr=False, compare=False)

    __repr__ = fields_repr

    def __post_init__(self) -> None:
        check_names("models", self.models)
        if isinstance(self.accept, str):
            self._check_learned()
        elif isinstance(self.accept, (LearnedRouter, type)) or not (
            callable(self.accept) or isinstance(self.accept, Scorer)
        ):
            raise ConfigurationError(
                f"accept={shown(self.accept)} scores no draft. Pass a function of a request and a draft: is it good "
                'enough? Or a `Scorer`, or "learned".'
            )
        if len(self.models) < 2 and (self.found is None or not self.models):
            raise ConfigurationError(f"A cascade needs at least two models, got {list(self.models)}.")
        given = self._thresholds
        for threshold in given:
            SHARE("threshold", threshold)
        if len(given) != len(self.models) - 1:
            raise ConfigurationError(
                f"threshold={shown(self.threshold)} has {len(given)} values, and {len(self.models) - 1} drafts are "
                "held against one each. Give one number for all, or one for each model but the last."
            )

    def _check_learned(self) -> None:
        if self.accept != "learned":
            raise UnknownNameError("accept", str(self.accept), ("learned",))
        if self.threshold != _THRESHOLD:
            raise ConfigurationError(
                f"threshold={shown(self.threshold)} is not for a cascade that learns. Pass quality= to the "
                "router, whose floor it keeps."
            )
        if not self.models or self.models[-1] != STRONG or len(set(self.models)) < len(self.models):
            raise ConfigurationError(
                f"models={list(self.models)} of a cascade that learns must each be there once, and end with "
                f"{STRONG!r}, whose answers judge the drafts."
            )

    @property
    def keeps_floor(self) -> bool:
        """Whether the router's policy decides which drafts are served."""
        return self.accept == "learned"

    @property
    def drafters(self) -> tuple[str, ...]:
        """The models whose drafts are looked at by what was learned of them."""
        return tuple(self.models[:-1]) if self.keeps_floor else ()

    @property
    def _thresholds(self) -> Sequence[float]:
        if isinstance(self.threshold, (list, tuple)):
            return self.threshold
        return [self.threshold] * (len(self.models) - 1)  # type: ignore[list-item]  # it is one number

    @classmethod
    def fit(
        cls,
        outcomes: Outcomes,
        *,
        budget: float | None = None,
        keep_quality: float | None = None,
        names: Mapping[str, str] | None = None,
        search: CascadeSearch | None = None,
        progress: Progress | None = None,
    ) -> Self:
        """The cascade that `search` finds on outcomes with replies; `found` says what it is worth.

        Where no cascade is surely better than single models, it has but one model, to which all is routed.

        Args:
            search: How to look; None: lists of up to three models. Other arguments and errors are those of
                `CascadeSearch.fit`.
        """
        asked = {"budget": budget, "keep_quality": keep_quality, "names": names, "progress": progress}
        found = (search or CascadeSearch()).fit(outcomes, **asked)  # type: ignore[arg-type]
        return cls(found.scorer, found.models, found.thresholds, found)

    def steps(self, request: Request) -> Steps[Choice]:
        if self.keeps_floor:
            return (yield from learned(request, self.drafters))
        *drafters, last = self.models
        earlier: list[Reply] = []
        sampling = Sampling(logprobs=True) if getattr(self.accept, "logprobs", False) else None
        for model, threshold in zip(drafters, self._thresholds, strict=True):
            (draft,) = yield from ask_all([Call(model, request, sampling=sampling)])
            if not isinstance(draft, Reply) or draft.empty:
                continue
            score = yield from self._score(request, draft, earlier)
            if score >= threshold:
                return Answer(draft, "draft_accepted", float(score))
            earlier.append(draft)
        return Route(last, reason="drafts_rejected" if drafters else "no_cascade")

    def _score(self, request: Request, draft: Reply, earlier: Sequence[Reply]) -> Steps[float]:
        accept = self.accept
        assert not isinstance(accept, str)  # those have steps of their own
        score = accept.score(request, draft, earlier) if isinstance(accept, Scorer) else accept(request, draft)
        if isinstance(score, Generator):
            score = yield from score
        return score

    # --- files ------------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Write models, thresholds and the learned scorer into a folder, which is made where it is missing.

        Raises:
            ConfigurationError: `accept` is a function, which no file holds, or there is but one model.
        """
        if not isinstance(self.accept, LearnedScorer) or len(self.models) < 2:
            raise ConfigurationError(
                f"{self!r} cannot be saved: only a cascade of several models with a `LearnedScorer` can be."
            )
        return self.accept.save(folder, cascade={"models": list(self.models), "thresholds": list(self._thresholds)})

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            RouterFileError: It is missing, damaged, of a newer version, or a scorer without a cascade.
        """
        saved = saving.read(Path(folder), kind=KIND)
        with saving.blamed(saved):
            facts = saved.about["cascade"]
            return cls(LearnedScorer.of_saved(saved), tuple(facts["models"]), tuple(facts["thresholds"]))
