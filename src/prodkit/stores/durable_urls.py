"""The ledger, and API keys, of a URL: what `prodkit.stores.urls.open_store` opens, or a PostgreSQL, which keeps nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.core.extras import require
from prodkit.stores.urls import DURABLE_SECONDS, bounded, check_url, open_store

if TYPE_CHECKING:
    from prodkit.core.clock import Clock
    from prodkit.stores import KeyStore
    from prodkit.stores.ledger import LedgerStore

__all__ = ["check_durable_url", "open_keys", "open_ledger"]


def open_ledger(
    url: str, *, setting: str = "PRODKIT_METERING__STORE", clock: Clock = SYSTEM_CLOCK
) -> LedgerStore:
    """Open only the ledger of what *url* names, which may be a PostgreSQL: `postgresql+asyncpg://user:password@host/database`.

    Args:
        url: as of `open_store`, or as `prodkit.stores.postgres_urls.parse` tells, with the option `timeout_seconds` too: money
            waits for 5 seconds, or for so long if that is more.
        setting: the name to complain under.
        clock: the time of those stores that have none of their own, and of PostgreSQL where it is not that of the system.

    Raises:
        SettingsError: see `open_store`.
        MissingExtraError: see `open_store`.
        StoreUnavailableError: see `open_store`.
    """
    if not _is_postgres(url):
        return open_store(url, setting=setting, clock=clock).ledger
    from prodkit.stores.postgres_ledger import PostgresLedger  # noqa: PLC0415  on demand
    from prodkit.stores.postgres_link import PostgresLink  # noqa: PLC0415  on demand

    check_durable_url(url, setting=setting)
    url, seconds = bounded(url, setting)
    return PostgresLedger(
        PostgresLink.shared(url, setting=setting), clock=clock, timeout_seconds=max(DURABLE_SECONDS, seconds)
    )


def open_keys(url: str, *, setting: str = "PRODKIT_API_KEYS__STORE", clock: Clock = SYSTEM_CLOCK) -> KeyStore:
    """Open only the API keys of what *url* names, which may be a PostgreSQL.

    Args:
        url: as of `open_ledger`; here `timeout_seconds` is for a request that looks for its key, 0.1 by default.
        setting: the name to complain under.
        clock: the time of those stores that have none of their own.

    Raises:
        SettingsError: see `open_store`.
        MissingExtraError: see `open_store`.
        StoreUnavailableError: see `open_store`.
    """
    if not _is_postgres(url):
        return open_store(url, setting=setting, clock=clock).keys
    from prodkit.stores.postgres_keys import PostgresKeyStore  # noqa: PLC0415  on demand
    from prodkit.stores.postgres_link import PostgresLink  # noqa: PLC0415  on demand

    check_durable_url(url, setting=setting)
    url, seconds = bounded(url, setting)
    return PostgresKeyStore(
        PostgresLink.shared(url, setting=setting),
        timeout_seconds=seconds,
        durable_timeout_seconds=max(DURABLE_SECONDS, seconds),
    )


def check_durable_url(url: str, *, setting: str) -> None:
    """Return if `open_ledger` and `open_keys` would take *url*; nothing is opened.

    Raises:
        SettingsError: as they do.
        MissingExtraError: as they do.
    """
    if not _is_postgres(url):
        check_url(url, setting=setting)
        return
    require("asyncpg", extra="postgres", purpose=f"The store of {setting}")
    from prodkit.stores.postgres_urls import parse  # noqa: PLC0415  on demand

    parse(bounded(url, setting)[0], setting=setting)


def _is_postgres(url: str) -> bool:
    return url.partition(":")[0].lower() in {"postgresql", "postgresql+asyncpg"}
