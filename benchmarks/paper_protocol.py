"""The protocol of the RAR paper with real models: the same questions in three stages, shuffled anew in each.

Weak: Qwen2.5-Coder-0.5B-Instruct, strong: Qwen2.5-Coder-1.5B-Instruct, both 4-bit on this machine's CPU. Half of the
questions are from GSM8K (short steps), half from MMLU (the letter alone). Compared are the weak model alone and with
chain of thought in prose, the strong one, a random mix of the two at RAR's share of strong answers, and RAR itself:
without guides, with guides, and with guides under the policy that keeps a floor. Decoding is greedy, so that a repeated
question gets a repeated answer: agreement on repeats shows that memory works, not that it generalises.

Every model call is kept in the user's cache folder, so that an interrupted run goes on and a second one costs nothing.
Models of this size prove the machinery, not the method; there is no pass mark.

    RAR_DATA=... python benchmarks/paper_protocol.py [--questions 60] [--stages 3] [--budget-minutes 55] [--json]
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from _data import rows
from _protocol_report import (
    COT,
    FLOOR,
    GUIDED,
    MIX,
    PLAIN,
    Array,
    Kind,
    Outcome,
    by_stage,
    comparisons,
    draw,
    print_report,
)
from _recorded_calls import Calls, OutOfTimeError, RecordedModel
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rar import Message, Reply, Router
from rar.caching import cache_folder
from rar.embedding import as_embedder
from rar.embedding.cache import CachedEmbedder
from rar.learning.judges import LetterJudge, NumberJudge
from rar.values import STRONG, WEAK, Call, Decision, Request

JUDGES = {"GSM8K": NumberJudge(), "MMLU": LetterJudge()}
LONGEST = 600  # characters of a question; MMLU has some with passages of several pages
ROUTERS: dict[str, dict[str, Any]] = {
    PLAIN: {"policy": "paper", "guides": False},
    GUIDED: {"policy": "paper", "guides": True},
    FLOOR: {"policy": "floor", "guides": True, "quality": 0.95},
}


@dataclass(frozen=True)
class Form:
    """How a question is put: instructions, an example as an earlier turn, and the most tokens of an answer.

    Models this small keep to a form that they are shown, not to one that they are told.
    """

    instructions: str
    tokens: int
    example: tuple[str, str]

    def request(self, question: Question) -> Request:
        asked, answered = self.example
        example = Message("user", asked), Message("assistant", answered)
        messages = (Message("system", self.instructions), *example, Message("user", question.text))
        options = {"kind": question.kind, "max_tokens": self.tokens}
        return Request(messages, question.text, "given", options=options)


_EGGS = "A farm has 4 boxes of 6 eggs. 4 eggs break, and half of the others are sold at $2 each. How much is earned?"
_PRIME = "Which of these is a prime number?\nA. 4\nB. 6\nC. 7\nD. 9"
PLAIN_FORMS: dict[Kind, Form] = {
    "GSM8K": Form(
        "Solve the problem in short steps, one calculation a line. End with the line 'Answer: ' and the number.",
        112,
        (
            _EGGS,
            "Eggs: 4 * 6 = 24\nWhole eggs: 24 - 4 = 20\nSold eggs: 20 / 2 = 10\nEarned: 10 * 2 = 20\nAnswer: 20",
        ),
    ),
    "MMLU": Form(
        "Answer the question with one letter, A, B, C or D, and nothing else.",
        16,
        (_PRIME, "C"),
    ),
}
_STEPS = "Think step by step, in short sentences. Then end with the line 'Answer: ' and the {}."
COT_FORMS: dict[Kind, Form] = {
    "GSM8K": Form(
        _STEPS.format("number"),
        160,
        (
            _EGGS,
            (
                "There are 4 * 6 = 24 eggs. After 4 of them break, 24 - 4 = 20 are whole. Half of these are sold, "
                "which is 20 / 2 = 10. Each of them brings $2, so 10 * 2 = 20 is earned.\nAnswer: 20"
            ),
        ),
    ),
    "MMLU": Form(
        _STEPS.format("letter"),
        128,
        (
            _PRIME,
            (
                "A prime number can be divided by 1 and by itself alone. 4 and 6 can be divided by 2, and 9 by 3. "
                "7 can be divided by no other number.\nAnswer: C"
            ),
        ),
    ),
}
CUT = "Time was over. Only whole stages are shown, but all calls counted; run it again to go on where it stopped."
_SECONDS_ALONE, _SECONDS_GUIDED = 10.0, 13.0  # a question, on two free cores


# --- questions --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """`gold` is a number or a letter, and is shown to no model."""

    text: str
    gold: str
    kind: Kind

    @cached_property
    def plain(self) -> Request:
        return PLAIN_FORMS[self.kind].request(self)

    @cached_property
    def step_by_step(self) -> Request:
        return COT_FORMS[self.kind].request(self)


def sample(count: int, seed: int) -> list[Question]:
    """The kinds in turn, so that a run that is cut short has both. A larger sample begins with the smaller one."""
    maths = [Question(row["question"], row["answer"], "GSM8K") for row in rows("gsm8k_mixtral_gpt4.csv.gz")]
    choice = [
        Question("\n".join([row["question"], *(f"{x}. {row[x]}" for x in "ABCD")]), row["answer"], "MMLU")
        for row in rows("mmlu_mixtral_gpt4.csv.gz")
    ]
    for half in (maths, choice):
        random.Random(seed).shuffle(half)
    short = [[question for question in half if len(question.text) <= LONGEST] for half in (maths, choice)]
    return [question for pair in zip(*short, strict=False) for question in pair][:count]


def agrees(request: Request, reference: Reply, candidate: Reply) -> bool | None:
    """Whether both name the same number or letter; None where the judge cannot tell, which counts as no agreement."""
    return JUDGES[request.options["kind"]].verdict(request, reference, candidate).agrees


# --- running ----------------------------------------------------------------------------------------------------------


Served: TypeAlias = tuple[Decision, Reply]


@dataclass(frozen=True)
class Answers:
    """What the models say to a question without any router."""

    question: Question
    weak: Reply
    cot: Reply
    strong: Reply


def ask_alone(questions: Sequence[Question], models: Mapping[str, RecordedModel], progress: Progress) -> list[Answers]:
    """The answers of the single models, as far as time suffices."""
    found: list[Answers] = []
    for question in progress.track(questions, description="weak, weak + CoT, strong"):
        try:
            weak, strong = (models[role].call(Call(role, question.plain)) for role in (WEAK, STRONG))
            cot = models[WEAK].call(Call(WEAK, question.step_by_step))
        except OutOfTimeError:
            break
        found.append(Answers(question, weak, cot, strong))
    return found


def alone(name: str, role: str, answers: Sequence[Answers], replies: Sequence[Reply], stages: int) -> Outcome:
    """A single model, which answers the same in each stage."""
    agreed, right = marks(answers, replies)
    strong = np.full((stages, len(answers)), float(role == STRONG))
    into, out = (stages * sum(getattr(r.usage, f"{way}_tokens") for r in replies) for way in ("input", "output"))
    repeated = partial(np.tile, reps=(stages, 1))
    spending = [("serve", role, stages * len(answers), into, out)]
    return Outcome(name, strong, repeated(agreed), repeated(right), list(strong.mean(1)), spending)


def marks(answers: Sequence[Answers], replies: Sequence[Reply]) -> tuple[Array, Array]:
    """Which replies agree with the strong model's, and which are right. The strong model's own always agree."""
    agreed, right = [], []
    for known, reply in zip(answers, replies, strict=True):
        request, gold = known.question.plain, Reply("gold", known.question.gold)
        agreed.append(reply.model == STRONG or agrees(request, known.strong, reply) is True)
        right.append(agrees(request, gold, reply) is True)
    return np.array(agreed, np.float64), np.array(right, np.float64)


def routed(
    name: str,
    answers: Sequence[Answers],
    models: Mapping[str, RecordedModel],
    stages: int,
    seed: int,
    embedder: CachedEmbedder,
    progress: Progress,
) -> Outcome:
    """RAR on the questions of `answers`, as many whole stages as time suffices for."""
    task, chance = progress.add_task(name, total=stages * len(answers)), random.Random(seed)
    served, strong_calls = list[list[Served]](), [0]
    router = Router(
        models[WEAK],
        models[STRONG],
        **ROUTERS[name],
        memory=":memory:",
        embedder=embedder,
        judge=agrees,
        learning="inline",
        learning_budget=None,
        seed=seed,
    )
    with router:
        for _ in range(stages):
            stage = dict[int, Served]()
            for place in chance.sample(range(len(answers)), len(answers)):
                found = ask(router, models, answers[place].question)
                if found is None:
                    break
                stage[place] = found
                progress.advance(task)
            if len(stage) < len(answers):
                break
            served.append([stage[place] for place in range(len(answers))])
            strong_calls.append(sum(spend.calls for spend in router.stats().spending if spend.role == STRONG))
        spending = [(s.purpose, s.role, s.calls, s.input_tokens, s.output_tokens) for s in router.stats().spending]
        guides = guides_of(router, served, answers)
    both = [marks(answers, [reply for _, reply in stage]) for stage in served]
    strong = [[reply.model == STRONG for _, reply in stage] for stage in served]
    return Outcome(
        name,
        np.array(strong, np.float64),
        np.array([agreed for agreed, _ in both]),
        np.array([right for _, right in both]),
        list(np.diff(strong_calls) / len(answers)),
        spending,
        guides,
    )


def ask(router: Router, models: Mapping[str, RecordedModel], question: Question) -> Served | None:
    """Serve a question and learn from it; None if there was no time for all of that."""
    misses = models[WEAK].calls.misses
    try:
        decision = router.decide(question.plain)
        reply = models[decision.model].call(decision.call)
    except OutOfTimeError:
        return None
    router.learn(decision, reply)  # never raises: learning that was cut short shows in the count alone
    return (decision, reply) if models[WEAK].calls.misses == misses else None


def guides_of(router: Router, served: Sequence[Sequence[Served]], answers: Sequence[Answers]) -> dict[str, int]:
    """What became of the guides that the strong model wrote, and of the answers that were given with one."""
    lessons = [fact.get("learned") or {} for fact in router.decisions(limit=1_000_000)]
    refused = Counter(lesson["guide_refused"] for lesson in lessons if lesson.get("guide_refused"))
    stats = router.stats().memory
    kept = dict(stats.guides) if stats is not None else {}
    used = [
        (known, decision, reply)
        for stage in served
        for known, (decision, reply) in zip(answers, stage, strict=True)
        if decision.guide is not None
    ]
    return {
        "written": sum(kept.values()) + refused.total(),
        **{f"  kept, {state}": kept.get(state, 0) for state in ("active", "candidate", "retired")},
        **{f"  refused, {reason}": count for reason, count in refused.most_common()},
        "answers served with a guide": len(used),
        "  agreeing with strong": sum(agrees(k.question.plain, k.strong, reply) is True for k, _, reply in used),
        "  by a guide of another question": sum(
            decision.guide.origin != decision.request.evidence.experience_id
            for _, decision, _ in used
            if decision.guide is not None and decision.request.evidence is not None
        ),
    }


def random_mix(router: Outcome, weak: Outcome, strong: Outcome) -> Outcome:
    """What is to be expected where the strong model answers as often as in each of `router`'s stages, but by lot."""
    share = router.strong.mean(1, keepdims=True)

    def mixed(of: str) -> Array:
        low, high = (getattr(outcome, of)[: router.stages] for outcome in (weak, strong))
        return np.asarray(low + share * (high - low))

    strong_share = np.broadcast_to(share, router.strong.shape)
    return Outcome(MIX, strong_share, mixed("agreement"), mixed("accuracy"), [float(part) for part in share[:, 0]])


# --- all of it --------------------------------------------------------------------------------------------------------


def compare(
    answers: Sequence[Answers],
    models: Mapping[str, RecordedModel],
    stages: int,
    seed: int,
    embedder: CachedEmbedder,
    progress: Progress,
) -> dict[str, Outcome]:
    """All systems by name; a router that had no time for one stage is missing."""
    weak = alone(WEAK, WEAK, answers, [known.weak for known in answers], stages)
    cot = alone(COT, WEAK, answers, [known.cot for known in answers], stages)
    strong = alone(STRONG, STRONG, answers, [known.strong for known in answers], stages)
    routers = [routed(name, answers, models, stages, seed, embedder, progress) for name in ROUTERS]
    found = [outcome for outcome in routers if outcome.stages]
    pattern = next((outcome for outcome in found if outcome.name == GUIDED), found[0])
    outcomes = [weak, cot, strong, random_mix(pattern, weak, strong), *found]
    return {outcome.name: outcome for outcome in outcomes}


def print_estimate(
    questions: Sequence[Question], models: Mapping[str, RecordedModel], calls: Calls, console: Console
) -> None:
    new = sum(calls.recorded("weak", Call(WEAK, question.step_by_step)) is None for question in questions)
    minutes = (new * _SECONDS_ALONE + len(questions) * _SECONDS_GUIDED) / 60.0
    console.print(
        f"{len(questions)} questions, {len(questions) - new} of them with recorded answers of "
        f"{models[WEAK].id} and {models[STRONG].id}; on two free cores about {minutes:.0f} minutes, "
        "less what is recorded of guides and their trials. Ctrl-C ends early and reports what is there."
    )


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=60)
    parser.add_argument("--stages", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1, help="of each model; more are faster on free cores only")
    parser.add_argument("--budget-minutes", type=float, default=55.0, help="no model is asked anything new after these")
    parser.add_argument("--cache", type=Path, default=cache_folder() / "paper_protocol.db")
    parser.add_argument("--out", type=Path, default=Path("paper_protocol.png"), help="the picture")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    args = parser.parse_args()
    if args.questions < 2 or args.stages < 1:
        parser.error("at least 2 questions and 1 stage are needed")
    return args


def main() -> None:
    args = options()
    log, questions = Console(stderr=True), sample(args.questions, args.seed)
    embedder = CachedEmbedder(as_embedder("minilm"))
    bars = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Calls(args.cache, minutes=args.budget_minutes, threads=args.threads) as calls:
        models = {WEAK: RecordedModel("weak", calls), STRONG: RecordedModel("strong", calls)}
        print_estimate(questions, models, calls, log)
        with Progress(*bars, console=log) as progress:
            answers = ask_alone(questions, models, progress)
            if len(answers) < 2:
                sys.exit("The time was over before two questions were answered. Run it again: what was made is kept.")
            outcomes = compare(answers, models, args.stages, args.seed, embedder, progress)
    notes = [f"{calls.made} new model calls took {calls.seconds / 60.0:.1f} minutes."]
    stages = [outcomes[name].stages if name in outcomes else 0 for name in ROUTERS]
    if len(answers) < len(questions) or min(stages) < args.stages:
        notes.append(CUT)
    of_models = f"{models[WEAK].id} (weak), {models[STRONG].id} (strong)"
    title = f"{of_models}: {len(answers)} questions of GSM8K and MMLU, {args.stages} stages, seed {args.seed}"
    report = {"title": title, "versions": versions(embedder), "notes": notes, **facts(outcomes, answers)}
    draw(outcomes, title, args.stages).savefig(args.out, dpi=130)
    log.print(f"Drawn to {args.out}")
    if args.json:
        json.dump(report, sys.stdout, indent=1)
    else:
        console = Console()
        print_report(report, console if console.is_terminal else Console(width=150))


def versions(embedder: CachedEmbedder) -> str:
    known = [f"{name} {version(name)}" for name in ("rar-llm", "xllamacpp", "numpy")]
    return ", ".join(
        [str(datetime.now(timezone.utc).date()), f"Python {platform.python_version()}", *known, embedder.id]
    )


def facts(outcomes: Mapping[str, Outcome], answers: Sequence[Answers]) -> dict[str, Any]:
    """The report's tables."""
    kinds = np.array([known.question.kind for known in answers])
    return {
        "stages": by_stage(list(outcomes.values()), kinds),
        "comparisons": comparisons(outcomes),
        "spending": {name: outcome.spending for name, outcome in outcomes.items() if outcome.spending},
        "guides": {name: outcome.guides for name, outcome in outcomes.items() if outcome.guides.get("written")},
    }


if __name__ == "__main__":
    main()
