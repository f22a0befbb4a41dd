"""The caller's address is what named proxies say, and nobody else."""

from __future__ import annotations

import logging
from ipaddress import ip_address
from typing import Any

import pytest
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import RedirectResponse
from fastapi.testclient import TestClient

from prodkit.core.assembly import assemble
from prodkit.core.context import CurrentContext, RequestContext
from prodkit.core.exceptions import SettingsError
from prodkit.installation import install
from prodkit.proxies import PEER_SCOPE_KEY, ClientAddress, Proxies, ProxiesSettings
from tests.proxies.asking import BEHIND, PROXY, asked, caller, resolved, served
from tests.support.asgi import http_scope, websocket_scope
from tests.support.server import serving

# ------------------------------------------------------------------------------------------------ what a client sees


def test_nobody_is_trusted_by_default():
    """Without a setting a forwarding header is only text, and the peer is the caller."""
    client = TestClient(served(Proxies()), client=("203.0.113.9", 4711))
    answer = client.get("/", headers={"X-Forwarded-For": "198.51.100.1", "X-Forwarded-Proto": "https"}).json()
    assert answer == {
        "ip": "203.0.113.9",
        "scheme": "http",
        "trusted": False,
        "client": "203.0.113.9",
        "url": "http://testserver/",
    }


def test_named_proxy_says_who_calls_and_how():
    """Address and scheme of a trusted proxy hold everywhere: context, `request.client`, `request.url`."""
    client = TestClient(served(Proxies(trusted_proxies=["10.0.0.0/8"])), client=(PROXY, 4711))
    answer = client.get("/", headers={"X-Forwarded-For": "198.51.100.1", "X-Forwarded-Proto": "https"}).json()
    assert answer == {
        "ip": "198.51.100.1",
        "scheme": "https",
        "trusted": True,
        "client": "198.51.100.1",
        "url": "https://testserver/",
    }


def test_redirects_keep_https():
    """A redirect made from the request's URL does not fall back to http behind a TLS-terminating proxy."""
    app = FastAPI()

    @app.get("/from")
    async def leave(request: Request) -> RedirectResponse:
        return RedirectResponse(str(request.url.replace(path="/to")))

    install(app, Proxies(trusted_proxies=["10.0.0.0/8"]))
    client = TestClient(app, client=(PROXY, 4711))
    answer = client.get("/from", headers={"X-Forwarded-Proto": "https"}, follow_redirects=False)
    assert answer.headers["location"] == "https://testserver/to"


def test_websockets_are_resolved_too():
    """A socket has the caller's address, and the secure scheme of sockets."""
    app = FastAPI()

    @app.websocket("/")
    async def socket(websocket: WebSocket, context: CurrentContext) -> None:
        await websocket.accept()
        await websocket.send_json([str(context.client_ip), context.scheme])

    install(app, Proxies(trusted_proxies=["10.0.0.0/8"]))
    client = TestClient(app, client=(PROXY, 4711))
    with client.websocket_connect(
        "/", headers={"X-Forwarded-For": "::1", "X-Forwarded-Proto": "https"}
    ) as ws:
        assert ws.receive_json() == ["::1", "wss"]


@pytest.mark.process
def test_two_lines_of_the_header_are_one_list():
    """A second X-Forwarded-For line, as some proxies add, is the end of the same list on a real server."""
    with serving(served(Proxies(trusted_proxies=["127.0.0.0/8"]))) as server:
        answer = server.get("/", "X-Forwarded-For: 1.1.1.1", "X-Forwarded-For: 198.51.100.7, 127.0.0.9")
    assert b'"ip":"198.51.100.7"' in answer


@pytest.mark.process
def test_server_that_rewrites_is_noticed(caplog: pytest.LogCaptureFixture):
    """What uvicorn has resolved by itself is not resolved again, and one warning says what to change."""
    app = served(Proxies(trusted_proxies=["127.0.0.0/8", "198.51.100.0/24"]))
    with caplog.at_level(logging.WARNING, "prodkit"), serving(app, proxy_headers=True) as server:
        for _ in range(3):
            answer = server.get("/", "X-Forwarded-For: 203.0.113.5, 198.51.100.7")
    # 198.51.100.7 is one of our proxies; had we read the header once more, 203.0.113.5 would have been believed.
    assert b'"ip":"198.51.100.7"' in answer
    assert b'"trusted":false' in answer
    warnings = [record for record in caplog.records if record.name == "prodkit.proxies"]
    assert len(warnings) == 1
    assert "--no-proxy-headers" in warnings[0].getMessage()


def test_garbage_of_a_rewriting_server_is_no_address():
    """uvicorn passes on any text it finds; ours is an address or nothing."""
    assert asked(BEHIND, peer=("<script>", 0)).client_ip is None
    assert asked(BEHIND, peer=("::ffff:10.0.0.1", 0)).client_ip == ip_address("10.0.0.1")


# ----------------------------------------------------------------------------------------------------- the walk


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["198.51.100.1"], "198.51.100.1"),
        (["1.2.3.4, 198.51.100.1"], "198.51.100.1"),
        (["1.2.3.4, 198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        (["1.2.3.4", "198.51.100.1", "10.9.9.9"], "198.51.100.1"),
        (["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
        (["2001:db8::7, 2001:db8:f::1"], "2001:db8::7"),
        (["[2001:db8::7]:443"], "2001:db8::7"),
        (["198.51.100.1:5050"], "198.51.100.1"),
        (["::ffff:198.51.100.1"], "198.51.100.1"),
        (["1.2.3.4, ::ffff:10.9.9.9"], "1.2.3.4"),
        (["fe80::1%eth0"], "fe80::1"),
        (["1.2.3.4, garbage"], PROXY),
        (["1.2.3.4, garbage, 10.2.2.2"], "10.2.2.2"),
        (["1.2.3.4,"], PROXY),
        ([""], PROXY),
        (["unknown"], PROXY),
        ([], PROXY),
        (["9.9.9.9" + ", 10.1.1.1" * 29], "9.9.9.9"),
        (["9.9.9.9" + ", 10.1.1.1" * 30], "10.1.1.1"),
        (["9.9.9.9" + ", 10.1.1.1" * 5000], "10.1.1.1"),
    ],
)
def test_walk_from_the_right(lines: list[str], expected: str):
    """The first address from the right that no proxy of ours has; at garbage the last good one; at most 30 hops."""
    assert caller(*lines) == expected


@pytest.mark.parametrize(
    ("hops", "line", "expected", "trusted"),
    [
        (1, "1.2.3.4, 198.51.100.1", "198.51.100.1", True),
        (2, "1.2.3.4, 198.51.100.1, 192.0.2.1", "198.51.100.1", True),
        (2, "198.51.100.1", PROXY, False),
        (2, "1.2.3.4, garbage, 192.0.2.1", "192.0.2.1", True),
        (1, "garbage", PROXY, False),
        (1, None, PROXY, False),
    ],
)
def test_counted_hops(hops: int, line: str | None, expected: str, trusted: bool):
    """The caller is as many entries from the right as there are proxies; a list that is too short is nobody's."""
    headers = [("x-forwarded-proto", "https")] + ([] if line is None else [("x-forwarded-for", line)])
    context = asked({"trusted_hops": hops}, *headers)
    assert str(context.client_ip) == expected
    assert context.peer_trusted is trusted
    assert context.scheme == ("https" if trusted else "http")


@pytest.mark.parametrize(
    ("line", "expected", "scheme"),
    [
        ("for=198.51.100.1;proto=https;by=10.0.0.1", "198.51.100.1", "https"),
        ('for=1.2.3.4, FOR="[2001:db8::7]:80"; Proto="https"', "2001:db8::7", "https"),
        ("for=198.51.100.1, for=10.2.2.2;proto=http", "198.51.100.1", "http"),
        ("for=_hidden;proto=https", PROXY, "https"),
        ("for=1.2.3.4;for=5.6.7.8;proto=https", PROXY, "https"),
        ("for=1.2.3.4;proto", PROXY, "http"),
        ('for="x, for=1.1.1.1, for=198.51.100.1', "198.51.100.1", "http"),
        ("", PROXY, "http"),
    ],
)
def test_forwarded(line: str, expected: str, scheme: str):
    """RFC 7239's header is read strictly, also past a quote that a caller left open; it brings its own scheme."""
    context = asked({**BEHIND, "header": "Forwarded"}, ("forwarded", line), ("x-forwarded-proto", "wss"))
    assert str(context.client_ip) == expected
    assert context.scheme == scheme


@pytest.mark.parametrize(
    ("lines", "expected"),
    [(["198.51.100.1"], "198.51.100.1"), (["1.1.1.1", "2.2.2.2"], PROXY), (["1.1.1.1, 2.2.2.2"], PROXY)],
)
def test_header_of_a_named_network(lines: list[str], expected: str):
    """A header with a single address holds exactly one; X-Forwarded-For is not consulted then."""
    assert caller(*lines, header="CF-Connecting-IP") == expected
    context = asked({**BEHIND, "header": "CF-Connecting-IP"}, ("x-forwarded-for", "1.1.1.1"))
    assert str(context.client_ip) == PROXY


@pytest.mark.parametrize(
    ("value", "scheme"),
    [
        ("https", "https"),
        ("HTTPS", "https"),
        ("http, https", "https"),
        ("https, http", "http"),
        ("wss", "https"),
        ("gopher", "http"),
        ("", "http"),
    ],
)
def test_scheme_of_the_nearest_proxy(value: str, scheme: str):
    """The last value is our proxy's; what it does not know changes nothing."""
    assert asked(BEHIND, ("x-forwarded-proto", value)).scheme == scheme


def test_untrusted_peer_changes_nothing_in_the_scope():
    """The scope of a stranger's request stays as the server made it."""
    context = asked(
        BEHIND, ("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "https"), peer=("203.0.113.9", 1)
    )
    assert context.scope is not None
    assert context.scope["client"] == ("203.0.113.9", 1)
    assert context.scope["scheme"] == "http"
    assert PEER_SCOPE_KEY not in context.scope


def test_peer_is_kept():
    """Whoever needs the connected peer finds it beside the caller."""
    context = asked(BEHIND, ("x-forwarded-for", "198.51.100.1"))
    assert context.scope is not None
    assert context.scope["client"] == ("198.51.100.1", 0)
    assert context.scope[PEER_SCOPE_KEY] == (PROXY, 4711)


def test_unix_sockets():
    """Behind a Unix socket there is no address; the header counts only where that is said."""
    line = ("x-forwarded-for", "198.51.100.1")
    for peer in (None, ("", 0)):
        stranger = asked(BEHIND, line, peer=peer)
        assert stranger.client_ip is None
        assert not stranger.peer_trusted
        trusted = asked({"trust_unix_socket": True}, line, peer=peer)
        assert str(trusted.client_ip) == "198.51.100.1"
        assert trusted.peer_trusted
    assert asked({"trust_unix_socket": True}, peer=None).client_ip is None


def test_scope_without_client():
    """`client` is optional in ASGI."""
    scope = websocket_scope("/")
    del scope["client"]
    assert resolved(scope, **BEHIND).client_ip is None


def test_memory_is_bounded():
    """Callers cannot make the process remember without end."""
    addresses = ClientAddress(ProxiesSettings(**BEHIND))
    kit = assemble([])
    for number in range(4_200):
        name = str(ip_address(number + 2**32))
        for peer, line in ((name, name), (PROXY, name), (PROXY, f"{'9' * 70}, {name}")):
            scope = http_scope("/", headers=[(b"x-forwarded-for", line.encode())], client=(peer, 1))
            addresses.guard(RequestContext(kit, scope, 0.0))
    assert 0 < len(addresses._peers) <= 4096
    assert 0 < len(addresses._told) <= 4096
    assert max(len(key) for key in addresses._told) <= 64


# -------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"trusted_proxies": ["10.0.0.1/8"]}, "entry 1 is not a network without host bits"),
        ({"trusted_proxies": ["10.0.0.0/8", "proxy.local"]}, "entry 2 is not a network"),
        ({"trusted_proxies": ["0.0.0.0/0"]}, "entry 1 trusts every address"),
        ({"trusted_proxies": ["::/0"]}, "entry 1 trusts every address"),
        ({"trusted_proxies": ["10.0.0.0/8"], "trusted_hops": 1}, "the two can disagree"),
        ({"trusted_hops": 0}, "trusted_hops"),
        ({"header": "X-Forwarded-For: "}, "header"),
    ],
)
def test_impossible_trust_is_refused(options: dict[str, Any], fault: str):
    """What cannot be meant does not start."""
    with pytest.raises(SettingsError, match=fault):
        Proxies(**options)


def test_order_names_the_trust():
    """`prodkit config` shows whom the application believes."""
    texts = [
        next(iter(assemble([feature]).parts["proxies"].order.values()))
        for feature in (
            Proxies(),
            Proxies(trusted_hops=2),
            Proxies.from_settings(ProxiesSettings(trusted_proxies=("10.0.0.0/8",), trust_unix_socket=True)),
        )
    ]
    assert "no proxy is trusted" in texts[0]
    assert "2 hops" in texts[1]
    assert "10.0.0.0/8, unix sockets" in texts[2]
