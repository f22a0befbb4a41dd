"""Wrong credentials are counted by address; right ones never pay for them."""

from __future__ import annotations

import asyncio
from ipaddress import ip_address
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit.authentication import Authentication, StaticKeys
from prodkit.authentication.failures import Failures
from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import StoreIncompatibleError, StoreUnavailableError
from prodkit.core.features import MetricSource
from prodkit.core.problems import Problem
from prodkit.installation import install
from prodkit.shared_store import SharedStore
from prodkit.stores.memory import MemoryRateLimitStore
from tests.authentication.secured import BEARER, KEYS, secured

WRONG = {"Authorization": "Bearer wrong"}


class Away:
    """A store that cannot be asked."""

    def __init__(self, error: Exception, *, later: bool) -> None:
        self.error, self.later = error, later

    def hit_many(self, asks):
        if not self.later:
            raise self.error
        return self._fail()

    async def _fail(self):
        raise self.error


def test_the_eleventh_failure_of_a_minute_is_told_to_wait():
    """Ten are 401; then 429 with a true Retry-After and the policy's name, and after waiting one 401 more."""
    _, client, kit = secured()
    assert [client.get("/me", headers=WRONG).status_code for _ in range(10)] == [401] * 10
    for _ in range(3):
        refused = client.get("/me", headers=WRONG)
        assert refused.status_code == 429
        assert refused.json()["violated-policies"] == ["authentication-failures"]
        assert refused.headers["retry-after"] == "6"
        assert refused.headers["www-authenticate"] == 'Bearer realm="api", error="invalid_token"'
    clock: Any = kit.clock
    clock.advance(6.0)
    assert [client.get("/me", headers=WRONG).status_code for _ in range(2)] == [401, 429]


def test_only_failures_count():
    """Requests without a credential, and right ones before, between and after, neither pay nor are refused."""
    _, client, kit = secured()
    for _ in range(30):
        assert client.get("/me", headers=BEARER).status_code == 200
        assert client.get("/me").status_code == 401
    assert [client.get("/me", headers=WRONG).status_code for _ in range(11)] == [401] * 10 + [429]
    assert client.get("/me", headers=BEARER).status_code == 200
    assert client.get("/me").status_code == 401
    assert client.get("/open").status_code == 200
    (source,) = kit.all(MetricSource)
    counted = {tuple(sample.labels.values()): sample.value for sample in source.samples()}
    assert counted["failures", "denied"] == 1


def test_a_neighbour_is_not_refused():
    """Each address has failures of its own; the addresses of one IPv6 subscriber share them."""
    failures = Failures(1)
    failures.bind(MemoryRateLimitStore(clock=FakeClock()), FakeClock())

    def fails(address: str) -> bool:
        context = type("Context", (), {"client_ip": ip_address(address)})()
        try:
            failures.count(context)
        except Problem:
            return True
        return False

    assert [fails("192.0.2.1"), fails("192.0.2.1"), fails("192.0.2.2")] == [False, True, False]
    assert [fails("2001:db8::1"), fails("2001:db8::ffff"), fails("2001:db8:0:1::1")] == [False, True, False]
    assert fails("::ffff:192.0.2.1")


def test_what_is_remembered_of_addresses_is_bounded():
    """However many addresses fail, only so many are known to be blocked."""
    failures = Failures(1)
    failures.bind(MemoryRateLimitStore(clock=FakeClock()), FakeClock())
    for number in range(10_050):
        context = type("Context", (), {"client_ip": ip_address(number)})()
        failures.count(context)
        with pytest.raises(Problem):
            failures.count(context)
    assert len(failures._blocked) == 10_000


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    "error", [StoreUnavailableError("away"), StoreIncompatibleError("of a newer release")]
)
async def test_a_store_that_is_away_leaves_the_401(error, later):
    """The refusal stands in any case; only its number is not limited."""
    failures = Failures(1)
    failures.bind(Away(error, later=later), FakeClock())
    context = type("Context", (), {"client_ip": ip_address("192.0.2.1")})()
    for _ in range(3):
        counting = failures.count(context)
        if counting is not None:
            await counting


def test_workers_share_what_failed(tmp_path):
    """Over SQLite, ten failures at one worker are ten at the other."""

    def worker() -> TestClient:
        app = FastAPI()
        install(app, SharedStore(f"sqlite:///{tmp_path / 'app.db'}"), Authentication(StaticKeys(KEYS)))
        return TestClient(app)

    with worker() as one, worker() as other:
        assert {one.get("/", headers=WRONG).status_code for _ in range(10)} == {401}
        assert other.get("/", headers=WRONG).status_code == 429


def test_it_can_be_turned_off():
    """With 0 there is no limit."""
    _, client, _ = secured(failures_per_minute=0)
    assert {client.get("/me", headers=WRONG).status_code for _ in range(50)} == {401}


async def test_concurrent_failures_are_counted_each():
    """Of fifty at once exactly ten are 401."""
    failures = Failures(10)
    failures.bind(MemoryRateLimitStore(clock=FakeClock()), FakeClock())
    context = type("Context", (), {"client_ip": ip_address("192.0.2.1")})()

    async def one() -> bool:
        await asyncio.sleep(0)
        try:
            failures.count(context)
        except Problem:
            return True
        return False

    assert sorted(await asyncio.gather(*(one() for _ in range(50)))) == [False] * 10 + [True] * 40
