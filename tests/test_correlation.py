"""Every request has one id, chosen by whom one trusts."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from prodkit.core.assembly import assemble
from prodkit.core.context import CurrentContext, RequestContext
from prodkit.core.exceptions import SettingsError
from prodkit.core.problems import Problem
from prodkit.correlation import Correlation, CorrelationIds, CorrelationSettings, trace_id_of
from prodkit.installation import install
from prodkit.proxies import Proxies
from tests.support.asgi import http_scope

TRACE = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE}-b7ad6b7169203331-01"


def client_of(*features: Any, peer: str = "10.0.0.1") -> TestClient:
    app = FastAPI()

    @app.get("/")
    async def home(context: CurrentContext) -> dict[str, str | None]:
        return {"id": context.correlation_id, "trace": context.trace_id}

    install(app, Proxies(trusted_proxies=["10.0.0.0/8"]), *features)
    return TestClient(app, client=(peer, 4711))


def identified(
    headers: list[tuple[bytes, bytes]], *, trusted: bool = False, **options: Any
) -> RequestContext:
    context = RequestContext(assemble([]), http_scope("/", headers=headers), 0.0)
    context.peer_trusted = trusted
    CorrelationIds(CorrelationSettings(**options), lambda count: b"\xab" * count).guard(context)
    return context


def test_every_response_carries_a_new_id():
    """Two requests have two ids, each on the response and in the context."""
    client = client_of(Correlation())
    first, second = client.get("/"), client.get("/nowhere")
    assert first.json()["id"] == first.headers["x-request-id"]
    assert second.json()["correlation_id"] == second.headers["x-request-id"]
    assert first.headers["x-request-id"] != second.headers["x-request-id"]
    assert len(first.headers["x-request-id"]) == 32


def test_trusted_proxy_chooses_the_id():
    """An id from a named proxy is taken over, one from a stranger is replaced."""
    headers = {"X-Request-ID": "gateway-0001"}
    assert client_of(Correlation()).get("/", headers=headers).headers["x-request-id"] == "gateway-0001"
    stranger = client_of(Correlation(), peer="203.0.113.9").get("/", headers=headers)
    assert stranger.headers["x-request-id"] != "gateway-0001"


@pytest.mark.parametrize(
    ("inbound", "trusted", "taken"),
    [
        ("trusted", True, True),
        ("trusted", False, False),
        ("always", False, True),
        ("never", True, False),
    ],
)
def test_whose_ids_are_taken(inbound: str, trusted: bool, taken: bool):
    """`inbound` says whose, for ids and for trace ids alike: both would be an id that somebody else has chosen."""
    own = identified([(b"x-request-id", b"chosen-by-them")], trusted=trusted, inbound=inbound)
    assert (own.correlation_id == "chosen-by-them") is taken
    trace = identified([(b"traceparent", TRACEPARENT.encode())], trusted=trusted, inbound=inbound)
    assert (trace.correlation_id == TRACE) is taken
    assert trace.trace_id == TRACE


def test_own_id_comes_before_the_trace_id():
    """Where both are believed the id is the id, and the trace id stays beside it."""
    headers = [(b"x-request-id", b"gateway-0001"), (b"traceparent", TRACEPARENT.encode())]
    context = identified(headers, trusted=True)
    assert (context.correlation_id, context.trace_id) == ("gateway-0001", TRACE)


@pytest.mark.parametrize(
    "value", [b"short", b"x" * 129, b"with space", b"new\nline-here", b"caf\xe9-caf\xe9", b"", b"semi;colon;"]
)
def test_invalid_id_is_replaced(value: bytes):
    """What would break a log line or an index never becomes the id."""
    context = identified([(b"x-request-id", value)], inbound="always")
    assert context.correlation_id == "ab" * 16
    assert context.response_headers == {b"x-request-id": b"ab" * 16}


@pytest.mark.parametrize("value", [b"x" * 8, b"x" * 128, b"A-z_0.9-"])
def test_bounds_of_an_id(value: bytes):
    """8 to 128 characters are an id."""
    assert identified([(b"x-request-id", value)], inbound="always").correlation_id == value.decode()


def test_invalid_id_can_be_refused():
    """With `reject_invalid` it is a 400, which has an id of its own; from a stranger it is just replaced."""
    client = client_of(Correlation(reject_invalid=True))
    answer = client.get("/", headers={"X-Request-ID": "bad id"})
    assert answer.status_code == 400
    assert answer.json()["correlation_id"] == answer.headers["x-request-id"]
    assert len(answer.headers["x-request-id"]) == 32
    stranger = client_of(Correlation(reject_invalid=True), peer="203.0.113.9")
    assert stranger.get("/", headers={"X-Request-ID": "bad id"}).status_code == 200
    with pytest.raises(Problem):
        identified([(b"x-request-id", b"no")], inbound="always", reject_invalid=True)


def test_other_header_name():
    """The name is the operator's, in any case of letters."""
    client = client_of(Correlation(header="X-Correlation-ID", inbound="always"))
    answer = client.get("/", headers={"x-correlation-id": "order-4711-a", "X-Request-ID": "ignored-here"})
    assert answer.headers["x-correlation-id"] == "order-4711-a"
    assert "x-request-id" not in answer.headers


def test_application_may_answer_with_its_own_id():
    """A header the route sets itself stays the only one of its name."""
    app = FastAPI()

    @app.get("/")
    async def home() -> Any:
        from fastapi.responses import PlainTextResponse

        return PlainTextResponse("", headers={"X-Request-ID": "mine-mine-mine"})

    install(app, Correlation())
    answer = TestClient(app).get("/")
    assert answer.headers.get_list("x-request-id") == ["mine-mine-mine"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (TRACEPARENT, TRACE),
        (f"01-{TRACE}-b7ad6b7169203331-01-what-the-future-brings", TRACE),
        (f"00-{TRACE}-b7ad6b7169203331-01-more", None),
        (f"01-{TRACE}-b7ad6b7169203331-01more", None),
        (f"ff-{TRACE}-b7ad6b7169203331-01", None),
        (f"00-{'0' * 32}-b7ad6b7169203331-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (TRACEPARENT.upper(), None),
        (TRACEPARENT[:-1], None),
        (f" {TRACEPARENT}", None),
        ("", None),
    ],
)
def test_traceparent(value: str, expected: str | None):
    """W3C Trace Context, 3.2: lower case, no zeros, version ff forbidden, later versions may say more."""
    assert trace_id_of(value.encode()) == expected


def test_two_traceparents_are_none():
    """Somebody appended without looking: neither is believed."""
    lines = [
        (b"traceparent", TRACEPARENT.encode()),
        (b"traceparent", TRACEPARENT.replace("0af", "1af").encode()),
    ]
    context = identified(lines, inbound="always")
    assert context.trace_id is None
    assert context.correlation_id == "ab" * 16


@given(st.binary(max_size=200), st.binary(max_size=80))
def test_arbitrary_headers_give_a_valid_id(own: bytes, traceparent: bytes):
    """Whatever comes, the id is 8 to 128 characters that mean nothing to a log or a header."""
    context = identified([(b"x-request-id", own), (b"traceparent", traceparent)], inbound="always")
    assert 8 <= len(context.correlation_id) <= 128
    assert set(context.correlation_id) <= set(
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
    )


def test_settings():
    """A header name that cannot be sent does not start; the order line names header and trust."""
    with pytest.raises(SettingsError, match="header"):
        Correlation(header="X Request")
    parts = assemble([Correlation.from_settings(CorrelationSettings(inbound="never"))]).parts["correlation"]
    assert "X-Request-ID (never)" in next(iter(parts.order.values()))
