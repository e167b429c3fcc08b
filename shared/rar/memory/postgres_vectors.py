"""Embeddings as pgvector holds them, for memories that are searched in the database.

They are in tables of their own, so that a trial or a decision changes no row that a graph points to. The tables are
made when somebody wants them (`postgres_search`). From then on every process writes them, whatever it searches in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from rar.memory.columns import sane
from rar.memory.postgres_connections import Connection
from rar.memory.rows import unit
from rar.values import Experience, Guide, Vector

MARK: Final = "pgvector"  # the key in `meta` of the schema in which the extension is: vectors are to be written
READY: Final = "pgvector_ready"  # and the one that says that none is missing

_PUT_EXPERIENCES = (
    "INSERT INTO @experience_vectors (id, namespace, task, vector) VALUES (?, ?, ?, ?::{halfvec}) "
    "ON CONFLICT (id) DO UPDATE SET namespace = excluded.namespace, task = excluded.task, vector = excluded.vector "
    "WHERE (experience_vectors.namespace, experience_vectors.task) <> (excluded.namespace, excluded.task) "
    "OR experience_vectors.vector OPERATOR({schema}.<>) excluded.vector"
)
_PUT_GUIDES = (
    "INSERT INTO @guide_vectors (id, namespace, task, state, vector) VALUES (?, ?, ?, ?, ?::{halfvec}) "
    "ON CONFLICT (id) DO UPDATE SET namespace = excluded.namespace, task = excluded.task, state = excluded.state, "
    "vector = excluded.vector"
)


def put_experiences(connection: Connection, schema: str, experiences: Sequence[Experience]) -> None:
    """Store the embeddings of experiences that are stored.

    Args:
        schema: Where the extension is.
    """
    if experiences:
        texts = texts_of([one.embedding for one in experiences])
        rows = [
            (sane(one.id), sane(one.namespace), sane(one.task), text)
            for one, text in zip(experiences, texts, strict=True)
        ]
        connection.many(in_extension(_PUT_EXPERIENCES, schema), rows)


def put_guides(connection: Connection, schema: str, guides: Sequence[Guide]) -> None:
    """The same of guides."""
    if guides:
        texts = texts_of([one.embedding for one in guides])
        rows = [
            (sane(one.id), sane(one.namespace), sane(one.task), one.state, text)
            for one, text in zip(guides, texts, strict=True)
        ]
        connection.many(in_extension(_PUT_GUIDES, schema), rows)


def in_extension(sql: str, schema: str, **more: Any) -> str:
    """A statement in which `{halfvec}` is pgvector's type, and `{schema}` where its operators are."""
    return sql.format(schema=f'"{schema}"', halfvec=f'"{schema}".halfvec', **more)


def texts_of(embeddings: Sequence[Vector]) -> list[str]:
    """Unit vectors as pgvector reads them, in half precision: five digits tell its numbers apart."""
    rows = unit(np.stack(embeddings).astype(np.float32, copy=False))
    return [f"[{','.join([format(number, '.5g') for number in row])}]" for row in rows.astype(np.float16).tolist()]
