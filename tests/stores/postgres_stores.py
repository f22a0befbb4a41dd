"""Ledgers in PostgreSQL for tests, and a way to the server beside them."""

from __future__ import annotations

import contextlib
from urllib.parse import parse_qsl, urlsplit

import asyncpg  # type: ignore[import-untyped]

from prodkit.stores.ledger import BudgetAsk, Reservation
from prodkit.stores.postgres_ledger import PostgresLedger

T = BudgetAsk("tenant", 0, None, 1000)


def asked(name, amount_nano, *asks, **options):
    return Reservation(id=name, amount_nano=amount_nano, lease_seconds=60.0, asks=asks or (T,), **options)


def schema_of(url):
    return dict(parse_qsl(urlsplit(url).query))["schema"]


@contextlib.asynccontextmanager
async def ledger_at(url, **options):
    ledger = PostgresLedger(url, **{"timeout_seconds": 10.0} | options)
    try:
        yield ledger
    finally:
        await ledger.aclose()


@contextlib.asynccontextmanager
async def beside(server, url):
    """A session of somebody else, in which our tables can be named without their schema."""
    connection = await asyncpg.connect(
        host=str(server.directory), port=server.port, user="app", database="postgres"
    )
    try:
        await connection.execute(f"SET search_path = {schema_of(url)}")
        yield connection
    finally:
        await connection.close()


async def exposed(ledger, *asks):
    return [(account.settled_nano, account.held_nano) for account in await ledger.accounts(asks or (T,))]
