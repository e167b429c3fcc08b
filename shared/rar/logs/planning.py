"""What a floor would save on recorded requests: some are asked of the weak model, judged, and replayed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from rar.drive import Model, drive
from rar.errors import EvaluationDataError
from rar.evaluation import replay_online
from rar.evaluation.comparing import comparing_judge
from rar.evaluation.embeddings import Progress
from rar.evaluation.metrics import Interval
from rar.evaluation.points import complement, points_of
from rar.evaluation.runs import Online
from rar.evaluation.table import Table
from rar.learning.judges import Judge
from rar.logs.recorded import Recorded
from rar.prices import Prices
from rar.tokens import estimate
from rar.values import STRONG, WEAK, Call, Message, Reply, Request, Usage, question

_AT_ONCE: Final = 8  # calls of the weak model
_RESAMPLED: Final = 1_000  # times, for the intervals
_LEAST: Final = 30  # judged requests without which nothing can be said


@dataclass(frozen=True, slots=True)
class AtFloor:
    """What a floor would do. Shares lie in 95 % intervals, by resampling the requests.

    Args:
        saved: Strong calls saved from a cold start.
        net_saved: Cost saved, learning paid.
        later: Strong calls saved in the second half, when the router has learned from the first.
        quality: Of what is served, as a share of the strong model's.
    """

    floor: float
    saved: Interval
    net_saved: Interval
    later: float
    quality: Interval


@dataclass(frozen=True, slots=True)
class Plan:
    """What a log says of routing it.

    Args:
        requests: Requests in the log, of which `usable` ask a question that was answered, without tools.
        repeated: Share of the usable ones that were asked before in the log, word for word.
        asked: Different questions that were asked of the weak model, of which the judge could tell of `judged`.
        good_enough: Share of these where the weak answer agrees with the logged one.
    """

    requests: int
    usable: int
    repeated: float
    asked: int
    judged: int
    good_enough: float
    weak: str
    strong: str
    floors: tuple[AtFloor, ...]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def sampled(found: Sequence[Recorded], count: int, seed: int) -> tuple[list[Recorded], list[Recorded]]:
    """The usable requests, and a random sample of their different questions, in their order."""
    usable = [one for one in found if one.text.strip() and one.answer.strip() and not one.tools]
    first = {one.text: one for one in reversed(usable)}
    unique = [one for one in usable if first[one.text] is one]
    places = sorted(random.Random(seed).sample(range(len(unique)), min(count, len(unique))))  # noqa: S311 - a sample
    return usable, [unique[place] for place in places]


def cost_of(rows: Sequence[Recorded], prices: Prices, weak: str) -> float | None:
    """About what it costs to ask `rows` of the weak model, in USD; None where no price is known."""
    price = prices.of(WEAK, weak)
    if price is None:
        return None
    into = sum(one.input_tokens or sum(estimate(message["content"]) for message in one.messages) for one in rows)
    out = sum(one.output_tokens or estimate(one.answer) for one in rows)
    return (price[0] * into + price[1] * out) / 1e6


def asked_of(model: Model, rows: Sequence[Recorded], progress: Progress | None = None) -> list[Reply | None]:
    """The model's answers; None where it failed."""

    def one(row: Recorded) -> Reply | None:
        sent = tuple(Message(_role(message["role"]), message["content"], dict(message)) for message in row.messages)
        request = Request(sent, row.text, "given")
        try:
            return model.call(Call(WEAK, request, purpose="draft"))
        except Exception:
            return None

    found = []
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for place, reply in enumerate(pool.map(one, rows), 1):
            found.append(reply)
            if progress is not None:
                progress("weak model", place, len(rows))
    return found


def _role(name: str) -> Any:
    return name if name in ("system", "user", "assistant", "tool") else "user"


def logged(rows: Sequence[Recorded], others: Sequence[Recorded]) -> list[Reply | None]:
    """The answers to the same questions in another log."""
    known = {one.text: one for one in others}
    found = (known.get(row.text) for row in rows)
    return [None if one is None else _reply(WEAK, one) for one in found]


def _reply(role: str, one: Recorded) -> Reply:
    return Reply(role, one.answer, usage=Usage(one.input_tokens or 0, one.output_tokens or 0), model_id=one.model)


def plan(
    found: Sequence[Recorded],
    ask: Callable[[Sequence[Recorded]], Sequence[Reply | None]],
    *,
    weak: str,
    prices: Prices,
    floors: Sequence[float] = (0.9, 0.95),
    sample: int = 400,
    shuffles: int = 3,
    seed: int = 0,
    judge: Judge | None = None,
    embedder: Any = "minilm",
    progress: Progress | None = None,
) -> Plan:
    """Ask a sample of the weak model, judge its answers by the logged ones, and replay them at each floor.

    Args:
        ask: Gives the weak model's answers.
        judge: None: the router's own, which asks no model.

    Raises:
        EvaluationDataError: Too few answers could be judged.
    """
    usable, rows = sampled(found, sample, seed)
    judged = _judged(rows, ask(rows), judge or comparing_judge(embedder))
    if len(judged) < _LEAST:
        raise EvaluationDataError(
            "the log",
            f"{len(usable)} of {len(found)} requests have a question and an answer, and {len(judged)} weak answers "
            f"could be judged; {_LEAST} are needed",
        )
    strong = Counter(row.model for row, _, _ in judged).most_common(1)[0][0] or "strong"
    table = _table(judged, prices, weak, strong)
    replays = partial(replay_online, table, shuffles=shuffles, seed=seed, embedder=embedder, progress=progress)
    made = tuple(_at(floor, replays(quality=floor)) for floor in floors)
    agreed = sum(agrees for _, _, agrees in judged) / len(judged)
    repeated = 1.0 - len({one.text for one in usable}) / len(usable)
    return Plan(len(found), len(usable), repeated, len(rows), len(judged), agreed, weak, strong, made)


def _at(floor: float, result: Online) -> AtFloor:
    quality, saved, cost = points_of(result, _RESAMPLED)
    half = slice(len(result.table) // 2, None)
    later = float(np.mean([run.saved(half) for run in result.runs]))
    return AtFloor(floor, saved, complement(cost), later, quality)


def _judged(
    rows: Sequence[Recorded], replies: Sequence[Reply | None], judge: Judge
) -> list[tuple[Recorded, Reply, bool]]:
    """The requests of whose weak answer the judge could tell, with what it said."""
    asked = [(row, reply) for row, reply in zip(rows, replies, strict=True) if reply is not None]
    said = [(row, reply, _agrees(judge, row, reply)) for row, reply in asked]
    return [(row, reply, agrees) for row, reply, agrees in said if agrees is not None]


def _agrees(judge: Judge, row: Recorded, reply: Reply) -> bool | None:
    return drive(judge.steps(question(row.text), _reply(STRONG, row), reply), {}).agrees


def _table(judged: Sequence[tuple[Recorded, Reply, bool]], prices: Prices, weak: str, strong: str) -> Table:
    """The judged requests as recorded outcomes."""
    costs: Mapping[str, Any] = {}
    weak_costs = [_usd(prices, WEAK, weak, reply.usage, row) for row, reply, _ in judged]
    strong_costs = [
        row.usd if row.usd is not None else _usd(prices, STRONG, strong, _reply(STRONG, row).usage, row)
        for row, _, _ in judged
    ]
    if None not in (*weak_costs, *strong_costs):
        costs = {"weak_cost": weak_costs, "strong_cost": strong_costs}
    return Table.of_scores(
        [row.text for row, _, _ in judged], [float(agrees) for _, _, agrees in judged], np.ones(len(judged)),
        weak_id=weak, strong_id=strong, **costs,
    )  # fmt: skip


def _usd(prices: Prices, role: str, model: str, usage: Usage, row: Recorded) -> float | None:
    if not usage.input_tokens:
        into = sum(estimate(message["content"]) for message in row.messages)
        usage = Usage(into, usage.output_tokens or estimate(row.answer))
    return prices.usd(role, model, usage)
