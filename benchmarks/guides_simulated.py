"""Guides in a world that is known: how much of the possible help is kept, and how much harm comes through?

20 topics. The weak model solves a question only with a helpful guide of its topic, and then with chance 0.9. Of the
guides that the strong model writes, 30 % are useless: nothing is solved with them. 9 % are harmful, in the worst way:
they solve the question that they were written for, so that they pass their own verification, and no other. Everything
else is the real router with `learning="inline"`. Every question is new; its wording, names and numbers vary.

Harm is a wrong answer served with a useless or harmful guide, with one of another topic, or by the weak model alone, as
a share of all served answers. That a helpful guide fails one time in ten is shown apart: it is what the floor is for.
At a floor above 0.9 not all of the help can be taken, whatever the router: each weak answer loses 0.1 on average.

    python benchmarks/guides_simulated.py [--quality 0.9] [--shuffles 5] [--questions 3000] [--json]
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
from collections import Counter
from dataclasses import asdict, dataclass, field

from rar import Reply, Router, Usage
from rar.embedding import as_embedder
from rar.evaluation.embeddings import DiskCachedEmbedder
from rar.values import STRONG, WEAK, Call, Decision, Guide, question

HELPS, USELESS, HARMFUL = 0.9, 0.30, 0.09
KEPT, HARM, GENERAL = 0.90, 0.02, 0.5  # the marks
WHO = (
    "Amira",
    "Boris",
    "Chen",
    "Dana",
    "Emeka",
    "Farah",
    "Goran",
    "Hana",
    "Ivan",
    "Jun",
    "Kofi",
    "Lena",
    "Mei",
    "Noor",
)
TOPICS = {
    "compound interest": "an account pays {n} percent interest a year; how much does {who} have after {m} years?",
    "train speed": "a train leaves at {n} o'clock and runs at {m} kilometres an hour; when does {who} arrive?",
    "triangle area": "a triangle has a base of {n} centimetres and a height of {m}; what area does {who} colour?",
    "chemical balance": "balance the reaction of {n} moles of iron with {m} moles of oxygen in the flask of {who}",
    "lease law": "the landlord of {who} kept a deposit of {n} euros after {m} months; is that lawful under the lease?",
    "drug dosage": "the patient {who} weighs {n} kilograms; how many millilitres of the syrup in {m} daily doses?",
    "word roots": "from which Latin root comes the {n}th word on page {m} of the vocabulary list of {who}?",
    "chess endings": "{who} has a rook and a pawn on file {n}, the king is on rank {m}; is the chess ending drawn?",
    "verb conjugation": "conjugate the {n}th irregular French verb in the subjunctive for lesson {m} of {who}",
    "planet orbits": "a moon circles its planet at {n} thousand kilometres in {m} days; what mass does {who} compute?",
    "recipe scaling": "a cake for {n} guests needs flour and butter; how much dough does {who} bake for {m} guests?",
    "circuit resistance": "{n} resistors of {m} ohms stand in parallel; what current does the meter of {who} show?",
    "genetic crosses": "{who} crosses {n} pea plants with round seeds with {m} wrinkled ones; which offspring ratio?",
    "income tax": "{who} earned {n} thousand and has {m} deductions; which income tax bracket applies?",
    "music intervals": "the melody of {who} goes from the {n}th key of the piano to the {m}th; which interval is it?",
    "sorting code": "the Python program of {who} sorts {n} lists of {m} items with quicksort; what is its complexity?",
    "soil acidity": "the soil of {who} has a pH below {n} on {m} square metres; how much lime does the field need?",
    "map scale": "on the hiking map of {who} {n} centimetres are {m} kilometres of trail; what is its scale?",
    "calendar days": "which weekday is it {n} weeks and {m} days after the birthday of {who} in the calendar?",
    "poem metre": "count the stressed syllables in line {n} of stanza {m} of the sonnet of {who}; which metre is it?",
}
OPENINGS = ("", "Please help: ", "Exercise: ", "I wonder about this one. ", "From today's sheet: ", "Quick question: ")
CLOSINGS = ("", " Explain briefly.", " Show the way to the result.", " Give the result only.")


@dataclass(frozen=True)
class Question:
    text: str
    topic: str


@dataclass
class World:
    """What the two models do. `asked` is the question that is being served and learned from."""

    chance: random.Random
    asked: Question = Question("", "")
    written: dict[str, tuple[str, Question]] = field(default_factory=dict)  # kind and origin of each guide's text
    calls: Counter[tuple[str, str]] = field(default_factory=Counter)

    def answer(self, call: Call) -> str:
        self.calls[call.model, call.purpose] += 1
        if call.model == STRONG:
            return self.guide() if call.purpose == "guide" else f"solution of {self.asked.text}"
        return f"solution of {self.asked.text}" if self.solved(call.guide) else "no idea"

    def solved(self, guide: Guide | None) -> bool:
        if guide is None:
            return False
        kind, origin = self.written[guide.text]
        if kind == "harmful":
            return origin == self.asked
        return kind == "helpful" and origin.topic == self.asked.topic and self.chance.random() < HELPS

    def guide(self) -> str:
        draw = self.chance.random()
        kind = "useless" if draw < USELESS else "harmful" if draw < USELESS + HARMFUL else "helpful"
        edition = "".join(self.chance.choices("bcdfghjklmnpqrstvwxz", k=8))
        steps = f"1. Recall method {edition}.\n2. Apply it."
        text = f"Use when: the question is about {self.asked.topic}.\n{steps}\nAvoid: haste."
        self.written[text] = (kind, self.asked)
        return text


@dataclass(frozen=True)
class Simulated:
    """A model of the world."""

    id: str
    world: World

    def call(self, call: Call) -> Reply:
        return Reply(call.model, self.world.answer(call), usage=Usage(100, 100), model_id=self.id)

    async def acall(self, call: Call) -> Reply:
        return self.call(call)


@dataclass(frozen=True)
class Outcome:
    """One run; shares are of all served answers where nothing else is said."""

    help_kept: float  # right weak answers, of those that were possible from each topic's second question on
    harm: float
    bad_luck: float  # wrong with a helpful guide of the topic
    quality: float  # right answers
    by_older_guide: float  # questions served with a guide that was written for another, from each topic's second on
    by_older_guide_late: float  # the same in the last half
    other_topics: int  # answers served with another topic's guide
    strong_calls: float
    guides_written: int
    guides_active: dict[str, int]  # by kind


def questions(n: int, chance: random.Random) -> list[Question]:
    """New questions of random topics, none twice."""
    found: dict[str, Question] = {}
    while len(found) < n:
        topic = chance.choice(list(TOPICS))
        body = TOPICS[topic].format(n=chance.randint(2, 99), m=chance.randint(2, 99), who=chance.choice(WHO))
        text = f"{chance.choice(OPENINGS)}{body}{chance.choice(CLOSINGS)}"
        found[text] = Question(text, topic)
    return list(found.values())


def judged(decision: Decision, reply: Reply, world: World) -> dict[str, int]:
    """What an answer counts as."""
    if decision.guide is None:
        return {"harm": int(decision.model == WEAK)}
    kind, origin = world.written[decision.guide.text]
    same, good = origin.topic == world.asked.topic, reply.text != "no idea"
    helpful = same and kind == "helpful"
    return {
        "guided": 1,
        "other": int(not same),
        "good": int(good),
        "harm": int(not good and not helpful),
        "unlucky": int(not good and helpful),
    }


def simulated(n: int, quality: float, embedder: DiskCachedEmbedder, seed: int) -> Outcome:
    world = World(random.Random(seed))
    models = {WEAK: Simulated("small", world), STRONG: Simulated("big", world)}
    served: Counter[str] = Counter()
    seen: set[str] = set()
    possible = late = late_by_guide = 0
    asked = questions(n, random.Random(seed))
    embedder.embed([one.text for one in asked])
    with Router(
        models[WEAK], models[STRONG], memory=":memory:", embedder=embedder, judge="exact", quality=quality,
        learning="inline", learning_budget=None, seed=seed,
    ) as router:  # fmt: skip
        for at, world.asked in enumerate(asked):
            decision = router.decide(question(world.asked.text))
            reply = models[decision.model].call(decision.call)
            router.learn(decision, reply)
            possible += world.asked.topic in seen
            seen.add(world.asked.topic)
            late += 2 * at >= n
            late_by_guide += decision.guide is not None and 2 * at >= n
            served.update(judged(decision, reply, world))
        assert router.memory is not None
        active = Counter(world.written[guide.text][0] for guide in router.memory.guides(states=["active"]))
    strong = sum(count for (model, _), count in world.calls.items() if model == STRONG)
    return Outcome(
        served["good"] / (HELPS * possible),
        served["harm"] / n,
        served["unlucky"] / n,
        1.0 - (served["harm"] + served["unlucky"]) / n,
        served["guided"] / possible,
        late_by_guide / late,
        served["other"],
        strong / n,
        len(world.written),
        dict(active),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quality", type=float, nargs="+", default=[0.85, 0.90, 0.95])
    parser.add_argument("--shuffles", type=int, default=5, help="seeds")
    parser.add_argument("--questions", type=int, default=3_000)
    parser.add_argument("--embedder", default="minilm")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    embedder = DiskCachedEmbedder(as_embedder(args.embedder))
    found = {
        quality: [simulated(args.questions, quality, embedder, seed) for seed in range(args.shuffles)]
        for quality in args.quality
    }
    if args.json:
        json.dump({quality: [asdict(one) for one in runs] for quality, runs in found.items()}, sys.stdout)
        return
    print(f"{len(TOPICS)} topics, {args.questions} questions, {args.shuffles} seeds, {embedder.id}; mean (worst seed)")
    for quality, runs in found.items():
        show(quality, runs)


def show(quality: float, runs: list[Outcome]) -> None:
    print(f"\nfloor {quality}")
    rows = (
        ("possible help kept", [one.help_kept for one in runs], min, f">= {KEPT:.0%}"),
        ("harm on served answers", [one.harm for one in runs], max, f"<= {HARM:.0%}"),
        ("  wrong with a helpful guide", [one.bad_luck for one in runs], max, ""),
        ("realised quality", [one.quality for one in runs], min, f"floor {quality}"),
        ("new questions by an older guide", [one.by_older_guide for one in runs], min, f">= {GENERAL:.0%}"),
        ("  in the last half", [one.by_older_guide_late for one in runs], min, ""),
        ("strong calls, guides and audits too", [one.strong_calls for one in runs], max, ""),
    )
    for name, values, worst, mark in rows:
        print(f"{name:<36} {statistics.mean(values):>6.1%} ({worst(values):.1%})".ljust(54) + mark)
    print(f"{'uses of other topics guides':<36} {sum(one.other_topics for one in runs):>6}".ljust(54) + "never")
    kinds = Counter[str]()
    for one in runs:
        kinds.update(one.guides_active)
    written = sum(one.guides_written for one in runs)
    print(f"guides written {written}, active at the end: {', '.join(f'{n} {kind}' for kind, n in kinds.most_common())}")


if __name__ == "__main__":
    main()
