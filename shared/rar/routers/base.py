"""What a static router is: a prediction from the text alone; and what those that learn from outcomes share."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt
from typing_extensions import Self

from rar.embedding import Embedder, as_embedder
from rar.errors import ConfigurationError, NotFittedError, RouterFileError, ScoreError, TrainingDataError
from rar.linear import Array
from rar.naming import fields_repr, shown
from rar.options import named_arguments
from rar.outcomes import Outcomes, paired, teachable
from rar.routers import saving, thresholds
from rar.routers.fingerprint import Sketch, share_seen, sketch
from rar.routers.thresholds import Calibration
from rar.values import Vector

Progress: TypeAlias = Callable[[str, int, int], None]  # what is being done, steps done, steps in all
Config: TypeAlias = Mapping[str, Any]  # of JSON values
Arrays: TypeAlias = Mapping[str, npt.NDArray[Any]]


@runtime_checkable
class StaticRouter(Protocol):
    """Predicts, before any model is called, how likely the strong model is needed. Any thread may call it."""

    def score(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        """Return the chance that the strong model is needed for each text, shape `(len(texts),)`, in [0, 1]."""
        ...


class LearnedRouter(ABC):
    """A static router that is fitted to outcomes, saved and loaded.

    Its score is the chance that the strong model's answer wins, a tie counting a half: (1 + expected gap) / 2 where
    scores are 0 or 1. Scoring may be done from any thread; fitting, updating and loading from one.

    Where `tie` is 0 (Hybrid-LLM), a tie counts for the weak model.

    A subclass gives `name`, keyword-only constructor parameters that it stores under their own names and lists in
    `parameters`, and the four methods `_fit`, `_score`, `_arrays` and `_restore`.
    """

    name: ClassVar[str]  # on the command line and in files
    parameters: ClassVar[tuple[str, ...]] = ()  # constructor arguments, stored in files; JSON values
    pair: ClassVar[bool] = True  # whether it knows a weak and a strong model only
    tie: ClassVar[float] = 0.5  # what a tie counts in its score, where a win of the strong model counts 1

    models: tuple[str, ...] = ()  # that it was fitted to; empty: not fitted
    facts: Config = MappingProxyType({})  # of the last fit, for files and model cards: rows, data, ...
    calibration: Calibration | None = None  # of the last `calibrate`; a new fit forgets it
    _sketch: Sketch | None = None  # of the texts that it was fitted to; None: unknown

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            named_arguments(cls)

    def fit(self, data: Outcomes, *, progress: Progress | None = None) -> Self:
        """Learn from `data`, and forget what was learned before.

        Raises:
            TrainingDataError: Fewer than ten rows, all outcomes alike, missing scores, or not a pair of models.
        """
        outcomes = teachable(data, pair=self.pair)
        self._fit(outcomes, progress or _silent)
        self.models = outcomes.models
        self.facts = {"rows": len(outcomes), "data": outcomes.name}
        self.calibration, self._sketch = None, sketch(outcomes.texts)
        return self

    def score(self, texts: Sequence[str], vectors: Vector | None = None) -> Array:
        """Return the chance that the strong model is needed for each text, shape `(n,)`, in [0, 1].

        Args:
            vectors: The texts' embeddings by this router's own embedder, where they are known already.

        Raises:
            ScoreError: A score is NaN, as where an embedder gave NaN.
        """
        self._fitted()
        if isinstance(texts, str):
            raise ConfigurationError("score takes a list of texts and got one text. Write score([text]).")
        if not len(texts):
            return np.zeros(0)
        return _numbers(np.clip(np.asarray(self._score(texts, vectors), np.float64), 0.0, 1.0), self)

    def update(self, data: Outcomes) -> Self:
        """Learn from more outcomes of the same models without forgetting, where the method allows it."""
        raise ConfigurationError(f"{type(self).__name__} cannot be updated. Fit it again to all outcomes.")

    def calibrate(
        self,
        data: Sequence[str] | Outcomes,
        *,
        strong_share: float | None = None,
        max_drop: float | None = None,
    ) -> float:
        """The threshold, for `rar.strategies.Threshold`, that does what is asked on `data`: give one of the two.

        It lies in the middle between two neighbouring scores; 0 sends all to the strong model. The router remembers it
        as `calibration`: `save` keeps it, and `Threshold(router)` takes it.

        Args:
            data: Requests as they will come, that the router was not fitted to; for `max_drop` with their outcomes.
            strong_share: Which share of them the strong model answers (RouteLLM, arXiv 2406.18665, section 4). Of texts
                with equal scores all or none go to it: the share is the largest that is not above this.
            max_drop: Which share of the strong model's mean score may be lost (Hybrid-LLM, arXiv 2404.14618, section
                4): the threshold with the fewest strong calls that loses no more on `data`.

        Raises:
            TrainingDataError: There are no texts, or the two models of `data` are others of this router's than those
                that its score compares, or the same in the other order.
        """
        if (strong_share is None) == (max_drop is None):
            raise ConfigurationError("Give either strong_share or max_drop.")
        given = strong_share if strong_share is not None else max_drop
        if given is None or not 0.0 <= given <= 1.0:
            raise ConfigurationError(f"A share between 0 and 1 is needed, got {shown(given)}.")
        outcomes = paired(data) if isinstance(data, Outcomes) else None
        if outcomes is None and max_drop is not None:
            raise ConfigurationError("max_drop needs outcomes, not only texts: nothing else tells what is lost.")
        if outcomes is not None:
            self._check_pair(outcomes)
        texts: Any = data if outcomes is None else outcomes.texts
        scores = self.score(texts, self._known_vectors(outcomes))
        if not len(scores):
            raise TrainingDataError("There are no texts to calibrate on.")
        if outcomes is None or max_drop is None:
            threshold = thresholds.for_share(scores, given)
        else:
            threshold = thresholds.for_drop(scores, outcomes, given)
        asked = {"strong_share" if max_drop is None else "max_drop": given}
        share, name = float((scores >= threshold).mean()), "texts" if outcomes is None else outcomes.name
        self.calibration = Calibration(threshold, self._compared, asked, share, len(scores), name)
        return threshold

    @property
    def threshold(self) -> float | None:
        """The threshold of the last calibration, this router's or that of the file it came from; None: none yet.

        Raises:
            ConfigurationError: It was chosen for another pair of models than the score now compares.
        """
        if self.calibration is None:
            return None
        if self.calibration.models != self._compared:
            was, now = (" and ".join(map(repr, pair)) for pair in (self.calibration.models, self._compared))
            raise ConfigurationError(
                f"The router's threshold was chosen for {was}, and its score compares {now}. Calibrate it for them."
            )
        return self.calibration.threshold

    def saw(self, texts: Sequence[str]) -> float | None:
        """Which share of `texts` it was fitted to, from hashes that it keeps; None: unknown, as of older files."""
        return None if self._sketch is None else share_seen(self._sketch, texts)

    # --- files ------------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> Path:
        """Write the router into a folder, which is made where it is missing; an older one in it is replaced."""
        self._fitted()
        about = {"models": list(self.models), "facts": dict(self.facts), **self._about()}
        if self.calibration is not None:
            about[saving.CALIBRATION] = self.calibration.as_dict()
        arrays = self._arrays() if self._sketch is None else {**self._arrays(), saving.SKETCH: self._sketch}
        return saving.write(Path(folder), self.name, self.settings, about, arrays, self._write_files)

    @classmethod
    def load(cls, folder: str | Path, **options: Any) -> Self:
        """Read a router of this class; `rar.routers.load` reads one of any.

        Args:
            options: Constructor arguments that files do not hold, such as `embedder=`.

        Raises:
            RouterFileError: It is missing, truncated, of a newer version, of another class or for another embedder.
        """
        saved = saving.read(Path(folder))
        if saved.router != cls.name:
            raise RouterFileError(str(folder), f"it is a {saved.router!r} router, not a {cls.name!r} one")
        unknown = sorted(options.keys() - cls.arguments().keys())
        if unknown:
            raise ConfigurationError(f"{cls.__name__} has no {', '.join(f'{option}=' for option in unknown)}.")
        with saving.blamed(saved):
            router = cls(**{**saved.config, **cls._options(saved, options)})
            router._restore(saved)
            router.models = tuple(saved.about["models"])
            router.facts = saved.about["facts"]
            router.calibration = Calibration.of(saved.about.get(saving.CALIBRATION))
            router._sketch = saved.arrays.get(saving.SKETCH)
        return router

    # --- what a subclass gives --------------------------------------------------------------------------------------

    @abstractmethod
    def _fit(self, data: Outcomes, progress: Progress) -> None: ...

    @abstractmethod
    def _score(self, texts: Sequence[str], vectors: Vector | None) -> Array: ...

    @abstractmethod
    def _arrays(self) -> Arrays:
        """What was learned, as arrays of numbers or strings (`<U`), never objects."""

    @abstractmethod
    def _restore(self, saved: saving.Saved) -> None:
        """Take back what `_arrays`, `_about` and `_write_files` gave."""

    def _about(self) -> Config:
        """More that the file tells, as JSON values."""
        return {}

    def _write_files(self, folder: Path) -> None:  # noqa: B027 - most have none
        """Write what is no array, such as an ONNX model."""

    @classmethod
    def _options(cls, saved: saving.Saved, given: Config) -> Config:  # noqa: ARG003 - others ask it
        """Constructor arguments at loading, besides `parameters`."""
        return given

    def _known_vectors(self, data: Outcomes | None) -> Vector | None:
        """The vectors of `data` that `score` may use."""
        return None

    # --- small parts ------------------------------------------------------------------------------------------------

    @property
    def settings(self) -> Config:
        """The constructor arguments that files keep."""
        return {name: getattr(self, name) for name in self.parameters}

    @classmethod
    def arguments(cls) -> dict[str, Any]:
        """What the constructor takes, and what it takes for it where nothing is given."""
        parameters = signature(cls).parameters.values()
        return {p.name: p.default for p in parameters if p.kind is not p.VAR_KEYWORD}

    @property
    def _compared(self) -> tuple[str, str]:
        """The weak and the strong model that the score compares; of a fitted router."""
        return getattr(self, "weak", None) or self.models[0], getattr(self, "strong", None) or self.models[-1]

    def _check_pair(self, outcomes: Outcomes) -> None:
        """Refuse two models of this router's that its score does not compare; other names may be the file's own."""
        weak_id, strong_id = self._compared
        if outcomes.models == (strong_id, weak_id):
            raise TrainingDataError(
                f"{outcomes.name}: its weak model is {strong_id!r} and its strong one {weak_id!r}; this router was "
                f"fitted to them the other way round. Give `outcomes.pair({weak_id!r}, {strong_id!r})`."
            )
        if outcomes.models != (weak_id, strong_id) and set(outcomes.models) <= set(self.models):
            raise TrainingDataError(
                f"{outcomes.name}: these are outcomes of {' and '.join(map(repr, outcomes.models))}, and this router's "
                f"score compares {weak_id!r} and {strong_id!r}. Load it with weak= and strong= of the pair you mean."
            )

    def _fitted(self) -> None:
        if not self.models:
            raise NotFittedError(type(self).__name__)

    def __repr__(self) -> str:
        given = "".join(f"{name}={shown(value)}, " for name, value in self.settings.items())
        of = " < ".join(self.models) if self.pair else ", ".join(self.models)
        return f"<{type(self).__name__}({given.removesuffix(', ')}) {'of ' + of if self.models else 'not fitted'}>"


class EmbeddingRouter(LearnedRouter):
    """A learned router that looks at embeddings.

    Args:
        embedder: As for the models: `"minilm"`, `"hashing"`, an `Embedder`, LangChain's or LlamaIndex's.
    """

    embedder: Embedder

    def __init__(self, *, embedder: Any = "minilm") -> None:
        self.embedder = as_embedder(embedder)

    def _vectors(self, data: Outcomes) -> Vector:
        known = self._known_vectors(data)
        return known if known is not None else self.embedder.embed(data.texts)

    def _known_vectors(self, data: Outcomes | None) -> Vector | None:
        return data.vectors if data is not None and data.embedder_id == self.embedder.id else None

    def _about(self) -> Config:
        return {"embedder": {"id": self.embedder.id, "dim": self.embedder.dim}}

    @classmethod
    def _options(cls, saved: saving.Saved, given: Config) -> Config:
        wanted = saved.about["embedder"]
        embedder = as_embedder(given.get("embedder") or saving.embedder_of(saved))
        if (embedder.id, embedder.dim) != (wanted["id"], wanted["dim"]):
            raise RouterFileError(
                saved.where,
                f"it was fitted with embedder {wanted['id']!r} ({wanted['dim']} dimensions), not with {embedder.id!r} "
                f"({embedder.dim}); pass that one as embedder=",
            )
        return {**given, "embedder": embedder}


class RankingRouter(ABC):
    """A learned router that also tells more than two models apart. Mixed into `LearnedRouter`."""

    models: tuple[str, ...]

    @abstractmethod
    def scores(self, texts: Sequence[str], vectors: Vector | None = None) -> Array:
        """How much each of `models` is to be preferred, shape `(n, len(models))`, each row summing to 1."""


@dataclass(frozen=True)
class _Function:
    chance: Callable[[str], float]

    __repr__ = fields_repr

    def score(self, texts: Sequence[str]) -> npt.NDArray[np.float64]:
        return _numbers(np.array([float(self.chance(text)) for text in texts]), self)


def as_static_router(value: Any, option: str = "static_router") -> StaticRouter | None:
    """A static router, or one made of a function from a text to the chance that the strong model is needed.

    Args:
        option: What it was given as, for messages.

    Raises:
        ConfigurationError: It is neither.
        NotFittedError: It is a learned router that was not fitted.
    """
    if isinstance(value, type):
        raise ConfigurationError(f"{option}={value.__name__} is a class. Pass an object of it.")
    if isinstance(value, LearnedRouter) and not value.models:
        raise NotFittedError(type(value).__name__)
    if value is None or isinstance(value, StaticRouter):
        return value
    if callable(value):
        return _Function(value)
    raise ConfigurationError(
        f"{option}={shown(value)} has no `score(texts)`. Pass a static router or a function from a text to a "
        f"chance{loading(value)}."
    )


def loading(value: Any) -> str:
    """What to do with a path that was given in place of the router saved there; nothing of anything else."""
    if not isinstance(value, (str, os.PathLike)) or isinstance(value, type):
        return ""
    return f"; one that was saved is loaded by `rar.routers.load({shown(value)})`"


def _numbers(scores: Array, router: object) -> Array:
    missing = np.flatnonzero(np.isnan(scores))
    if len(missing):
        raise ScoreError(shown(router), int(missing[0]))
    return scores


def _silent(what: str, done: int, total: int) -> None:
    pass
