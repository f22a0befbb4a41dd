"""Storages of the `limits` package as a store of ours, with what they cannot do."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import shutil
import socket
import sys
import time

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from limits.aio.storage import MemoryStorage

from prodkit import install
from prodkit.core.exceptions import MissingExtraError, SettingsError, StoreUnavailableError
from prodkit.rate_limiting import Policy, RateLimiting
from prodkit.stores import (
    CalendarWindow,
    FixedWindow,
    MovingWindow,
    Permit,
    Rate,
    RateLimitStore,
    Rule,
    SlidingWindow,
)
from prodkit.stores.limits_storage import LimitsStorage
from prodkit.stores.urls import check_limits_url, check_url, open_limits
from tests.support.valkey_fixtures import valkey  # noqa: F401  a fixture

# Long enough that none of them ends in the midst of a test.
WINDOWS: list[Rule] = [FixedWindow(3, 3600.0), SlidingWindow(3, 3600.0), MovingWindow(3, 3600.0)]
KINDS = [type(rule).__name__ for rule in WINDOWS]
WINDOWED = Policy("windowed", "2/hour", by="address", algorithm="sliding-window")
OVER_MEMORY = "limits+async+memory://"


@pytest.fixture(params=["memory", "valkey"])
async def storage(request):
    """One over memory, and one over a real Valkey by redis-py."""
    url = "memory://" if request.param == "memory" else request.getfixturevalue("valkey")
    made = LimitsStorage(f"async+{url}", timeout_seconds=5.0)
    yield made
    await made.aclose()


async def test_it_is_a_store(storage):
    """It has every verb, and can be asked for its health; only memory is for one worker alone."""
    assert storage.is_shared is not isinstance(storage._storage, MemoryStorage)
    assert isinstance(storage, RateLimitStore)
    await storage.check()
    await storage.aclose()


@pytest.mark.parametrize("rule", WINDOWS, ids=KINDS)
async def test_a_window_admits_its_limit(storage, rule):
    """Three of four pass; the fourth is told how long to wait, and other keys are not concerned."""
    decisions = [(await storage.hit_many([("k", rule, 1)]))[0] for _ in range(4)]
    assert [decision.allowed for decision in decisions] == [True, True, True, False]
    assert [decision.remaining for decision in decisions] == [2, 1, 0, 0]
    assert 0 < decisions[3].retry_seconds <= 3600
    assert decisions[2].retry_seconds == 0.0
    assert (await storage.hit_many([("other", rule, 1)]))[0].allowed


@pytest.mark.parametrize("rule", WINDOWS, ids=KINDS)
async def test_costs(storage, rule):
    """A cost is taken at once; one of 0 looks; one that can never fit is told so, and none is negative."""
    (first,) = await storage.hit_many([("k", rule, 2)])
    assert (first.allowed, first.remaining) == (True, 1)
    (look,) = await storage.hit_many([("k", rule, 0)])
    assert (look.allowed, look.remaining) == (True, 1)
    (never,) = await storage.hit_many([("k", rule, 4)])
    assert (never.allowed, never.retry_seconds, never.remaining) == (False, math.inf, 1)
    with pytest.raises(ValueError, match="at least 0"):
        storage.hit_many([("k", rule, -1)])


async def test_kinds_do_not_see_one_another(storage):
    """Three rules of one key are three counts, in one call."""
    decisions = await storage.hit_many([("k", rule, 2) for rule in WINDOWS])
    assert [decision.remaining for decision in decisions] == [1, 1, 1]


async def test_a_refused_call_consumes_nothing_when_nobody_else_asks(storage):
    """All are looked at before any is consumed; an ask that is not binding refuses nobody."""
    full, open_one = ("full", FixedWindow(1, 3600.0), 1), ("open", FixedWindow(5, 3600.0), 1)
    await storage.hit_many([full])
    refused = await storage.hit_many([open_one, full])
    assert [decision.allowed for decision in refused] == [True, False]
    assert (await storage.peek("open", open_one[1])).remaining == 5
    on_trial = ("full", FixedWindow(1, 3600.0, is_binding=False), 1)
    admitted = await storage.hit_many([open_one, on_trial])
    assert [decision.allowed for decision in admitted] == [True, False]
    assert (await storage.peek("open", open_one[1])).remaining == 4


async def test_peek_and_reset(storage):
    """What is left is told without consuming, and forgotten for every kind that was asked about."""
    await storage.hit_many([("k", rule, 3) for rule in WINDOWS])
    peeked = [await storage.peek("k", rule) for rule in WINDOWS]
    assert [(seen.allowed, seen.remaining) for seen in peeked] == [(False, 0)] * 3
    await storage.reset("k")
    assert [(await storage.peek("k", rule)).remaining for rule in WINDOWS] == [3, 3, 3]


@pytest.mark.parametrize(
    "rule",
    [
        Rate(1, 60.0),
        CalendarWindow(1, "day"),
        Permit(1, "id"),
        FixedWindow(1, 60.0, counts_denied=True),
        FixedWindow(10, 60.0, lease=5),
        SlidingWindow(1, 0.5),
        MovingWindow(1, 1.5),
    ],
    ids=["gcra", "calendar", "permit", "counts-denied", "lease", "half-a-second", "one-and-a-half"],
)
async def test_what_it_cannot_do_is_refused_with_the_cure(rule):
    """Before anything is asked, and by every verb."""
    storage = LimitsStorage("async+memory://")
    for ask in (
        lambda: storage.require(rule),
        lambda: storage.hit_many([("k", rule, 1)]),
    ):
        with pytest.raises(ValueError, match=r"limits package .* \| (Set algorithm|Change)"):
            ask()
    with pytest.raises(ValueError, match=r"\| "):
        await storage.peek("k", rule)


async def test_nothing_can_be_settled():
    """A cost that is known later needs another store; to settle nothing is allowed."""
    storage = LimitsStorage("async+memory://")
    await storage.settle([])
    with pytest.raises(ValueError, match="cannot settle"):
        await storage.settle([("k", FixedWindow(1, 60.0), -1, 0)])


async def test_a_storage_without_the_strategy():
    """What the storage lacks is told when the rule is looked at."""

    class Few(MemoryStorage):
        STORAGE_SCHEME = ["async+few"]

    setattr(Few, "acquire_sliding_window_entry", property())  # noqa: B010  there is none
    with pytest.raises(ValueError, match=r"Few has no SlidingWindow \| Set algorithm"):
        LimitsStorage(Few()).require(SlidingWindow(1, 60.0))


@pytest.mark.parametrize(
    "url",
    [
        "limits+memory://",
        "limits+redis://:hunter2@host:1",
        "limits+async+nothing://:hunter2@host:1",
    ],
)
def test_urls_that_are_none(url):
    """The message names the setting, and repeats no password."""
    with pytest.raises(SettingsError, match="PRODKIT_RATE_LIMITING__STORE") as caught:
        open_limits(url)
    assert "hunter2" not in str(caught.value)


def test_the_form_is_checked_without_opening():
    """A blocking storage is refused by its looks, and a URL of `limits` where more than limits is kept."""
    check_limits_url("limits+async+memcached://host:11211")
    check_limits_url("memory://")
    with pytest.raises(SettingsError, match=r"limits\+async\+"):
        check_limits_url("limits+redis://:hunter2@host")
    with pytest.raises(SettingsError, match="PRODKIT_RATE_LIMITING__STORE") as caught:
        check_url("limits+async+memory://")
    assert "limits and nothing else" in str(caught.value)


async def test_a_storage_that_is_away():
    """It is unavailable, within its bound, and the message shows neither address nor password."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        silent = LimitsStorage(f"async+redis://:hunter2@127.0.0.1:{port}/0", timeout_seconds=0.1)
        started = time.monotonic()
        with pytest.raises(StoreUnavailableError, match=r"within 0\.1 s") as caught:
            await silent.hit_many([("k", FixedWindow(1, 60.0), 1)])
        assert time.monotonic() - started < 5.0
        assert "hunter2" not in str(caught.value)
        await silent.aclose()
    closed = LimitsStorage(f"async+redis://:hunter2@127.0.0.1:{port}/0", timeout_seconds=5.0)
    with pytest.raises(StoreUnavailableError) as caught:
        await closed.hit_many([("k", FixedWindow(1, 60.0), 1)])
    assert "hunter2" not in str(caught.value)
    assert str(port) not in str(caught.value)
    await closed.aclose()


def test_a_client_that_is_not_installed(monkeypatch):
    """Told as one, without the URL."""
    monkeypatch.setitem(sys.modules, "memcachio", None)
    with pytest.raises(MissingExtraError, match="client that is not installed") as caught:
        LimitsStorage("async+memcached://:hunter2@127.0.0.1:1")
    assert "hunter2" not in str(caught.value)


@pytest.mark.process
@pytest.mark.skipif(
    shutil.which("memcached") is None, reason="MEMCACHED IS NOT INSTALLED (apt install memcached)"
)
async def test_memcached():
    """Fixed and sliding windows, counted by a real memcached; moving ones are refused."""
    pytest.importorskip("memcachio", reason="MEMCACHIO IS NOT INSTALLED (pip install memcachio)")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = ["memcached", "-l", "127.0.0.1", "-p", str(port)]
    if os.geteuid() == 0:
        command += ["-u", "nobody"]
    server = await asyncio.create_subprocess_exec(*command)
    try:
        storage = LimitsStorage(f"async+memcached://127.0.0.1:{port}", timeout_seconds=5.0)
        for _ in range(500):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            await asyncio.sleep(0.01)
        for rule in WINDOWS[:2]:
            decisions = [(await storage.hit_many([("k", rule, 1)]))[0].allowed for _ in range(4)]
            assert decisions == [True, True, True, False]
        with pytest.raises(ValueError, match="has no MovingWindow"):
            storage.require(WINDOWS[2])
    finally:
        server.kill()
        await server.wait()


def test_limits_of_an_application():
    """Policies with windows are decided by the storage, and told as ever."""
    app = FastAPI()
    install(app, RateLimiting(address=None, policies=[WINDOWED], store=OVER_MEMORY))
    with TestClient(app) as client:
        answers = [client.get("/") for _ in range(3)]
    assert [answer.status_code for answer in answers] == [404, 404, 429]
    assert answers[0].headers["RateLimit"].startswith('"windowed";r=1')
    assert int(answers[2].headers["Retry-After"]) >= 1


@pytest.mark.parametrize(
    ("options", "cure"),
    [
        ({}, "policy address: .*by a Rate.*Set algorithm to"),
        ({"address": None, "policies": [Policy("many", concurrent=3)]}, "policy many: .*by a Permit"),
        (
            {
                "address": None,
                "policies": [Policy("late", "1/hour", algorithm="fixed-window", layer="handler")],
            },
            "policy late: .*cannot settle",
        ),
        (
            {
                "address": None,
                "policies": [Policy("if", "1/hour", algorithm="fixed-window", count_if=lambda _: True)],
            },
            "policy if: .*cannot settle",
        ),
    ],
    ids=["gcra", "concurrent", "handler", "count-if"],
)
def test_policies_that_it_cannot_decide_refuse_the_start(options, cure):
    """Before a request comes, with the name of the policy and what to do."""
    with pytest.raises(SettingsError, match=cure):
        install(FastAPI(), RateLimiting(store=OVER_MEMORY, **options))


def test_in_memory_it_warns_of_several_workers(monkeypatch, caplog):
    """Counts of a storage in memory are those of one worker, as those of our own memory are."""
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    install(FastAPI(), RateLimiting(address=None, policies=[WINDOWED], store=OVER_MEMORY))
    assert "3 workers" in caplog.text
