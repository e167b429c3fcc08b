"""A cascade that learns in production beside RAR's routing: every question once, from a cold start, in one process.

Weak answers are drafts that are looked at, and rejected ones are judged by the strong answer that is served instead.
All calls are charged at list prices by recorded or estimated tokens: drafts, trials, audits. The judge grades recorded
answers, and sees those of models that were called. Quality is the share of the strong model's.

    RAR_DATA=... python benchmarks/online_cascade.py [--data gsm8k mmlu_pro] [--shuffles 5] [--quality 0.95]
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from _data import versions
from cascades import gsm8k, mmlu_pro_texts

from rar.evaluation import embedded, shuffle, stream
from rar.evaluation.prices import CallPrice, priced
from rar.evaluation.runs import Run
from rar.outcomes import Outcomes
from rar.strategies import Cascade

MARK = 0.9  # of what RAR's routing costs
# USD per million input and output tokens: OpenAI's of GPT-4-1106, and what Together asks for open models.
SETS: Mapping[str, tuple[Callable[[], Outcomes], tuple[float, float], tuple[float, float]]] = {
    "gsm8k": (gsm8k, (0.6, 0.6), (10.0, 30.0)),
    "mmlu_pro": (lambda: mmlu_pro_texts("llama-3.1-8b-instruct", "llama-3.1-70b-instruct"), (0.18, 0.18), (0.88, 0.88)),
}


@dataclass(frozen=True)
class Found:
    """The runs of one way to choose, over the same shuffles."""

    name: str
    runs: tuple[Run, ...]

    @property
    def cost(self) -> float:
        return float(np.mean([run.cost_ratio() for run in self.runs]))

    def __str__(self) -> str:
        half = slice(len(self.runs[0].table) // 2, None)
        quality = np.array([run.realised() for run in self.runs])
        error = quality.std(ddof=1) / len(quality) ** 0.5 if len(quality) > 1 else float("nan")
        calls = {model: np.mean([run.of(model).mean() for run in self.runs]) for model in ("weak", "strong")}
        late = [[run.cost_ratio(half), run.realised(half)] for run in self.runs]
        return (
            f"  {self.name:<18} cost {self.cost:.3f}  quality {quality.mean():.3f} ± {error:.3f}  "
            f"second half: cost {np.mean(late, 0)[0]:.3f}, quality {np.mean(late, 0)[1]:.3f}  "
            f"calls a question: weak {calls['weak']:.2f}, strong {calls['strong']:.2f}, "
            f"audited {np.mean([run.audited.mean() for run in self.runs]):.1%}"
        )


def data(name: str) -> Outcomes:
    made, weak, strong = SETS[name]
    return embedded(priced(made(), {"weak": CallPrice(tokens=weak), "strong": CallPrice(tokens=strong)}))


def compared(table: Outcomes, quality: float, shuffles: int) -> tuple[Found, Found]:
    found = []
    for name, strategy in (("RAR", None), ('Cascade("learned")', Cascade("learned"))):
        runs = [
            stream(table.take(shuffle(table, seed)), quality=quality, seed=seed, strategy=strategy)
            for seed in range(shuffles)
        ]
        found.append(Found(name, tuple(runs)))
    return found[0], found[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--shuffles", type=int, default=5)
    parser.add_argument("--quality", type=float, default=0.95)
    args = parser.parse_args()
    for name in args.data:
        table = data(name)
        price = table.call_costs[:, 0].mean() / table.call_costs[:, -1].mean()
        print(f"{name}: {len(table)} questions, {args.shuffles} shuffles, floor {args.quality:g}; ", end="")
        print(f"a weak call costs {price:.1%} of a strong one. Cost is the share of always asking the strong model.")
        rar, cascade = compared(table, args.quality, args.shuffles)
        print(rar, cascade, sep="\n")
        share = cascade.cost / rar.cost
        print(
            f"  {'ok' if share <= MARK else 'MISSED'} cost, as a share of RAR's: {share:.3f} (mark <= {MARK})",
            flush=True,
        )
    print(f"\n{versions()}")


if __name__ == "__main__":
    main()
