"""Labels of headlines: levels of classifiers (Tabi), few-shot examples that are worth their tokens, joined questions.

The headlines of FrugalGPT's HEADLINES set, four labels. `multi_level` fits levels on some headlines, calibrates and
chooses on others, and asks new ones. `selection` chooses examples for a stub of a model, which labels a
headline as the example that is most like it. `joined` counts the tokens of questions that share a call.

    RAR_DATA=... python benchmarks/labels.py [--splits 5]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from _data import records, versions

from rar.embedding import Embedder, as_embedder
from rar.evaluation.embeddings import DiskCachedEmbedder
from rar.joining import join
from rar.linear import Array, softmax
from rar.strategies import LabelledTexts, MultiLevel, PromptSelector, TextClassifier
from rar.strategies.levels import calibration_error
from rar.tokens import estimate
from rar.values import Message, Request, Vector

LEARNED, CHOSEN = 3_000, 1_500  # headlines that levels learn from, and that they are fitted on
EXAMPLES, DEV, NEW = 16, 300, 2_000
TASK = (
    "You label headlines about gold. Say whether the price of gold went up, went down, or was neutral; "
    "say none where the headline does not say. Answer with one word: up, down, neutral or none."
)


@dataclass(frozen=True)
class Mark:
    """A figure that is to be reached, or not to be exceeded."""

    what: str
    value: float
    wanted: float
    at_most: bool = False

    def __str__(self) -> str:
        met = self.value <= self.wanted if self.at_most else self.value >= self.wanted
        sign = "<=" if self.at_most else ">="
        return f"  {'ok    ' if met else 'MISSED'} {self.what}: {self.value:.3f} (mark {sign} {self.wanted:.3f})"


def headlines(split: int) -> tuple[list[str], list[str]]:
    """All headlines and their labels, in a random order."""
    table = records("strategies/headlines.jsonl.gz")
    order = np.random.default_rng(split).permutation(len(table))
    return [table[row]["text"] for row in order], [table[row]["label"] for row in order]


def multi_level(splits: int) -> Iterator[object]:
    """Two levels: words alone, and words with all-MiniLM-L6-v2, which costs thirty times as much."""
    embedder, found = DiskCachedEmbedder(as_embedder("minilm")), []
    for split in range(splits):
        texts, gold = headlines(split)
        parts = slice(LEARNED), slice(LEARNED, LEARNED + CHOSEN), slice(LEARNED + CHOSEN, None)
        (seen, seen_gold), (val, val_gold), (new, new_gold) = ((texts[part], gold[part]) for part in parts)
        small = TextClassifier.fit(seen, seen_gold)
        large = TextClassifier.fit(seen, seen_gold, embedder=embedder, penalty=0.1)
        levels = MultiLevel([small, large], costs=[1.0, 30.0]).fit(LabelledTexts(val, val_gold))
        said = [levels.predict(text) for text in new]
        errors = [calibrated(level, new, new_gold, facts.temperature)
                  for level, facts in zip((small, large), levels.facts, strict=True)]  # fmt: skip
        alone = accuracy(large.logits(new).argmax(1), large.labels, new_gold)
        first = accuracy(small.logits(new).argmax(1), small.labels, new_gold)
        right = float(np.mean([one.label == label for one, label in zip(said, new_gold, strict=True)]))
        passed = [(one, text) for one, text in zip(said, new, strict=True) if len(one.levels) > 1]
        kept = np.mean([len(one.text.split()) / len(text.split()) for one, text in passed])
        cost = float(np.mean([sum((1.0, 30.0)[level] for level in one.levels) for one in said]))
        found.append([right, alone, first, len(passed) / len(new), kept, cost, levels.ensemble, *np.ravel(errors)])
    right, alone, first, passed, kept, cost, mixes, *error = np.mean(found, 0).tolist()
    yield f"  accuracy: levels {right:.3f}, first alone {first:.3f}, last alone {alone:.3f}; cost {cost:.1f} of 30"
    yield f"  words that reach the last level: {kept:.0%}; an ensemble was chosen in {mixes:.0%} of the splits"
    yield Mark("accuracy less that of the last level alone", right - alone, -0.005)
    yield Mark("headlines that are passed on", passed, 0.30, at_most=True)
    for name, before, after in (("first", *error[:2]), ("last", *error[2:])):
        yield Mark(f"calibration error of the {name} level (before: {before:.3f})", after, min(before, 0.06), True)


def calibrated(level: TextClassifier, texts: Sequence[str], gold: Sequence[str], scale: float) -> tuple[float, float]:
    """The calibration error without the temperature and with it."""
    right, logits = np.array([level.labels.index(label) for label in gold]), level.logits(texts)
    return calibration_error(softmax(logits), right), calibration_error(softmax(logits / scale), right)


def accuracy(places: Array, labels: Sequence[str], gold: Sequence[str]) -> float:
    return float(np.mean([labels[int(place)] == label for place, label in zip(places, gold, strict=True)]))


class Stub:
    """A model that knows nothing of labels, and gives that of the example which is most like a headline."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._known: dict[str, Vector] = {}

    def __call__(self, examples: Sequence[tuple[str, str]], questions: Sequence[str]) -> list[str]:
        if not examples:
            return ["none"] * len(questions)
        alike = self._vectors(questions) @ self._vectors([text for text, _ in examples]).T
        return [examples[at][1] for at in alike.argmax(1)]

    def _vectors(self, texts: Sequence[str]) -> Vector:
        new = [text for text in texts if text not in self._known]
        if new:
            self._known |= dict(zip(new, self._embedder.embed(new), strict=True))
        return np.stack([self._known[text] for text in texts])


def selection(splits: int) -> Iterator[object]:
    """Examples for a stub, chosen among sixteen on some headlines, and held against all of them on others."""
    found, stub = [], Stub(DiskCachedEmbedder(as_embedder("minilm")))
    for split in range(splits):
        pairs = list(zip(*headlines(split), strict=True))
        examples, dev, new = pairs[:EXAMPLES], pairs[EXAMPLES : EXAMPLES + DEV], pairs[EXAMPLES + DEV :][:NEW]
        chosen = PromptSelector.fit(examples, dev, stub, max_asked=10**6)
        asked, right = [text for text, _ in new], [label for _, label in new]
        scores = [float(np.mean([one == label for one, label in zip(stub(shown, asked), right, strict=True)]))
                  for shown in ((), chosen.examples, examples)]  # fmt: skip
        found.append([*scores, chosen.tokens / chosen.all_tokens, len(chosen.examples), chosen.asked])
    none, some, whole, share, count, asked_for = np.mean(found, 0).tolist()
    yield f"  accuracy on new headlines: no example {none:.3f}, {count:.1f} chosen {some:.3f}, all {whole:.3f}"
    yield f"  questions asked to find out: {asked_for:,.0f}"
    yield Mark("tokens of the chosen examples", share, 0.5, at_most=True)
    yield Mark("accuracy lost", whole - some, 0.01, at_most=True)


def joined(_: int) -> Iterator[object]:
    """Input tokens of a headline with a prompt of eight examples, alone and in one call with others."""
    texts, gold = headlines(0)
    shown = "\n".join(f"Headline: {text}\nLabel: {label}" for text, label in zip(texts[:8], gold[:8], strict=True))
    system = Message("system", f"{TASK}\n\n{shown}")
    requests = [Request((system, Message("user", text)), key=text) for text in texts[8:1_008]]
    alone = tokens_of([request.messages for request in requests])
    yield f"  {'questions a call':>16} {'input tokens a question':>24} {'share':>6}"
    for size in (1, 2, 4, 8, 16):
        sent = (
            [join(requests[at : at + size]).messages for at in range(0, len(requests), size)]
            if size > 1
            else [request.messages for request in requests]
        )
        yield f"  {size:>16} {tokens_of(sent) / len(requests):>24.0f} {tokens_of(sent) / alone:>6.0%}"


def tokens_of(sent: Sequence[Sequence[Message]]) -> int:
    return sum(estimate(message.text) + 4 for messages in sent for message in messages)


PARTS: Mapping[str, Callable[[int], Iterator[object]]] = {
    "multi_level": multi_level,
    "selection": selection,
    "joined": joined,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--splits", type=int, default=5)
    args = parser.parse_args()
    for part in args.only:
        print(f"{part}: {(PARTS[part].__doc__ or '').splitlines()[0]}", flush=True)
        for line in PARTS[part](args.splits):
            print(line, flush=True)
        print()
    print(f"{versions()}, NumPy {np.__version__}. --splits {args.splits}")


if __name__ == "__main__":
    main()
