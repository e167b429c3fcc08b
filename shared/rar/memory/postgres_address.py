"""The address of a memory in PostgreSQL: what is connected to, and what may be said of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from rar.errors import MissingDependencyError, UnreadableAddressError

SCHEMES = ("postgresql", "postgres")
USUAL_SCHEMA = "rar"
INDEXES = ("faiss", "pgvector")
_OURS = ("schema=", "index=", "prepare=", "tenant_role=")
_YES_OR_NO = {"0": False, "1": True}
_LONGEST = 63  # bytes of a name in PostgreSQL
_USUAL: dict[str, Any] = {
    "application_name": "rar",
    "connect_timeout": 5,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,  # a server that is gone without a word is noticed after so many milliseconds
}


@dataclass(frozen=True)
class Address:
    """Where a memory is.

    Args:
        where: Host, port, database and, if it is not the usual one, schema: no user, no password, no option.
        options: libpq's, among them the password.
        index: In what is searched: an index of each process, or one of the database.
        prepare: Whether connections keep their statements prepared.
        tenant_role: That connections work as, where they log in as another one.
    """

    where: str
    schema: str
    options: dict[str, Any] = field(repr=False)
    index: str = INDEXES[0]
    prepare: bool = False
    tenant_role: str | None = None

    @property
    def user(self) -> str:
        """Who connects, and as whom."""
        login = str(self.options.get("user") or "")
        return login if self.tenant_role is None else f"{login} {self.tenant_role}"

    def without_secrets(self, text: str) -> str:
        """`text` without the password, should a library quote it."""
        password = self.options.get("password")
        return text.replace(str(password), "…") if password else text


def address_from(given: str, tenant_role: str | None = None) -> Address:
    """What a URL says: `postgresql://user:password@host:5432/database?sslmode=verify-full&schema=team`.

    All options of libpq are passed on. `schema` is ours: in which schema of the database the memory is. So are
    `index`, `prepare` and `tenant_role`.

    Args:
        tenant_role: Instead of the URL's.

    Raises:
        UnreadableAddressError: It cannot be read. Nothing of it is quoted.
        MissingDependencyError: The extra `postgres` is not installed.
    """
    try:
        from psycopg import ProgrammingError  # noqa: PLC0415 - the extra `postgres`
        from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415
    except ImportError:
        raise MissingDependencyError("psycopg", "postgres") from None
    base, _, query = given.partition("?")
    pairs = [pair for pair in query.split("&") if pair]
    ours = dict(pair.split("=", 1) for pair in pairs if pair.startswith(_OURS))
    schema, index = unquote(ours.get("schema", USUAL_SCHEMA)), ours.get("index", INDEXES[0])
    if not 0 < len(schema.encode("utf-8", "replace")) <= _LONGEST or set(schema) & set('\0"%?@'):
        raise UnreadableAddressError("postgresql", f"`schema` must be a plain name of 1 to {_LONGEST} bytes.")
    if index not in INDEXES:
        raise UnreadableAddressError("postgresql", f"`index` must be one of {', '.join(INDEXES)}.")
    prepare = _YES_OR_NO.get(ours.get("prepare", "0"))
    if prepare is None:
        raise UnreadableAddressError("postgresql", "`prepare` must be 0 or 1.")
    rest = "&".join(pair for pair in pairs if not pair.startswith(_OURS))
    try:
        options = conninfo_to_dict(f"{base}?{rest}" if rest else base)
    except (ProgrammingError, UnicodeError):
        raise UnreadableAddressError(
            "postgresql", "Write special characters of the user and the password as %40 for @, and so on."
        ) from None
    role = tenant_role or (unquote(ours["tenant_role"]) if "tenant_role" in ours else None)
    if role is not None:
        options["options"] = _as_role(role, options.get("options", ""))
    return Address(_where(options, schema), schema, {**_USUAL, **options}, index, prepare, role)


def _as_role(role: str, options: str) -> str:
    """The server's options of a connection that works as `role` from its first statement on."""
    escaped = role.replace("\\", "\\\\").replace(" ", "\\ ")
    return f"{options} -c role={escaped}".strip()


def _where(options: dict[str, Any], schema: str) -> str:
    host = str(options.get("host") or options.get("hostaddr") or options.get("service") or "")
    port = f":{options['port']}" if options.get("port") else ""
    shown = "" if schema == USUAL_SCHEMA else f"?schema={schema}"
    return f"postgresql://{'[local]' if host.startswith('/') else host}{port}/{options.get('dbname') or ''}{shown}"
