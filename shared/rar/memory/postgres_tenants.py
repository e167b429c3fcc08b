"""Tenants of a PostgreSQL memory: roles of the database that see their own namespaces, and nothing of the others'.

The database holds them to that by row-level security. What a tenant may see is said by policies that name its role, so
that no setting of a connection lifts them. A role that no policy names sees nothing.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from psycopg import sql

from rar.errors import ConfigurationError, ReadOnlyMemoryError
from rar.memory.columns import sane
from rar.memory.forgetting import namespace_key
from rar.memory.postgres_connections import Connection, PostgresServer, held
from rar.memory.secrets import LOCK
from rar.naming import shown

_BY_NAMESPACE = (
    "experiences", "guides", "policy", "spending", "decisions", "labels", "judged", "cached", "counters",
)  # fmt: skip
_ITS_OWN = "role = current_user"
_TALLIES = "EXISTS (SELECT FROM {schema}.experiences WHERE experiences.id = experience_id)"  # that it may see
# All may read what the memory is, none the key. Whoever comes first says which embedder it is for.
_META = f"key <> ALL (ARRAY{['secret', *LOCK]})"
_UNBOUND = "key IN ('embedder_id', 'dim') AND value IN ('', '0')"
_BOUND = "key IN ('embedder_id', 'dim')"
# The lessons that wait, and the queue, are the workers': tenants have no right to them.
_ALL = "rar_all"
_BY_PLACE = "deletions", "forgotten"
_BY_ROLE = "claims", "effects", "indexes"
_TABLES = (*_BY_NAMESPACE, *_BY_PLACE, *_BY_ROLE, "reserved", "tallies", "tenants", "meta", "lessons")
_VECTORS = "experience_vectors", "guide_vectors"  # that there may be
_TRUSTED = (
    "SELECT DISTINCT pg_get_userbyid(grantee), grantee = 0 FROM pg_class, aclexplode(coalesce(relacl, "
    "acldefault('r', relowner))) WHERE oid = (quote_ident(?) || '.experiences')::regclass AND grantee NOT IN "
    "(SELECT oid FROM pg_roles WHERE rolname IN (SELECT role FROM @tenants))"
)
_ROLE = (
    "SELECT rolsuper OR rolbypassrls, EXISTS (SELECT FROM unnest(?::text[]) AS other WHERE "
    "pg_has_role(pg_roles.oid, other, 'MEMBER')), EXISTS (SELECT FROM pg_class WHERE relowner = pg_roles.oid AND "
    "oid = (quote_ident(?) || '.experiences')::regclass) FROM pg_roles WHERE rolname = ?"
)


@dataclass(frozen=True, slots=True)
class Tenant:
    """A role of the database, and the namespaces that it sees and writes.

    Args:
        places: Digests of the namespaces, by which what was deleted of them is known.
    """

    role: str
    namespaces: tuple[str, ...]
    places: tuple[str, ...] = field(compare=False, repr=False)

    def place(self, namespace: str) -> str | None:
        """The digest of one of its own."""
        return dict(zip(self.namespaces, self.places, strict=True)).get(namespace)


def tenant_of(server: PostgresServer) -> Tenant | None:
    """What the role of our connections sees; None where it sees all.

    Raises:
        ConfigurationError: It was to be a tenant, and is none.
    """
    own = "SELECT role, value FROM @tenants WHERE key = 'namespaces' AND role = current_user"
    row = server.ask(lambda connection: connection.run(own).fetchone())
    if row is None and server.address.tenant_role is not None:
        raise ConfigurationError(
            f"{shown(server.address.tenant_role)} is no tenant of {server.where}: see `rar memory tenants add`."
        )
    return None if row is None else _tenant(*row)


def tenants_of(connection: Connection) -> list[Tenant]:
    """All of them, by name; a tenant sees itself."""
    rows = connection.run("SELECT role, value FROM @tenants WHERE key = 'namespaces' ORDER BY role").fetchall()
    return [_tenant(role, value) for role, value in rows]


def _tenant(role: str, value: str) -> Tenant:
    places: dict[str, str] = json.loads(value)
    return Tenant(role, tuple(places), tuple(places.values()))


def add_tenant(server: PostgresServer, role: str, namespaces: Sequence[str], key: bytes) -> Tenant:
    """Have a role see and write these namespaces and no others, whatever it saw before.

    The role must exist: whoever makes it gives it its password. This takes the owner of the memory's tables.

    Args:
        key: The memory's (`secret`).

    Raises:
        ConfigurationError: There is no such role, or it could see all the same what it must not.
        ReadOnlyMemoryError: This connection's role does not own the tables.
    """
    places = {sane(name): namespace_key(key, sane(name)) for name in namespaces}
    if not places:
        raise ConfigurationError("A tenant needs a namespace at least.")

    def adding(connection: Connection) -> None:
        _keep(connection, role, "namespaces", json.dumps(places))
        if connection.run("SELECT 1 FROM @tenants WHERE role = ? AND key = 'secret'", [role]).fetchone() is None:
            _keep(connection, role, "secret", secrets.token_hex(32))
        connection.run("DELETE FROM @indexes WHERE role = ?", [role])  # they may hold what it sees no more
        grant_all(connection)

    _as_owner(server, adding)
    return Tenant(role, tuple(places), tuple(places.values()))


def remove_tenant(server: PostgresServer, role: str) -> bool:
    """Have a tenant see nothing any more; whether there was one. What its namespaces hold stays."""

    def removing(connection: Connection) -> bool:
        if connection.run("DELETE FROM @tenants WHERE role = ? RETURNING 1", [role]).fetchone() is None:
            return False
        connection.run("DELETE FROM @indexes WHERE role = ?", [role])
        _close(connection, role)
        grant_all(connection)
        return True

    return bool(_as_owner(server, removing))


def _as_owner(server: PostgresServer, body: Any) -> Any:
    try:
        return server.transact(body)
    except ReadOnlyMemoryError as error:
        raise ReadOnlyMemoryError(server.where, "tenants are for the owner of its tables to add and remove") from error


def _keep(connection: Connection, role: str, key: str, value: str) -> None:
    connection.run(
        "INSERT INTO @tenants VALUES (?, ?, ?) ON CONFLICT (role, key) DO UPDATE SET value = excluded.value",
        [role, key, value],
    )


# --- policies and rights --------------------------------------------------------------------------------------------


def grant_all(connection: Connection) -> None:
    """Bring policies and rights up to date with the tenants there are; nothing where there never was one."""
    connection.run("SELECT pg_advisory_xact_lock(hashtextextended('rar-tenants ' || ?, 0))", [connection.schema])
    tenants = tenants_of(connection)
    if not tenants and not _secured(connection):
        return
    found = connection.run(_TRUSTED, [connection.schema]).fetchall()
    if any(public for _, public in found):
        raise ConfigurationError("All roles of the database may read this memory (PUBLIC). Revoke that before.")
    trusted = [role for role, _ in found]
    for tenant in tenants:
        _check(connection, tenant.role, trusted)
    tables = (*_TABLES, *_vectors(connection))
    for table in tables:
        _do(connection, "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY", table)
        _do(connection, "ALTER TABLE {table} FORCE ROW LEVEL SECURITY", table)
        _policy(connection, table, _ALL, trusted, "true", "true")
    for tenant in tenants:
        _close(connection, tenant.role)
        _open(connection, tenant)
    connection.run("UPDATE @meta SET value = ? WHERE key = 'oldest' AND value::int < ?", [str(_SINCE), _SINCE])


_SINCE = 5  # the schema from which on packages know of tenants; older ones would not tell them what is deleted


def _vectors(connection: Connection) -> tuple[str, ...]:
    there = "SELECT to_regclass(quote_ident(?) || '.experience_vectors') IS NOT NULL"
    (found,) = connection.run(there, [connection.schema]).fetchone() or (False,)
    return _VECTORS if found else ()


def _secured(connection: Connection) -> bool:
    row = connection.run(
        "SELECT relrowsecurity FROM pg_class WHERE oid = (quote_ident(?) || '.experiences')::regclass",
        [connection.schema],
    ).fetchone()
    return bool(row and row[0])


def _check(connection: Connection, role: str, trusted: Sequence[str]) -> None:
    row = connection.run(_ROLE, [list(trusted), connection.schema, role]).fetchone()
    if row is None:
        raise ConfigurationError(
            f"The database has no role {shown(role)}. Make it first: CREATE ROLE … LOGIN PASSWORD '…'."
        )
    if any(row):
        raise ConfigurationError(
            f"The role {shown(role)} could see all namespaces: it owns the tables, is a superuser, may bypass "
            "row-level security, or is a member of a role that sees them."
        )


def _open(connection: Connection, tenant: Tenant) -> None:
    """Give a tenant its rights, and say what it sees."""
    role, names = tenant.role, sql.Literal([held(name) for name in tenant.namespaces])
    its = sql.SQL("namespace = ANY ({}::text[])").format(names)
    everything = "SELECT, INSERT, UPDATE, DELETE"
    for table in (*_BY_NAMESPACE, *_vectors(connection)):
        _grant(connection, everything, table, role)
        _policy(connection, table, _name(role), [role], its, its)
    gone = sql.SQL("place = ANY ({}::text[])").format(sql.Literal(list(tenant.places)))
    its_money = sql.SQL("({} OR (namespace IS NULL AND role = current_user))").format(its)
    tallies = sql.SQL(_TALLIES).format(schema=sql.Identifier(connection.schema))
    rest: list[tuple[str, Any]] = [("reserved", its_money), ("tallies", tallies)]
    rest += [*((table, gone) for table in _BY_PLACE), *((table, _ITS_OWN) for table in _BY_ROLE)]
    for table, condition in rest:
        _grant(connection, everything, table, role)
        _policy(connection, table, _name(role), [role], condition, condition)
    _grant(connection, "SELECT, INSERT, UPDATE", "tenants", role)
    _policy(connection, "tenants", _name(role), [role], _ITS_OWN, None, "SELECT")
    its_key = f"{_ITS_OWN} AND key <> 'namespaces'"
    _policy(connection, "tenants", _name(role, "binds"), [role], its_key, its_key)
    _grant(connection, "SELECT, UPDATE (value)", "meta", role)
    _policy(connection, "meta", _name(role), [role], _META, None, "SELECT")
    _policy(connection, "meta", _name(role, "binds"), [role], _UNBOUND, _BOUND, "UPDATE")
    _do(connection, "GRANT USAGE ON SCHEMA {schema} TO {role}", role=role)
    _do(connection, "GRANT EXECUTE ON FUNCTION {schema}.delete_for_good(text[], text) TO {role}", role=role)


def _close(connection: Connection, role: str) -> None:
    """Take a role's rights and policies away."""
    rows = connection.run(
        "SELECT tablename, policyname FROM pg_policies WHERE schemaname = ? AND policyname IN (?, ?)",
        [connection.schema, _name(role), _name(role, "binds")],
    ).fetchall()
    for table, policy in rows:
        _do(connection, "DROP POLICY {policy} ON {table}", table, policy=policy)
    if connection.run("SELECT 1 FROM pg_roles WHERE rolname = ?", [role]).fetchone() is not None:
        _do(connection, "REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}", role=role)
        _do(connection, "REVOKE ALL ON ALL FUNCTIONS IN SCHEMA {schema} FROM {role}", role=role)
        _do(connection, "REVOKE ALL ON ALL SEQUENCES IN SCHEMA {schema} FROM {role}", role=role)
        _do(connection, "REVOKE ALL ON SCHEMA {schema} FROM {role}", role=role)


def _name(role: str, what: str = "sees") -> str:
    """The name of a policy: a role's own may be too long to be a part of it."""
    return f"rar_{what}_{blake2b(role.encode('utf-8', 'replace'), digest_size=8).hexdigest()}"


def _policy(
    connection: Connection, table: str, name: str, roles: Sequence[str], using: Any, check: Any, what: str = "ALL"
) -> None:
    parts = {
        "roles": sql.SQL(", ").join(map(sql.Identifier, roles)), "what": sql.SQL(what), "using": _expression(using),
    }  # fmt: skip
    _do(connection, "DROP POLICY IF EXISTS {policy} ON {table}", table, policy=name)
    text = "CREATE POLICY {policy} ON {table} FOR {what} TO {roles} USING ({using})"
    if check is not None:
        text, parts["check"] = f"{text} WITH CHECK ({{check}})", _expression(check)
    _do(connection, text, table, policy=name, **parts)


def _expression(given: Any) -> sql.Composable:
    return given if isinstance(given, sql.Composable) else sql.SQL(given)


def _grant(connection: Connection, what: str, table: str, role: str) -> None:
    _do(connection, f"GRANT {what} ON {{table}} TO {{role}}", table, role=role)


def _do(connection: Connection, text: str, table: str = "", *, role: str = "", policy: str = "", **parts: Any) -> None:
    """Execute a statement of which no part can be a value."""
    connection.raw.execute(
        sql.SQL(text).format(
            table=sql.Identifier(connection.schema, table), schema=sql.Identifier(connection.schema),
            role=sql.Identifier(role), policy=sql.Identifier(policy), **parts,
        )
    )  # fmt: skip
