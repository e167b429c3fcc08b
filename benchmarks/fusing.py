"""Ranking the answers of several models, and drawing among models, on recorded preferences (AlpacaEval 2).

Which of two answers a judge prefers is learned by `rar.strategies.PairRanker` and told on questions that were left out,
beside two rules: the longer answer wins, and the answer of the better model wins. Then one answer is chosen for each
question: of four models with their texts, and of eleven of which the lengths alone were recorded, so that one
letter, over and over, stands in. A score is the judge's preference over GPT-4's answer, in per cent. Last, `Blended`
draws 10,000 times through a seeded router.

    RAR_DATA=... python benchmarks/fusing.py
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

import numpy as np
from _data import folder, records, versions

from rar import FunctionModel, Router
from rar.outcomes import Outcomes, Replies
from rar.strategies import Blended, PairRanker
from rar.values import Reply, question

FOLDS, ELEVEN_BEST = 5, "claude-2.1"
AUC_MARK, LOSS_MARK = 0.76, 0.5


def with_texts() -> Outcomes:
    rows = records("strategies/alpaca_eval_texts.jsonl.gz")
    models = tuple(name for name in rows[0] if name != "question")
    scores = np.array([[row[name]["pref"] for name in models] for row in rows])
    texts = np.array([[row[name]["text"] for name in models] for row in rows], object)
    return Outcomes(tuple(row["question"] for row in rows), scores, models, replies=Replies(texts))


def with_lengths() -> Outcomes:
    """The eleven best models of those that are no better than the best one with texts."""
    rows = records("strategies/alpaca_eval_prefs.jsonl.gz")
    names = json.loads((folder() / "strategies" / "alpaca_eval_models.json").read_text("utf-8"))
    scores, lengths = (np.array([row[column] for row in rows], np.float64) for column in ("pref", "chars"))
    means = scores.mean(0)
    order = [at for at in np.argsort(-means) if means[at] <= means[names.index(ELEVEN_BEST)]][:11]
    fillers = np.array([[("x " * int(length))[: int(length)] for length in row[order]] for row in lengths], object)
    models = tuple(names[at] for at in order)
    return Outcomes(tuple(row["question"] for row in rows), scores[:, order], models, replies=Replies(fillers))


def pairs(outcomes: Outcomes) -> None:
    print(f"{'pairs of answers of four models':<34} {'accuracy':>9} {'AUC':>6}")
    for label, authors in (("ranker, words and form", False), ("ranker, and who wrote it", True)):
        facts = PairRanker(authors=authors).fit(outcomes).facts
        print(f"{label:<34} {facts['accuracy']:>9.3f} {facts['auc']:>6.3f}")
        if not authors:
            found = facts["auc"]
    for label, rule in (("the longer answer wins", "longer"), ("the better model wins", "better_model")):
        print(f"{label:<34} {facts[f'{rule}_accuracy']:>9.3f} {facts[f'{rule}_auc']:>6.3f}")
    print(f"{facts['pairs']} pairs; mark: AUC {AUC_MARK} by words and form: {'met' if found >= AUC_MARK else 'MISSED'}")


def chosen(outcomes: Outcomes, authors: bool) -> tuple[np.ndarray, np.ndarray, float]:
    """The score of the ranker's choice and of the best single model for each question, and how often modes agree."""
    assert outcomes.replies is not None
    assert outcomes.replies.texts is not None
    part = np.random.default_rng(0).permutation(len(outcomes)) % FOLDS
    got, single, same = np.zeros(len(outcomes)), np.zeros(len(outcomes)), 0
    for held in range(FOLDS):
        seen, asked = np.flatnonzero(part != held), np.flatnonzero(part == held)
        ranker = PairRanker(authors=authors).fit(outcomes.take(seen))
        single[asked] = outcomes.scores[asked, outcomes.scores[seen].mean(0).argmax()]
        for row in asked:
            replies = [
                Reply(name, str(text)) for name, text in zip(outcomes.models, outcomes.replies.texts[row], strict=True)
            ]
            best = ranker.rank(outcomes.texts[row], [_raw(reply) if not authors else reply for reply in replies])[0]
            same += ranker.rank(outcomes.texts[row], replies, mode="bubble")[0] == best
            got[row] = outcomes.scores[row, best]
    return got, single, same / len(outcomes)


def _raw(reply: Reply) -> Reply:
    return Reply("", reply.text)


def choice(name: str, outcomes: Outcomes) -> None:
    assert outcomes.replies is not None
    assert outcomes.replies.texts is not None
    longest = np.array([[len(text) for text in row] for row in outcomes.replies.texts]).argmax(1)
    print(f"\none of {len(outcomes.models)} models, {name}")
    for label, authors in (("ranker", False), ("ranker, and who wrote it", True)):
        got, single, same = chosen(outcomes, authors)
        gain = 100 * (got - single)
        margin = 1.96 * gain.std() / np.sqrt(len(gain))
        print(
            f"{label:<28} {100 * got.mean():>6.1f}  against the best single {gain.mean():+.1f} ± {margin:.1f}"
            f"  bubble finds the same in {same:.0%}"
        )
        verdict = "met" if gain.mean() >= -LOSS_MARK else "MISSED"
    print(f"{'best single model':<28} {100 * single.mean():>6.1f}")
    print(f"{'longest answer':<28} {100 * outcomes.scores[np.arange(len(outcomes)), longest].mean():>6.1f}")
    print(f"{'oracle':<28} {100 * outcomes.scores.max(1).mean():>6.1f}")
    print(f"mark: with who wrote it, at most {LOSS_MARK} below the best single: {verdict}")


def blended(names: Sequence[str] = ("weak", "coder", "strong"), draws: int = 10_000) -> None:
    models = {name: FunctionModel(lambda _: "", name) for name in names}
    prices = {"weak": 1.0, "coder": 2.0, "strong": 9.0}
    with Router(strategy=Blended(names), memory=None, seed=0) as router:
        seen = Counter(router.decide(question("Hello?"), models).model for _ in range(draws))
    squares = sum((seen[name] - draws / 3) ** 2 / (draws / 3) for name in names)
    cost = sum(prices[name] * count for name, count in seen.items()) / draws
    print(f"\nBlended, {draws} draws: {dict(seen)}")
    print(f"chi-squared {squares:.2f}, mark: below 9.21 (p > .01): {'met' if squares < 9.21 else 'MISSED'}")
    print(f"a call costs {cost:.2f}, and the models {sum(prices.values()) / 3:.2f} on average")


def main() -> None:
    print(versions())
    pairs(with_texts())
    choice("by their texts", with_texts())
    choice("by the lengths of their answers", with_lengths())
    blended()


if __name__ == "__main__":
    main()
