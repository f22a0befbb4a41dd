"""Fetches of several loops, of children, and of those who leave in the middle."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable
from typing import Any

import pytest

from prodkit.jwt import JWT
from prodkit.jwt.fetching import FetchError, StandardFetch
from prodkit.jwt.jwks import JWKS
from prodkit.jwt.keys import KeysUnavailableError
from prodkit.testing.identity_provider import LocalIdentityProvider
from tests.jwt.scripted import World, key


async def count(jwks: JWKS) -> int:
    found = jwks.keys_for("key-1", "ES256")
    return len(await found if isinstance(found, Awaitable) else found)


def test_two_loops_at_once_fetch_each_for_itself() -> None:
    """Neither makes the other fail."""
    with LocalIdentityProvider() as provider:
        provider.behave("slow")
        provider.delay_seconds = 0.2
        jwks = JWKS(provider.issuer, provider.jwks_uri)
        found: list[int] = []
        threads = [threading.Thread(target=lambda: found.append(asyncio.run(count(jwks)))) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert found == [1, 1, 1]


FORKING = """
import asyncio, os, threading, time
from prodkit.jwt.jwks import JWKS
from prodkit.testing.identity_provider import LocalIdentityProvider

with LocalIdentityProvider() as provider:
    provider.behave("slow")
    jwks = JWKS(provider.issuer, provider.jwks_uri)
    threading.Thread(target=lambda: asyncio.run(jwks.refresh())).start()
    while not provider.requests:
        time.sleep(0.005)
    def fetched_in_child(run):
        child = os.fork()
        if child == 0:
            os._exit(0 if len(run(jwks._fetched("key-1", "ES256"))) == 1 else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    fetched_in_child(asyncio.run)
    # The child goes on with the very loop of the parent, which stands still meanwhile.
    jwks = JWKS(provider.issuer, provider.jwks_uri)
    loop = asyncio.new_event_loop()

    async def begin():
        waiting.append(asyncio.create_task(jwks.refresh()))
        await asyncio.sleep(0.05)

    waiting = []
    loop.run_until_complete(begin())
    fetched_in_child(loop.run_until_complete)
    loop.run_until_complete(waiting[0])
    loop.close()
"""


def test_a_child_does_not_wait_for_its_parents_fetch() -> None:
    """A process that was forked in the middle of one fetches by itself, on another loop or on the same."""
    ended = subprocess.run(
        [sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=30, check=True
    )
    assert ended.stdout == "0\n0\n"


async def test_a_fetch_that_was_closed_is_a_failed_one_for_others() -> None:
    """Whoever waits for it gets 503 and not an exception that ends its task; a later question starts afresh."""
    world = World(key("a"))
    world.provider.gate.clear()
    waiting = [asyncio.create_task(world.try_to_ask("a")) for _ in range(3)]
    await asyncio.sleep(0.01)
    await world.jwks.aclose()
    assert await asyncio.gather(*waiting) == [None, None, None]
    world.provider.gate.set()
    assert await world.ask("a") == ["a"]
    world.provider.gate.clear()
    unknown = asyncio.create_task(world.ask("b"))
    await asyncio.sleep(0.01)
    await world.jwks.aclose()
    with pytest.raises(KeysUnavailableError):
        await unknown


async def test_providers_that_hang_do_not_add_up_at_the_start() -> None:
    """All are asked at once; none is asked a second time because another was slow."""
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(4)]
    addresses = [f"http://127.0.0.1:{one.getsockname()[1]}" for one in listeners]
    jwt = JWT(
        issuers=[
            {"issuer": url, "audience": ["a"], "kind": f"k{n}", "allowed_scopes": [], "is_tenantless": True}
            for n, url in enumerate(addresses)
        ]
    )
    for jwks in jwt._jwks:
        jwks._timeout_seconds = 0.3
    began = time.monotonic()
    async with jwt._lifespan():
        assert time.monotonic() - began < 0.9
    for listener in listeners:
        listener.close()


async def test_a_dead_address_is_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a name with two, the first swallows everything: the second is tried in time."""
    monkeypatch.setattr("prodkit.jwt.fetching._ADDRESS_SECONDS", 0.2)
    with LocalIdentityProvider() as provider:
        port = int(provider.url.rpartition(":")[2])
        dead = socket.socket()
        dead.bind(("127.0.0.2", port))
        dead.listen(0)
        filled = [socket.socket() for _ in range(4)]
        for one in filled:
            one.setblocking(False)
            one.connect_ex(("127.0.0.2", port))
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda *_, **__: [
                (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
                for address in ("127.0.0.2", "127.0.0.1")
            ],
        )
        fetch = StandardFetch(timeout_seconds=3)
        began = time.monotonic()
        assert (await fetch(f"http://two.example:{port}/jwks.json")).status == 200
        assert 0.1 < time.monotonic() - began < 2
        monkeypatch.setattr(
            socket,
            "getaddrinfo",
            lambda *_, **__: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.2", port))],
        )
        with pytest.raises(FetchError, match="timeout"):
            await StandardFetch(timeout_seconds=0.3)(f"http://one.example:{port}/jwks.json")
        for one in (dead, *filled):
            one.close()


async def test_given_up_while_connecting_lets_go_at_once() -> None:
    """The thread does not go on to the next address."""
    calls: list[Any] = []
    fetch = StandardFetch(timeout_seconds=0.2)
    with LocalIdentityProvider() as provider:
        port = int(provider.url.rpartition(":")[2])
        original = socket.getaddrinfo

        def slow(host: str, *rest: Any, **options: Any) -> Any:
            calls.append(host)
            time.sleep(0.4)
            return original("127.0.0.1", port, type=socket.SOCK_STREAM)

        with pytest.MonkeyPatch.context() as changed:
            changed.setattr(socket, "getaddrinfo", slow)
            with pytest.raises(FetchError, match="timeout"):
                await fetch(f"http://slow.example:{port}/jwks.json")
            await asyncio.sleep(0.4)
        assert calls == ["slow.example"]
        assert not provider.requests
