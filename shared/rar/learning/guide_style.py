"""Which kind of guide is to be written next: the one that did better so far, for this kind of question and in all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias, get_args

from rar.memory.base import Memory
from rar.values import Guide, GuideState, GuideStyle, Request

StyleChoice: TypeAlias = GuideStyle | Literal["auto"]

STYLES: Final[tuple[GuideStyle, ...]] = get_args(GuideStyle)
_STATES: Final[tuple[GuideState, ...]] = get_args(GuideState)
_FIRST = 2  # guides of each style that a namespace tries before it compares them
_LIKES = 20  # guides of the kind that are looked at
_TRIALS = 4.0  # trials of the kind that the record of all kinds counts for


def style_for(memory: Memory, request: Request, near: float, choice: StyleChoice) -> GuideStyle:
    """The style of the next guide for requests like `request`.

    Args:
        near: Cosine from which a guide is one of the kind.
        choice: `"auto"` looks at the records of the memory.
    """
    if choice != "auto":
        return choice
    assert request.embedding is not None  # only requests with a key are learned from
    whole = [guide for guide in memory.guides(namespace=request.namespace) if guide.task == request.task]
    found = memory.search_guides(
        request.embedding, namespace=request.namespace, task=request.task, limit=_LIKES, states=_STATES
    )
    return better_style([entry.guide for entry in found if entry.similarity >= near], whole)


def better_style(kind: Sequence[Guide], whole: Sequence[Guide]) -> GuideStyle:
    """The style whose guides helped more often; the one with fewer guides, as long as one has hardly any.

    Args:
        kind: Guides for requests of this kind, whatever became of them.
        whole: Guides for all requests.
    """
    written = {style: sum(guide.style == style for guide in whole) for style in STYLES}
    rarest = min(STYLES, key=written.__getitem__)
    if written[rarest] < _FIRST:
        return rarest
    return max(STYLES, key=lambda style: _rate(style, kind, _rate(style, whole, 0.5, 2.0), _TRIALS))


def _rate(style: GuideStyle, guides: Sequence[Guide], expected: float, weight: float) -> float:
    """How often guides of a style helped, shrunk towards what was expected. That one failed at once is a trial, too."""
    own = [guide for guide in guides if guide.style == style]
    helpful = sum(guide.helpful for guide in own)
    harmful = sum(
        guide.harmful or int(guide.state == "retired" and not (guide.helpful or guide.pinned)) for guide in own
    )
    return (helpful + weight * expected) / (helpful + harmful + weight)


def _failed_at_once(guide: Guide) -> bool:
    return guide.state == "retired" and not (guide.helpful or guide.pinned)
