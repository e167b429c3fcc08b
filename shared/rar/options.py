"""What the options of a router may be: one table that `Router` and both frameworks' wrappers check against."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from rar.errors import ROUTER_ONLY, ConfigurationError, UnknownArgumentError, UnknownNameError, near_name
from rar.learning.worker import MODES
from rar.naming import shown

C = TypeVar("C", bound=type)
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


_SWITCH = OneOf("True or False", lambda value: isinstance(value, bool), optional=False)
_ANY = OneOf("usable")  # checked by what takes it, but for classes
_ID = OneOf("a name, or None for the model's own", _is_text)
_CALL = "a function"

# By name of the argument, wherever it is given.
OPTIONS: Mapping[str, Check] = {
    "weak": _ANY, "strong": _ANY, "policy": _ANY, "strategy": _ANY, "static_router": _ANY, "judge": _ANY,
    "embedder": _ANY,
    "models": OneOf("a mapping of names to models", lambda value: isinstance(value, Mapping)),
    "memory": _ANY,
    "learning": Name(MODES),
    "quality": Number(0.0, 1.0, above=True, unless="It is the share of the strong model's quality to keep."),
    "audit_rate": Number(0.0, 1.0, optional=True, unless="The share of weak answers to check; None: the policy's own."),
    "learning_budget": Number(optional=True, unless="Use 0 to learn nothing, None for no limit."),
    "learning_usd_per_day": Number(optional=True, unless="Use 0 to learn nothing, None for no limit."),
    "same": Number(-1.0, 1.0, unless="It is a cosine."),
    "near": Number(-1.0, 1.0, unless="It is a cosine."),
    "retry_after": Number(unless="It is in seconds."),
    "limit": Number(1, whole=True, unless="It is a count of neighbours."),
    "seed": Number(-math.inf, whole=True, optional=True),
    "timeout": Number(above=True, optional=True, unless="It is in seconds; None: no limit."),
    "namespace": OneOf("a name", _is_text, optional=False),
    "namespaces": Name(("any", "fixed")), "usage": Name(("served", "all")), "trust_metadata": _SWITCH,
    "weak_id": _ID, "strong_id": _ID,
    "prices": OneOf("a mapping of names to prices", lambda value: isinstance(value, Mapping)),
    "degrade": _SWITCH, "store_text": _SWITCH, "read_only": _SWITCH,
    "guides": OneOf(
        'True, False, "review", or None for as `store_text` is',
        lambda value: isinstance(value, bool) or value == "review",
    ),
    "guide_check": OneOf(f"{_CALL} of a guide's text and a request", callable),
    "record_queries": _SWITCH, "tools_to_strong": _SWITCH,
    "redact": OneOf(f"{_CALL} of a text", callable),
    "limits": OneOf("a `rar.Limits`", lambda value: hasattr(value, "parallel")),
    "spend": OneOf("a `rar.Ceiling` or a list of them", _are_ceilings),
    "over_limit": Name(("cheaper", "error", "strong")),
    "observers": OneOf("a list of observers", lambda value: isinstance(value, (list, tuple)), optional=False),
    "query_extractor": OneOf(f"{_CALL} of messages", callable),
    "router": OneOf("a `rar.Router` to share", lambda value: hasattr(value, "decide") and hasattr(value, "learn")),
    "clock": OneOf(_CALL, callable, optional=False),
}  # fmt: skip


def check_options(given: Mapping[str, Any]) -> None:
    """Refuse the first of `given` that cannot work; names that the table does not know pass.

    Raises:
        ConfigurationError: Says which, what was found and what to write.
    """
    for name, value in given.items():
        check = OPTIONS.get(name)
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
        if name in ROUTER_ONLY or near_name(name, known, _NEAR) is not None:
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
