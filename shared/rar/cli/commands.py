"""What `rar` can do with a memory file. Every command reads with a read-only memory unless its purpose is to write."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

import rar
from rar.cli import exchange, own_guides, routers, tables
from rar.cli.arguments import AsJson, Namespace, Price, Read, ReadId
from rar.cli.databases import copy, memory_app
from rar.cli.evaluation import eval_app
from rar.cli.judges import judge_app
from rar.cli.layout import show
from rar.cli.memories import (
    USUAL,
    check_namespace,
    find_decision,
    find_guide,
    memory_and_id,
    newest,
    reading,
    writing,
)
from rar.cli.moments import moment
from rar.cli.output import in_one_line
from rar.cli.plans import plan_command
from rar.cli.prices import prices_of
from rar.cli.rollouts import rollout
from rar.cli.serving import serve
from rar.cli.strategies import strategy
from rar.cli.watching import dashboard
from rar.cli.workers import queue, worker
from rar.errors import ConfigurationError, GuideRefusedError, RarError
from rar.facts import read_facts
from rar.guide_scan import guide_flaw
from rar.learning.screen import quarantine
from rar.memory.transitions import double_of
from rar.namespaces import whole_state
from rar.report import check_out, report
from rar.report.money import priced
from rar.savings import savings
from rar.values import Guide, GuideState
from rar.views import explained


class _Group(TyperGroup):
    """Turns errors that are nobody's bug into one line on stderr."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader went away, as `head` does: typer ends quietly
        except (RarError, OSError) as error:
            typer.echo(f"rar: {in_one_line(error)}", err=True)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Look into a RAR memory, learn and measure routers, and try routing on local models.",
)
guides_app = typer.Typer(no_args_is_help=True, help="Guides: what others wrote for the weak model.")
app.add_typer(guides_app, name="guides")
guides_app.command("add")(own_guides.add)
eval_app.command()(strategy)
app.command()(serve)
app.command()(dashboard)
app.command()(rollout)
app.command("plan")(plan_command)
app.command()(worker)
app.command()(queue)
app.add_typer(eval_app, name="eval")
app.add_typer(judge_app, name="judge")
app.command("export")(exchange.export_memory)
app.command("import")(exchange.import_memory)
app.command()(exchange.delete)
app.add_typer(memory_app, name="memory")
app.command()(copy)
app.command()(routers.fit)
app.command()(routers.calibrate)
app.command()(routers.push)
app.command()(routers.pull)


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(rar.__version__)
        raise typer.Exit


@app.command()
def stats(memory: Read = USUAL, namespace: Namespace = None, price: Price = None, as_json: AsJson = False) -> None:
    """Show what a memory holds, what was spent on what, and what was saved net."""
    prices = prices_of(price)
    with reading(memory) as opened:
        counts = opened.stats(namespace)
        check_namespace(opened, namespace)
        spending = [priced(spend, prices) for spend in opened.spending(namespace)]
        policies = {name: whole_state(opened, name) for name in counts.namespaces}
        each = {name: (opened.stats(name), state) for name, state in policies.items()}
    saved = savings(spending, prices)
    if as_json:
        facts = {"memory": opened.where, "namespace": namespace, **asdict(counts)}
        facts |= {"policy": {name: asdict(state) for name, state in policies.items()}}
        facts |= {"spending": [asdict(spend) for spend in spending]}
        _print_json(facts | {"savings": asdict(saved) | {"net_share": saved.net_share}})
    else:
        show(*tables.stats(opened.where, counts, each, spending, saved))


@guides_app.command("list")
def list_guides(
    memory: Read = USUAL,
    namespace: Namespace = None,
    state: Annotated[
        GuideState | None,
        typer.Option(help="Only guides in this state."),
    ] = None,
    unapproved: Annotated[
        bool, typer.Option("--unapproved", help="Only guides that could be used and nobody has approved yet.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the guides, oldest first."""
    with reading(memory) as opened:
        found = opened.guides(namespace=namespace, states=None if state is None else (state,))
    if unapproved:
        found = [guide for guide in found if guide.state in ("candidate", "active") and not guide.pinned]
    if as_json:
        _print_json([_guide_facts(guide) for guide in found])
    else:
        show(tables.guides(found))


@guides_app.command("show")
def show_guide(which: ReadId, as_json: AsJson = False) -> None:
    """Show one guide, whole, with the request that it was written for."""
    memory, id = memory_and_id(which)
    with reading(memory) as opened:
        guide = find_guide(opened, id)
        origin = opened.experience(guide.origin)
        same = double_of(guide, opened.guides(namespace=guide.namespace)) if guide.state == "retired" else None
    if as_json:
        facts = {"origin_text": origin.text if origin else None, "says_the_same_as": same.id if same else None}
        _print_json(_guide_facts(guide) | facts)
    else:
        show(*tables.guide(guide, origin.text if origin else None, same))


@guides_app.command("retire")
def retire_guide(which: ReadId, as_json: AsJson = False) -> None:
    """Never use a guide again."""
    _set_state(*memory_and_id(which), "retired", as_json)


@guides_app.command("approve")
def approve_guide(
    which: ReadId,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Approve it although the checks of its text refuse it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let a guide be used, whatever its counts say. If the checks refuse its text, that takes --anyway."""
    memory, id = memory_and_id(which)
    with reading(memory) as opened:
        guide = find_guide(opened, id)
    flaw = guide_flaw(guide.text)
    if flaw is not None and not anyway:
        raise GuideRefusedError(guide.id, flaw)
    _set_state(memory, guide.id, "active", as_json, anyway=flaw is not None)


@guides_app.command("quarantine")
def quarantine_guides(
    which: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MEMORY] [ID]", help="A memory file (rar.db without one), and an id or its beginning."),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every guide that is in use or on trial.")] = False,
    namespace: Annotated[
        str | None, typer.Option("--namespace", "-n", help="Every guide of this namespace that is in use or on trial.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take guides out of use at once: one, those of a namespace, or all."""
    if not (everything or namespace is not None):
        if not which:
            raise ConfigurationError("Nothing was named. Give a guide's id, a namespace by -n, or --all.")
        _set_state(*memory_and_id(which), "quarantined", as_json)
        return
    memory = which[0] if which else USUAL
    if len(which or ()) > 1:
        raise ConfigurationError("A guide's id is given beside --all or --namespace. Pass one or the other.")
    with writing(memory) as opened:
        count = quarantine(opened, (), namespace)
    if as_json:
        _print_json({"quarantined": count})
    else:
        typer.echo(f"{count} guides are quarantined now.")


@app.command()
def decisions(
    memory: Read = USUAL,
    namespace: Namespace = None,
    model: Annotated[
        str | None, typer.Option(metavar="ROLE", help="Only answers of this model: weak, strong, …")
    ] = None,
    reason: Annotated[
        list[str] | None, typer.Option(help="Only decisions for this reason, for example audit. Repeatable.")
    ] = None,
    not_learned: Annotated[
        str | None, typer.Option(metavar="CODE", help="Only those from which nothing was learned for this: budget, …")
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="AGE|DATE", help="Only since 2h, 7d or 2026-11-01.")] = None,
    until: Annotated[
        str | None, typer.Option(metavar="AGE|DATE", help="Only until this time, written the same way.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Show at most this many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the latest decisions, newest first."""
    now = time.time()
    first, last = moment("--since", since, now), moment("--until", until, now)
    with reading(memory) as opened:
        check_namespace(opened, namespace)
        wanted = (
            record
            for record in newest(opened, namespace, first or 0.0, last)
            if (model is None or record.model == model)
            and (not reason or read_facts(record.facts).reason in reason)
            and (not_learned is None or read_facts(record.facts).not_learned == not_learned)
        )
        found = list(itertools.islice(wanted, limit))
    if as_json:
        _print_json([dict(record.facts) for record in found])
    else:
        show(tables.decisions(found))


@app.command()
def explain(which: ReadId, as_json: AsJson = False) -> None:
    """Show why a call was routed as it was, and what was learned from it."""
    memory, id = memory_and_id(which)
    with reading(memory) as opened:
        found = explained(find_decision(opened, id), opened)
    if as_json:
        _print_json(found.as_dict())
    else:
        show(*tables.explanation(found))


@app.command("report")
def write_report(
    memory: Read = USUAL,
    out: Annotated[Path, typer.Option(help="The page, or - for standard output. An older report is replaced.")] = Path(
        "report.html"
    ),
    png: Annotated[Path | None, typer.Option(help="Also one image that sums it up.")] = None,
    namespace: Namespace = None,
    days: Annotated[float | None, typer.Option(metavar="N", help="Only the last N days, today included.")] = None,
    quality: Annotated[
        float | None, typer.Option(help="The floor to compare with; else the one that was recorded.")
    ] = None,
    price: Price = None,
    as_json: AsJson = False,
) -> None:
    """Write a page that shows what became of a memory's calls: share sent to strong, saving, quality, alarms."""
    to_stdout = out == Path("-")
    if not (as_json or to_stdout):
        check_out(out)
    with reading(memory) as opened:
        check_namespace(opened, namespace)
        found = report(opened, namespace=namespace, days=days, prices=prices_of(price), quality=quality)
    if png is not None:
        typer.echo(f"written: {found.png(png)}", err=True)
    if as_json:
        _print_json(found.as_dict())
        return
    if to_stdout:
        sys.stdout.write(found.html())
        return
    typer.echo(f"written: {found.save(out)}", err=True)
    show(tables.summary(found.facts))


@app.command()
def demo(
    questions: Annotated[
        int | None, typer.Option(min=1, help="How many questions are asked: 40, or 6 of a strategy.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(metavar="NAME", help="Show this strategy instead of RAR: cascade, fused, …")
    ] = None,
    memory: Annotated[Path, typer.Option(help="What is learned goes here; run it twice.")] = Path("rar-demo.db"),
    out: Annotated[Path, typer.Option(help="Folder of the plot.")] = Path(),
    seed: Annotated[int, typer.Option(help="Another seed asks other questions of the same kinds.")] = 0,
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Use the smallest model as the weak one, for a quick look.")
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Serve the models, ask without end, and show it all in the browser.")
    ] = False,
    postgres: Annotated[
        bool, typer.Option("--postgres", help="Learn in a PostgreSQL server of its own, with the ending .postgres.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Route a LangChain chain and a LlamaIndex query engine between two real local models that share one memory."""
    weak: Literal["weak", "tiny"] = "tiny" if tiny else "weak"
    with _kept(memory, postgres=postgres) as kept:
        if live:
            from rar.demo.live import live as show_live  # noqa: PLC0415 - no other command needs it
            from rar.demo.run import Settings  # noqa: PLC0415 - likewise

            show_live(kept, settings=Settings(seed=seed), weak=weak, tell=typer.echo)
            return
        from rar.demo.show import show_demo, show_strategy  # noqa: PLC0415 - no other command needs it

        if strategy is not None:
            show_strategy(strategy, questions or 6, seed=seed, tiny=tiny, as_json=as_json)
        elif not show_demo(questions or 40, kept, out, seed=seed, tiny=tiny, as_json=as_json):
            raise typer.Exit(130)  # what a shell says of a program that was interrupted


@contextmanager
def _kept(memory: Path, *, postgres: bool) -> Iterator[str | Path]:
    """Where the demo learns: in the file, or in a server of its own beside it."""
    if not postgres:
        yield memory
        return
    from rar.demo.postgres import postgres as running  # noqa: PLC0415 - no other command needs it

    with running(memory.with_suffix(".postgres").absolute(), lambda said: typer.echo(said, err=True)) as address:
        yield address


# --- small parts ----------------------------------------------------------------------------------------------------


def _print_json(facts: Any) -> None:
    typer.echo(json.dumps(facts, indent=2))


def _guide_facts(guide: Guide) -> dict[str, Any]:
    hidden = ("embedding",)
    return {name: getattr(guide, name) for name in Guide.__dataclass_fields__ if name not in hidden}


def _set_state(memory: str, id: str, state: GuideState, as_json: bool, *, anyway: bool = False) -> None:
    with writing(memory) as opened:
        guide = find_guide(opened, id)
        opened.set_guide_state(guide.id, state, anyway=anyway)
    if as_json:
        _print_json(_guide_facts(replace(guide, state=state, pinned=True, anyway=anyway)))
    else:
        typer.echo(f"Guide {guide.id} is {state} now, it was {guide.state}.")
