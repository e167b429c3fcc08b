"""Pairs of real models with recorded outcomes, and the orders in which their questions may come."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import faiss
import numpy as np
from _data import folder, gsm8k, mmlu, rows

from rar.evaluation import embedded
from rar.outcomes import Outcomes

MOST = 5_000  # questions of a pair
CLUSTERS = 20  # topics, where the data names none
REPEATS = 0.25  # different questions among those that repeat
VARIES = 0.3  # chance that a weak model's answer to a repeated question is drawn anew
_PRO = {"8b-70b": (2, 9), "mixtral-gemini pro": (4, 10), "flash-gemini pro": (7, 10)}
_NINE = {
    "mistral-49b": ("mistral-7b-instruct-v0.3", "llama-3.3-nemotron-super-49b-v1"),
    "gemma-51b": ("gemma-2-9b-it", "llama-3.1-nemotron-51b-instruct"),
    "qwen-49b": ("qwen2.5-7b-instruct", "llama-3.3-nemotron-super-49b-v1"),
}
_BFCL = {
    "haiku-sonnet": ("claude-3-haiku-20240307", "claude-3-5-sonnet-20240620"),
    "llama 8b-gpt-4": ("meta-llama_Meta-Llama-3-8B-Instruct", "gpt-4-1106-preview"),
}


def pairs() -> dict[str, Callable[[], Outcomes]]:
    """How to read each pair, by name: a weak and a strong model, with embeddings and the topic of each question."""
    return {
        "mmlu": lambda: _ready(mmlu(MOST)),
        "gsm8k": lambda: _ready(gsm8k()),
        **{f"pro {name}": lambda at=at: _ready(_pro(*at)) for name, at in _PRO.items()},
        **{f"nine {name}": lambda at=at: _ready(_columns("nine_models.csv.gz", *at)) for name, at in _NINE.items()},
        **{f"bfcl {name}": lambda at=at: _ready(_columns("bfcl_outcomes.csv.gz", *at)) for name, at in _BFCL.items()},
        "alpaca": lambda: _ready(_alpaca("FuseChat-Qwen-2.5-7B-Instruct")),
        "routerbench": lambda: _ready(_routerbench("mistralai/mixtral-8x7b-chat", "gpt-4-1106-preview")),
    }


def _ready(table: Outcomes) -> Outcomes:
    places = np.random.default_rng(0).permutation(len(table))[:MOST]
    table = embedded(table.take(places), "minilm")
    return table if table.groups is not None else replace(table, groups=_topics(table))


def _topics(table: Outcomes) -> tuple[str, ...]:
    assert table.vectors is not None
    means = faiss.Kmeans(table.vectors.shape[1], CLUSTERS, seed=0, niter=20)
    means.train(np.ascontiguousarray(table.vectors))
    return tuple(str(found) for found in means.index.search(table.vectors, 1)[1][:, 0])


def _outcomes(texts: Sequence[str], scores: Any, name: str, groups: Sequence[str] | None = None) -> Outcomes:
    unlike = np.unique(np.array(texts, object), return_index=True)[1]
    kept = np.sort(unlike)
    topics = None if groups is None else tuple(groups[at] for at in kept)
    return Outcomes(
        tuple(texts[at] for at in kept), np.asarray(scores, float)[kept], ("small", "large"), groups=topics, name=name
    )


def _columns(file: str, weak: str, strong: str) -> Outcomes:
    found = [row for row in rows(file) if row[weak] and row[strong]]
    groups = [row["category"] for row in found] if "category" in found[0] else None
    return _outcomes([row["question"] for row in found], [[row[weak], row[strong]] for row in found], file, groups)


def _lines(name: str) -> list[dict[str, Any]]:
    with gzip.open(folder() / "strategies" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def _names(name: str) -> list[str]:
    found: list[str] = json.loads((folder() / "strategies" / f"{name}.json").read_text())
    return found


def _pro(weak: int, strong: int) -> Outcomes:
    found = _lines("mmlu_pro_11models")
    scores = [[row["pred"][at] == row["answer"] for at in (weak, strong)] for row in found]
    return _outcomes([row["question"] for row in found], scores, "mmlu_pro", [row["category"] for row in found])


def _alpaca(weak: str) -> Outcomes:
    """A judge's preference over the answer of GPT-4 Turbo, the strong model: a half for itself."""
    at = _names("alpaca_eval_models").index(weak)
    found = _lines("alpaca_eval_prefs")
    return _outcomes([row["question"] for row in found], [[row["pref"][at], 0.5] for row in found], "alpaca")


def _routerbench(weak: str, strong: str) -> Outcomes:
    names = _names("routerbench_models")
    found = _lines("routerbench_3tasks")
    at = [names.index(weak), names.index(strong)]
    found = [row for row in found if all(row["scores"][one] is not None for one in at)]
    scores = [[row["scores"][one] for one in at] for row in found]
    return _outcomes([row["question"] for row in found], scores, "routerbench", [row["task"] for row in found])


# --- orders ---------------------------------------------------------------------------------------------------------


def orders() -> Mapping[str, Callable[[Outcomes, int], Outcomes]]:
    """A pair's questions in the order in which they come, by the order's name; each takes a seed."""
    return {
        "shuffled": lambda table, seed: table.take(_chance(seed).permutation(len(table))),
        "blocks": lambda table, seed: _by_topic(table, seed, None),
        "easy first": lambda table, seed: _by_topic(table, seed, 1.0),
        "hard first": lambda table, seed: _by_topic(table, seed, -1.0),
        "repeats": _repeating,
    }


def _chance(seed: int) -> np.random.Generator:
    return np.random.default_rng(1_000 + seed)


def _by_topic(table: Outcomes, seed: int, sign: float | None) -> Outcomes:
    """Topic by topic, in random order or by what the weak model loses on them; shuffled within."""
    chance = _chance(seed)
    names, topic = np.unique(np.array(table.groups), return_inverse=True)
    if sign is None:
        place = chance.permutation(len(names)).astype(float)
    else:
        place = sign * np.array([(table.strong - table.weak)[topic == at].mean() for at in range(len(names))])
    mixed = chance.permutation(len(table))
    return table.take(mixed[np.argsort(place[topic[mixed]], kind="stable")])


def _repeating(table: Outcomes, seed: int) -> Outcomes:
    """As many calls, of a quarter of the questions, by Zipf's law; the weak model does not always answer alike."""
    chance, n = _chance(seed), len(table)
    known = chance.permutation(n)[: int(REPEATS * n)]
    share = 1.0 / np.arange(1, len(known) + 1)
    asked = table.take(chance.choice(known, n, p=share / share.sum()))
    again = chance.random(n) < VARIES
    scores = np.array(asked.scores)
    scores[again, 0] = chance.choice(table.weak, int(again.sum()))
    return replace(asked, scores=scores)
