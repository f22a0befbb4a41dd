"""From the URL in `PRODKIT_STORE` to stores."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote, urlsplit

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.core.extras import require
from prodkit.core.features import HealthResult

if TYPE_CHECKING:
    from urllib.parse import SplitResult

    from prodkit.core.clock import Clock
    from prodkit.stores import KeyStore, RateLimitStore, Store
    from prodkit.stores.cache import CacheStore
    from prodkit.stores.ledger import LedgerStore
    from prodkit.stores.ledger_export import Watermark
    from prodkit.stores.redis_link import RedisLink
    from prodkit.stores.sessions import SessionStore

__all__ = [
    "DURABLE_SECONDS",
    "LIMITS_PREFIX",
    "Stores",
    "bounded",
    "check_limits_url",
    "check_url",
    "is_shared",
    "open_limits",
    "open_store",
]

LIMITS_PREFIX: Final = "limits+"
"""What begins the URL of a storage of the `limits` package."""

_REDIS: Final = frozenset(
    {
        "redis",
        "rediss",
        "unix",
        "redis+sentinel",
        "rediss+sentinel",
        "redis+cluster",
        "rediss+cluster",
    }
)
_SUPPORTED: Final = (
    "memory://, sqlite:///path/to/file.db, redis://host:6379/0, redis+sentinel://host:26379/service or "
    "redis+cluster://host:6379 (rediss for TLS)"
)
_SEVERITY: Final = ("healthy", "degraded", "unhealthy")

_BOUND: Final = "timeout_seconds"
_EXPORT: Final = "ledger_export"
_BOUND_SECONDS: Final = 0.1
_SHORTEST_SECONDS: Final = 0.005
_LONGEST_SECONDS: Final = 30.0
DURABLE_SECONDS: Final = 5.0
"""What waits for a disk may take longer than what a request waits for."""
# So may what reads pages of a history.
_PAGE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Stores:
    """All the stores behind one URL.

    Attributes:
        name: scheme and place, without credentials; fit for a log line or a health check.
        shared: whether other workers see the same state: of this machine with SQLite, of every machine with Redis.
        limits: buckets.
        keys: API keys.
        ledger: what was spent, and what is held for calls under way.
        sessions: sessions of browsers.
        cache: answers that were paid for.
    """

    name: str
    shared: bool
    limits: RateLimitStore
    keys: KeyStore
    ledger: LedgerStore
    sessions: SessionStore
    cache: CacheStore

    async def check(self) -> HealthResult | None:
        """Ask every store; see `prodkit.stores.Store.check`.

        Returns:
            What the worst of them found, with every detail that was told once; None when nobody found anything.
        """
        found = []
        for store in (self.limits, self.keys, self.ledger, self.sessions, self.cache):
            checked: Store = store
            result = await checked.check()
            if result is not None:
                found.append(result)
        if not found:
            return None
        details = dict.fromkeys(result.detail for result in found if result.detail)
        worst = max(found, key=lambda result: _SEVERITY.index(result.status))
        return HealthResult(worst.status, "; ".join(details))

    async def aclose(self) -> None:
        """Close every store, also when closing one fails."""
        async with AsyncExitStack() as stack:
            for store in (self.keys, self.limits, self.sessions, self.cache, self.ledger):
                stack.push_async_callback(store.aclose)


def open_store(url: str, *, setting: str = "PRODKIT_STORE", clock: Clock = SYSTEM_CLOCK) -> Stores:
    """Open what *url* names. Implementations are imported only here, so that nothing unused is loaded.

    * `memory://`: one process, forgotten at its end.
    * `sqlite:///data/app.db`: a file, relative to the working directory; `sqlite:////var/lib/app.db` with
      four slashes is absolute, as in SQLAlchemy. `%20` and the like are decoded.
    * `redis://`, `rediss://` (TLS), `unix://`, `redis+sentinel://`, `redis+cluster://` and both with `rediss`: see
      `prodkit.stores.redis_urls.parse`. Needs the extra `redis`.

    SQLite and Redis take the option `?timeout_seconds=0.25`: how long a request waits for one answer of the store at most.
    0.1 by default: several times the slowest healthy answer, and less than a person notices. From 0.005 to 30.

    Redis takes `?ledger_export=/var/lib/app/ledger.jsonl`, what `prodkit.stores.ledger_export` has written (an SQLite file, if it ends
    in `.db`): while an entry that stands there is missing in Redis, the ledger admits and charges nothing.

    Nothing is connected yet: a store that cannot be reached shows at its first use, or in `check()`.

    Args:
        url: where the state is.
        setting: the name to complain under.
        clock: the time of those stores that have none of their own. Limits in Redis have: the server's.

    Raises:
        SettingsError: the URL has an unknown scheme, or parts that its scheme has no use for. The message
            does not repeat the URL, which may hold a password.
        MissingExtraError: it is Redis, and redis-py is not installed.
        StoreUnavailableError: the directory of the file does not exist.
    """
    parts = _checked(url, setting)
    if parts.scheme == "memory":
        return _open_memory(clock)
    url, seconds = bounded(url, setting)
    if parts.scheme in _REDIS:
        return _open_redis(url, setting, clock, seconds)
    return _open_sqlite(_path(parts), clock, seconds)


def open_limits(
    url: str, *, setting: str = "PRODKIT_RATE_LIMITING__STORE", clock: Clock = SYSTEM_CLOCK
) -> RateLimitStore:
    """Open only the limits of what *url* names, which may be a storage of the `limits` package: `limits+async+memcached://h:1`.

    Args:
        url: as of `open_store`, or `limits+` and the URL of an asynchronous storage of `limits`; what that promises is told
            at `prodkit.stores.limits_storage.LimitsStorage`.
        setting: the name to complain under.
        clock: the time of those stores that have none of their own.

    Raises:
        SettingsError: see `open_store`.
        MissingExtraError: see `open_store`.
        StoreUnavailableError: see `open_store`.
    """
    if not url.startswith(LIMITS_PREFIX):
        return open_store(url, setting=setting, clock=clock).limits
    from prodkit.stores.limits_storage import LimitsStorage  # noqa: PLC0415  on demand

    return LimitsStorage(url.removeprefix(LIMITS_PREFIX), setting=setting)


def check_url(url: str, *, setting: str = "PRODKIT_STORE") -> None:
    """Return if `open_store` would take *url*; nothing is opened.

    Raises:
        SettingsError: as `open_store`.
        MissingExtraError: as `open_store`.
    """
    _checked(url, setting)


def check_limits_url(url: str, *, setting: str = "PRODKIT_RATE_LIMITING__STORE") -> None:
    """Return if *url* has the form of one that `open_limits` takes; of a storage of `limits` only the scheme is looked at.

    Raises:
        SettingsError: as `open_limits`.
        MissingExtraError: as `open_limits`.
    """
    if not url.startswith(LIMITS_PREFIX):
        check_url(url, setting=setting)
    elif not url.startswith(f"{LIMITS_PREFIX}async+"):
        message = f"a storage that blocks the event loop cannot be used after {LIMITS_PREFIX}."
        raise _fault(
            setting,
            message,
            f"Begin it with {LIMITS_PREFIX}async+, e.g. {LIMITS_PREFIX}async+memcached://host:11211.",
        )


def is_shared(store: RateLimitStore) -> bool:
    """Whether other workers see the same limits in *store*."""
    from prodkit.stores.memory import MemoryRateLimitStore  # noqa: PLC0415  on demand

    # Of a store that is not ours nobody knows, and whoever wrote it does.
    return not isinstance(store, MemoryRateLimitStore) and bool(getattr(store, "is_shared", True))


def _checked(url: str, setting: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _fault(setting, "it is no URL.", f"Set it to one of {_SUPPORTED}.") from None
    if parts.scheme in _REDIS:
        require("redis", extra="redis", purpose=f"The store of {setting}")
        from prodkit.stores.redis_urls import parse  # noqa: PLC0415  on demand

        parse(_exported(bounded(url, setting)[0], setting)[0], setting=setting)
    elif parts.scheme == "sqlite":
        _check_local(urlsplit(bounded(url, setting)[0]), setting)
    elif parts.scheme == "memory":
        _check_local(parts, setting)
    elif parts.scheme in {"postgresql", "postgresql+asyncpg"}:
        message = "PostgreSQL holds the ledger and API keys; limits and sessions are not kept there."
        cure = (
            f"Set it in PRODKIT_METERING__STORE and PRODKIT_API_KEYS__STORE, and this to one of {_SUPPORTED}."
        )
        raise _fault(setting, message, cure)
    elif parts.scheme.startswith("postgres"):
        raise _fault(
            setting,
            "PostgreSQL is asked in another way.",
            "Begin the URL with postgresql+asyncpg://, in PRODKIT_METERING__STORE or PRODKIT_API_KEYS__STORE.",
        )
    elif parts.scheme.startswith(LIMITS_PREFIX):
        message = "a storage of the limits package holds limits and nothing else."
        raise _fault(
            setting, message, f"Set it in PRODKIT_RATE_LIMITING__STORE, and this to one of {_SUPPORTED}."
        )
    else:
        shown = f"its scheme {parts.scheme!r} is not known." if parts.scheme else "it has no scheme."
        raise _fault(setting, shown, f"Set it to one of {_SUPPORTED}.")
    return parts


def bounded(url: str, setting: str) -> tuple[str, float]:
    """*url* without the option that bounds every answer, and that bound in seconds.

    Raises:
        SettingsError: it is no time.
    """
    place, given = _taken(url, _BOUND)
    if not given:
        return url, _BOUND_SECONDS
    try:
        (seconds,) = map(float, given)
    except ValueError:
        seconds = math.nan
    if not _SHORTEST_SECONDS <= seconds <= _LONGEST_SECONDS:
        raise _fault(
            setting,
            f"its option {_BOUND} is no time.",
            f"Set it once, to a number of seconds from {_SHORTEST_SECONDS} to {_LONGEST_SECONDS:g}.",
        )
    return place, seconds


def _exported(url: str, setting: str) -> tuple[str, str]:
    """*url* without the option that names the export of its ledger, and the path of that, or nothing."""
    place, given = _taken(url, _EXPORT)
    if not given:
        return url, ""
    path = unquote(given[0])
    if len(given) > 1 or not path or path.endswith("/"):
        message = f"its option {_EXPORT} names no file."
        raise _fault(setting, message, "Set it once, to the path of what export_entries writes.")
    return place, path


def _taken(url: str, name: str) -> tuple[str, list[str]]:
    """*url* without the option *name*, and what it was set to."""
    place, _, query = url.partition("?")
    options = query.split("&") if query else []
    given = [option.partition("=")[2] for option in options if option.partition("=")[0] == name]
    others = "&".join(option for option in options if option.partition("=")[0] != name)
    return f"{place}?{others}" if others else place, given


def _check_local(parts: SplitResult, setting: str) -> None:
    if parts.netloc or parts.query or parts.fragment:
        raise _fault(
            setting,
            f"a {parts.scheme} URL has no host, no fragment and no option but {_BOUND} of sqlite.",
            f"Use {_SUPPORTED}.",
        )
    path = _path(parts)
    if parts.scheme == "memory":
        if path:
            raise _fault(setting, "a memory URL has no path.", "Set it to memory://.")
    elif not path or path == ":memory:" or path.endswith("/"):
        raise _fault(setting, "it names no file.", "Use sqlite:///path/to/file.db, or memory:// for none.")


def _path(parts: SplitResult) -> str:
    return unquote(parts.path.removeprefix("/"))


def _open_memory(clock: Clock) -> Stores:
    from prodkit.stores.memory import MemoryKeyStore, MemoryRateLimitStore  # noqa: PLC0415  on demand
    from prodkit.stores.memory_cache import MemoryCacheStore  # noqa: PLC0415  on demand
    from prodkit.stores.memory_ledger import MemoryLedger  # noqa: PLC0415  on demand
    from prodkit.stores.memory_sessions import MemorySessionStore  # noqa: PLC0415  on demand

    return Stores(
        "memory://",
        shared=False,
        limits=MemoryRateLimitStore(clock=clock),
        keys=MemoryKeyStore(),
        ledger=MemoryLedger(clock=clock),
        sessions=MemorySessionStore(),
        cache=MemoryCacheStore(clock=clock),
    )


def _open_sqlite(path: str, clock: Clock, seconds: float) -> Stores:
    from prodkit.stores.sqlite import SqliteKeyStore, SqliteRateLimitStore  # noqa: PLC0415  on demand
    from prodkit.stores.sqlite_cache import SqliteCacheStore  # noqa: PLC0415  on demand
    from prodkit.stores.sqlite_ledger import SqliteLedger  # noqa: PLC0415  on demand
    from prodkit.stores.sqlite_sessions import SqliteSessionStore  # noqa: PLC0415  on demand

    durable = max(DURABLE_SECONDS, seconds)
    return Stores(
        f"sqlite:///{path}",
        shared=True,
        limits=SqliteRateLimitStore(path, clock=clock, timeout_seconds=seconds),
        keys=SqliteKeyStore(path, timeout_seconds=seconds, durable_timeout_seconds=durable),
        ledger=SqliteLedger(path, clock=clock, timeout_seconds=durable),
        sessions=SqliteSessionStore(path, timeout_seconds=seconds, durable_timeout_seconds=durable),
        cache=SqliteCacheStore(path, clock=clock, timeout_seconds=seconds),
    )


def _open_redis(url: str, setting: str, clock: Clock, seconds: float) -> Stores:
    from prodkit.stores.redis_cache import RedisCacheStore  # noqa: PLC0415  on demand
    from prodkit.stores.redis_keys import RedisKeyStore  # noqa: PLC0415  on demand
    from prodkit.stores.redis_ledger import RedisLedger  # noqa: PLC0415  on demand
    from prodkit.stores.redis_limits import RedisRateLimitStore  # noqa: PLC0415  on demand
    from prodkit.stores.redis_link import RedisLink  # noqa: PLC0415  on demand
    from prodkit.stores.redis_sessions import RedisSessionStore  # noqa: PLC0415  on demand
    from prodkit.stores.redis_urls import parse  # noqa: PLC0415  on demand

    url, export = _exported(url, setting)
    link: RedisLink = RedisLink.shared(url, timeout_seconds=seconds)
    page = max(_PAGE_SECONDS, seconds)
    # Where nobody set a clock, the server's is the one that all workers share.
    own = None if clock is SYSTEM_CLOCK else clock
    return Stores(
        parse(url, setting=setting).name,
        shared=True,
        limits=RedisRateLimitStore(link, clock=own, timeout_seconds=seconds),
        keys=RedisKeyStore(link, timeout_seconds=seconds, list_timeout_seconds=page),
        ledger=RedisLedger(
            link,
            clock=own,
            timeout_seconds=seconds,
            report_timeout_seconds=page,
            watermark=_watermark(export),
        ),
        sessions=RedisSessionStore(link, timeout_seconds=seconds),
        cache=RedisCacheStore(link, timeout_seconds=seconds),
    )


def _watermark(path: str) -> Watermark | None:
    if not path:
        return None
    from prodkit.stores.ledger_export import Watermark  # noqa: PLC0415  on demand
    from prodkit.stores.ledger_sinks import JsonLinesSink, SqliteSink  # noqa: PLC0415  on demand

    return Watermark(SqliteSink(path) if path.endswith(".db") else JsonLinesSink(path))


def _fault(setting: str, message: str, cure: str) -> SettingsError:
    return SettingsError([SettingsFault(setting, message, cure)])
