"""`rar fit`, `calibrate`, `push` and `pull`: static routers learned from recorded outcomes or from a memory."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import typer

from rar.cli.output import print_sheets, progress
from rar.embedding import as_embedder
from rar.errors import ConfigurationError
from rar.evaluation import metrics, plots, read_outcomes, read_texts
from rar.evaluation.embeddings import DiskCachedEmbedder
from rar.evaluation.embeddings import Progress as Told
from rar.evaluation.files import is_memory
from rar.evaluation.report import Sheet
from rar.linear import Array
from rar.outcomes import LEAST, exchanged
from rar.routers import ROUTERS, LearnedRouter, LengthRouter, Outcomes, hub, load, push_to_hub, saving
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
Limit = Annotated[int | None, typer.Option(min=1, help="Read at most this many rows.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A saved router.")]
StrongShare = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="Share of texts that the strong model is to answer.")
]
MaxDrop = Annotated[
    float | None, typer.Option(min=0.0, max=1.0, help="Share of the strong model's mean score that may be lost.")
]
TextsOnly = Annotated[
    bool, typer.Option("--texts-only", help="DATA are requests without outcomes, for --strong-share.")
]
Plot = Annotated[Path | None, typer.Option(metavar="FILE.png", help="Draw quality over the share of strong calls.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Do not save the threshold with the router.")]
Settings = Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A setting of the router. Repeatable.")]
Repository = Annotated[str, typer.Argument(metavar="REPO", help="The repository on the hub: user/name.")]


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
        Literal["minilm", "hashing"] | None,
        typer.Option(help="The embeddings of routers that look at them; minilm by default."),
    ] = None,
    set: Settings = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the choice of rows that are held out.")] = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Fit a static router to four fifths of the data, measure it on the rest, fit it to all and save it."""
    check_folder(out, "--out: a router")
    kind = _class(name)
    fresh = maker(kind, embedder, _settings(kind, set or ()))
    outcomes = read_outcomes(data, models=_names(weak, strong, models), text=text, group=group, limit=limit)
    with progress(quiet=quiet) as told:
        outcomes = _embedded(outcomes, fresh(), told)
        measured = _held_out(fresh, outcomes, seed, told)
        started = time.perf_counter()
        router = _fitted(fresh(), outcomes, "fit to all rows", told)
        seconds = time.perf_counter() - started
    router.facts = {**router.facts, "metrics": {name: value for name, value in measured.items() if value is not None}}
    folder = router.save(out)
    warning = _warned(outcomes, router)
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
    if as_json:
        facts = {"router": name, "folder": str(folder), "data": outcomes.name, "models": router.models}
        measures = {"rows": len(outcomes), "metrics": measured, "seconds": seconds, "bytes": size, "warning": warning}
        typer.echo(json.dumps({**facts, **measures}, indent=1))
    else:
        print_sheets([_of_fit(router, folder, measured, seconds, size)])


def calibrate(
    folder: Folder,
    data: Data,
    strong_share: StrongShare = None,
    max_drop: MaxDrop = None,
    weak: Weak = None,
    strong: Strong = None,
    models: Models = None,
    text: Text = None,
    limit: Limit = None,
    texts_only: TextsOnly = False,
    plot: Plot = None,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Choose a router's threshold on outcomes that it was not fitted to, and save it with the router.

    Columns are its models' unless named.
    """
    _check_calibration(strong_share, max_drop, texts_only, plot)
    router = load(folder)
    names = _names(weak, strong, models)
    with progress(quiet=quiet) as told:
        if texts_only:
            outcomes, texts, vectors = None, read_texts(data, text=text, limit=limit), None
        else:
            outcomes = _asked(router, data, names, text, limit, told)
            texts, vectors = outcomes.texts, outcomes.vectors
    router.calibrate(texts if outcomes is None else outcomes, strong_share=strong_share, max_drop=max_drop)
    assert router.calibration is not None
    router.calibration = replace(router.calibration, data=data.name)
    if not dry_run:
        saving.amend(folder, **{saving.CALIBRATION: router.calibration.as_dict()})
    scores = router.score(texts, vectors)
    facts = _facts_of(router, data, outcomes, texts, scores, saved=not dry_run)
    if outcomes is not None:
        facts["warning"] = _warned(outcomes, router)
        if plot is not None:
            _plot(plot, f"{folder.name} on {outcomes.name}", outcomes, scores, facts["threshold"])
    if as_json:
        typer.echo(json.dumps(facts, indent=1))
    else:
        print_sheets([_of_calibration(folder, data, facts)])


def push(
    folder: Folder,
    repo: Repository,
    public: Annotated[
        bool, typer.Option("--public", help="Make a new repository public; it is private by default.")
    ] = False,
    data: Annotated[
        str | None, typer.Option(metavar="WORDS", help="What it was fitted to, for the model card.")
    ] = None,
    message: Annotated[str, typer.Option("--message", "-m", help="Message of the commit.")] = "Upload router",
    as_json: AsJson = False,
) -> None:
    """Upload a saved router with a model card to the Hugging Face Hub. The token is that of `hf auth login`."""
    address = push_to_hub(load(folder), repo, private=not public, commit_message=message, data=data)
    typer.echo(json.dumps({"repository": address}) if as_json else f"Pushed to {address}.")


def pull(
    repo: Repository,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder to write; an older router in it is replaced.")
    ],
    revision: Annotated[str | None, typer.Option(help="A branch, tag or commit.")] = None,
    as_json: AsJson = False,
) -> None:
    """Download a router from the Hugging Face Hub into a folder. Only files of routers are fetched."""
    check_folder(folder, "A router")
    saved = saving.read(saving.copy(hub.fetched(repo, revision=revision), folder))
    models = list(saved.about.get("models", ()))
    if as_json:
        facts = {"router": saved.router, "folder": str(folder), "models": models}
        typer.echo(json.dumps({**facts, "calibration": saved.about.get(saving.CALIBRATION)}, indent=1))
    else:
        typer.echo(f"A {saved.router} router of {', '.join(models)} is in {folder}.")


# --- small parts ----------------------------------------------------------------------------------------------------

_PICTURES = (".png", ".svg", ".pdf")
_OWN, _LENGTH = "APGR, held out", "APGR of prompt length, held out"


def _warned(outcomes: Outcomes, router: LearnedRouter) -> str | None:
    """Say on standard error where the weak model of the router's pair is the better one, and return it."""
    warning = exchanged(outcomes.pair(*_compared(router, outcomes.models)))
    if warning is not None:
        typer.echo(f"rar: warning: {warning}", err=True)
    return warning


def _fitted(router: LearnedRouter, outcomes: Outcomes, what: str, told: Told) -> LearnedRouter:
    """`router` fitted to `outcomes`; few routers tell how far they are."""
    told(what, 0, 1)
    router.fit(outcomes, progress=lambda step, done, total: told(f"{what}, {step}", done, total))
    told(what, 1, 1)
    return router


def _of_fit(
    router: LearnedRouter, folder: Path, measured: Mapping[str, float | None], seconds: float, size: int
) -> Sheet:
    own, length = measured[_OWN], measured[_LENGTH]
    columns = ("rows", "models, weak to strong", "APGR, held out", "of prompt length", "fitted in", "size")
    rows, names = f"{router.facts['rows']:,}", ", ".join(router.models)
    row = (rows, names, _told(own), _told(length), f"{seconds:.2f} s", _bytes(size))
    notes = ["Held out: a fifth of the texts, scored by a fit to the others; then it was fitted to all. Chance is 0.5."]
    if own is None:
        notes.append("It was not measured: the rows are too few, or the strong model is no better on those held out.")
    if own is not None and length is not None and own <= length:
        notes.append("It does not beat the prompt's length here: give it more rows, or try another router.")
    notes.append(f"Saved to {folder}. Next, a threshold: rar calibrate {folder} OTHER_ROWS --strong-share 0.3")
    return Sheet(f"{router.name} router, fitted to {router.facts['data']}", columns, (row,), tuple(notes))


def _check_calibration(strong_share: float | None, max_drop: float | None, texts_only: bool, plot: Path | None) -> None:
    """Refuse, before any work, what cannot be done."""
    if (strong_share is None) == (max_drop is None):
        raise ConfigurationError("Give either --strong-share or --max-drop.")
    if texts_only and (strong_share is None or plot is not None):
        raise ConfigurationError("--max-drop and --plot need outcomes, not only texts. Leave --texts-only out.")
    if plot is None:
        return
    if plot.suffix.lower() not in _PICTURES:
        raise ConfigurationError(f"--plot {str(plot)!r}: a picture is one of {', '.join(_PICTURES)}. Name such a file.")
    if not plot.parent.is_dir() or plot.is_dir():
        raise ConfigurationError(f"--plot {str(plot)!r}: there is no folder {str(plot.parent)!r}, or this is one.")
    plots.check()


def _plot(file: Path, title: str, outcomes: Outcomes, scores: Array, threshold: float) -> None:
    plots.threshold(title, scores, outcomes.weak, outcomes.strong, threshold).savefig(file, dpi=150)
    typer.echo(f"written: {file}", err=True)


def _asked(
    router: LearnedRouter,
    data: Path,
    names: tuple[str, ...] | None,
    text: str | None,
    limit: int | None,
    told: Told,
) -> Outcomes:
    """The outcomes of the two models that the router compares; a file may have other names for them."""
    if names is None and not is_memory(data):
        names = _compared(router, router.models)
    found = read_outcomes(data, models=names, text=text, limit=limit)
    pair = found.models if len(found.models) == 2 else _compared(router, found.models)
    return _embedded(found.pair(*pair), router, told)


def _facts_of(
    router: LearnedRouter,
    data: Path,
    outcomes: Outcomes | None,
    texts: Sequence[str],
    scores: Array,
    *,
    saved: bool,
) -> dict[str, Any]:
    """What a calibration found. `seen`: whether the router was fitted to some of the rows; None: unknown."""
    assert router.calibration is not None
    threshold, share = router.calibration.threshold, router.saw(texts)
    seen = share > 0.0 if share is not None else (True if router.facts.get("data") == data.name else None)
    facts: dict[str, Any] = {"threshold": threshold, "strong_share": router.calibration.strong_share}
    facts |= {"rows": len(texts), "seen": seen, "seen_share": share, "saved": saved}
    if outcomes is not None:
        of_weak, of_strong = outcomes.scores.T
        means = (np.where(scores >= threshold, of_strong, of_weak).mean(), of_weak.mean(), of_strong.mean())
        facts |= dict(zip(("quality", "weak_quality", "strong_quality"), map(float, means), strict=True))
    return facts


def _of_calibration(folder: Path, data: Path, facts: Mapping[str, Any]) -> Sheet:
    shown = {"threshold": f"{facts['threshold']:.4f}", "to the strong model": f"{facts['strong_share']:.1%}"}
    for name, column in (("quality", "mean score"), ("weak_quality", "weak"), ("strong_quality", "strong")):
        if name in facts:
            shown[column] = f"{facts[name]:.3f}"
    if facts["saved"]:
        notes = [f'Saved with the router. Use it: Threshold(load("{folder}")), from rar.strategies and rar.routers.']
    else:
        notes = [f'Not saved. Use it: Threshold(load("{folder}"), {facts["threshold"]:.6g}) as strategy=.']
    if facts["seen"]:
        share = "some" if facts["seen_share"] is None else f"{facts['seen_share']:.1%}"
        notes.append(f"It was fitted to {share} of these rows. What it saw it knows too well: calibrate on other rows.")
    elif facts["seen"] is None:
        notes.append("It does not say which rows it was fitted to. If these are among them, calibrate on others.")
    title = f"{folder} on {facts['rows']:,} rows of {data.name}"
    return Sheet(title, tuple(shown), (tuple(shown.values()),), tuple(notes))


def _class(name: str) -> type[LearnedRouter]:
    if name not in ROUTERS:
        raise ConfigurationError(f"There is no router {name!r}. There are {', '.join(sorted(ROUTERS))}.")
    return ROUTERS[name]


def maker(kind: type[LearnedRouter], embedder: str | None, settings: dict[str, Any]) -> Callable[[], LearnedRouter]:
    """What makes routers that were not fitted, with one embedder for all of them."""
    if "embedder" in kind.arguments():
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
    known = {name: usual for name, usual in kind.arguments().items() if name != "embedder"}
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
    return {_OWN: measured(_fitted(router, seen, "fit to four fifths", told)), _LENGTH: length}


def _told(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3f}"


def _bytes(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{max(size / 1e3, 0.1):.1f} kB"
