"""PostgreSQL that is killed, stopped, restarted, unreachable, full of strangers, or behind a bad line."""

from __future__ import annotations

import asyncio
import signal
import time

import asyncpg  # type: ignore[import-untyped]
import pytest

from prodkit.core.exceptions import StoreIncompatibleError, StoreUnavailableError
from prodkit.stores import KeyRecord, postgres_ledger
from prodkit.stores.ledger import Hold
from prodkit.stores.postgres_keys import PostgresKeyStore
from prodkit.stores.postgres_link import PostgresLink
from tests.stores.postgres_stores import T, asked, beside, exposed, ledger_at, schema_of
from tests.support.fault_proxy import fault_proxy
from tests.support.postgres import running_postgres, shared_postgres
from tests.support.valkey import shared_valkey


async def until_it_works(ask, seconds=30.0):
    """What *ask* answers at last; every failure before is the one that may pass."""
    end = time.monotonic() + seconds
    while True:
        try:
            return await ask()
        except StoreUnavailableError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT, signal.SIGKILL])
async def test_a_server_that_is_restarted_is_found_again(how):
    """Stopped, crashed or killed: meanwhile each verb is told at once, nothing that was answered is lost, and nobody restarts."""
    with running_postgres() as server:
        async with ledger_at(server.url(tcp=True), timeout_seconds=5.0) as ledger:
            await ledger.reserve(asked("before", 100, dispatched=True))
            await asyncio.gather(*(ledger.find("before") for _ in range(8)))  # several connections
            server.stop(how)
            began = time.monotonic()
            with pytest.raises(StoreUnavailableError):
                await ledger.settle("before", 60)
            assert time.monotonic() - began < 2.0
            server.start()
            settled = await until_it_works(lambda: ledger.settle("before", 60))
            assert settled.charged_nano == 60
            assert await exposed(ledger) == [(60, 0)]
            assert await ledger.rebuild() == 0


async def test_a_server_that_is_stopped_is_not_waited_for(monkeypatch):
    """Frozen, it costs each verb its time and no more; then it is left alone, and when it goes on everything does."""
    with running_postgres() as server:
        async with ledger_at(server.url(), timeout_seconds=0.3) as ledger:
            await until_it_works(ledger.check)
            await ledger.reserve(asked("a", 1))
            server.freeze()
            try:
                for _ in range(5):
                    began = time.monotonic()
                    with pytest.raises(StoreUnavailableError, match="in time"):
                        await ledger.reserve(asked("b", 1))
                    assert time.monotonic() - began < 1.5
                began = time.monotonic()
                with pytest.raises(StoreUnavailableError, match="left alone"):
                    await ledger.reserve(asked("b", 1))
                assert time.monotonic() - began < 0.2
            finally:
                server.thaw()
            assert isinstance(await until_it_works(lambda: ledger.reserve(asked("b", 1))), Hold)
            assert await until_it_works(lambda: exposed(ledger)) == [(0, 2)]


async def test_an_answer_that_is_lost_at_any_byte_is_no_second_charge():
    """Cut off anywhere, the commit and its answer included: the verb says so, and repeated it is as if it had been asked once."""
    server = shared_postgres()
    async with fault_proxy(server.port) as proxy, ledger_at(server.url(), timeout_seconds=10.0) as plain:
        await plain.check()
        url = server.url(port=proxy.port)
        lost = done_nevertheless = 0
        async with ledger_at(url, timeout_seconds=0.6) as ledger:
            await until_it_works(ledger.check)
            spent = 0
            for size in range(0, 640, 40):
                name = f"h{size}"
                await until_it_works(lambda name=name: ledger.reserve(asked(name, 3, dispatched=True)))
                proxy.to_client.drop_after = size
                try:
                    await ledger.settle(name, 2)
                except StoreUnavailableError:
                    lost += 1
                proxy.heal()
                proxy.reset()
                found = await until_it_works(lambda name=name: ledger.find(name))
                done_nevertheless += found.state == "settled"
                assert (await until_it_works(lambda name=name: ledger.settle(name, 2))).charged_nano == 2
                spent += 2
            assert await until_it_works(lambda: exposed(ledger)) == [(spent, 0)]
            assert len(await until_it_works(ledger.entries)) == 16
            assert await until_it_works(ledger.rebuild) == 0
        assert lost > 5
        assert done_nevertheless > 0


async def test_connections_that_were_reset_are_not_noticed():
    """Idle ones that a router has dropped cost nobody an answer."""
    server = shared_postgres()
    async with fault_proxy(server.port) as proxy, ledger_at(server.url(port=proxy.port)) as ledger:
        await asyncio.gather(*(ledger.find("h") for _ in range(10)))
        proxy.reset()
        await asyncio.sleep(0.05)
        assert isinstance(await ledger.reserve(asked("h", 1)), Hold)


async def test_connections_that_are_forgotten_are_replaced():
    """Nothing comes back on what was open: one verb pays for it with its time, the next ones connect anew."""
    server = shared_postgres()
    async with (
        fault_proxy(server.port) as proxy,
        ledger_at(server.url(port=proxy.port), timeout_seconds=0.5) as ledger,
    ):
        await until_it_works(ledger.check)
        await asyncio.gather(*(until_it_works(lambda: ledger.find("h")) for _ in range(10)))
        proxy.freeze()
        with pytest.raises(StoreUnavailableError, match="in time"):
            await ledger.reserve(asked("h", 1))
        assert isinstance(await ledger.reserve(asked("h", 1)), Hold)


async def test_a_slow_connection_is_there_for_the_next_one():
    """A request that cannot wait for a connection to be made leaves it to those who come after."""
    server = shared_postgres()
    async with fault_proxy(server.port) as proxy:
        store = PostgresKeyStore(server.url(port=proxy.port), timeout_seconds=0.15)
        try:
            await store.check()
            await store.aclose()
            proxy.to_client.delay = 0.05
            with pytest.raises(StoreUnavailableError, match="in time"):
                await store.find("k")
            await asyncio.sleep(0.4)
            proxy.heal()
            accepted = proxy.accepted
            assert await store.find("k") is None
            assert proxy.accepted == accepted
        finally:
            await store.aclose()


async def test_whoever_is_not_let_in_is_told_without_the_password():
    """A wrong password, an unknown database, nobody there, a stranger there: each message has its reason, and no secret."""
    server = shared_postgres()
    good = server.url(tcp=True)
    for url, reason in (
        (good.replace("open%20sesame", "hunter2"), "28P01"),
        (good.replace("/postgres?", "/elsewhere?"), "3D000"),
        (good.replace(f":{server.port}/", ":1/"), "cannot be reached"),
        (good.replace(f":{server.port}/", f":{shared_valkey().port}/"), "did not let us in|speak|reached"),
        (good + "&sslmode=require", "cannot be reached"),
    ):
        async with ledger_at(url) as ledger:
            with pytest.raises(StoreUnavailableError, match=reason) as caught:
                await ledger.check()
            assert "hunter2" not in str(caught.value), url
            assert "sesame" not in str(caught.value), url


async def test_a_standby_is_no_store():
    """One that only follows is not written to, and check says what it is; promoted, it serves."""
    with running_postgres() as server:
        async with ledger_at(server.url(), timeout_seconds=5.0) as ledger:
            await ledger.reserve(asked("h", 1))
            server.stop()
            (server.directory / "data" / "standby.signal").touch()
            server.start()
            with pytest.raises(StoreUnavailableError):
                await ledger.reserve(asked("i", 1))
            assert (await until_it_works(lambda: ledger.find("h"))).amount_nano == 1
            server.ask("SELECT pg_promote()")
            assert isinstance(await until_it_works(lambda: ledger.reserve(asked("i", 1))), Hold)


async def test_what_may_be_lost_in_a_crash_is_said():
    """A server that does not wait for its disk is `degraded`; one that does is not, and neither is refused."""
    with running_postgres({"fsync": "on", "full_page_writes": "on"}) as server:
        async with ledger_at(server.url()) as ledger:
            assert await ledger.check() is None
            server.ask("ALTER ROLE app SET synchronous_commit = off")
            await ledger.aclose()
            found = await ledger.check()
            assert found is not None
            assert (found.status, "synchronous_commit" in found.detail) == ("degraded", True)


async def test_tables_that_are_gone_are_an_error_and_not_made_again():
    """Somebody dropped our schema: what was spent is not forgotten by making a new one under the running service."""
    server = shared_postgres()
    url = server.url()
    async with ledger_at(url) as ledger, beside(server, url) as session:
        await ledger.reserve(asked("h", 1))
        await session.execute(f"DROP SCHEMA {schema_of(url)} CASCADE")
        with pytest.raises(StoreUnavailableError, match="42P01"):
            await ledger.reserve(asked("i", 1))


async def test_a_deadlock_with_somebody_else_is_tried_again(monkeypatch):
    """Another program locks our accounts the wrong way round: the server ends one of the two, and if it is ours, it is repeated."""
    server = shared_postgres()
    url = server.url()
    first, second = (T.__class__(name, 0, None, None) for name in ("a", "b"))
    async with ledger_at(url) as ledger, beside(server, url) as session:
        await ledger.adjust("m", 1, reason="r", asks=[first, second])
        await session.execute("SET deadlock_timeout = '60s'")  # so that ours is the one that is ended
        begun: list[int] = []
        begin = PostgresLink._begin

        def counted(*arguments):
            begun.append(1)
            return begin(*arguments)

        monkeypatch.setattr(PostgresLink, "_begin", counted)
        for turn in range(3):
            await session.execute("BEGIN; SELECT FROM ledger_accounts WHERE budget = 'b' FOR UPDATE")
            ours = asyncio.create_task(ledger.reserve(asked(f"h{turn}", 1, first, second)))
            await asyncio.sleep(0.2)
            await session.execute("SELECT FROM ledger_accounts WHERE budget = 'a' FOR UPDATE")
            await session.execute("COMMIT")
            assert isinstance(await ours, Hold)
        assert len(begun) == 6, "nothing was in the way"
        assert await exposed(ledger, first, second) == [(1, 3), (1, 3)]


async def test_a_verb_that_goes_wrong_in_the_middle_leaves_nothing(monkeypatch):
    """An error of ours between loading and saving is the caller's answer; the connection and the accounts are as before."""
    async with ledger_at(shared_postgres().url()) as ledger:
        await ledger.reserve(asked("a", 1))

        async def broken(*args, **options):
            message = "ours"
            raise RuntimeError(message)

        with monkeypatch.context() as patch:
            patch.setattr(postgres_ledger, "carry_out", broken)
            with pytest.raises(RuntimeError, match="ours"):
                await ledger.reserve(asked("b", 1))
        assert await ledger.find("b") is None
        assert await exposed(ledger) == [(0, 1)]


async def test_a_newer_schema_is_refused_by_who_comes_after():
    """A process of this release that runs already goes on while a newer one upgrades; one that starts is told what to do."""
    server = shared_postgres()
    url = server.url()
    async with ledger_at(url) as ledger, beside(server, url) as session:
        await ledger.reserve(asked("h", 1))
        await session.execute("UPDATE prodkit_schema SET version = 99")
        await ledger.check()
        assert isinstance(await ledger.reserve(asked("i", 1)), Hold)
        async with ledger_at(url + "&max_connections=3") as other:
            for ask in (other.check, lambda: other.reserve(asked("j", 1))):
                with pytest.raises(StoreIncompatibleError, match="Upgrade fastapi-prodkit"):
                    await ask()
        assert await session.fetchval("SELECT version FROM prodkit_schema") == 99


async def test_a_commit_that_kept_nothing_is_no_success(monkeypatch):
    """Where the server answers a COMMIT with a rollback, the verb is done again, and is done once."""
    execute = asyncpg.Connection.execute
    broken: list[int] = []

    async def failing(self, query, *arguments, **options):
        if query == "COMMIT" and not broken:
            broken.append(1)
            with pytest.raises(asyncpg.DivisionByZeroError):
                await self.fetchval("SELECT 1 / 0")
        return await execute(self, query, *arguments, **options)

    async with ledger_at(shared_postgres().url()) as ledger:
        await ledger.adjust("m", 1, reason="r", asks=[T])
        monkeypatch.setattr(asyncpg.Connection, "execute", failing)
        assert isinstance(await ledger.reserve(asked("h", 1)), Hold)
        assert broken
        assert await ledger.find("h") is not None
        assert await exposed(ledger) == [(1, 1)]


async def test_keys_are_found_while_the_writers_wait():
    """A revocation that waits for somebody's lock keeps nobody from looking for a key."""
    server = shared_postgres()
    url = server.url()
    store = PostgresKeyStore(url, timeout_seconds=2.0)
    try:
        async with beside(server, url) as session:
            await store.put(KeyRecord(id="k", digest=b"d", pepper_id="p", owner="o", created_at=1.0))
            await session.execute("BEGIN; LOCK TABLE api_key_changes IN EXCLUSIVE MODE")
            revoking = asyncio.create_task(store.revoke("k", 5.0))
            await asyncio.sleep(0.1)
            assert (await store.find("k")).revoked_at is None
            await session.execute("COMMIT")
            assert await revoking
            assert (await store.find("k")).revoked_at == 5.0
    finally:
        await store.aclose()
