"""The JSON-able records in which a memory is exported and imported: pure maps from and to values."""

from __future__ import annotations

import base64
import binascii
import json
from collections import abc
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields, replace
from typing import Any, Generic, Literal, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from rar.memory.base import DecisionRecord, JudgedAnswers, Label, PolicyState, Spend
from rar.memory.kept import LONGEST, is_prompt
from rar.memory.origins import KEPT
from rar.values import Experience, Guide, GuideState, GuideStyle, Origin, Purpose, Tally, Vector

FORMAT, VERSION = "rar-memory", 1

# What an export of ours never exceeds by far. More would fill the disk, the process or SQLite's integers.
MOST_DIM = 65_536
MOST_TEXT = 4 * 2**20  # characters
MOST_GUIDE = 10_000  # characters; those that models write have at most 1,500
MOST_COUNT = 2**48
MOST_NUMBER = 1e12  # seconds, USD or whatever else
MOST_FACTS = 256 * 2**10  # characters of a decision's facts as JSON
MOST_DEPTH = 20  # of their nesting

_Fields: TypeAlias = dict[str, tuple[type, ...]]
_TEXT, _NUMBER, _COUNT, _FLAG = (str,), (float, int), (int,), (bool,)


@dataclass(frozen=True, slots=True)
class Header:
    """What the embeddings of an export were made with; `embedder_id` is empty where nothing was embedded yet."""

    embedder_id: str
    dim: int


@dataclass(frozen=True, slots=True)
class KeptGuide:
    """A guide, and whether a person set its state."""

    guide: Guide
    pinned: bool


@dataclass(frozen=True, slots=True)
class KeptPolicy:
    """The policy state of a namespace and of a model id, which is empty for the namespace's own."""

    namespace: str
    state: PolicyState
    model: str = ""


@dataclass(frozen=True, slots=True)
class DaySpend:
    """What was spent on one UTC day, counted in days since the epoch."""

    day: int
    spend: Spend


Item: TypeAlias = Experience | KeptGuide | KeptPolicy | DaySpend | DecisionRecord | Label | JudgedAnswers


_Value = TypeVar("_Value")


class _Form(Generic[_Value]):
    """How a dataclass is written as a record: its fields by name, those with a default being left out by older exports.

    Args:
        kept: The dataclass.
        without: Fields that a record has no such entry for.
    """

    def __init__(self, kept: type[_Value], *without: str) -> None:
        hints = get_type_hints(kept)
        chosen = [field for field in fields(kept) if field.name not in without]  # type: ignore[arg-type]
        self._kept = kept
        self._fields = {field.name: _types(hints[field.name]) for field in chosen}
        self._needed = {field.name for field in chosen if field.default is MISSING}

    def written(self, value: _Value) -> dict[str, Any]:
        return {name: getattr(value, name) for name in self._fields}

    def read(self, record: Any, **more: Any) -> _Value:
        _take(record, {})
        present = {name: types for name, types in self._fields.items() if name in record or name in self._needed}
        return self._kept(**_take(record, present), **more)


def _types(hint: Any) -> tuple[type, ...]:
    if get_origin(hint) is Literal:
        return _TEXT
    if get_origin(hint) is abc.Mapping:
        return (dict,)
    kinds = get_args(hint) or (hint,)
    return (*kinds, int) if float in kinds else kinds


_HEADER = _Form(Header)
_TALLY = _Form(Tally, "origins")
_ORIGIN = _Form(Origin)
_EXPERIENCE = _Form(Experience, "embedding", "tallies")
_GUIDE = _Form(Guide, "embedding", "pinned", "anyway")
_POLICY = _Form(PolicyState)
_SPEND = _Form(Spend)
_DECISION = _Form(DecisionRecord)
_LABEL = _Form(Label)
_JUDGED = _Form(JudgedAnswers)


def to_record(item: Header | Item) -> dict[str, Any]:
    """`item` as a JSON-able record that `to_item` reads."""
    if isinstance(item, Header):
        return {"kind": "header", "format": FORMAT, "version": VERSION, **asdict(item)}
    if isinstance(item, Experience):
        tallies = [asdict(tally) for tally in item.tallies]
        return {
            "kind": "experience",
            **_EXPERIENCE.written(item),
            "tallies": tallies,
            "embedding": _encoded(item.embedding),
        }
    if isinstance(item, KeptGuide):
        return {
            "kind": "guide",
            **_GUIDE.written(item.guide),
            "pinned": item.pinned,
            "embedding": _encoded(item.guide.embedding),
        }
    if isinstance(item, KeptPolicy):
        return {"kind": "policy", "namespace": item.namespace, "model": item.model, **asdict(item.state)}
    if isinstance(item, DaySpend):
        return {"kind": "spend", "day": item.day, **asdict(item.spend)}
    if isinstance(item, Label):
        return {"kind": "label", **_LABEL.written(item)}
    if isinstance(item, JudgedAnswers):
        return {"kind": "judged", **_JUDGED.written(item)}
    return {"kind": "decision", **_DECISION.written(item), "facts": dict(item.facts)}


def to_header(record: Mapping[str, Any]) -> Header:
    """The header that an export begins with.

    Raises:
        ValueError: Says what is wrong with it.
    """
    kind, form, version = _take(record, {"kind": _TEXT, "format": _TEXT, "version": _COUNT}).values()
    if kind != "header" or form != FORMAT:
        raise ValueError(f"no header of format {FORMAT!r}")
    if version != VERSION:
        raise ValueError(f"format version {version!r} is not known, this package reads {VERSION}")
    header = _HEADER.read(record)
    if header.dim > MOST_DIM:
        raise ValueError(f"field 'dim' is {header.dim}, the limit is {MOST_DIM}")
    return header


def to_item(record: Mapping[str, Any], dim: int) -> Item:
    """The value that `record` stands for, its embedding of length `dim`.

    Raises:
        ValueError: Says which field is wrong.
    """
    kind = _take(record, {"kind": _TEXT})["kind"]
    if kind == "experience":
        tallies = tuple(map(_tally, _take(record, {"tallies": (list,)})["tallies"]))
        return _EXPERIENCE.read(record, tallies=tallies, embedding=_embedding(record, dim))
    if kind == "guide":
        guide = _GUIDE.read(record, embedding=_embedding(record, dim))
        _one_of("state", guide.state, get_args(GuideState))
        _one_of("style", guide.style, get_args(GuideStyle))
        if len(guide.text) > MOST_GUIDE:
            raise ValueError(f"field 'text' has {len(guide.text):,} characters, the limit for guides is {MOST_GUIDE:,}")
        return KeptGuide(guide, **_take(record, {"pinned": _FLAG}))
    if kind == "policy":
        state = _POLICY.read(record)
        for name, least, most in (("threshold", -1.0, 2.0), ("bias", -1.0, 1.0), ("reference", 0.0, 1.0)):
            value = getattr(state, name)
            if value is not None and not least <= value <= most:
                raise ValueError(f"field {name!r} is {_shown(value)}, which is out of range")
        keys = _take({"model": "", **record}, {"namespace": _TEXT, "model": _TEXT})  # older exports name no model
        return KeptPolicy(**keys, state=state)
    if kind == "spend":
        spend = _SPEND.read(record)
        _one_of("purpose", spend.purpose, get_args(Purpose))
        if spend.usd < 0.0:
            raise ValueError(f"field 'usd' is {_shown(spend.usd)}, which is out of range")
        return DaySpend(**_take(record, {"day": _COUNT}), spend=spend)
    if kind == "label":
        return _label(record)
    if kind == "judged":
        return _judged(record)
    if kind == "decision":
        decision = _DECISION.read(record)
        return replace(decision, facts=_facts(dict(decision.facts)))
    raise ValueError(f"kind {kind!r} is not known")


def _take(record: Any, fields: _Fields) -> dict[str, Any]:
    if not isinstance(record, Mapping):
        raise ValueError(f"{_shown(record)} is no object")  # noqa: TRY004 - of a file, not of an argument
    for name, types in fields.items():
        if name not in record:
            raise ValueError(f"field {name!r} is missing")
        value = record[name]
        if type(value) not in types:
            raise ValueError(f"field {name!r} is {_shown(value)}, not {' or '.join(kind.__name__ for kind in types)}")
        if _out_of_range(value, types):
            raise ValueError(f"field {name!r} is {_shown(value)}, which is out of range")
    return {name: record[name] for name in fields}


def _out_of_range(value: Any, types: tuple[type, ...]) -> bool:
    if types == _COUNT:
        return not 0 <= value <= MOST_COUNT
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return not -MOST_NUMBER <= value <= MOST_NUMBER  # also where it is no number
    return isinstance(value, str) and len(value) > MOST_TEXT


def _tally(record: Any) -> Tally:
    tally = _TALLY.read(record)
    origins = _take({"origins": [], **record}, {"origins": (list, tuple)})["origins"]  # older exports have none
    if len(origins) > KEPT:
        raise ValueError(f"field 'origins' has {len(origins)} entries, more than {KEPT}")
    tally = replace(tally, origins=tuple(map(_ORIGIN.read, origins)))
    most = tally.ok + tally.bad
    if not 0.0 < tally.weight <= 1_000.0:
        raise ValueError(f"field 'weight' is {_shown(tally.weight)}, which is out of range")
    if tally.gap is not None and not -most <= tally.gap <= most:
        raise ValueError(f"field 'gap' is {_shown(tally.gap)}, which {most} trials cannot add up to")
    return tally


def _label(record: Any) -> Label:
    label = _LABEL.read(record)
    for name, least, most in (
        ("judged", -1.0, 1.0), ("weak", 0.0, 1.0), ("strong", 0.0, 1.0), ("weight", 0.0, 1e6), ("expected", -2.0, 2.0),
    ):  # fmt: skip
        value = getattr(label, name)
        if value is not None and not least <= value <= most:
            raise ValueError(f"field {name!r} is {_shown(value)}, which is out of range")
    return label


def _judged(record: Any) -> JudgedAnswers:
    judged = _JUDGED.read(record)
    if not -1.0 <= judged.gap <= 1.0:
        raise ValueError(f"field 'gap' is {_shown(judged.gap)}, which is out of range")
    for name in ("prompt", "weak", "strong"):
        if len(text := getattr(judged, name)) > LONGEST:
            raise ValueError(f"field {name!r} has {len(text):,} characters, the limit is {LONGEST:,}")
    if not is_prompt(judged.prompt):
        raise ValueError("field 'prompt' is no JSON list of messages with a role and a content")
    return judged


_FACTS: _Fields = {"neighbours": (list,), "pair": (list,), "question": _TEXT, "guides": (list,), "at": _NUMBER}


def _facts(facts: dict[str, Any]) -> dict[str, Any]:
    """The facts of a decision, if they are such as are read again later."""
    if _depth(facts) > MOST_DEPTH:
        raise ValueError(f"field 'facts' is nested more than {MOST_DEPTH} deep")
    if len(json.dumps(facts, default=str)) > MOST_FACTS:
        raise ValueError(f"field 'facts' has more than {MOST_FACTS:,} characters")
    _take(facts, {name: types for name, types in _FACTS.items() if name in facts})
    for neighbour in facts.get("neighbours", ()):
        _take(neighbour, {"experience_id": _TEXT})
    if not all(isinstance(id, str) for id in facts.get("pair", ())) or len(facts.get("pair", ("", ""))) != 2:
        raise ValueError(f"field 'pair' is {_shown(facts['pair'])}, not the ids of two models")
    return facts


def _depth(value: Any) -> int:
    """How deep `value` is nested, level by level, so that it cannot be too deep to be counted."""
    depth, level = 0, [value]
    while level and depth <= MOST_DEPTH:
        depth += 1
        inside = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list)))
        level = [part for parts in inside for part in parts]
    return depth


def _one_of(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ValueError(f"field {name!r} is {_shown(value)}, not one of {sorted(known)}")


def _encoded(embedding: Vector) -> str:
    return base64.b64encode(embedding.astype("<f4").tobytes()).decode("ascii")


def _embedding(record: Mapping[str, Any], dim: int) -> Vector:
    text = _take(record, {"embedding": _TEXT})["embedding"]
    if len(text) > 4 * (dim * 4 // 3 + 2):
        raise ValueError(f"field 'embedding' has {len(text):,} characters, too many for {dim} numbers")
    try:
        embedding = np.frombuffer(base64.b64decode(text, validate=True), "<f4").astype(np.float32)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"field 'embedding' is no base64 of float32 ({error})") from None
    if len(embedding) != dim:
        raise ValueError(f"field 'embedding' has {len(embedding)} numbers, the header says {dim}")
    if not np.isfinite(embedding).all():
        raise ValueError("field 'embedding' has numbers that are not finite")
    return embedding


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # too many digits, or too deep
        return f"an absurd {type(value).__name__}"
    return text if len(text) <= 40 else f"{text[:37]}..."
