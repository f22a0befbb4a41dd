"""Rate limiting as clients and operators see it."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketDenialResponse
from starlette.websockets import WebSocketDisconnect

from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import InstallationError, SettingsError
from prodkit.installation import install
from prodkit.rate_limiting import Policy, RateLimiting, RateLimitingSettings
from prodkit.settings import Settings
from prodkit.stores import RateLimitStore
from prodkit.stores.memory import MemoryRateLimitStore
from tests.rate_limiting.limited import App
from tests.support.recording import Contributes


def test_a_limit_admits_exactly_its_burst_and_refills_evenly():
    """`3/minute` lets three through at once, and one more every twenty seconds."""
    app = App(RateLimiting("3/minute", address=None))
    assert app.statuses(5) == [200, 200, 200, 429, 429]
    app.clock.advance(20)
    assert app.statuses(2) == [200, 429]


def test_a_refusal_is_a_problem_with_a_true_retry_after():
    """The 429 names the policies, and whoever waits as long as it says is let in; a second less and he is not."""
    app = App(RateLimiting("3/minute", address=None))
    app.statuses(3)
    app.clock.advance(0.5)
    response = app.client().get("/")
    body = response.json()
    assert response.headers["content-type"] == "application/problem+json"
    assert body["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"
    assert body["violated-policies"] == ["default"]
    assert body["correlation_id"] == response.headers["x-request-id"]
    assert response.headers["retry-after"] == "20"
    app.clock.advance(19)
    assert app.statuses(1) == [429]
    app.clock.advance(1)
    assert app.statuses(1) == [200]


def test_headers_name_every_policy_that_applied():
    """Both stages report in one header line each, in draft-11 syntax, and only a refusal has Retry-After."""
    app = App(RateLimiting("100/minute"))
    response = app.client().get("/")
    assert response.headers.get_list("ratelimit-policy") == ['"address";q=1200;w=60, "default";q=100;w=60']
    assert response.headers.get_list("ratelimit") == ['"address";r=1199;t=1, "default";r=99;t=1']
    assert "retry-after" not in response.headers


def test_callers_have_buckets_of_their_own():
    """A principal is limited wherever it comes from, strangers by address, and neither at the other's cost."""
    app = App(RateLimiting("1/minute", address=None))
    assert app.statuses(2, caller="ann") == [200, 429]
    assert app.statuses(1, caller="ann", address="198.51.100.1") == [429]
    assert app.statuses(1, caller="bob") == [200]
    assert app.statuses(2) == [200, 429]
    assert app.statuses(1, address="198.51.100.1") == [200]


def test_ipv6_is_limited_by_network():
    """A subscriber's /64 is one client, another one's is another, and a mapped address is its IPv4 address."""
    app = App(RateLimiting(None, address="1/minute"))
    assert app.statuses(1, address="2001:db8:1:2::1") == [200]
    assert app.statuses(1, address="2001:db8:1:2:ffff::9") == [429]
    assert app.statuses(1, address="2001:db8:1:3::1") == [200]
    assert app.statuses(1, address="192.0.2.1") == [200]
    assert app.statuses(1, address="::ffff:192.0.2.1") == [429]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("192.0.2.1", "192.0.2.1", 429),
        ("192.0.2.1", "192.0.2.2", 200),
        ("2001:db8::1", "2001:db8::2", 429),
        ("fe80::1%eth0", "fe80::1%eth1", 429),
        ("unix", "socket", 429),
    ],
)
def test_alone_it_takes_the_peer_for_the_client(first, second, expected):
    """Installed without the proxies feature it limits by the directly connected peer."""
    app = FastAPI()
    install(app, RateLimiting(address="1/minute"), clock=FakeClock())
    statuses = [TestClient(app, client=(name, 5)).get("/docs").status_code for name in (first, second)]
    assert statuses == [200, expected]


def test_what_no_route_takes_counts_too():
    """404s, mounted applications and included routers share the caller's bucket: enforcement asks no route."""
    app = FastAPI()
    inner, router = FastAPI(), APIRouter(prefix="/v1")

    @inner.get("/x")
    @router.get("/x")
    async def x() -> int:
        return 1

    app.mount("/inner", inner)
    app.include_router(router)
    small = App(RateLimiting("3/minute", address=None), app=app)
    assert [small.statuses(1, path)[0] for path in ("/nothing", "/inner/x", "/v1/x")] == [404, 200, 200]
    assert small.statuses(1, "/nothing") == [429]


def test_websockets_are_limited_at_the_handshake():
    """The second socket of a caller who may open one is refused before the handler runs."""
    app = FastAPI()

    @app.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        await socket.accept()
        await socket.close()

    client = App(RateLimiting("1/minute", address=None), app=app).client()
    with client.websocket_connect("/ws"):
        pass
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/ws"):
        pass
    assert refused.value.status_code == 429
    assert refused.value.headers["retry-after"] == "60"


def test_a_refused_stage_consumes_nothing():
    """Policies of one stage are all or nothing: what the tight one refuses costs the wide one nothing."""
    policies = [Policy("wide", "5/minute"), Policy("tight", "1/minute")]
    app = App(RateLimiting(address=None, policies=policies))
    assert app.statuses(3) == [200, 429, 429]
    refused = app.client().get("/")
    assert refused.headers["ratelimit"] == '"wide";r=4;t=12, "tight";r=0;t=60'
    assert refused.json()["violated-policies"] == ["tight"]


def test_partitions_and_costs_may_be_functions():
    """A policy counts by what a function says, with the cost another says, and not where the partition is None."""
    policy = Policy(
        "uploads",
        "10/minute",
        by=lambda context: "all" if (context.scope or {})["method"] == "POST" else None,
        cost=lambda context: 4,
    )
    client = App(RateLimiting(address=None, policies=[policy])).client()
    assert [client.post("/").status_code for _ in range(3)] == [405, 405, 429]
    assert [client.get("/").status_code for _ in range(5)] == [200] * 5


def test_a_cost_above_the_burst_is_refused_without_a_time():
    """Waiting does not help, so no Retry-After says that it would."""
    app = App(RateLimiting(address=None, policies=[Policy("big", "3/minute", cost=lambda context: 9)]))
    response = app.client().get("/")
    assert response.status_code == 429
    assert "retry-after" not in response.headers


def test_tenants_share_a_bucket():
    """Two callers of one tenant draw from one bucket; who has no tenant is limited as a caller."""
    app = App(RateLimiting(address=None, policies=[Policy("tenant", "2/minute", by="tenant")]))
    assert [app.statuses(1, caller=caller)[0] for caller in ("ann", "abe", "alf")] == [200, 200, 429]
    assert app.statuses(3) == [200, 200, 429]


def test_a_policy_on_trial_only_counts():
    """With enforce=False nobody is refused or told, the refusals are counted, and other policies consume as ever."""
    app = App(RateLimiting("3/minute", address=None, policies=[Policy("trial", "1/minute", enforce=False)]))
    assert app.statuses(4) == [200, 200, 200, 429]
    assert "trial" not in app.client().get("/").headers["ratelimit"]
    limiting: Any = app.kit.features["rate_limiting"]
    counts = {
        (sample.labels["policy"], sample.labels["outcome"]): sample.value
        for sample in limiting.limiter.samples()
        if sample.value
    }
    assert counts == {
        ("default", "allowed"): 3,
        ("default", "denied"): 2,
        ("trial", "allowed"): 1,
        ("trial", "bypassed"): 4,
    }


@pytest.mark.parametrize(
    ("choice", "expected"), [("shared", [200, 429]), ("skip", [200, 200]), ("reject", [400, 400])]
)
def test_callers_without_an_address(choice, expected):
    """Nobody without an address is taken for somebody else: they share a bucket, pass, or are refused, as set."""
    app = App(RateLimiting(address="1/minute", on_unidentified=choice))
    assert [app.statuses(1, address=name)[0] for name in ("unix", "socket")] == expected
    assert app.statuses(1) == [200]


def test_legacy_headers_show_the_tightest_limit():
    """X-RateLimit-* know one policy: the one with the fewest left."""
    headers = App(RateLimiting("5/minute", legacy_headers=True)).client().get("/").headers
    legacy = {name: headers[f"x-ratelimit-{name}"] for name in ("limit", "remaining", "reset")}
    assert legacy == {"limit": "5", "remaining": "4", "reset": "12"}


def test_an_application_in_an_application_reports_each_policy_once():
    """Inner limits hold as well, and of two policies of one name the one with less left is shown."""
    inner = FastAPI()
    install(inner, RateLimiting("2/minute", address="100/minute"))

    @inner.get("/x")
    async def x() -> int:
        return 1

    app = FastAPI()
    app.mount("/inner", inner)
    outer = App(RateLimiting("50/minute", address=None), app=app)
    response = outer.client().get("/inner/x")
    assert response.headers.get_list("ratelimit") == ['"default";r=1;t=30, "address";r=99;t=1']
    assert response.headers.get_list("ratelimit-policy") == ['"default";q=2;w=60, "address";q=100;w=60']
    assert outer.statuses(2, "/inner/x") == [200, 429]


class TestSettings:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"default": "lots"}, "is not a rate"),
            ({"default": "1/minute;2/hour"}, "holds several rates"),
            ({"address": "0/minute"}, "limit must be"),
            ({"ipv6_prefix": 20}, "greater than or equal to 32"),
            ({"policies": [{"name": "a b", "rate": "1/minute"}]}, "a policy's name is"),
            (
                {"policies": [{"name": "default", "rate": "1/minute"}], "default": "1/minute"},
                "are named default",
            ),
            (
                {"policies": [{"name": "a", "rate": "1/minute", "layer": "address"}]},
                "before anybody is identified",
            ),
            ({"policies": [{"name": "a", "rate": "1/minute", "cost": 2}]}, "outside 0 to 1"),
        ],
    )
    def test_impossible_settings_are_refused(self, options, message):
        """What cannot be enforced does not start, and says why."""
        with pytest.raises(SettingsError, match=message):
            RateLimiting(**options)

    @pytest.mark.parametrize("text", ["null", ""])
    def test_the_limit_by_address_can_be_switched_off_in_the_environment(self, text, monkeypatch):
        """Where every value is a text, `null` and nothing stand for none."""
        monkeypatch.setenv("PRODKIT_RATE_LIMITING__ADDRESS", text)
        assert Settings().rate_limiting.address is None

    def test_policies_can_be_read_from_json(self):
        """An operator declares policies without code."""
        settings = RateLimitingSettings.model_validate_json(
            '{"policies": [{"name": "daily", "rate": "5000/day", "by": "tenant", "burst": 10}]}'
        )
        (policy,) = settings.policies
        assert (policy.refill.limit, policy.refill.window_seconds, policy.refill.burst) == (5000, 86_400, 10)

    def test_the_store_is_the_one_another_feature_provides(self):
        """Limits are counted where the application's other features count."""
        store = MemoryRateLimitStore(clock=FakeClock())
        app = App(RateLimiting("5/minute", address=None), Contributes("stores", provides=[store]))
        app.statuses(1)
        assert len(store) == 1
        assert app.kit.one(RateLimitStore) is store

    @pytest.mark.usefixtures("patient_store")
    def test_a_store_of_its_own_is_opened_checked_and_closed(self, tmp_path, monkeypatch):
        """`store` names a file that limits, is part of readiness, and is given back at the end."""
        monkeypatch.chdir(tmp_path)
        app = App(RateLimiting("2/minute", address=None, store="sqlite:///limits.db"))
        assert [check.name for check in app.kit.parts["rate_limiting"].health_checks] == ["rate_limit_store"]
        with app.client() as client:
            assert [client.get("/").status_code for _ in range(3)] == [200, 200, 429]
        assert (tmp_path / "limits.db").exists()

    def test_counting_in_memory_with_several_workers_is_warned_of(self, monkeypatch, caplog):
        """An operator hears at start-up that the limit is multiplied, and not with a single worker."""
        monkeypatch.setenv("WEB_CONCURRENCY", "1")
        App(RateLimiting())
        assert caplog.records == []
        monkeypatch.setenv("WEB_CONCURRENCY", "4")
        with caplog.at_level(logging.WARNING):
            App(RateLimiting())
        assert "up to 4 times the limit" in caplog.text

    def test_one_instance_serves_one_application(self):
        """A feature given to two applications is refused, with the cure."""
        limits = RateLimiting()
        App(limits)
        with pytest.raises(InstallationError, match="make one for each"):
            App(limits)


def test_messages_of_every_socket_may_be_limited_by_a_setting():
    """A policy of the layer `message` counts what sockets receive, of each caller over all sockets, and no request."""
    app = FastAPI()

    @app.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        await socket.accept()
        while True:
            await socket.send_text(await socket.receive_text())

    policy = Policy("messages", "2/minute", layer="message")
    small = App(RateLimiting(address=None, policies=[policy], on_message_exceed="close"), app=app)
    client = small.client()
    with client.websocket_connect("/ws") as socket:
        for _ in range(2):
            socket.send_text("a")
            assert socket.receive_text() == "a"
        socket.send_text("a")
        with pytest.raises(WebSocketDisconnect) as closed:
            socket.receive_text()
    assert closed.value.code == 1008
    assert small.statuses(5) == [200] * 5
