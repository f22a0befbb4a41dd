"""From a URL to stores."""

from __future__ import annotations

import dataclasses
import sqlite3
import subprocess
import sys
import textwrap
import time

import pytest

from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import MissingExtraError, SettingsError, StoreUnavailableError
from prodkit.core.features import HealthResult
from prodkit.core.redaction import redact_text
from prodkit.settings import Settings
from prodkit.stores import (
    CalendarWindow,
    FixedWindow,
    KeyRecord,
    MovingWindow,
    Permit,
    Rate,
    Rule,
    SlidingWindow,
)
from prodkit.stores.ledger import Reservation
from prodkit.stores.ledger_export import export_entries
from prodkit.stores.ledger_sinks import JsonLinesSink, SqliteSink
from prodkit.stores.memory_ledger import MemoryLedger
from prodkit.stores.urls import check_limits_url, check_url, open_limits, open_store
from prodkit.testing import hit
from tests.house.tree import ROOT
from tests.support.valkey import running_valkey
from tests.support.valkey_fixtures import valkey, valkey_cluster  # noqa: F401  fixtures


async def test_memory():
    """`memory://` needs nothing and is seen by this process only."""
    stores = open_store("memory://")
    assert (stores.name, stores.shared) == ("memory://", False)
    await stores.check()
    assert (await hit(stores.limits, ("k", Rate(1, 1.0), 1)))[0].allowed
    assert await stores.keys.find("k") is None
    await stores.aclose()


async def test_sqlite_absolute(tmp_path):
    """Four slashes name an absolute path; escapes are decoded; both stores are in the one file."""
    stores = open_store(f"sqlite:///{tmp_path}/with%20space.db", clock=FakeClock())
    assert stores.shared
    await stores.check()
    await stores.aclose()
    assert [entry.name for entry in tmp_path.iterdir()] == ["with space.db"]


async def test_sqlite_relative(tmp_path, monkeypatch):
    """Three slashes name a path relative to the working directory at the time of opening."""
    monkeypatch.chdir(tmp_path)
    stores = open_store("sqlite:///app.db")
    monkeypatch.chdir("/")
    await stores.check()
    await stores.aclose()
    assert (tmp_path / "app.db").exists()


async def test_the_clock_is_handed_on(tmp_path):
    """Time that a test moves is the time of the store."""
    for url in ("memory://", f"sqlite:///{tmp_path}/app.db"):
        clock = FakeClock()
        stores = open_store(url, clock=clock)
        rate = Rate(1, 3600.0)
        assert [(await hit(stores.limits, ("k", rate, 1)))[0].allowed for _ in range(2)] == [True, False]
        clock.advance(3600.0)
        assert (await hit(stores.limits, ("k", rate, 1)))[0].allowed
        await stores.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "",
        "app.db",
        "redid://localhost",
        "memory:///path",
        "memory://host",
        "sqlite://host/app.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:///:memory:",
        "sqlite:///folder/",
        "sqlite:///app.db?mode=ro",
        "sqlite:///app.db#x",
        "mongo://user:hunter2@host/db",
        "sqlite://user:hunter2@host/app.db",
    ],
)
def test_what_cannot_be_opened_is_refused_with_the_cure(url):
    """The message names the setting and what it may be, and never repeats a password."""
    with pytest.raises(SettingsError) as caught:
        open_store(url, setting="PRODKIT_KEYS__STORE")
    assert "PRODKIT_KEYS__STORE" in str(caught.value)
    assert "memory://" in str(caught.value)
    assert "hunter2" not in str(caught.value)


REDIS_URLS = [
    ("redis://ada:hunter2@host:6380/3", "redis://host:6380/3"),
    ("rediss://:hunter2@host", "rediss://host"),
    ("unix://:hunter2@/run/redis.sock?db=2", "unix:///run/redis.sock/2"),
    (
        "redis+sentinel://ada:hunter2@a:26379,b:26379/main/1?sentinel_password=hunter2",
        "redis+sentinel://a:26379,b:26379/main/1",
    ),
    ("rediss+sentinel://:hunter2@a/main", "rediss+sentinel://a/main"),
    ("redis+cluster://:hunter2@a:6379,b:6379", "redis+cluster://a:6379,b:6379"),
    ("rediss+cluster://:hunter2@a", "rediss+cluster://a"),
]
FORMS = [url.partition(":")[0] for url, _ in REDIS_URLS]


@pytest.mark.parametrize(("url", "name"), REDIS_URLS, ids=FORMS)
async def test_every_form_of_redis(url, name):
    """Each opens without a connection; its name has no credentials, and its limits are shared."""
    check_url(url)
    check_limits_url(url)
    stores = open_store(url)
    assert (stores.name, stores.shared) == (name, True)
    assert stores.limits.is_partitioned is ("cluster" in url)
    assert "hunter2" not in repr(stores)
    await stores.aclose()


@pytest.mark.parametrize("url", [url for url, _ in REDIS_URLS], ids=FORMS)
def test_passwords_of_redis_are_shown_nowhere(url, monkeypatch):
    """Neither in the repr of the settings nor in what is logged, wherever in the URL they stand."""
    monkeypatch.setenv("PRODKIT_STORE", url)
    monkeypatch.setenv("PRODKIT_RATE_LIMITING__STORE", url)
    settings = Settings()
    assert settings.store == settings.rate_limiting.store == url
    assert "hunter2" not in f"{settings!r} {settings}"
    assert "hunter2" not in redact_text(f"could not reach {url}, gave up")


def test_a_password_with_an_at_sign_is_masked_whole():
    """Who forgot to write it as %40 does not read half of it in a log."""
    assert redact_text("redis://:pa@hunter2@host:1/0") == "redis://:[redacted]@host:1/0"


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "redis://:hunter2@/0",
        "redis://host:hunter2",
        "redis://:hunter2@host:99999",
        "redis://:hunter2@host/one",
        "redis://:hunter#2@host/0",
        "redis://[::1:hunter2",
        "redis://:hunter2@a:1,b:2/0",
        "redis+sentinel://:hunter2@a:1",
        "redis+cluster://:hunter2@a:1/3",
        "rediss://:hunter2@host?ssl_cert_reqs=none",
        "redis://:hunter2@host?timeout=hunter2",
        "unix://:hunter2@host/run/redis.sock",
    ],
)
def test_redis_urls_that_are_none(url):
    """Refused before anything is opened, with the setting to change, and nothing of the URL that may be a secret."""
    for refuse in (check_url, check_limits_url, open_store, open_limits):
        with pytest.raises(SettingsError, match="PRODKIT_STORE") as caught:
            refuse(url, setting="PRODKIT_STORE")
        assert "hunter" not in str(caught.value)


def test_redis_without_the_extra(monkeypatch):
    """Says what to install, and not the URL."""
    monkeypatch.setitem(sys.modules, "redis", None)
    for ask in (check_url, open_store, open_limits, check_limits_url):
        with pytest.raises(MissingExtraError, match=r"fastapi-prodkit\[redis\]") as caught:
            ask("redis://:hunter2@host")
        assert "hunter2" not in str(caught.value)


async def test_redis_works(valkey):  # noqa: F811  the fixture
    """All the stores answer from one server, whose clock is the one that counts unless another is given."""
    stores = open_store(valkey)
    assert stores.name == valkey.removesuffix("/0")
    result = await stores.check()
    assert result.status == "degraded"
    assert "appendonly" in result.detail
    rate = Rate(1, 3600.0)
    assert [(await hit(stores.limits, ("k", rate, 1)))[0].allowed for _ in range(2)] == [True, False]
    assert await stores.keys.find("k") is None
    assert await stores.ledger.open_holds() == []
    assert await stores.sessions.find("s") is None
    await stores.aclose()


async def test_the_clock_of_limits_in_redis(valkey):  # noqa: F811  the fixture
    """Time that a test moves is the time of the limits, although the server has its own."""
    clock = FakeClock()
    limits = open_limits(valkey, clock=clock)
    rate = Rate(1, 3600.0)
    assert [(await hit(limits, ("k", rate, 1)))[0].allowed for _ in range(2)] == [True, False]
    clock.advance(3600.0)
    assert (await hit(limits, ("k", rate, 1)))[0].allowed
    await limits.aclose()


async def test_a_cluster_works(valkey_cluster):  # noqa: F811  the fixture
    """All the stores answer from three masters."""
    stores = open_store(valkey_cluster)
    await stores.check()
    assert stores.limits.is_partitioned
    assert (await hit(stores.limits, ("{k}", Rate(1, 1.0), 1)))[0].allowed
    assert await stores.keys.find("k") is None
    assert await stores.ledger.open_holds() == []
    await stores.aclose()


async def test_a_durable_server_has_no_doubts():
    """With a log and without eviction there is nothing to tell."""
    with running_valkey({"appendonly": "yes"}) as server:
        stores = open_store(server.url)
        assert await stores.check() == HealthResult("healthy")
        await stores.aclose()


async def test_a_user_who_may_do_little():
    """What the guide tells to allow is enough for every store."""
    guide = (ROOT / "docs/how-to/stores.md").read_text("utf-8")
    words = guide[guide.index("ACL SETUSER app") :].partition("```")[0].split()
    with running_valkey({"appendonly": "yes"}) as server:
        server.ask(*words)
        stores = open_store(f"redis://app:secret@127.0.0.1:{server.port}/0")
        assert await stores.check() == HealthResult("healthy")
        rules: list[Rule] = [
            Rate(5, 60.0),
            FixedWindow(5, 60.0),
            SlidingWindow(5, 60.0),
            MovingWindow(5, 60.0),
            Permit(2, "id"),
        ]
        rules.append(CalendarWindow(5, "day"))
        for rule in rules:
            (decision,) = await hit(stores.limits, ("pk:{k}", rule, 1))
            assert decision.allowed
            await stores.limits.settle([("pk:{k}", rule, -1, decision.at_ns)])
        await stores.limits.reset("pk:{k}")
        await stores.keys.put(KeyRecord(id="k", digest=b"d", pepper_id="p", owner="o", created_at=1.0))
        assert len(await stores.keys.list()) == 1
        assert await stores.keys.revoke("k", 2.0)
        assert await stores.ledger.open_holds() == []
        assert await stores.sessions.find("s") is None
        await stores.aclose()


async def test_checks_are_told_together():
    """The worst status counts, and the same detail is told once."""

    class Found:
        def __init__(self, result):
            self.result = result

        async def check(self):
            return self.result

    stores = open_store("memory://")
    assert await stores.check() is None
    odd = dataclasses.replace(
        stores,
        limits=Found(HealthResult("degraded", "full")),
        keys=Found(HealthResult("healthy", "fine")),
        ledger=Found(HealthResult("degraded", "full")),
    )
    assert await odd.check() == HealthResult("degraded", "full; fine")
    await stores.aclose()


def test_a_missing_directory_is_refused_with_the_cure(tmp_path):
    """At construction, with the directory in question and the setting to change."""
    with pytest.raises(StoreUnavailableError, match=r"none does not exist.*PRODKIT_STORE"):
        open_store(f"sqlite:///{tmp_path}/none/app.db")


def test_only_what_is_used_is_loaded():
    """A process with memory stores loads neither those of SQLite nor those of Redis."""
    code = """
        import sys
        from prodkit.stores.urls import open_store
        open_store("memory://")
        print([name for name in sys.modules if name.startswith(("prodkit.stores.sqlite", "prodkit.stores.redis", "redis"))])
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    "seconds", ["", "x", "0", "-1", "nan", "inf", "31", "0.1&timeout_seconds=0.2"], ids=str
)
@pytest.mark.parametrize("url", ["sqlite:///x.db", "redis://localhost:1/0", "redis+cluster://localhost:1"])
def test_a_bound_that_is_no_time_is_refused(url, seconds):
    """The option has to be one number of seconds within reason; the fault says which."""
    with pytest.raises(SettingsError, match=r"from 0\.005 to 30"):
        check_url(f"{url}?timeout_seconds={seconds}")


async def test_sqlite_waits_as_long_as_the_url_says(tmp_path):
    """While another process holds the lock, a hit is given up when the bound of the URL is over, and not before."""
    path = tmp_path / "x.db"
    stores = open_store(f"sqlite:///{path}?timeout_seconds=0.4")
    assert (await hit(stores.limits, ("k", Rate(1, 1.0), 1)))[0].allowed
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        started = time.monotonic()
        with pytest.raises(StoreUnavailableError):
            await hit(stores.limits, ("k", Rate(1, 1.0), 1))
        assert time.monotonic() - started >= 0.35
    other.close()
    await stores.aclose()


async def test_redis_waits_as_long_as_the_url_says():
    """A stopped server is given up when the bound of the URL is over, and not before."""
    with running_valkey() as server:
        stores = open_store(f"{server.url}?timeout_seconds=0.4")
        assert (await hit(stores.limits, ("k", Rate(1, 1.0), 1)))[0].allowed
        server.pause()
        started = time.monotonic()
        with pytest.raises(StoreUnavailableError):
            await hit(stores.limits, ("k", Rate(1, 1.0), 1))
        assert time.monotonic() - started >= 0.35
        server.resume()
        await stores.aclose()


# ------------------------------------------------------------------------------------------- the export of a ledger


@pytest.mark.process
@pytest.mark.parametrize("name", ["ledger.jsonl", "ledger.db"])
async def test_a_ledger_that_lacks_what_was_exported_refuses(valkey, tmp_path, name):  # noqa: F811  the fixture
    """The option `ledger_export` names the file; the health of the store says what is missing, and all else works."""
    asked = Reservation(id="h", amount_nano=1, lease_seconds=60.0)
    for path in (tmp_path / name, tmp_path / "with space" / name):
        path.parent.mkdir(exist_ok=True)
        shown = str(path).replace(" ", "%20")
        stores = open_store(f"{valkey}?ledger_export={shown}&timeout_seconds=5")
        assert "ledger_export" not in stores.name
        await stores.check()
        sink = JsonLinesSink(path) if path.suffix == ".jsonl" else SqliteSink(path)
        other = MemoryLedger()
        await other.adjust("m", 1, reason="r")
        await export_entries(other, sink, lag_seconds=-60.0)
        fresh = open_store(f"{valkey}?timeout_seconds=5&ledger_export={shown}")
        with pytest.raises(StoreUnavailableError, match="lacks the entry 1"):
            await fresh.ledger.reserve(asked)
        with pytest.raises(StoreUnavailableError, match="lacks the entry 1"):
            await fresh.check()
        assert await fresh.keys.find("k") is None
        await fresh.aclose()
        await stores.aclose()


@pytest.mark.parametrize(
    "option", ["ledger_export=", "ledger_export", "ledger_export=/a/", "ledger_export=a&ledger_export=b"]
)
def test_an_export_that_is_no_file(option):
    """It is refused with the name of the setting, at the start."""
    with pytest.raises(SettingsError, match="PRODKIT_STORE: its option ledger_export names no file"):
        check_url(f"redis://localhost?{option}")


def test_only_redis_has_an_export():
    """SQLite is as durable as a copy beside it."""
    with pytest.raises(SettingsError, match="option"):
        check_url("sqlite:///app.db?ledger_export=a")
