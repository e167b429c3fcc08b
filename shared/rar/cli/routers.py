"""`rar fit` and `rar calibrate`: static routers learned from recorded outcomes or from a memory."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from rar.cli.output import print_sheets, progress
from rar.embedding import as_embedder
from rar.errors import ConfigurationError, TrainingDataError
from rar.evaluation import metrics, plots, read_outcomes, read_texts
from rar.evaluation.baselines import Scorer
from rar.evaluation.data import Table, is_memory
from rar.evaluation.embeddings import DiskCachedEmbedder, KnownVectors
from rar.evaluation.embeddings import Progress as Told
from rar.evaluation.report import Sheet
from rar.linear import Array
from rar.routers import ROUTERS, LearnedRouter, LengthRouter, Outcomes, load
from rar.routers.outcomes import LEAST
from rar.routers.saving import check_folder

_TYPES: dict[type, tuple[type, ...]] = {bool: (bool,), int: (int,), float: (int, float), str: (str,), tuple: (list,)}

Data = Annotated[
    Path, typer.Argument(metavar="DATA", help="Outcomes: CSV, JSON Lines or Parquet; or a memory file, as rar.db.")
]
Weak = Annotated[str | None, typer.Option(metavar="COLUMN", help="Scores of the weak model.")]
Strong = Annotated[str | None, typer.Option(metavar="COLUMN", help="Scores of the strong model.")]
Models = Annotated[str | None, typer.Option(metavar="A,B,...", help="Columns of scores of several, the weakest first.")]
Text = Annotated[
    str | None, typer.Option(metavar="TEMPLATE", help="A column, several, or a template, as in `rar eval`.")
]
Limit = Annotated[int | None, typer.Option(min=1, help="At most so many rows.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def fit(
    name: Annotated[str, typer.Argument(metavar="NAME", help=f"One of {', '.join(sorted(ROUTERS))}.")],
    data: Data,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The router's folder; an older router in it is replaced.")],
    weak: Weak = None,
    strong: Strong = None,
    models: Models = None,
    text: Text = None,
    group: Annotated[str | None, typer.Option(metavar="COLUMN", help="What a text is about.")] = None,
    limit: Limit = None,
    embedder: Annotated[
        Literal["minilm", "hashing"] | None, typer.Option(help="Of routers that look at embeddings; minilm by default.")
    ] = None,
    set: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A setting of the router. Repeatable.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the rows that are held out.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Learn a static router, measure it on a fifth that is held out, fit it to all and save it."""
    check_folder(out, "--out: a router")
    kind = _class(name)
    fresh = _maker(kind, embedder, _settings(kind, set or ()))
    outcomes = read_outcomes(data, models=_names(weak, strong, models), text=text, group=group, limit=limit)
    with progress() as told:
        outcomes = _embedded(outcomes, fresh(), told)
        measured = _held_out(fresh, outcomes, seed, told)
        started = time.perf_counter()
        router = fresh().fit(outcomes, progress=told)
        seconds = time.perf_counter() - started
    known = {name: value for name, value in measured.items() if value is not None}
    router.facts = {**router.facts, "metrics": known}
    folder = router.save(out)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if as_json:
        facts = {"router": name, "folder": str(folder), "data": outcomes.name, "models": router.models}
        measures = {"rows": len(outcomes), "metrics": measured, "seconds": seconds, "bytes": size}
        typer.echo(json.dumps({**facts, **measures}, indent=1))
        return
    own, length = (_told(measured[key]) for key in (_OWN, _LENGTH))
    columns = ("rows", "models, weak to strong", "APGR, held out", "of prompt length", "fitted in", "size")
    row = (f"{len(outcomes):,}", ", ".join(router.models), own, length, f"{seconds:.2f} s", _bytes(size))
    notes = ["Held out: a fifth of the texts, scored by a fit to the others; then it was fitted to all. Chance is 0.5."]
    if len(known) == 2 and known[_OWN] <= known[_LENGTH]:
        notes.append("It does not beat the prompt's length here: give it more rows, or try another router.")
    notes.append(f"Saved to {folder}. Next, a threshold: rar calibrate {folder} OTHER_ROWS --strong-share 0.3")
    print_sheets([Sheet(f"{name} router, fitted to {outcomes.name}", columns, (row,), tuple(notes))])


def calibrate(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A saved router.")],
    data: Data,
    strong_share: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Share of texts that the strong model shall answer.")
    ] = None,
    max_drop: Annotated[
        float | None, typer.Option(min=0.0, max=1.0, help="Share of the strong model's mean score that may be lost.")
    ] = None,
    weak: Weak = None,
    strong: Strong = None,
    models: Models = None,
    text: Text = None,
    limit: Limit = None,
    texts_only: Annotated[
        bool, typer.Option("--texts-only", help="DATA are requests without outcomes, for --strong-share.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw quality over the share of strong calls.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Choose a router's threshold on outcomes that it was not fitted to. Columns are its models' unless named."""
    if (strong_share is None) == (max_drop is None):
        raise ConfigurationError("Give either --strong-share or --max-drop.")
    if texts_only and (strong_share is None or plot is not None):
        raise ConfigurationError("--max-drop and --plot need outcomes, not only texts. Leave --texts-only out.")
    if plot is not None and plot.suffix.lower() not in _PICTURES:
        raise ConfigurationError(f"--plot {str(plot)!r}: a picture is one of {', '.join(_PICTURES)}. Name such a file.")
    router = load(folder)
    outcomes = None
    if texts_only:
        texts, vectors = read_texts(data, text=text, limit=limit), None
    else:
        names = _names(weak, strong, models)
        if names is None and not is_memory(data):
            names = _compared(router, router.models)
        with progress() as told:
            found = read_outcomes(data, models=names, text=text, limit=limit)
            outcomes = _embedded(found.pair(*_compared(router, found.models)), router, told)
        texts, vectors = outcomes.texts, outcomes.vectors
    threshold = router.calibrate(texts if outcomes is None else outcomes, strong_share=strong_share, max_drop=max_drop)
    scores = router.score(texts, vectors)
    facts = {"threshold": threshold, "strong_share": float((scores >= threshold).mean()), "rows": len(texts)}
    facts["seen"] = router.facts.get("data") == data.name
    columns: dict[str, str] = {"threshold": f"{threshold:.4f}", "to the strong model": f"{facts['strong_share']:.1%}"}
    if outcomes is not None:
        of_weak, of_strong = outcomes.scores.T
        means = (np.where(scores >= threshold, of_strong, of_weak).mean(), of_weak.mean(), of_strong.mean())
        facts |= dict(zip(("quality", "weak_quality", "strong_quality"), map(float, means), strict=True))
        columns |= {name: f"{mean:.3f}" for name, mean in zip(("mean score", "weak", "strong"), means, strict=True)}
        if plot is not None:
            title = f"{folder.name} on {outcomes.name}"
            plots.threshold(title, scores, of_weak, of_strong, threshold).savefig(plot, dpi=150)
            typer.echo(f"written: {plot}", err=True)
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
        return
    notes = [f'Use it: Threshold(load("{folder}"), {threshold:.6g}) as strategy=, from rar.strategies and rar.routers.']
    if facts["seen"]:
        notes.append("It was fitted to a file of this name. What it saw it knows too well: calibrate on other rows.")
    title = f"{folder} on {len(texts):,} rows of {data.name}"
    print_sheets([Sheet(title, tuple(columns), (tuple(columns.values()),), tuple(notes))])


def scorers(which: Sequence[str], embedder: str) -> dict[str, Scorer]:
    """Routers as scorers of the evaluation kit, by what is printed.

    Args:
        which: Names, of routers that are fitted to what is seen, and folders, of those that are taken as they are.
        embedder: Of those that are fitted and look at embeddings.
    """
    return dict(_scorer(name, embedder) for name in which)


def prior(which: str, table: Table, seed: int) -> tuple[LearnedRouter, Table]:
    """A router to start from, and the questions that are to be asked.

    Args:
        which: A name, of a router that is fitted to half of `table`, or the folder of a saved one.
        table: With vectors.
    """
    if which not in ROUTERS:
        return _saved(which), table
    kind = ROUTERS[which]
    order = np.random.default_rng(seed).permutation(len(table))
    seen, asked = table.take(order[: len(table) // 2]), table.take(order[len(table) // 2 :])
    options: dict[str, Any] = {"embedder": KnownVectors(table)} if "embedder" in signature(kind).parameters else {}
    return kind(**options).fit(seen), asked


# --- small parts ----------------------------------------------------------------------------------------------------

_PICTURES = (".png", ".svg", ".pdf")
_OWN, _LENGTH = "APGR, held out", "APGR of prompt length, held out"


def _class(name: str) -> type[LearnedRouter]:
    if name not in ROUTERS:
        raise ConfigurationError(f"There is no router {name!r}. There are {', '.join(sorted(ROUTERS))}.")
    return ROUTERS[name]


def _maker(kind: type[LearnedRouter], embedder: str | None, settings: dict[str, Any]) -> Callable[[], LearnedRouter]:
    """What makes routers that were not fitted, with one embedder for all of them."""
    if "embedder" in signature(kind).parameters:
        settings = {**settings, "embedder": as_embedder(embedder or "minilm")}
    elif embedder is not None:
        raise ConfigurationError(f"The router {kind.name!r} looks at no embeddings. Leave --embedder out.")

    def fresh() -> LearnedRouter:
        try:
            return kind(**settings)
        except (TypeError, ValueError) as error:
            raise ConfigurationError(f"The router {kind.name!r} refuses its settings: {error}") from error

    return fresh


def _settings(kind: type[LearnedRouter], given: Sequence[str]) -> dict[str, Any]:
    """`KEY=VALUE` as constructor arguments; values are JSON, or else strings."""
    known = {name: setting.default for name, setting in signature(kind).parameters.items() if name != "embedder"}
    found: dict[str, Any] = {}
    for option in given:
        key, sign, written = option.partition("=")
        if not sign:
            raise ConfigurationError(f"--set {option!r} is not KEY=VALUE.")
        if key not in known:
            names = ", ".join(known) or "none"
            raise ConfigurationError(f"--set {option!r}: the router {kind.name!r} has these settings: {names}.")
        try:
            value = json.loads(written)
        except ValueError:
            value = written
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigurationError(f"--set {option!r}: a finite number is needed.")
        if key == "seed" and isinstance(value, int) and value < 0:
            raise ConfigurationError(f"--set {option!r}: a seed is 0 or more.")
        usual = known[key]
        allowed = _TYPES.get(type(usual))
        if allowed is not None and (not isinstance(value, allowed) or (type(value) is bool and bool not in allowed)):
            raise ConfigurationError(f"--set {option!r}: this is of type {type(usual).__name__}, usually {usual!r}.")
        found[key] = tuple(value) if isinstance(usual, tuple) else value
    return found


def _names(weak: str | None, strong: str | None, models: str | None) -> tuple[str, ...] | None:
    if models is not None and (weak is not None or strong is not None):
        raise ConfigurationError("Give either --models, or --weak and --strong.")
    if (weak is None) != (strong is None):
        raise ConfigurationError("Give both --weak and --strong, or --models.")
    if models is not None:
        return tuple(name.strip() for name in models.split(","))
    return None if weak is None or strong is None else (weak, strong)


def _embedded(outcomes: Outcomes, router: LearnedRouter, told: Told) -> Outcomes:
    """`outcomes` with the vectors that `router` looks at, kept on disk, so that each text is embedded once."""
    embedder = getattr(router, "embedder", None)
    if embedder is None:
        return replace(outcomes, vectors=None, embedder_id="")
    if outcomes.vectors is not None and outcomes.embedder_id == embedder.id:
        return outcomes
    cached = DiskCachedEmbedder(embedder, progress=told)
    return replace(outcomes, vectors=cached.embed(outcomes.texts), embedder_id=cached.id)


def _compared(router: LearnedRouter, models: tuple[str, ...]) -> tuple[str, str]:
    """The weak and the strong one of `models`, whom the router's score compares."""
    named: tuple[str | None, str | None] = getattr(router, "weak", None), getattr(router, "strong", None)
    return named[0] or models[0], named[1] or models[-1]


def _held_out(fresh: Callable[[], LearnedRouter], outcomes: Outcomes, seed: int, told: Told) -> dict[str, float | None]:
    """APGR of the router and of length on a random fifth of the texts; None where that has no gap to recover."""
    numbers: dict[str, int] = {}
    of_text = np.array([numbers.setdefault(text, len(numbers)) for text in outcomes.texts])
    drawn = np.random.default_rng(seed).permutation(len(numbers))[len(numbers) * 4 // 5 :]
    held = np.isin(of_text, drawn)  # whole texts, for a log repeats many
    router = fresh()
    compared = _compared(router, outcomes.models)
    seen, asked = outcomes.take(np.flatnonzero(~held)), outcomes.take(np.flatnonzero(held)).pair(*compared)
    weak, strong = asked.scores.T
    if len(seen) < LEAST or not len(asked) or weak.mean() >= strong.mean():
        return {_OWN: None, _LENGTH: None}

    def measured(router: LearnedRouter) -> float:
        return float(metrics.apgr(router.score(asked.texts, asked.vectors), weak, strong))

    both = seen.pair(*compared)
    known = len(both) >= LEAST and len(np.unique(np.sign(both.gap))) > 1
    length = measured(LengthRouter().fit(both)) if known else None
    return {_OWN: measured(router.fit(seen, progress=told)), _LENGTH: length}


def _scorer(which: str, embedder: str) -> tuple[str, Scorer]:
    def asked(router: LearnedRouter, table: Table) -> Array:
        own = getattr(router, "embedder", None)
        known = table.vectors if own is not None and own.id == table.embedder_id else None
        return router.score(table.texts, known)

    if which in ROUTERS:
        kind = ROUTERS[which]
        fresh = _maker(kind, embedder if "embedder" in signature(kind).parameters else None, {})

        def fitted(seen: Table, table: Table) -> Array:
            try:
                return asked(fresh().fit(seen), table)
            except TrainingDataError as error:
                typer.echo(f"rar: {which} scored at random in a part: {error}", err=True)
                return np.zeros(len(table))

        return which, fitted
    saved = _saved(which)
    return f"{saved.name} of {which}", lambda _, table: asked(saved, table)


def _saved(folder: str) -> LearnedRouter:
    if not Path(folder).is_dir():
        raise ConfigurationError(
            f"--router {folder!r} is neither a router ({', '.join(sorted(ROUTERS))}) nor the folder of a saved one."
        )
    return load(folder)


def _told(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(size / 1e3, 0.1):.1f} kB"
