"""What leaves a memory, and what comes into it: exports, imports, training data, and deletions."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TextIO, cast

import typer

from rar.cli.arguments import Memory, Namespace, Read
from rar.cli.memories import USUAL, check_namespace, reading, writing
from rar.cli.plans import convert, is_log
from rar.errors import ConfigurationError, ImportFormatError
from rar.memory import Memory as Opened
from rar.options import Name
from rar.training import FORMATS, Example, Format, examples

_LONGEST_LINE = 32 * 2**20  # characters; the longest record that an import takes is shorter
_FORMATS = ("memory", *FORMATS)


def export_memory(
    memory: Read = USUAL,
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="A new file, or - for standard output.")] = "-",
    namespace: Namespace = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            help="memory: everything. sft, dpo or kto: judged answers as TRL's trainers read them.",
        ),
    ] = "memory",
    model: Annotated[
        str | None, typer.Option(metavar="ID", help="To train on: only answers of this cheaper model, by its id.")
    ] = None,
) -> None:
    """Write everything as JSON Lines, embeddings included; or the judged answers, to train a model on."""
    Name(_FORMATS)("--format", form)
    with reading(memory) as opened:
        check_namespace(opened, namespace)
        records = opened.export(namespace) if form == "memory" else to_train_on(opened, form, namespace, model)
        lines = (json.dumps(record) + "\n" for record in records)
        if file == "-":
            sys.stdout.writelines(lines)
            return
        count = _write_new(Path(file), lines)
    typer.echo(f"{count} {'records' if form == 'memory' else 'examples'} written to {file}.", err=True)


def import_memory(
    memory: Memory,
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="An export, or - for standard input.")],
    out: Annotated[Path | None, typer.Option(help="Of a log: a new file for its recorded requests.")] = None,
) -> None:
    """Add an export to a memory, which is made where there is none.

    With langfuse, litellm, otel or openai-log in place of MEMORY: read such a log as recorded requests, for `rar plan`.
    """
    if is_log(memory):
        convert(memory, file, out)
        return
    with _lines(file) as lines, writing(memory, create=True) as opened:
        count = opened.load(_records(lines, file))
    typer.echo(f"{count} records imported into {opened.where}.")


def delete(
    memory: Memory,
    namespace: Annotated[str | None, typer.Option("--namespace", "-n", help="Everything of this namespace.")] = None,
    answers: Annotated[
        bool, typer.Option("--answers", help="Judged and cached answers alone, of the namespace or of all.")
    ] = False,
    id: Annotated[
        list[str] | None,
        typer.Option(help="This experience or guide, by its whole id. Repeatable."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a namespace, single experiences and guides, or answers alone, for good."""
    if namespace is None and not id and not answers:
        raise ConfigurationError("Nothing was named to delete. Pass --answers, --namespace or --id.")
    if answers and id:
        raise ConfigurationError("--answers and --id are given. Pass one of the two.")
    with writing(memory) as opened:
        if answers:
            whose = "" if namespace is None else f" of namespace {namespace!r}"
            if not yes:
                typer.confirm(f"Delete the kept answers{whose} from {opened.where}?", abort=True)
            typer.echo(f"{opened.drop_answers(namespace)} answers deleted.")
            return
        what = [f"namespace {namespace!r} with its spending and decisions"] if namespace is not None else []
        what += [f"{len(id)} experiences or guides"] if id else []
        if not yes:
            typer.confirm(f"Delete {' and '.join(what)} from {opened.where}?", abort=True)
        count = opened.delete(ids=id or (), namespace=namespace)
    typer.echo(f"{count} experiences and guides deleted.")


# --- small parts ----------------------------------------------------------------------------------------------------


def to_train_on(memory: Opened, form: str, namespace: str | None, model: str | None) -> Sequence[Example]:
    """The examples that a memory's judged answers make.

    Raises:
        ConfigurationError: They make none.
    """
    found = examples(memory, cast("Format", form), namespace=namespace, model=model)
    if not found:
        kept = any(model in (None, one.weak_id) for one in memory.judged_answers(namespace))
        why = (
            f"none of the judged answers in {memory.where} makes an example for {form!r}"
            if kept
            else f"{memory.where} keeps no such answers. Route with store_answers=True, and have some judged"
        )
        raise ConfigurationError(f"There is nothing to train on: {why}.")
    return found


def _write_new(file: Path, lines: Iterable[str]) -> int:
    """Write `lines` into a file that must not exist yet, whole or not at all."""
    count = 0
    # Questions of users are in it: it is its owner's alone.
    with open(file, "x", encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600)) as stream:
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
        yield _bounded(sys.stdin, file)
        return
    # Bytes that are no text become what is no JSON, so that the message names their line.
    with Path(file).open(encoding="utf-8", errors="backslashreplace") as stream:
        yield _bounded(stream, file)


def _bounded(stream: TextIO, name: str) -> Iterator[str]:
    """The lines of `stream`, none of which takes all memory there is."""
    place = 0
    while line := stream.readline(_LONGEST_LINE + 1):
        place += 1
        if len(line) > _LONGEST_LINE:
            raise ImportFormatError(name, f"line {place}: it has more than {_LONGEST_LINE:,} characters")
        yield line


def _records(lines: Iterable[str], name: str) -> Iterator[Any]:
    for place, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ImportFormatError(name, f"line {place}: {error}") from None
