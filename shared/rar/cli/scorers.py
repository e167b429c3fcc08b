"""Routers as `rar eval` takes them: by the name of a kind that is fitted, or by the folder of a saved one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import typer

from rar.cli.routers import maker
from rar.errors import ConfigurationError, TrainingDataError
from rar.evaluation.baselines import RouterScorer, Scorer, learned
from rar.evaluation.checkpoint import digest, files_digest
from rar.evaluation.embeddings import KnownVectors
from rar.outcomes import Outcomes
from rar.routers import ROUTERS, LearnedRouter, load


def scorers(which: Sequence[str], embedder: str) -> dict[str, Scorer]:
    """Routers as scorers of the evaluation kit, by what is printed.

    Args:
        which: Names, of routers that are fitted to what is seen, and folders, of those that are taken as they are.
        embedder: Of those that are fitted and look at embeddings.
    """
    return dict(_scorer(name, embedder) for name in which)


def prior(which: str, table: Outcomes, seed: int) -> tuple[LearnedRouter, str, Outcomes]:
    """A router to start from, what tells it from others, and the questions that are to be asked.

    Args:
        which: A name, of a router that is fitted to half of `table`, or the folder of a saved one.
        table: With vectors.
    """
    if which not in ROUTERS:
        return _saved(which), identity_of(which), table
    kind = ROUTERS[which]
    order = np.random.default_rng(seed).permutation(len(table))
    seen, asked = table.take(order[: len(table) // 2]), table.take(order[len(table) // 2 :])
    options: dict[str, Any] = {"embedder": KnownVectors(table)} if "embedder" in kind.arguments() else {}
    return kind(**options).fit(seen), f"{which} fitted to {digest(seen)}", asked


def identity_of(which: str) -> str:
    """What tells a router of the evaluation from others: its name, or what is in its folder."""
    return which if which in ROUTERS else f"{which}: {files_digest(Path(which))}"


def _scorer(which: str, embedder: str) -> tuple[str, Scorer]:
    if which in ROUTERS:
        kind = ROUTERS[which]
        fresh = maker(kind, embedder if "embedder" in kind.arguments() else None, {})

        def told(error: TrainingDataError) -> None:
            typer.echo(f"rar: {which} scored at random in a part: {error}", err=True)

        return which, lambda seen, asked: learned(fresh(), seen, asked, told)
    saved = _saved(which)
    return f"{saved.name} of {which}", RouterScorer(saved)


def _saved(folder: str) -> LearnedRouter:
    if not Path(folder).is_dir():
        raise ConfigurationError(
            f"--router {folder!r} is neither a router ({', '.join(sorted(ROUTERS))}) nor the folder of a saved one."
        )
    return load(folder)
