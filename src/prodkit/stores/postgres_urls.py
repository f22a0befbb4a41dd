"""From a URL to where a PostgreSQL is, who we are to it, and how we use it. Nothing here repeats a password."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from prodkit.core.exceptions import SettingsError, SettingsFault

if TYPE_CHECKING:
    from urllib.parse import SplitResult

__all__ = ["SCHEMES", "Target", "parse"]

SCHEMES: Final = frozenset({"postgresql", "postgresql+asyncpg"})
"""Which URLs are ours. `postgres://` is not: SQLAlchemy does not take it either."""

_EXAMPLE: Final = "Write it like postgresql+asyncpg://user:password@host:5432/database."
_MODES: Final = ("disable", "prefer", "require", "verify-ca", "verify-full")
_FILES: Final = ("sslrootcert", "sslcert", "sslkey")
_OPTIONS: Final = ("host", "schema", "max_connections", "statement_cache_size", "sslmode", *_FILES)
# What a name may be that needs no care anywhere; 63 bytes are PostgreSQL's own bound.
_SCHEMA: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_PORT: Final = 5432
_HIGHEST_PORT: Final = 65535
_MOST_CONNECTIONS: Final = 100
_MOST_STATEMENTS: Final = 1000


@dataclass(frozen=True, slots=True)
class Target:
    """What a URL says.

    Attributes:
        name: the URL without credentials and options.
        host: a name, an address, or the directory of a socket.
        port: also of a socket.
        database: its name.
        user: None for what `PGUSER` says, or the user of this process.
        password: None for what `PGPASSWORD` or the password file says.
        schema: where our tables are.
        max_connections: of one event loop.
        statement_cache_size: prepared statements of each connection; 0 for a PgBouncer that hands connections out by transaction.
        tls: how the connection is protected: a context, or one of asyncpg's words for less than that.
    """

    name: str
    host: str
    port: int
    database: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    schema: str = "prodkit"
    max_connections: int = 5
    statement_cache_size: int = 100
    tls: ssl.SSLContext | Literal["disable", "prefer"] = "prefer"


def parse(url: str, *, setting: str) -> Target:
    """Read *url*: `postgresql+asyncpg://[user[:password]@]host[:port]/database`, or `postgresql:///database?host=/run/postgresql`.

    Options:

    * `host`: the directory of a unix socket, in place of a host.
    * `schema`: where our tables are, `prodkit` by default; it is made if it is not there and we may.
    * `max_connections`: of each event loop, so of each worker; 2 to 100, 5 by default.
    * `statement_cache_size`: 0 for a PgBouncer that hands connections out by transaction; 100 by default.
    * `sslmode`, as in libpq: `prefer` (the default: no protection against whoever stands in between), `verify-full`, `verify-ca`,
      `require`, `disable`; with `sslrootcert`, `sslcert` and `sslkey`, which are files.

    Args:
        url: what an operator wrote.
        setting: the name to complain under.

    Raises:
        SettingsError: it cannot be used. The message does not repeat the URL, which may hold a password.
    """
    reader = _Reader(setting)
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        port = parts.port or _PORT
    except ValueError:
        raise _fault(setting, "it is no URL.", _EXAMPLE) from None
    if parts.fragment:
        raise _fault(setting, "a # begins a part that means nothing.", "Write a # in a password as %23.")
    if unknown := sorted(set(query) - set(_OPTIONS)):
        raise _fault(
            setting, f"it has unknown options: {', '.join(unknown)}.", f"Known are {', '.join(_OPTIONS)}."
        )
    host = reader.host(parts, query)
    database = unquote(parts.path.removeprefix("/"))
    if not database or "/" in database:
        raise _fault(setting, "it names no database.", _EXAMPLE)
    schema = query.get("schema", "prodkit")
    if not _SCHEMA.fullmatch(schema) or schema.startswith("pg_"):
        raise _fault(
            setting,
            "its schema is no plain name.",
            "Use lower-case letters, digits and _; not pg_ at the start.",
        )
    place = f"{host}:{port}" if "host" not in query else f"{host} (port {port})"
    return Target(
        name=f"postgresql://{place}/{database}" if "host" not in query else f"postgresql:{place}/{database}",
        host=host,
        port=port,
        database=database,
        user=None if parts.username is None else unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        schema=schema,
        max_connections=reader.number(query, "max_connections", 2, _MOST_CONNECTIONS, 5),
        statement_cache_size=reader.number(query, "statement_cache_size", 0, _MOST_STATEMENTS, 100),
        tls=reader.tls(query),
    )


@dataclass(frozen=True, slots=True)
class _Reader:
    setting: str

    def host(self, parts: SplitResult, query: dict[str, str]) -> str:
        directory = query.get("host")
        hosts = parts.netloc.rpartition("@")[2]
        if directory is not None:
            if not directory.startswith("/") or parts.hostname:
                raise _fault(
                    self.setting,
                    "its option host is the directory of a socket, and then nothing else is a host.",
                    "Write postgresql:///database?host=/run/postgresql.",
                )
            return directory
        if not parts.hostname or "," in hosts:
            raise _fault(self.setting, "it names not one host.", _EXAMPLE)
        return unquote(parts.hostname)

    def number(self, query: dict[str, str], option: str, least: int, most: int, default: int) -> int:
        text = query.get(option)
        if text is None:
            return default
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise _fault(
                self.setting, f"its option {option} is no number from {least} to {most}.", "Leave it out."
            )
        return int(text)

    def tls(self, query: dict[str, str]) -> ssl.SSLContext | Literal["disable", "prefer"]:
        mode = query.get("sslmode", "prefer")
        files = {name: query[name] for name in _FILES if name in query}
        if mode not in _MODES:
            raise _fault(self.setting, "its option sslmode is not known.", f"Use one of {', '.join(_MODES)}.")
        if mode in {"disable", "prefer"}:
            if files:
                raise _fault(
                    self.setting,
                    f"{', '.join(files)} mean nothing with sslmode={mode}.",
                    "Add sslmode=verify-full.",
                )
            return "disable" if mode == "disable" else "prefer"
        if "sslkey" in files and "sslcert" not in files:
            raise _fault(self.setting, "sslkey means nothing without sslcert.", "Name both files.")
        try:
            context = ssl.create_default_context(cafile=files.get("sslrootcert"))
            if "sslcert" in files:
                context.load_cert_chain(files["sslcert"], files.get("sslkey"))
        except (OSError, ValueError) as error:  # an SSLError is an OSError
            raise _fault(
                self.setting, f"its certificates cannot be read ({type(error).__name__}).", "Check the files."
            ) from error
        context.check_hostname = mode == "verify-full"
        # As in libpq, where `require` alone encrypts and believes anybody, and with an authority is `verify-ca`.
        if mode == "require" and "sslrootcert" not in files:
            context.verify_mode = ssl.CERT_NONE
        return context


def _fault(setting: str, message: str, cure: str) -> SettingsError:
    return SettingsError([SettingsFault(setting, message, cure)])
