"""From the URL in `PRODKIT_STORE` to stores."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.core.exceptions import SettingsError, SettingsFault

if TYPE_CHECKING:
    from prodkit.core.clock import Clock
    from prodkit.stores import KeyStore, RateLimitStore
    from prodkit.stores.ledger import LedgerStore
    from prodkit.stores.sessions import SessionStore

__all__ = ["Stores", "check_url", "open_store"]

_SUPPORTED = "memory:// and sqlite:///path/to/file.db"


@dataclass(frozen=True, slots=True)
class Stores:
    """All the stores behind one URL.

    Attributes:
        name: scheme and path, without credentials; fit for a log line or a health check.
        shared: whether other workers of this machine see the same state.
        limits: buckets.
        keys: API keys.
        ledger: what was spent, and what is held for calls under way.
        sessions: sessions of browsers.
    """

    name: str
    shared: bool
    limits: RateLimitStore
    keys: KeyStore
    ledger: LedgerStore
    sessions: SessionStore

    async def check(self) -> None:
        """Ask every store; see `prodkit.stores.Store.check`."""
        await self.limits.check()
        await self.keys.check()
        await self.ledger.check()
        await self.sessions.check()

    async def aclose(self) -> None:
        """Close every store, also when closing one fails."""
        async with AsyncExitStack() as stack:
            for store in (self.keys, self.limits, self.sessions, self.ledger):
                stack.push_async_callback(store.aclose)


def open_store(url: str, *, setting: str = "PRODKIT_STORE", clock: Clock = SYSTEM_CLOCK) -> Stores:
    """Open what *url* names. Implementations are imported only here, so that nothing unused is loaded.

    * `memory://`: one process, forgotten at its end.
    * `sqlite:///data/app.db`: a file, relative to the working directory; `sqlite:////var/lib/app.db` with
      four slashes is absolute, as in SQLAlchemy. `%20` and the like are decoded.

    Nothing is connected yet: a store that cannot be reached shows at its first use, or in `check()`.

    Args:
        url: where the state is.
        setting: the name to complain under.
        clock: the time of those stores that have none of their own.

    Raises:
        SettingsError: the URL has an unknown scheme, or parts that its scheme has no use for. The message
            does not repeat the URL, which may hold a password.
        StoreUnavailableError: the directory of the file does not exist.
    """
    scheme, path = check_url(url, setting=setting)
    return _open_memory(clock) if scheme == "memory" else _open_sqlite(path, clock)


def check_url(url: str, *, setting: str = "PRODKIT_STORE") -> tuple[str, str]:
    """Scheme and decoded path of *url*, without opening anything.

    Raises:
        SettingsError: as `open_store`.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"memory", "sqlite"}:
        shown = f"its scheme {parts.scheme!r} is not known." if parts.scheme else "it has no scheme."
        raise _fault(setting, shown, f"Set it to one of {_SUPPORTED}.")
    if parts.netloc or parts.query or parts.fragment:
        raise _fault(
            setting, f"a {parts.scheme} URL has no host, no query and no fragment.", f"Use {_SUPPORTED}."
        )
    path = unquote(parts.path.removeprefix("/"))
    if parts.scheme == "memory":
        if path:
            raise _fault(setting, "a memory URL has no path.", "Set it to memory://.")
    elif not path or path == ":memory:" or path.endswith("/"):
        raise _fault(setting, "it names no file.", "Use sqlite:///path/to/file.db, or memory:// for none.")
    return parts.scheme, path


def _open_memory(clock: Clock) -> Stores:
    from prodkit.stores.memory import MemoryKeyStore, MemoryRateLimitStore  # noqa: PLC0415  on demand
    from prodkit.stores.memory_ledger import MemoryLedger  # noqa: PLC0415  on demand
    from prodkit.stores.memory_sessions import MemorySessionStore  # noqa: PLC0415  on demand

    return Stores(
        "memory://",
        shared=False,
        limits=MemoryRateLimitStore(clock=clock),
        keys=MemoryKeyStore(),
        ledger=MemoryLedger(clock=clock),
        sessions=MemorySessionStore(),
    )


def _open_sqlite(path: str, clock: Clock) -> Stores:
    from prodkit.stores.sqlite import SqliteKeyStore, SqliteRateLimitStore  # noqa: PLC0415  on demand
    from prodkit.stores.sqlite_ledger import SqliteLedger  # noqa: PLC0415  on demand
    from prodkit.stores.sqlite_sessions import SqliteSessionStore  # noqa: PLC0415  on demand

    return Stores(
        f"sqlite:///{path}",
        shared=True,
        limits=SqliteRateLimitStore(path, clock=clock),
        keys=SqliteKeyStore(path),
        ledger=SqliteLedger(path, clock=clock),
        sessions=SqliteSessionStore(path),
    )


def _fault(setting: str, message: str, cure: str) -> SettingsError:
    return SettingsError([SettingsFault(setting, message, cure)])
