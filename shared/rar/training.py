"""Training data from judged answers, in the conversational formats of TRL: one JSON object a line.

The columns are those of its `SFTTrainer` (`prompt`, `completion`), `DPOTrainer` (`prompt`, `chosen`, `rejected`) and
`KTOTrainer` (`prompt`, `completion`, `label`). Nothing of TRL is imported.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from rar.memory.base import JudgedAnswers, Label, Memory
from rar.options import Name
from rar.sameness import signature

Format: TypeAlias = Literal["sft", "dpo", "kto"]
Example: TypeAlias = dict[str, Any]
FORMATS: tuple[Format, ...] = ("sft", "dpo", "kto")
GOOD = 0.5  # the grade from which a person's word is that an answer may be learned


def examples(
    memory: Memory, format: Format, *, namespace: str | None = None, model: str | None = None
) -> list[Example]:
    """What a memory with `store_answers=True` has to train on, oldest first.

    - `"sft"`: each prompt once, with an answer that worked by a guide where there is one, and else the strong answer.
    - `"dpo"`: the strong answer is chosen and the weak one rejected where they were last found to disagree. Where a
      person graded the two, the better one is chosen.
    - `"kto"`: each answer, and whether it is good.

    Prompts never hold a guide, so a model learns to do without it. Of attempts with a guide only those that worked are
    used. The same prompt in other spelling counts as the same one.

    Args:
        namespace: None: all of them.
        model: Id of the weak model whose answers are used; None: any.
    """
    Name(FORMATS)("format", format)
    labels = {label.decision_id: label for label in memory.labels(namespace)}
    found = [_told(one, labels) for one in memory.judged_answers(namespace) if model is None or one.weak_id == model]
    return list(_MAKERS[format](found))[::-1]


@dataclass(frozen=True, slots=True)
class _Told:
    """Judged answers and what is held of them in the end: by the judge, or by a person who graded them."""

    answers: JudgedAnswers
    weak_good: bool
    strong_good: bool
    gap: float  # above 0: the strong answer is preferred; 0: neither

    @property
    def guided(self) -> bool:
        return self.answers.guide_id is not None

    @property
    def prompt(self) -> list[dict[str, str]]:
        messages: list[dict[str, str]] = json.loads(self.answers.prompt)
        return messages

    @property
    def key(self) -> str:
        """Equal for prompts that are the same."""
        return "\x1e".join(f"{message['role']}:{signature(message['content'])}" for message in self.prompt)


def _told(answers: JudgedAnswers, labels: Mapping[str, Label]) -> _Told:
    label = labels.get(answers.decision_id) if answers.place == 0 else None
    if label is not None:
        return _Told(answers, label.weak >= GOOD, label.strong >= GOOD, label.gap)
    return _Told(answers, answers.agrees, True, 0.0 if answers.agrees else 1.0)


def _sft(found: list[_Told]) -> Iterator[Example]:
    guided: dict[str, _Told] = {}
    for one in found:
        if one.guided and one.weak_good:
            guided.setdefault(one.key, one)
    seen: set[str] = set()
    for one in found:
        key = one.key
        if key in seen:
            continue
        by_guide = guided.get(key)
        if by_guide is not None or one.strong_good:
            seen.add(key)
            text = one.answers.strong if by_guide is None else by_guide.answers.weak
            yield {"prompt": one.prompt, "completion": _said(text)}


def _dpo(found: list[_Told]) -> Iterator[Example]:
    seen: set[str] = set()
    for one in found:
        key, texts = one.key, (one.answers.strong, one.answers.weak)
        if one.guided or key in seen:
            continue
        seen.add(key)
        chosen, rejected = texts if one.gap > 0.0 else texts[::-1]
        if one.gap and signature(chosen) != signature(rejected):
            yield {"prompt": one.prompt, "chosen": _said(chosen), "rejected": _said(rejected)}


def _kto(found: list[_Told]) -> Iterator[Example]:
    seen: set[tuple[str, str]] = set()
    for one in found:
        key = one.key
        for text, good, guided in (
            (one.answers.weak, one.weak_good, one.guided),
            (one.answers.strong, one.strong_good, False),
        ):
            which = key, signature(text)
            if which in seen or (guided and not good):
                continue
            seen.add(which)
            yield {"prompt": one.prompt, "completion": _said(text), "label": good}


def _said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


_MAKERS = {"sft": _sft, "dpo": _dpo, "kto": _kto}
