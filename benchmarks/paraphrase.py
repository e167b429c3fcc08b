"""Same question, other words: how many verdicts are taken over from a near neighbour, and how many of them are wrong?

By the router's own rule (`rar.wording`, `rar.learning.paraphrase`), which learns from judged outcomes alone:

- Quora: pairs that people called duplicates or not. Of each fifth it is said which are, by what was judged of the
  others. The error is the share of the pairs taken for duplicates that are none; people disagree on some of them.
- CheckList: near twins (by number, name, place, order, time, negation) and harmless rewritings, by what was judged of
  Quora's pairs. None of CheckList's own is known.
- Banking77: customers' requests in random order. Each intent has a verdict by chance: the weak model is good enough
  for it, or not. A request that no neighbour decides is judged and remembered, and so is one in eight of the others.
  Two harder cases follow: only "good enough" is taken over, as the router does; and the verdict is the intent itself.

    RAR_DATA=... python benchmarks/paraphrase.py [--folds 5] [--shuffles 3] [--error 0.02]
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
from _data import rows, versions

from rar.embedding import as_embedder
from rar.evaluation.embeddings import DiskCachedEmbedder
from rar.learning.paraphrase import NEAR, SHARPNESS, Bound, Pair, beside, fit
from rar.sameness import signature
from rar.wording import Difference, difference, words_of

Array = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]
FOUND, ERROR, TWINS, DECIDED, AGREE = 0.20, 0.05, 0.01, 0.60, 0.98  # the marks
GOOD = 0.6  # share of the intents that the weak model is good enough for
AUDIT, HEAVIEST = 0.125, 5.0  # chance that a verdict which was taken over is checked; what a check stands for at most
FIRST, GROWTH, NEWEST = 64, 1.25, 1_000  # when a bound is learned anew, and from how many requests
AROUND = 16


@dataclass(frozen=True, eq=False)
class Pairs:
    """Labelled pairs. `middle` is where a pair lies, `words` how its texts differ, if they may stand for each other."""

    same: Flags
    cosines: Array
    middle: Array
    words: list[Difference | None]
    equal: Flags
    kinds: list[str]

    def near(self, places: Places) -> Places:
        """Those of `places` that the rule looks at."""
        return np.array([at for at in places if self.words[at] is not None and self.cosines[at] >= NEAR], np.int64)

    def beside(self, places: Places, judged: Pairs, known: Places) -> list[Pair]:
        """The pairs at `places`, each with the record that the judged pairs `known` make; none is judged by itself."""
        found: list[Pair] = []
        for some in np.array_split(places, max(len(places) // 500, 1)):
            weights = np.maximum(self.middle[some] @ judged.middle[known].T, 0.0) ** SHARPNESS
            if judged is self:
                weights[some[:, None] == known[None, :]] = 0.0
            agreed = weights @ judged.same[known]
            for at, whole, part in zip(some.tolist(), weights.sum(axis=1), agreed, strict=True):
                words = self.words[at]
                assert words is not None
                found.append(Pair(float(self.cosines[at]), words, float(part), max(float(whole - part), 0.0)))
        return found


def labelled(file: str, label: str, embedder: DiskCachedEmbedder) -> Pairs:
    found = rows(file)
    first, second = (embedder.embed([row[side] for row in found]) for side in ("question1", "question2"))
    middle = first + second
    texts = [(row["question1"], row["question2"]) for row in found]
    return Pairs(
        same=np.array([row[label] == "1" for row in found]),
        cosines=np.einsum("nd,nd->n", first, second),
        middle=middle / np.linalg.norm(middle, axis=1, keepdims=True),
        words=[difference(words_of(one), words_of(other)) for one, other in texts],
        equal=np.array([signature(one) == signature(other) for one, other in texts]),
        kinds=[row.get("test", "") for row in found],
    )


def learned(pairs: Pairs, known: Places, error: float) -> Bound:
    places = pairs.near(known)
    return fit(pairs.beside(places, pairs, known), pairs.same[places].tolist(), error)


def taken(pairs: Pairs, places: Places, bound: Bound, judged: Pairs, known: Places) -> Flags:
    """Which of all pairs are taken for the same, of those at `places`."""
    hits = np.zeros(len(pairs.same), np.bool_)
    near = pairs.near(places)
    for at, pair in zip(near.tolist(), pairs.beside(near, judged, known), strict=True):
        hits[at] = bound.chance(pair) is not None
    return hits


def best_cosine(pairs: Pairs, error: float) -> tuple[float, float]:
    """The most duplicates that one cosine for all finds within `error`, and from which cosine on."""
    order = np.argsort(-pairs.cosines, kind="stable")
    good = np.cumsum(pairs.same[order])
    within = np.flatnonzero(1.0 - good / np.arange(1, len(order) + 1) <= error)
    if not len(within):
        return 0.0, 1.0
    return float(good[within[-1]] / pairs.same.sum()), float(pairs.cosines[order][within[-1]])


def quora(pairs: Pairs, folds: int) -> bool:
    order = np.random.default_rng(0).permutation(len(pairs.same))
    hits = np.zeros(len(order), np.bool_)
    for part in np.array_split(order, folds):
        known = np.setdiff1d(order, part)
        hits |= taken(pairs, part, learned(pairs, known, ERROR), pairs, known)
    found, error = share(hits, pairs.same), 1.0 - share(pairs.same, hits)
    by_cosine, cut = best_cosine(pairs, ERROR)
    print(f"\nQuora, {len(order)} pairs, {int(pairs.same.sum())} duplicates, stated error {ERROR:.0%}")
    print(f"  {'rule':<44} {'found':>6} {'error':>6}")
    print(f"  {'learned bound':<44} {found:>6.1%} {error:>6.1%}")
    print(f"  {f'best cosine in hindsight ({cut:.3f})':<44} {by_cosine:>6.1%}   ≤5.0%")
    for cosine in (0.95, 0.97):
        near = pairs.cosines >= cosine
        print(f"  {f'cosine {cosine}':<44} {share(near, pairs.same):>6.1%} {1.0 - share(pairs.same, near):>6.1%}")
    print(f"  {'signature':<44} {share(pairs.equal, pairs.same):>6.1%} {1.0 - share(pairs.same, pairs.equal):>6.1%}")
    return mark(f"at least {FOUND:.0%} found at an error of at most {ERROR:.0%}", found >= FOUND and error <= ERROR)


def checklist(pairs: Pairs, judged: Pairs) -> bool:
    known, places = np.arange(len(judged.same)), np.arange(len(pairs.same))
    hits = taken(pairs, places, learned(judged, known, ERROR), judged, known)
    twins = ~pairs.same
    wrong = share(hits, twins)
    print(f"\nCheckList, {int(twins.sum())} near twins, {int(pairs.same.sum())} rewritings, learned from Quora's pairs")
    print(f"  near twins taken for the same: {wrong:.2%}; cosine 0.95: {share(pairs.cosines >= 0.95, twins):.1%}")
    found, equal = share(hits, pairs.same), share(pairs.equal, pairs.same)
    print(f"  rewritings taken for the same: {found:.1%}; signature: {equal:.1%}")
    for kind in sorted({kind for kind, twin in zip(pairs.kinds, twins, strict=True) if twin}):
        of_kind = twins & np.array([one == kind for one in pairs.kinds])
        if share(hits, of_kind):
            print(f"    {kind[:60]:<60} {share(hits, of_kind):>6.1%} of {int(of_kind.sum())}")
    return mark(f"at most {TWINS:.0%} of the near twins", wrong <= TWINS)


class Traffic:
    """Requests that arrive one by one, and what is remembered of them."""

    def __init__(
        self, texts: Sequence[str], vectors: Array, verdicts: Sequence[Hashable], only: Hashable = None
    ) -> None:
        self.cosines, self.verdicts, self.only = vectors @ vectors.T, verdicts, only
        self.words = [words_of(text) for text in texts]

    def beside(self, own: int, others: Places) -> tuple[int, Pair] | None:
        """The remembered request whose verdict might decide `own`, and the pair that they make."""
        cosines = self.cosines[own, others]
        count = min(AROUND, len(others))
        places = np.argpartition(-cosines, count - 1)[:count] if count else np.zeros(0, np.int64)
        places = places[np.argsort(-cosines[places], kind="stable")]
        around = others[places].tolist()
        said = [self.verdicts[at] for at in around]
        found = beside(
            partial(self.words.__getitem__, own), cosines[places].tolist(), said, lambda at: self.words[around[at]]
        )
        if found is None or self.only not in (None, said[found[0]]):
            return None
        return around[found[0]], found[1]

    def bound(self, known: Sequence[int], counts: Sequence[float], error: float) -> Bound:
        pairs, agreed, weights = [], [], []
        everything = np.array(known)
        for at in range(max(len(known) - NEWEST, 0), len(known)):
            found = self.beside(known[at], np.delete(everything, at))
            if found is not None:
                pairs.append(found[1])
                agreed.append(self.verdicts[found[0]] == self.verdicts[known[at]])
                weights.append(counts[at])
        return fit(pairs, agreed, error, weights)

    def run(self, order: Sequence[int], error: float, chance: random.Random) -> list[tuple[int, int]]:
        """The requests that a neighbour's verdict decided, each with that neighbour."""
        known: list[int] = []
        counts: list[float] = []
        decided: list[tuple[int, int]] = []
        bound, due = None, float(FIRST)
        for own in order:
            found = self.beside(own, np.array(known, np.int64)) if bound is not None and bound.holds else None
            sure = found is not None and bound is not None and bound.chance(found[1]) is not None
            if sure and found is not None:
                decided.append((own, found[0]))
                if chance.random() >= AUDIT:
                    continue
            known.append(own)
            counts.append(min(1.0 / AUDIT, HEAVIEST) if sure else 1.0)
            if len(known) >= due:
                bound, due = self.bound(known, counts, error), GROWTH * len(known) + 20.0
        return decided


def banking(embedder: DiskCachedEmbedder, shuffles: int, error: float) -> bool:
    found = rows("banking77.csv.gz")
    texts, intents = [row["text"] for row in found], [row["intent"] for row in found]
    vectors = embedder.embed(texts)
    print(
        f"\nBanking77, {len(found)} requests of {len(set(intents))} intents in random order, stated error {error:.0%}"
    )
    print(f"  {'verdicts':<40} {'decided':>8} {'2nd half':>8} {'agree':>7} {'same intent':>12}   mean of {shuffles}")
    sums: dict[str, list[tuple[float, float, float, float]]] = {}
    for seed in range(shuffles):
        chance = random.Random(seed)
        order = list(range(len(found)))
        chance.shuffle(order)
        good = {intent: chance.random() < GOOD for intent in sorted(set(intents))}
        works = [good[intent] for intent in intents]
        cases: list[tuple[str, Sequence[Hashable], Hashable]] = [
            ("good enough or not", works, None),
            ("good enough (as the router does)", works, True),
            ("the intent, one of 77", intents, None),
        ]
        for name, verdicts, only in cases:
            decided = Traffic(texts, vectors, verdicts, only).run(order, error, random.Random(f"audits/{seed}"))
            late = set(order[len(order) // 2 :])
            sums.setdefault(name, []).append(
                (
                    len(decided) / len(order),
                    sum(own in late for own, _ in decided) / len(late),
                    sum(verdicts[own] == verdicts[other] for own, other in decided) / max(len(decided), 1),
                    sum(intents[own] == intents[other] for own, other in decided) / max(len(decided), 1),
                )
            )
    means = {name: np.mean(many, axis=0) for name, many in sums.items()}
    for name, (all_, late_, agree, intent) in means.items():
        print(f"  {name:<40} {all_:>8.1%} {late_:>8.1%} {agree:>7.1%} {intent:>12.1%}")
    all_, _, agree, _ = means["good enough or not"]
    met = bool(all_ >= DECIDED and agree >= AGREE)
    return mark(f"at least {DECIDED:.0%} decided, at least {AGREE:.0%} as the intent's verdict", met)


def share(hits: Flags, among: Flags) -> float:
    return float(hits[among].mean()) if among.any() else 0.0


def mark(what: str, met: bool) -> bool:
    print(f"  mark: {what}: {'met' if met else 'MISSED'}")
    return met


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--shuffles", type=int, default=3)
    parser.add_argument("--error", type=float, default=0.02, help="stated for Banking77")
    parser.add_argument("--embedder", default="minilm")
    args = parser.parse_args()
    embedder = DiskCachedEmbedder(as_embedder(args.embedder))
    print(f"verdicts taken over from questions in other words; {versions()}, {embedder.id}")
    judged = labelled("pairs_quora.csv.gz", "duplicate", embedder)
    quora(judged, args.folds)
    checklist(labelled("pairs_checklist.csv.gz", "same", embedder), judged)
    banking(embedder, args.shuffles, args.error)


if __name__ == "__main__":
    main()
