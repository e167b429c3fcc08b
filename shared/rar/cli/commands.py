"""What `rar` can do with a memory file. Every command reads with a read-only memory unless its purpose is to write."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

import rar
from rar.cli import routers, tables
from rar.cli.evaluation import eval_app
from rar.errors import (
    ConfigurationError,
    ImportFormatError,
    MissingMemoryError,
    RarError,
    UnknownDecisionError,
    UnknownGuideError,
    UnknownNameError,
)
from rar.ledger import Prices, savings
from rar.memory import SQLiteMemory
from rar.memory.base import DecisionRecord, Spend
from rar.memory.paths import path_of
from rar.router import explained
from rar.values import Guide, GuideState, Usage


class _Group(TyperGroup):
    """Turns errors that are nobody's bug into one line on stderr."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise  # the reader went away, as `head` does: typer ends quietly
        except (RarError, OSError) as error:
            typer.echo("rar: " + " ".join(str(error).split()), err=True)
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=_Group,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Look into a RAR memory, learn and measure routers, and try routing on local models.",
)
guides_app = typer.Typer(no_args_is_help=True, help="Guides: what the strong model wrote for the weak one.")
app.add_typer(guides_app, name="guides")
app.add_typer(eval_app, name="eval")
app.command()(routers.fit)
app.command()(routers.calibrate)
app.command()(routers.push)
app.command()(routers.pull)

Memory = Annotated[Path, typer.Argument(metavar="MEMORY", help="A memory file, for example rar.db.")]
Namespace = Annotated[str | None, typer.Option("--namespace", "-n", help="Only this namespace.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]
GuideId = Annotated[str, typer.Argument(metavar="ID", help="A guide's id, or an unambiguous beginning of it.")]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if version:
        typer.echo(rar.__version__)
        raise typer.Exit


@app.command()
def stats(
    memory: Memory,
    namespace: Namespace = None,
    price: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=IN/OUT",
            help="USD per million input and output tokens of a model or role, for example strong=2/8. Repeatable.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a memory holds, what was spent on what, and what was saved net."""
    prices = Prices(dict(map(_price, price or ())))
    with _reading(memory) as opened:
        counts = opened.stats(namespace)
        if namespace is not None and namespace not in counts.namespaces:
            raise UnknownNameError("namespace", namespace, opened.stats().namespaces)
        spending = [_priced(spend, prices) for spend in opened.spending(namespace)]
        policies = {name: opened.policy_state(name) for name in counts.namespaces}
    saved = savings(spending, prices)
    if as_json:
        facts = {"memory": str(memory), "namespace": namespace, **asdict(counts)}
        facts |= {"policy": {name: asdict(state) for name, state in policies.items()}}
        facts |= {"spending": [asdict(spend) for spend in spending]}
        _print_json(facts | {"savings": asdict(saved) | {"net_share": saved.net_share}})
    else:
        _print(*tables.stats(str(memory), counts, policies, spending, saved))


@guides_app.command("list")
def list_guides(
    memory: Memory,
    namespace: Namespace = None,
    state: Annotated[
        GuideState | None,
        typer.Option(help="Only guides in this state."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the guides, oldest first."""
    with _reading(memory) as opened:
        found = opened.guides(namespace=namespace, states=None if state is None else (state,))
    if as_json:
        _print_json([_guide_facts(guide) for guide in found])
    else:
        _print(tables.guides(found))


@guides_app.command("show")
def show_guide(memory: Memory, id: GuideId, as_json: AsJson = False) -> None:
    """Show one guide, whole, with the request that it was written for."""
    with _reading(memory) as opened:
        guide = _find_guide(opened, id)
        origin = opened.experience(guide.origin)
    if as_json:
        _print_json(_guide_facts(guide) | {"origin_text": origin.text if origin else None})
    else:
        _print(tables.guide(guide, origin.text if origin else None))


@guides_app.command("retire")
def retire_guide(memory: Memory, id: GuideId, as_json: AsJson = False) -> None:
    """Never use a guide again."""
    _set_state(memory, id, "retired", as_json)


@guides_app.command("approve")
def approve_guide(memory: Memory, id: GuideId, as_json: AsJson = False) -> None:
    """Let a guide be used, whatever its counts say."""
    _set_state(memory, id, "active", as_json)


@app.command()
def decisions(
    memory: Memory,
    namespace: Namespace = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the latest decisions, newest first."""
    with _reading(memory) as opened:
        found = opened.decisions(namespace=namespace, limit=limit)
    if as_json:
        _print_json([dict(record.facts) for record in found])
    else:
        _print(tables.decisions(found))


@app.command()
def explain(
    memory: Memory,
    id: Annotated[str, typer.Argument(metavar="DECISION_ID", help="Its id, or an unambiguous beginning of it.")],
    as_json: AsJson = False,
) -> None:
    """Show why a call was routed as it was, and what was learned from it."""
    with _reading(memory) as opened:
        facts = explained(_find_decision(opened, id).facts, opened)
    if as_json:
        _print_json(facts)
    else:
        _print(*tables.explanation(facts))


@app.command("export")
def export_memory(
    memory: Memory,
    file: Annotated[str, typer.Argument(metavar="[FILE|-]", help="A new file, or - for standard output.")] = "-",
    namespace: Namespace = None,
) -> None:
    """Write everything as JSON Lines, embeddings included."""
    with _reading(memory) as opened:
        lines = (json.dumps(record) + "\n" for record in opened.export(namespace))
        if file == "-":
            sys.stdout.writelines(lines)
            return
        count = _write_new(Path(file), lines)
    typer.echo(f"{count} records written to {file}.", err=True)


@app.command("import")
def import_memory(
    memory: Memory,
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="An export, or - for standard input.")],
) -> None:
    """Add an export to a memory, which is made where there is none."""
    with _lines(file) as lines, SQLiteMemory(memory) as opened:
        count = opened.load(_records(lines, file))
    typer.echo(f"{count} records imported into {memory}.")


@app.command()
def delete(
    memory: Memory,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Everything of this namespace.")] = None,
    id: Annotated[
        list[str] | None,
        typer.Option(help="This experience or guide, by its whole id. Repeatable."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a namespace, or single experiences and guides, for good."""
    if namespace is None and not id:
        raise ConfigurationError("Nothing was named to delete. Pass --namespace or --id.")
    _must_exist(memory)
    with SQLiteMemory(memory) as opened:
        what = [f"namespace {namespace!r} with its spending and decisions"] if namespace is not None else []
        what += [f"{len(id)} experiences or guides"] if id else []
        if not yes:
            typer.confirm(f"Delete {' and '.join(what)} from {memory}?", abort=True)
        count = opened.delete(ids=id or (), namespace=namespace)
    typer.echo(f"{count} experiences and guides deleted.")


@app.command()
def demo(
    questions: Annotated[int, typer.Option(min=1, help="How many questions are asked.")] = 40,
    memory: Annotated[Path, typer.Option(help="What is learned goes here; run it twice.")] = Path("rar-demo.db"),
    out: Annotated[Path, typer.Option(help="Folder of the plot.")] = Path(),
    seed: Annotated[int, typer.Option(help="Another seed asks other questions of the same kinds.")] = 0,
    tiny: Annotated[
        bool, typer.Option("--tiny", help="Use the smallest model as the weak one, for a quick look.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Route a LangChain chain and a LlamaIndex query engine between two real local models that share one memory."""
    from rar.demo.show import show_demo  # noqa: PLC0415 - no other command needs it

    if not show_demo(questions, memory, out, seed=seed, tiny=tiny, as_json=as_json):
        raise typer.Exit(130)  # what a shell says of a program that was interrupted


# --- small parts ----------------------------------------------------------------------------------------------------


def _reading(memory: Path) -> SQLiteMemory:
    _must_exist(memory)
    return SQLiteMemory(memory, read_only=True)


def _must_exist(memory: Path) -> None:
    path_of(memory)
    if not memory.exists():
        raise MissingMemoryError(str(memory))


def _print(*renderables: Any) -> None:
    console = Console()
    for renderable in renderables:
        console.print(renderable)


def _print_json(facts: Any) -> None:
    typer.echo(json.dumps(facts, indent=2))


def _price(option: str) -> tuple[str, tuple[float, float]]:
    name, _, price = option.rpartition("=")
    try:
        into, out = (float(usd) for usd in price.split("/"))
    except ValueError:
        raise ConfigurationError(f"--price {option!r} is not NAME=IN/OUT, for example strong=2/8.") from None
    return name, (into, out)


def _priced(spend: Spend, prices: Prices) -> Spend:
    """`spend` at `prices` where some of its calls had none when they were made."""
    if not spend.unpriced:
        return spend
    usd = prices.usd(spend.role, spend.model_id, Usage(spend.input_tokens, spend.output_tokens))
    return spend if usd is None else replace(spend, usd=usd, unpriced=0)


def _guide_facts(guide: Guide) -> dict[str, Any]:
    hidden = ("embedding",)
    return {name: getattr(guide, name) for name in Guide.__dataclass_fields__ if name not in hidden}


def _find_guide(memory: SQLiteMemory, id: str) -> Guide:
    found = memory.guide(id)
    if found is not None:
        return found
    named = [guide for guide in memory.guides() if guide.id.startswith(id)]
    if not named:
        raise UnknownGuideError(id)
    _check_one(id, [guide.id for guide in named])
    return named[0]


def _find_decision(memory: SQLiteMemory, id: str) -> DecisionRecord:
    found = memory.decision(id)
    if found is not None:
        return found
    named = [record for record in memory.decisions(limit=50_000) if record.id.startswith(id)]
    if not named:
        raise UnknownDecisionError(id)
    _check_one(id, [record.id for record in named])
    return named[0]


def _check_one(given: str, ids: list[str]) -> None:
    if len(ids) > 1:
        shown = ", ".join(ids[:3])
        raise ConfigurationError(f"Id {given!r} is ambiguous, {len(ids)} begin so: {shown}. Give more of it.")


def _set_state(memory: Path, id: str, state: GuideState, as_json: bool) -> None:
    _must_exist(memory)
    with SQLiteMemory(memory) as opened:
        guide = _find_guide(opened, id)
        opened.set_guide_state(guide.id, state)
    if as_json:
        _print_json(_guide_facts(replace(guide, state=state)))
    else:
        typer.echo(f"Guide {guide.id} is {state} now, it was {guide.state}.")


def _write_new(file: Path, lines: Iterable[str]) -> int:
    """Write `lines` into a file that must not exist yet, whole or not at all."""
    count = 0
    with file.open("x", encoding="utf-8") as stream:
        try:
            for line in lines:
                stream.write(line)
                count += 1
        except BaseException:
            file.unlink()
            raise
    return count


@contextmanager
def _lines(file: str) -> Iterator[Iterable[str]]:
    if file == "-":
        yield sys.stdin
        return
    # Bytes that are no text become what is no JSON, so that the message names their line.
    with Path(file).open(encoding="utf-8", errors="backslashreplace") as stream:
        yield stream


def _records(lines: Iterable[str], name: str) -> Iterator[Any]:
    for place, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ImportFormatError(name, f"line {place}: {error}") from None
