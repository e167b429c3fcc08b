"""What trials say of a guide, beside the same model alone on the same requests. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from rar.values import Guide, Tally, Vector

USELESS: Final = 5  # requests without helping once from which a guide is given up
HARMS: Final = 4  # the same, of those on which the model alone works
TELLING: Final = 30.0  # requests of its kind by which a guide must have shown that it helps
DOUBT: Final = 8.0  # harm done beyond help that is laid to chance at first, and ever less of it up to then
GAIN: Final = 0.1  # of those on which it could: what it must have helped on more than it did harm
LATEST: Final = 64  # requests that a guide was tried on last, which are looked at
ABROAD: Final = 0.5  # of the share on which a guide works: where it works less often, it is not for what is there
NEAREST: Final = 0.03  # 1 less the cosine of requests that are as near as can be told

Tried: TypeAlias = tuple[Vector, Sequence[Tally]]  # a request that a guide was tried on: its embedding and all trials


@dataclass(frozen=True, slots=True)
class Paired:
    """What a guide came to on requests other than its own, beside the same model alone.

    Requests around which it never worked are not its kind, and it is not served there: that it fails on them is no
    reason against it elsewhere.

    Args:
        helped: Requests on which it worked and the model alone is not known to.
        gained: Those on which the model alone is known not to.
        lost: Requests of its kind on which the model alone worked, and not with the guide.
        missed: Those on which neither did. Those of both on which another guide worked are for that one.
        failed: Trials in which it did not work where the model alone was not tried.
    """

    helped: int = 0
    gained: int = 0
    lost: int = 0
    missed: int = 0
    failed: int = 0

    @property
    def telling(self) -> int:
        """Requests on which a guide could show what it is worth."""
        return self.gained + self.lost + self.missed

    @property
    def better(self) -> bool:
        """Whether it did better than the model alone."""
        return self.gained - self.lost > GAIN * self.telling

    @property
    def hopeless(self) -> bool:
        """Whether it was tried often enough to say that it does not do better: the shorter, the less is asked of it."""
        doubt = max(DOUBT * (1.0 - self.telling / TELLING), 0.0)
        useless = not self.gained and (self.telling >= USELESS or self.lost >= HARMS)
        return useless or self.gained - self.lost <= GAIN * self.telling - doubt


def paired(guide: Guide, tried: Iterable[Tried]) -> Paired:
    """The pairs of a guide.

    Args:
        tried: Requests other than its own on which it was tried; of many, the last `LATEST` are enough.
    """
    known = [(vector, tallies, at) for vector, tallies in tried if (at := _last_tried(guide, tallies)) is not None]
    known = sorted(known, key=lambda one: -one[2])[:LATEST]
    if not known:
        return Paired()
    worked = np.array([any(one.guide_id == guide.id and one.last_ok for one in tallies) for _, tallies, _ in known])
    at_home = _at_home(np.stack([vector for vector, _, _ in known]), worked, guide.embedding)
    helped, counts = 0, Counter[str]()
    for (_, tallies, _), home in zip(known, at_home.tolist(), strict=True):
        helps, found = _of_request(guide, tallies, home=home)
        helped, counts = helped + helps, counts + found
    return Paired(helped, counts["gained"], counts["lost"], counts["missed"], counts["failed"])


def _last_tried(guide: Guide, tallies: Sequence[Tally]) -> float | None:
    return max((one.at for one in tallies if one.guide_id == guide.id), default=None)


def _at_home(tried: Vector, worked: npt.NDArray[np.bool_], origin: Vector) -> npt.NDArray[np.bool_]:
    """Which of the requests are of a guide's kind: those around which it works not much less often than elsewhere.

    All, if it never worked. Whether it worked on a request itself does not count there, so that luck makes none of its
    kind. It is taken to work on the one that it was written for.
    """
    if not worked.any():
        return np.ones(len(tried), np.bool_)
    apart = np.maximum(1.0 - tried @ np.column_stack([tried.T, origin]), NEAREST)
    weight = apart**-2.0
    np.fill_diagonal(weight, 0.0)
    works = np.append(worked, True)
    around = weight @ works / weight.sum(axis=1)
    home: npt.NDArray[np.bool_] = around >= ABROAD * works.mean()
    return home


def _of_request(guide: Guide, tallies: Sequence[Tally], *, home: bool) -> tuple[bool, Counter[str]]:
    """Whether it helped on a request, and what it counts as."""
    helps, counts = False, Counter[str]()
    for one in tallies:
        if one.guide_id != guide.id:
            continue
        pair = [other for other in tallies if (other.weak_id, other.strong_id) == (one.weak_id, one.strong_id)]
        alone = next((other for other in pair if other.guide_id is None), None)
        by_another = any(other.guide_id not in (None, guide.id) and other.last_ok for other in pair)
        helps = helps or (one.ok > 0 and not (alone is not None and alone.last_ok))
        if alone is None:
            counts["failed"] += one.bad * home
        elif one.last_ok:
            counts["gained"] += not alone.last_ok
        elif home and not by_another:
            counts["lost" if alone.last_ok else "missed"] += 1
    return helps, counts
