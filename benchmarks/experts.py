"""Choosing among four experts' answers, and abstaining, on the records of MoRE (twelve question sets).

`rar.strategies.AnswerSelector` learns from 100 questions of each set and is held against the others. Then it learns
from eleven sets, and from none of the twelfth. Beside it: each expert, the majority, the paper's own forest and its
choice by GPT-3, which are recorded. EM is the share of right answers in per cent, AUC the area under risk over
coverage, Cov@90 the share of questions that can be answered with 10 % of the answers wrong. All are means over sets.

    RAR_DATA=... python benchmarks/experts.py
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from _data import records, versions

from rar.linear import Array
from rar.outcomes import Outcomes, Replies
from rar.strategies import AnswerSelector
from rar.strategies.answer_selector import majority
from rar.strategies.expert_features import normalised, risk_coverage

SEEN = 100  # questions of each set that are learned from
RISKS = (0.1, 0.2, 0.3)
EM_MARK, AUC_MARK, GAIN_MARK, RISK_MARK = 55.0, 31.0, 1.0, 0.03


def read() -> tuple[Outcomes, dict[str, tuple[Array, Array]]]:
    """The experts' answers, and what the paper's own ways chose: confidence and place."""
    rows = records("strategies/more_experts.jsonl.gz")
    experts = tuple(rows[0]["answers"])
    texts = np.array([[str(row["answers"][name]) for name in experts] for row in rows], object)
    scores = np.array([row["correct"] for row in rows], np.float64)
    outcomes = Outcomes(
        tuple(row["question"] for row in rows), scores, experts, replies=Replies(texts),
        groups=tuple(row["dataset"] for row in rows),
    )  # fmt: skip
    forests = {
        label: np.array([row[column] for row in rows], np.float64)
        for label, column in (("the paper's forest", "rf_score"), ("without agreement", "rf_score_no_agreement"))
    }
    said = {label: (score.max(1), score.argmax(1)) for label, score in forests.items()}
    said["chosen by GPT-3"] = np.ones(len(rows)), np.array([row["gpt_choice"] for row in rows])
    votes = np.array([majority(list(row)) for row in texts])
    shares = [
        np.mean([normalised(a) == normalised(row[at]) for a in row]) for row, at in zip(texts, votes, strict=True)
    ]
    said["majority"] = np.array(shares), votes
    for at, name in enumerate(experts):
        said[f"{name} alone"] = np.ones(len(rows)), np.full(len(rows), at)
    said["oracle"] = scores.max(1), scores.argmax(1)
    return outcomes, said


def coverage(confidence: Array, right: Array, risk: float) -> float:
    below = np.flatnonzero(risk_coverage(confidence, right) <= risk)
    return (below[-1] + 1) / len(right) if len(below) else 0.0


def means(outcomes: Outcomes, confidence: Array, place: Array, rows: Array) -> list[float]:
    """EM, AUC, Cov@80 and Cov@90 over sets, of some rows."""
    assert outcomes.groups is not None
    groups, right = np.array(outcomes.groups), outcomes.scores[np.arange(len(outcomes)), place.astype(int)]
    found = []
    for name in dict.fromkeys(outcomes.groups):
        mine = rows & (groups == name)
        risks = risk_coverage(confidence[mine], right[mine])
        covered = [coverage(confidence[mine], right[mine], risk) for risk in (0.2, 0.1)]
        found.append([right[mine].mean(), risks.mean(), *covered])
    return [100 * float(value) for value in np.mean(found, 0)]


def chances(selector: AnswerSelector, outcomes: Outcomes, rows: Sequence[int]) -> Array:
    assert outcomes.replies is not None
    assert outcomes.replies.texts is not None
    texts = outcomes.replies.texts
    return np.array([selector.scores(outcomes.texts[row], [str(text) for text in texts[row]]) for row in rows])


def table(
    outcomes: Outcomes, said: dict[str, tuple[Array, Array]], found: Array, rows: Array
) -> dict[str, list[float]]:
    print(f"{'':<22} {'EM':>6} {'AUC':>6} {'Cov@80':>7} {'Cov@90':>7}")
    ways = {"selector": (found.max(1), found.argmax(1)), **said}
    figures = {label: means(outcomes, *way, rows) for label, way in ways.items()}
    for label, (em, auc, at_80, at_90) in figures.items():
        print(f"{label:<22} {em:>6.1f} {auc:>6.1f} {at_80:>7.1f} {at_90:>7.1f}")
    return figures


def marked(what: str, met: bool) -> None:
    print(f"mark: {what}: {'met' if met else 'MISSED'}")


def within_sets(outcomes: Outcomes, said: dict[str, tuple[Array, Array]]) -> None:
    groups, seen = np.array(outcomes.groups), np.zeros(len(outcomes), bool)
    for name in dict.fromkeys(groups):
        mine = np.flatnonzero(groups == name)
        seen[np.random.default_rng(0).permutation(mine)[:SEEN]] = True
    selector = AnswerSelector().fit(outcomes.take(np.flatnonzero(seen)))
    found = np.zeros(outcomes.scores.shape)
    found[~seen] = chances(selector, outcomes, np.flatnonzero(~seen))
    print(f"learned from {SEEN} questions of each set, {int((~seen).sum())} others")
    figures = table(outcomes, said, found, ~seen)
    marked(f"EM at least {EM_MARK}", figures["selector"][0] >= EM_MARK)
    marked(f"AUC at most {AUC_MARK}", figures["selector"][1] <= AUC_MARK)
    kept_risks(selector, found[~seen], outcomes.scores[~seen])


def kept_risks(selector: AnswerSelector, found: Array, scores: Array) -> None:
    print("promised risk, and what came of it on the others")
    right = scores[np.arange(len(scores)), found.argmax(1)]
    for risk in RISKS:
        answered = found.max(1) >= selector.abstain_at(risk)
        real = 1.0 - float(right[answered].mean())
        print(f"{risk:>6.0%} {real:>6.1%} wrong, {answered.mean():.0%} answered")
        marked(f"within {RISK_MARK:.0%} of it", real <= risk + RISK_MARK)


def left_out(outcomes: Outcomes, said: dict[str, tuple[Array, Array]]) -> None:
    groups, found = np.array(outcomes.groups), np.zeros(outcomes.scores.shape)
    for name in dict.fromkeys(groups):
        selector = AnswerSelector().fit(outcomes.take(np.flatnonzero(groups != name)))
        found[groups == name] = chances(selector, outcomes, np.flatnonzero(groups == name))
    print("\nlearned from eleven sets, the twelfth left out")
    figures = table(outcomes, {"majority": said["majority"]}, found, np.ones(len(outcomes), bool))
    gain = figures["selector"][0] - figures["majority"][0]
    marked(f"at least {GAIN_MARK} above the majority ({gain:+.1f})", gain >= GAIN_MARK)


def main() -> None:
    print(versions())
    outcomes, said = read()
    runs: Sequence[Callable[[Outcomes, dict[str, tuple[Array, Array]]], None]] = (within_sets, left_out)
    for run in runs:
        run(outcomes, said)


if __name__ == "__main__":
    main()
