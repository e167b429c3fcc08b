"""What the options of a router may be: one table that `Router` and both frameworks' wrappers check against."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
import os
import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict, TypeVar

from rar.errors import ConfigurationError, UnknownArgumentError, UnknownNameError, near_name
from rar.learning.worker import MODES, Mode
from rar.naming import shown

if TYPE_CHECKING:
    from rar.learning.guide_style import StyleChoice
    from rar.learning.guides import GuideCheck
    from rar.learning.policy import Policy
    from rar.limits import Ceiling, Limits, OverLimit
    from rar.memory.base import Memory
    from rar.observers import Observer
    from rar.rollout import Rollout
    from rar.strategy import Strategy
    from rar.values import Choice, Request

C = TypeVar("C", bound=type)
T = TypeVar("T")
_NEAR = 0.8  # `qualty` is near `quality`, no argument of a provider's model is near one of ours
Check: TypeAlias = Callable[[str, Any], None]  # takes a name and a value; raises `ConfigurationError`


@dataclass(frozen=True, slots=True)
class Number:
    """A finite number from `low` to `high`; no bool, no NaN.

    Args:
        above: `low` itself is too little.
        optional: None is allowed; `unless` says what it means.
        unless: What else to do, in a sentence.
    """

    low: float = 0.0
    high: float = math.inf
    above: bool = False
    whole: bool = False
    optional: bool = False
    unless: str = ""

    def __call__(self, name: str, value: Any) -> None:
        if value is None and self.optional:
            return
        kind = numbers.Integral if self.whole else numbers.Real
        fits = (
            isinstance(value, kind)
            and not isinstance(value, bool)
            and math.isfinite(value)
            and self.low <= float(value) <= self.high
            and not (self.above and value == self.low)
        )
        if not fits:
            raise ConfigurationError(" ".join(filter(None, (self._wrong(name, value), self.unless))))

    def _wrong(self, name: str, value: Any) -> str:
        what = "a whole number" if self.whole else "a number" if self.high < math.inf else "a finite number"
        bounds = f" above {self.low:g}" if self.above else f" of at least {self.low:g}"
        if self.high < math.inf:
            bounds = f" {'above' if self.above else 'from'} {self.low:g} to {self.high:g}"
        meant = self._meant(value)
        advice = "" if meant is None else f" Write {name}={meant:g}."
        return f"{name}={shown(value)} is not {what}{bounds if self.low > -math.inf else ''}.{advice}"

    def _meant(self, value: Any) -> float | None:
        """What `"95%"`, `"0.95"` and 95 stand for, if that is allowed."""
        try:
            text = str(value).strip() if type(value) in (str, int, float) else ""
            number = float(text.removesuffix("%")) / (100.0 if text.endswith("%") else 1.0)
        except ValueError:
            return None
        if (self.low, self.high) == (0.0, 1.0) and 2.0 <= number <= 100.0:
            number /= 100.0
        if not math.isfinite(number) or not self.low <= number <= self.high or (self.above and number == self.low):
            return None
        return number if not self.whole or number.is_integer() else None


SHARE, COSINE = Number(0.0, 1.0), Number(-1.0, 1.0)
POSITIVE, COUNT = Number(above=True), Number(1, whole=True)


@dataclass(frozen=True, slots=True)
class OneOf:
    """An object that `fits`, described by `what`; never a class, which is passed in place of its object by mistake."""

    what: str
    fits: Callable[[Any], bool] = lambda _: True
    optional: bool = True

    def __call__(self, name: str, value: Any) -> None:
        if value is None and self.optional:
            return
        if isinstance(value, type):
            raise ConfigurationError(f"{name}={shown(value)} is a class. Pass an object: {name}={value.__name__}(...).")
        if not self.fits(value):
            raise ConfigurationError(f"{name}={shown(value)} is not {self.what}.")


@dataclass(frozen=True, slots=True)
class Name:
    """One of `known`."""

    known: Collection[str]

    def __call__(self, name: str, value: Any) -> None:
        if type(value) is not str or value not in self.known:
            raise UnknownNameError(name, value, self.known)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _are_ceilings(value: Any) -> bool:
    return all(hasattr(one, "periods") for one in (value if isinstance(value, (list, tuple)) else (value,)))


def _is_mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _are_floors(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(share, (int, float)) and 0.0 < share <= 1.0
        for name, share in value.items()
    )


def _is_guides(value: Any) -> bool:
    return isinstance(value, bool) or value == "review"


_SWITCH = OneOf("True or False", lambda value: isinstance(value, bool), optional=False)
_ANY = OneOf("usable")  # checked by what takes it, but for classes
_ID = OneOf("a name, or None for the model's own", _is_text)
_BUDGET = Number(optional=True, unless="Use 0 to learn nothing, None for no limit.")
_COSINE = Number(-1.0, 1.0, unless="It is a cosine.")


def _option(default: T, check: Check) -> T:
    """An option's row in the table: what it is if not given, and what it may be."""
    return field(default=default, metadata={"check": check})


class RouterOptions(TypedDict, total=False):
    """What `Router` may be told beside its models, and so may both frameworks' wrappers and the middleware.

    Attributes:
        memory: Path of an SQLite file, `"postgresql://…"`, `":memory:"`, a `Memory`, or None to route without one.
        quality: Share of the strong model's quality to keep, in (0, 1]. Only `policy="floor"` reads it.
        promise: The chance, from 0.5 to 0.9999, with which the quality of any 1,000 served calls is at least the floor.
            None: the floor is kept on average.
        floors: `quality` for namespaces that have one of their own, by name.
        policy: `"floor"`, `"paper"` or a `Policy`.
        strategy: None for RAR by `policy`, a `Strategy`, or a function from a request to a `Route` or a model's name.
        static_router: Predicts from the text alone (`rar.routers`). RAR starts from it.
        judge: `"auto"`, `"letter"`, `"number"`, `"json"`, `"exact"`, `"tools"`, `"embedding"`, `"llm"`, a `Judge`, or a
            function of request, reference and candidate. A list of them: each is asked where those before cannot tell.
        embedder: None or `"minilm"`, `"hashing"`, an `Embedder`, a LangChain `Embeddings` or a LlamaIndex
            `BaseEmbedding`.
        learning: `"background"`, `"inline"` (at once, in the caller's thread), `"queue"` (by `rar worker`, which takes
            lessons from a PostgreSQL memory) or `"off"`.
        namespace: Nothing learned crosses it. Wrappers may name another one for each call.
        audit_rate: Share of cheaper models' answers that are checked against the strong model. None: the policy's own.
        prices: USD per million input and output tokens, and of cached input tokens if there is a third number, by model
            id or role. Models that are not named have the price that `genai-prices` knows, if any.
        seed: Makes audits repeatable.
        weak_id, strong_id: Take the place of the models' own ids, under which verdicts are kept.
        degrade: Let a cheaper model answer when the strong one fails.
        timeout: Seconds that a model may be silent, over a whole answer or between two chunks of a stream. After that
            the call counts as failed. None: only the models' clients set a limit. Calls of learning always have one.
        learning_budget: Share of the strong model's serving cost that learning may cost. None: no limit. Where strong
            answers are free, learning may make that share of their number in calls. Audits do not count. `audit_rate`
            bounds them.
        judge_budget: Share of the strong model's serving cost that judges' calls may cost, apart from the learning
            budget. None: no limit.
        learning_usd_per_day: USD that learning may cost at most in a day, of all processes that share the memory.
        guides: Whether the strong model is asked to write guides, which are stored as text. None: if `store_text`.
            `"review"`: they are written and tried, but only those that a person approved are served
            (`rar guides approve`).
        guide_model: Writes the guides in place of the strong model: a model of the same kind as weak and strong. In
            spending and `prices` its role is `"guide_model"`.
        guide_style: `"steps"`: guides say step by step what to do. `"example"`: they work out a question of the same
            kind. `"auto"`: the one that helps more often, by the records of the memory.
        guide_check: A further check of each new guide, for example by a classifier: a function of its text and of the
            request that it was written for. It returns why the guide may not be stored, or None.
        store_text: False keeps questions and answers out of the memory. Embeddings and keyed hashes stay in it.
        store_answers: Keep the answers that a judge compared, and what was asked, to train a model on
            (`rar export --format sft | dpo | kto`).
        redact: Applied to every question before it is embedded or stored, and to guides and answers before they are
            stored.
        read_only: Use what was learned, learn nothing.
        same: Cosine from which a request may count as one seen before, if nothing else tells them apart.
        paraphrase: Share of wrong verdicts at most among those that are taken over from a question in other words, by
            what judged requests showed; never above 1 less `quality`. None: verdicts hold for the same words only.
        near: Cosine from which an older guide is tried on a request.
        retry_after: Seconds after which a request that only the strong model could answer is tried again.
        limit: Neighbours that a decision looks at.
        observers: Told of decisions, calls, lessons, moves of a policy and alarms (`rar.observers`).
        limits: What one request may use (`rar.Limits`). A call may bring its own.
        spend: What serving and learning may cost by day, namespace or conversation (`rar.Ceiling`), one or several.
        over_limit: Who answers where the chosen model would go over a limit: `"cheaper"`, the dearest cheaper model
            that fits; `"error"`, nobody (`BudgetExceededError`); `"strong"`, the chosen one, with a warning.
        rollout: Lets cheaper models in step by step (`rar.Rollout`). None: at once.
        clock: Seconds since the epoch; for tests.
    """

    memory: str | os.PathLike[str] | Memory | None
    quality: float
    promise: float | None
    floors: Mapping[str, float] | None
    policy: str | Policy
    strategy: Strategy | Callable[[Request], Choice | str] | str | None
    static_router: Any
    judge: Any
    embedder: Any
    learning: Mode
    namespace: str
    audit_rate: float | None
    prices: Mapping[str, Sequence[float]] | None
    seed: int | None
    weak_id: str | None
    strong_id: str | None
    degrade: bool
    timeout: float | None
    learning_budget: float | None
    judge_budget: float | None
    learning_usd_per_day: float | None
    guides: bool | Literal["review"] | None
    guide_model: Any
    guide_style: StyleChoice
    guide_check: GuideCheck | None
    store_text: bool
    store_answers: bool
    redact: Callable[[str], str] | None
    read_only: bool
    same: float
    paraphrase: float | None
    near: float
    retry_after: float
    limit: int
    observers: Sequence[Observer]
    limits: Limits | None
    spend: Ceiling | Sequence[Ceiling] | None
    over_limit: OverLimit
    rollout: Rollout | None
    clock: Callable[[], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterSettings:
    """Each of `RouterOptions`, as given or as it is by default: the table of their defaults and checks."""

    memory: str | os.PathLike[str] | Memory | None = _option("rar.db", _ANY)
    quality: float = _option(
        0.95, Number(0.0, 1.0, above=True, unless="It is the share of the strong model's quality to keep.")
    )
    promise: float | None = _option(
        None, Number(0.5, 0.9999, optional=True, unless="It is a chance; None: the floor is kept on average.")
    )
    floors: Mapping[str, float] | None = _option(
        None, OneOf("a mapping of namespaces to shares above 0 and up to 1, or None", _are_floors)
    )
    policy: str | Policy = _option("floor", _ANY)
    strategy: Strategy | Callable[[Request], Choice | str] | str | None = _option(None, _ANY)
    static_router: Any = _option(None, _ANY)
    judge: Any = _option("auto", _ANY)
    embedder: Any = _option(None, _ANY)
    learning: Mode = _option("background", Name(MODES))
    namespace: str = _option("default", OneOf("a name", _is_text, optional=False))
    audit_rate: float | None = _option(
        None, Number(0.0, 1.0, optional=True, unless="The share of weak answers to check; None: the policy's own.")
    )
    prices: Mapping[str, Sequence[float]] | None = _option(None, OneOf("a mapping of names to prices", _is_mapping))
    seed: int | None = _option(None, Number(-math.inf, whole=True, optional=True))
    weak_id: str | None = _option(None, _ID)
    strong_id: str | None = _option(None, _ID)
    degrade: bool = _option(False, _SWITCH)
    timeout: float | None = _option(None, Number(above=True, optional=True, unless="It is in seconds; None: no limit."))
    learning_budget: float | None = _option(0.2, _BUDGET)
    judge_budget: float | None = _option(0.1, _BUDGET)
    learning_usd_per_day: float | None = _option(None, _BUDGET)
    guides: bool | Literal["review"] | None = _option(
        None, OneOf('True, False, "review", or None for as `store_text` is', _is_guides)
    )
    guide_model: Any = _option(None, _ANY)
    guide_style: StyleChoice = _option("steps", Name(("steps", "example", "auto")))
    guide_check: GuideCheck | None = _option(None, OneOf("a function of a guide's text and a request", callable))
    store_text: bool = _option(True, _SWITCH)
    store_answers: bool = _option(False, _SWITCH)
    redact: Callable[[str], str] | None = _option(None, OneOf("a function of a text", callable))
    read_only: bool = _option(False, _SWITCH)
    same: float = _option(0.9, _COSINE)
    paraphrase: float | None = _option(
        0.02, Number(0.0, 1.0, optional=True, unless="The share of verdicts that may be wrong; None: take none over.")
    )
    near: float = _option(0.5, _COSINE)
    retry_after: float = _option(7 * 86_400.0, Number(unless="It is in seconds."))
    limit: int = _option(16, Number(1, whole=True, unless="It is a count of neighbours."))
    observers: Sequence[Observer] = _option(
        (), OneOf("a list of observers", lambda value: isinstance(value, (list, tuple)), optional=False)
    )
    limits: Limits | None = _option(None, OneOf("a `rar.Limits`", lambda value: hasattr(value, "parallel")))
    spend: Ceiling | Sequence[Ceiling] | None = _option(None, OneOf("a `rar.Ceiling` or a list of them", _are_ceilings))
    over_limit: OverLimit = _option("cheaper", Name(("cheaper", "error", "strong")))
    rollout: Rollout | None = _option(None, OneOf("a `rar.Rollout`", lambda value: hasattr(value, "stages")))
    clock: Callable[[], float] = _option(time.time, OneOf("a function", callable, optional=False))


DEFAULTS: Mapping[str, Any] = MappingProxyType({option.name: option.default for option in fields(RouterSettings)})
# By name of the argument, wherever it is given.
CHECKS: Mapping[str, Check] = {
    **{option.name: option.metadata["check"] for option in fields(RouterSettings)},
    "weak": _ANY, "strong": _ANY, "models": OneOf("a mapping of names to models", _is_mapping),
    "router": OneOf("a `rar.Router` to share", lambda value: hasattr(value, "decide") and hasattr(value, "learn")),
    "query_extractor": OneOf("a function of messages", callable),
    "namespaces": Name(("any", "fixed")), "usage": Name(("served", "all")), "trust_metadata": _SWITCH,
    "record_queries": _SWITCH, "tools_to_strong": _SWITCH,
}  # fmt: skip


def settings_of(owner: str, models: Mapping[str, Any], options: Mapping[str, Any]) -> RouterSettings:
    """The settings that `options` make, which were given to `owner` beside its `models`.

    Raises:
        ConfigurationError: One is misspelt or cannot work.
    """
    check_arguments(owner, options, (*models, *DEFAULTS))
    check_options({**models, **options})
    settings = RouterSettings(**options)
    if settings.store_answers and not (settings.store_text and settings.memory is not None):
        found = "memory=None keeps nothing" if settings.store_text else "store_text=False keeps texts out of the memory"
        raise ConfigurationError(f"store_answers=True cannot work: {found}. Leave out one of the two.")
    return settings


def shows_options(cls: C) -> C:
    """Have `help` and notebooks show the options of a class whose constructor takes them as `**options`.

    They take the place of the line of its docstring that begins with "options:". Type checkers read `RouterOptions`.
    """
    make = cls.__init__  # type: ignore[misc]  # that of this very class
    *named, rest = inspect.signature(make).parameters.values()
    taken = [
        inspect.Parameter(option.name, inspect.Parameter.KEYWORD_ONLY, default=option.default, annotation=option.type)
        for option in fields(RouterSettings)
    ]
    further = [] if rest.annotation == "Unpack[RouterOptions]" else [rest]
    make.__signature__ = inspect.Signature([*named, *taken, *further])
    if cls.__doc__ and RouterOptions.__doc__:  # Python can be run without docstrings
        said = inspect.cleandoc(RouterOptions.__doc__).partition("Attributes:\n")[2]
        cls.__doc__ = re.sub("(?m)^ *options:.*$", lambda _: said, inspect.cleandoc(cls.__doc__), count=1)
    return cls


def check_options(given: Mapping[str, Any]) -> None:
    """Refuse the first of `given` that cannot work; names that the table does not know pass.

    Raises:
        ConfigurationError: Says which, what was found and what to write.
    """
    for name, value in given.items():
        check = CHECKS.get(name)
        if check is not None:
            check(name, value)


def check_names(option: str, value: Any) -> None:
    """Refuse what is no sequence or mapping of names: a string is one by its letters."""
    names = list(value.values()) if isinstance(value, Mapping) else value
    if isinstance(value, str) or not isinstance(names, Sequence) or not all(isinstance(name, str) for name in names):
        raise ConfigurationError(f'{option}={shown(value)} is no list of names. Pass one, such as ["weak", "strong"].')


def check_arguments(owner: str, given: Collection[str], known: Collection[str]) -> None:
    """Refuse arguments that `owner` does not take.

    Raises:
        UnknownArgumentError: It names the argument that was probably meant.
    """
    unknown = [name for name in given if name not in known]
    if unknown:
        raise UnknownArgumentError(owner, unknown[0], known)


def check_near_misses(owner: str, given: Collection[str], known: Collection[str]) -> None:
    """Refuse arguments that are probably meant for `owner`, among others that are meant for the models it makes.

    Raises:
        UnknownArgumentError: It names the argument that was probably meant.
    """
    for name in given:
        if near_name(name, known, _NEAR) is not None:
            raise UnknownArgumentError(owner, name, known)


def named_arguments(cls: C) -> C:
    """Have a class say which argument was misspelt. Type checkers go on seeing the constructor as it is written."""
    make = cls.__init__  # type: ignore[misc]  # that of this very class
    parameters = inspect.signature(make).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return cls  # it says itself what it takes
    known = [parameter.name for parameter in parameters if parameter.name != "self"]

    @functools.wraps(make)
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        check_arguments(cls.__name__, kwargs, known)
        make(self, *args, **kwargs)

    cls.__init__ = init  # type: ignore[misc]
    return cls
