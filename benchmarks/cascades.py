"""Cascades on recorded outcomes: scorers of replies, and the cascades that a search finds.

Each part of a file is split in halves; one is learned from, the other is asked. Marks were set before.

    RAR_DATA=... python benchmarks/cascades.py [--only scorers routerbench] [--splits 5]
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from _data import folder, rows

from rar import FunctionModel, Router
from rar.drive import drive
from rar.embedding import as_embedder
from rar.evaluation import RecordedModel
from rar.linear import Array
from rar.outcomes import Outcomes, Replies
from rar.strategies import AgreementCascade, Approximation, Cached, CascadeRouting, CascadeSearch, LearnedScorer
from rar.strategies.cascade_routing import useful
from rar.strategies.search import FoundCascade, zero_router
from rar.strategy import Strategy
from rar.values import Answer, Call, Route, question

# USD per million tokens, about what providers asked for in 2024, input and output together.
NOMINAL = {
    "mistral-7b-instruct-v0.2": 0.2, "phi-3-mini-4k": 0.1, "llama-3.1-8b-instruct": 0.15, "qwen1.5-7b-chat": 0.2,
    "mixtral-8x7b-instruct": 0.5, "command-r": 0.3, "qwen1.5-72b-chat": 0.9, "gemini-1.5-flash-002": 0.13,
    "jamba-1.5-large": 3.5, "llama-3.1-70b-instruct": 0.8, "gemini-1.5-pro-002": 2.2,
}  # fmt: skip


@dataclass(frozen=True)
class Mark:
    """What was to be reached, and what was. `at_most` says that less is better."""

    what: str
    found: float
    wanted: float
    at_most: bool = False

    def __str__(self) -> str:
        ok = self.found <= self.wanted if self.at_most else self.found >= self.wanted
        sign = "<=" if self.at_most else ">="
        return f"  {'ok    ' if ok else 'MISSED'} {self.what}: {self.found:.3f} (mark {sign} {self.wanted:.3f})"


# --- data -----------------------------------------------------------------------------------------------------------


def lines(name: str) -> list[dict[str, Any]]:
    """The rows of a gzipped file of JSON lines."""
    with gzip.open(folder() / "strategies" / name, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def names(file: str) -> list[str]:
    found: list[str] = json.loads((folder() / "strategies" / file).read_text("utf-8"))
    return found


def gsm8k() -> Outcomes:
    """Word problems and the texts of Mixtral's and GPT-4's answers."""
    table, models = rows("gsm8k_mixtral_gpt4.csv.gz"), ("mixtral_8x7b", "gpt4_1106")
    scores = [[float(row[f"{model}_correct"] in ("True", "1")) for model in models] for row in table]
    replies = Replies([[row[f"{model}_response"] for model in models] for row in table])
    return Outcomes([row["question"] for row in table], scores, models, replies=replies, name="GSM8K")


def mmlu_pro_texts(*models: str) -> Outcomes:
    """Questions with ten options, and the texts of some models' answers."""
    table = lines("mmlu_pro_texts.jsonl.gz")
    texts = [
        "\n".join([row["question"], *(f"{chr(65 + at)}. {option}" for at, option in enumerate(row["options"]))])
        for row in table
    ]
    scores = [[float(row["replies"][model]["pred"] == row["answer"]) for model in models] for row in table]
    replies = Replies([[row["replies"][model]["text"] for model in models] for row in table])
    return Outcomes(texts, scores, models, replies=replies, name="MMLU-Pro")


@cache
def routerbench() -> Outcomes:
    """ARC, Winogrande and MBPP: eleven models, their answers and what each cost; rows that all models have."""
    models = names("routerbench_models.json")
    table = [
        row for row in lines("routerbench_3tasks.jsonl.gz") if None not in row["scores"] + row["cost"] + row["reply"]
    ]
    return Outcomes(
        [row["question"] for row in table], [row["scores"] for row in table], models,
        costs=[row["cost"] for row in table], groups=[row["task"] for row in table],
        replies=Replies([row["reply"] for row in table]), name="RouterBench",
    )  # fmt: skip


@cache
def mmlu_pro() -> Outcomes:
    """Questions with up to ten options, the letters that eleven models gave, and nominal prices."""
    table, models = lines("mmlu_pro_11models.jsonl.gz"), names("mmlu_pro_models.json")
    scores = [[float(pred == row["answer"]) for pred in row["pred"]] for row in table]
    replies = [[pred or "" for pred in row["pred"]] for row in table]
    return Outcomes([row["question"] for row in table], scores, models, replies=Replies(replies), name="MMLU-Pro")


def halves(data: Outcomes, split: int) -> tuple[Outcomes, Outcomes]:
    """What is learned from, and what is asked."""
    order = np.random.default_rng(split).permutation(len(data))
    return data.take(order[: len(data) // 2]), data.take(order[len(data) // 2 :])


def auc(score: Array, right: Array) -> float:
    """The chance that a right answer scores higher than a wrong one, ties counting a half."""
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    rank = (count.cumsum() - (count - 1) / 2)[place]
    good, bad = right.sum(), len(right) - right.sum()
    return float((rank[right > 0].sum() - good * (good + 1) / 2) / (good * bad))


# --- parts ----------------------------------------------------------------------------------------------------------


def scorers(_: int) -> Iterator[object]:
    """How well a learned scorer tells right answers from wrong ones, out of fold."""
    small, second, large = "llama-3.1-8b-instruct", "mixtral-8x7b-instruct", "llama-3.1-70b-instruct"
    for what, data, model, mark in (
        ("AUC on GSM8K, Mixtral", gsm8k(), 0, 0.68),
        ("AUC on MMLU-Pro, Llama-8B", mmlu_pro_texts(small, large), 0, 0.64),
        ("AUC on MMLU-Pro, Llama-8B after Mixtral", mmlu_pro_texts(second, small, large), 1, 0.74),
    ):
        yield Mark(what, auc(LearnedScorer().out_of_fold(data)[:, model], data.scores[:, model]), mark)


def asked(found: FoundCascade, new: Outcomes) -> tuple[Array, Array]:
    """What a cascade that was found scores and costs on new questions."""
    own = new.of_models(*found.models) if len(found.models) > 1 else new
    if len(found.models) == 1:
        at = new.models.index(found.models[0])
        return new.scores[:, at], new.call_costs[:, at]
    chances, quality, cost = found.scorer.scores(own), own.scores[:, -1], own.call_costs[:, -1]
    for at in range(len(found.models) - 2, -1, -1):
        accepted = chances[:, at] >= found.thresholds[at]
        quality = np.where(accepted, own.scores[:, at], quality)
        cost = own.call_costs[:, at] + np.where(accepted, 0.0, cost)
    return quality, cost


def cascades(splits: int) -> Iterator[object]:
    """Cascades within 10, 20 and 40 % of GPT-4's cost, held against single models mixed at random."""
    data, shares = routerbench(), (0.1, 0.2, 0.4)
    last = data.models.index("gpt-4-1106-preview")
    results: dict[float, list[tuple[float, ...]]] = {share: [] for share in shares}
    for split in range(splits):
        seen, new = halves(data, split)
        for share, found in zip(
            shares, searched(seen, [share * seen.call_costs[:, last].mean() for share in shares]), strict=True
        ):
            (quality, cost), budget = asked(found, new), share * new.call_costs[:, last].mean()
            means = new.call_costs.mean(0), new.scores.mean(0)
            same = zero_router(*means, float(cost.mean()))
            results[share].append(
                (quality.mean(), zero_router(*means, float(budget)), same, cost.mean() / budget, found.worthwhile)
            )
    for share, found_at in results.items():
        quality, zero, same, spent, worthwhile = np.mean(found_at, 0)
        zeros = f"Zero router {zero:.3f}, of the same cost {same:.3f}"
        yield f"  {share:.0%}: quality {quality:.3f}, {zeros}, worthwhile in {worthwhile:.0%} of the splits"
        yield Mark(f"RouterBench at {share:.0%} of GPT-4, ahead of the Zero router", float(quality - zero), 0.025)
        yield Mark(f"RouterBench at {share:.0%} of GPT-4, share of the budget spent", float(spent), 1.03, at_most=True)


def searched(data: Outcomes, budgets: Sequence[float]) -> list[FoundCascade]:
    """Several budgets, by the models' own names."""
    search = CascadeSearch()
    trials, own = search.trials(data), {model: model for model in data.models}
    return [search.choose(data, trials, budget=budget, names=own) for budget in budgets]


def served(strategy: Strategy, data: Outcomes) -> tuple[Array, Array, Array]:
    """Score, cost, and calls of each model, of every question that a strategy is asked, by the models' own names."""
    models = {model: RecordedModel(data, model) for model in data.models}
    scores = np.zeros(len(data))
    for row, text in enumerate(data.texts):
        choice = drive(strategy.steps(question(text, options={"row": row})), models)
        if isinstance(choice, Route):
            models[choice.model].call(Call(choice.model, question(text, options={"row": row})))
        scores[row] = data.scores[
            row, data.models.index(choice.model if isinstance(choice, Route) else choice.reply.model)
        ]
    calls = np.stack([sum(models[model].calls.values(), np.zeros(len(data))) for model in data.models], 1)
    return scores, (calls * data.call_costs).sum(1), calls


def agreement(_: int) -> Iterator[object]:
    """Two cheap drafts that agree, else a dear model."""
    data = mmlu_pro()
    pro = data.models.index("gemini-1.5-pro-002")
    scores, _cost, calls = served(
        AgreementCascade(["gemini-1.5-flash-002", "llama-3.1-70b-instruct"], data.models[pro], judge="letter"), data
    )
    yield f"  MMLU-Pro: Gemini-Pro alone {data.scores[:, pro].mean():.3f}"
    yield Mark("MMLU-Pro, quality", float(scores.mean()), 0.715)
    yield Mark("MMLU-Pro, share of calls of Gemini-Pro", float(calls[:, pro].mean()), 0.39, at_most=True)
    data = routerbench()
    data = data.take([row for row, task in enumerate(data.groups or ()) if task != "mbpp"])
    last = data.models.index("gpt-4-1106-preview")
    scores, cost, calls = served(
        AgreementCascade(["mistralai/mixtral-8x7b-chat", "zero-one-ai/Yi-34B-Chat"], data.models[last]), data
    )
    yield f"  ARC and Winogrande: GPT-4 alone {data.scores[:, last].mean():.3f}, asked in {calls[:, last].mean():.1%}"
    yield Mark("ARC and Winogrande, quality", float(scores.mean()), 0.88)
    yield Mark(
        "ARC and Winogrande, share of GPT-4's cost",
        float(cost.sum() / data.call_costs[:, last].sum()),
        0.35,
        at_most=True,
    )


def cascade_routing(splits: int) -> Iterator[object]:
    """Cascade routing beside plain routing, cascades and single models mixed at random, within the same budgets."""
    letters = mmlu_pro()
    nominal = replace(letters, costs=np.tile([NOMINAL[model] for model in letters.models], (len(letters), 1)))
    for data, last, shares in (
        (nominal, "gemini-1.5-pro-002", {0.5: 0.674, 0.7: 0.695}),
        (routerbench(), "gpt-4-1106-preview", {0.2: None, 0.4: None}),
    ):
        rounds = np.array([compared(data, last, tuple(shares), split) for split in range(splits)]).mean(0)
        for (share, wanted), found in zip(shares.items(), rounds, strict=True):
            ours, spent, plain, cascade, zero = (float(value) for value in found)
            yield f"  {data.name} at {share:.0%}: routing {plain:.3f}, cascade {cascade:.3f}, Zero router {zero:.3f}"
            what = f"{data.name} at {share:.0%}, cascade routing"
            if wanted is not None:
                yield Mark(what, ours, wanted)
            yield Mark(f"{what} ({ours:.3f}), less the better of the two", ours - max(plain, cascade), -0.005)
            yield Mark(f"{what}, share of the budget spent", spent, 1.03, at_most=True)


def compared(data: Outcomes, last: str, shares: Sequence[float], split: int) -> list[list[float]]:
    """Quality and spending of cascade routing, and the quality of its rivals, on the half that was not learned from."""
    (seen, new), at = halves(data, split), data.models.index(last)
    own, whole = {model: model for model in data.models}, float(new.call_costs[:, at].mean())
    budgets, found = [share * float(seen.call_costs[:, at].mean()) for share in shares], []
    for share, budget, cascade in zip(shares, budgets, searched(useful(seen), budgets), strict=True):
        both, plain = (CascadeRouting.fit(seen, budget=budget, depth=depth, names=own) for depth in (3, 1))
        (quality, cost), (alone, _) = (one.walk(new.of_models(*one.models)) for one in (both, plain))
        zero = zero_router(new.call_costs.mean(0), new.scores.mean(0), share * whole)
        rival = asked(cascade, new)[0].mean()
        found.append([quality.mean(), cost.mean() / (share * whole), alone.mean(), rival, zero])
    return found


def approximation(splits: int) -> Iterator[object]:
    """A classifier that is trained on 5,000 labels of a teacher who is right in 86 %."""
    table = lines("headlines.jsonl.gz")
    texts, gold = [row["text"] for row in table], np.array([row["label"] for row in table])
    kinds, right, held, given = np.unique(gold), [], [], []
    for split in range(splits):
        rng = np.random.default_rng(split)
        order = rng.permutation(len(table))
        wrong = [rng.choice(kinds[kinds != one]) for one in gold]
        labels = np.where(rng.random(len(gold)) < 0.86, gold, wrong)
        seen, new = order[:5_000], order[5_000:]
        found = Approximation.fit([texts[row] for row in seen], labels[seen].tolist(), agreement=0.8)
        said, chance = found.predict([texts[row] for row in new])
        sure = chance >= found.threshold
        right.append((np.array(said) == gold[new]).mean())
        held.append((np.array(said) == labels[new])[sure].mean())
        given.append(sure.mean())
    yield Mark("headlines, accuracy against gold", float(np.mean(right)), 0.87)
    yield f"  labels given in {np.mean(given):.1%}"
    yield Mark("headlines, agreement with the teacher that was stated", float(np.mean(held)), 0.8)


def completion_cache(_: int) -> Iterator[object]:
    """A cache on a stream of which 30 % are repeats, and on date questions that look alike."""
    dates = {row["question"]: row["answer"] for row in lines("date_samples.jsonl.gz")}
    texts, answers = list(dates), list(dates.values())
    vectors = as_embedder("minilm").embed(texts)
    near = np.where(np.tri(len(texts), k=-1, dtype=bool), vectors @ vectors.T, -1.0)
    hits = np.flatnonzero(near.max(1) >= 0.95)
    wrong = sum(answers[at] != answers[near[at].argmax()] for at in hits)
    yield f"  date questions, a cache by cosine 0.95: {len(hits)} hits, {wrong} wrong"
    served = through_cache(texts, dates.__getitem__, Cached("strong"))
    yield Mark("date questions, wrong hits", float(sum(hit and not right for hit, right in served)), 0.0, at_most=True)
    served = through_cache(texts, dates.__getitem__, Cached("strong", same=lambda *_: True))
    said = "date questions, wrong hits where a judge of similar ones takes all for the same"
    yield Mark(said, float(sum(hit and not right for hit, right in served)), 0.0, at_most=True)
    headlines = list(dict.fromkeys(row["text"] for row in lines("headlines.jsonl.gz")))[:700]
    stream = [*headlines, *np.random.default_rng(0).choice(headlines, 300).tolist()]
    served = through_cache(stream, str.upper, Cached("strong"))
    repeated = [text in stream[:at] for at, text in enumerate(stream)]
    as_due = sum(hit == due and right for due, (hit, right) in zip(repeated, served, strict=True))
    yield Mark("repeats of 30 %, requests that hit or missed as they should", as_due / len(stream), 1.0)


def through_cache(texts: Sequence[str], answer: Callable[[str], str], strategy: Cached) -> list[tuple[bool, bool]]:
    """Whether each text hit the cache of a router's memory, and whether it got its own answer."""
    models = {name: FunctionModel(lambda messages: answer(messages[-1].text), name) for name in ("weak", "strong")}
    router = Router(
        memory=":memory:", strategy=strategy, judge=lambda *_: True, learning="inline", learning_budget=None,
        prices={"weak": (0, 0), "strong": (1, 1)}, guides=False,
    )  # fmt: skip
    served = []
    with router:
        for text in texts:
            decision = router.decide(question(text), models)
            choice = decision.choice
            reply = choice.reply if isinstance(choice, Answer) else models[decision.model].call(decision.call)
            router.learn(decision, reply, models)
            served.append((choice.reason in ("cached", "cached_near"), reply.text == answer(text)))
    return served


PARTS: Mapping[str, Callable[[int], Iterator[object]]] = {
    "scorers": scorers,
    "routerbench": cascades,
    "agreement": agreement,
    "cascade_routing": cascade_routing,
    "approximation": approximation,
    "completion_cache": completion_cache,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--splits", type=int, default=5)
    args = parser.parse_args()
    for part in args.only:
        print(f"{part}: {(PARTS[part].__doc__ or '').splitlines()[0]}", flush=True)
        for said in PARTS[part](args.splits):
            print(said, flush=True)
        print(flush=True)


if __name__ == "__main__":
    main()
