"""Each kind of trust believes exactly what it names."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit import harden
from prodkit.core.exceptions import SettingsError
from prodkit.installation import install
from prodkit.proxies import ClientAddress, Doubts, Proxies, ProxiesSettings
from tests.proxies.asking import BEHIND, PROXY, asked, caller, resolved, served
from tests.support.asgi import http_scope
from tests.support.server import serving


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "prodkit.proxies"]


# ---------------------------------------------------------------------------------------------- headers of networks


@pytest.mark.parametrize(
    ("header", "line", "expected"),
    [
        ("CF-Connecting-IP", "2001:db8::7", "2001:db8::7"),
        ("True-Client-IP", "198.51.100.7", "198.51.100.7"),
        ("Fly-Client-IP", "198.51.100.7", "198.51.100.7"),
        ("X-Azure-ClientIP", "198.51.100.7", "198.51.100.7"),
        ("X-Real-IP", "::ffff:198.51.100.7", "198.51.100.7"),
        ("CloudFront-Viewer-Address", "198.51.100.7:46532", "198.51.100.7"),
        ("CloudFront-Viewer-Address", "2001:db8::1:46532", "2001:db8::1"),
        ("CloudFront-Viewer-Address", "[2001:db8::1]:46532", "2001:db8::1"),
        ("CloudFront-Viewer-Address", "198.51.100.7", PROXY),
        ("CloudFront-Viewer-Address", "::1", PROXY),
        ("X-Original-Forwarded-For", "1.2.3.4, 198.51.100.7, 10.3.3.3", "198.51.100.7"),
        ("X-Real-IP", "unknown", PROXY),
    ],
)
def test_header_of_a_network(header: str, line: str, expected: str):
    """A named header holds one address in the form its network writes, or, where its name says so, a list."""
    assert caller(line, header=header) == expected
    walked = ClientAddress(ProxiesSettings(**BEHIND, header=header)).walk(line.encode())
    assert str(walked or PROXY) == expected


def test_named_header_counts_only_from_trusted_peers():
    """A header with a good name is no better than another from somebody who is not trusted."""
    context = asked(
        {**BEHIND, "header": "CF-Connecting-IP"}, ("cf-connecting-ip", "1.1.1.1"), peer=("8.8.8.8", 1)
    )
    assert (str(context.client_ip), context.peer_trusted) == ("8.8.8.8", False)


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"header": "CF-Connecting-IP"}, "header is set, and nobody is trusted to write it"),
        ({"forwarded_host": True}, "forwarded_host is set, and nobody is trusted"),
        ({"header": "X-Forwarded-Proto", "trusted_hops": 1}, "no proxy writes the caller's address there"),
    ],
)
def test_settings_without_trust_are_refused(options: dict[str, Any], fault: str):
    """What would silently mean nothing does not start."""
    with pytest.raises(SettingsError, match=fault):
        Proxies(**options)


# -------------------------------------------------------------------------------------------------- Forwarded, lines


@pytest.mark.parametrize(
    ("line", "expected", "scheme"),
    [
        ("for=198.51.100.7;proto=https, for=10.2.2.2;proto=http", "198.51.100.7", "https"),
        ("for=198.51.100.7;proto=http, for=10.2.2.2;proto=https", "198.51.100.7", "http"),
        ("for=1.1.1.1;proto=https, for=198.51.100.7;proto=http", "198.51.100.7", "http"),
        ("for=unknown;proto=https, for=10.2.2.2;proto=http", "10.2.2.2", "https"),
        ("for=1.1.1.1;proto=https;;x, for=10.2.2.2;proto=http", "10.2.2.2", "http"),
        ('for="_gazonk:47011";proto=https', PROXY, "https"),
        ('for="[2001:db8:cafe::17]:4711";proto=https', "2001:db8:cafe::17", "https"),
    ],
)
def test_scheme_belongs_to_the_hop_that_names_the_caller(line: str, expected: str, scheme: str):
    """https between caller and edge is https, although the edge goes on over http; what callers add counts for nothing."""
    context = asked({**BEHIND, "header": "Forwarded"}, ("forwarded", line))
    assert (str(context.client_ip), context.scheme) == (expected, scheme)


def test_repeated_lines_are_one_list_in_order():
    """The last line was appended last; one that a caller sent before it does not come nearer by standing alone."""
    lines = [("x-forwarded-for", line) for line in ("6.6.6.6", "198.51.100.7, 10.1.1.1", "10.2.2.2")]
    context = asked(BEHIND, *lines, ("x-forwarded-proto", "https"), ("x-forwarded-proto", "http"))
    assert (str(context.client_ip), context.scheme) == ("198.51.100.7", "http")
    many = [("x-forwarded-for", "6.6.6.6")] * 2000 + [("x-forwarded-for", "198.51.100.7")]
    assert str(asked(BEHIND, *many).client_ip) == "198.51.100.7"


# -------------------------------------------------------------------------------------------------- forwarded host


def test_host_of_a_trusted_proxy_is_the_host_everywhere():
    """Where it was asked for, links and checks see the host that the caller used."""
    app = served(Proxies(trusted_proxies=["10.0.0.0/8"], forwarded_host=True))
    client = TestClient(app, client=(PROXY, 1))
    headers = {"Host": "internal:8000", "X-Forwarded-Host": "evil.example, api.example.com"}
    assert client.get("/", headers=headers).json()["url"] == "http://api.example.com/"
    stranger = TestClient(app, client=("203.0.113.9", 1))
    assert stranger.get("/", headers=headers).json()["url"] == "http://internal:8000/"


@pytest.mark.parametrize("value", ["", "a b", "evil.example/x", "user@evil.example", "<script>", "a" * 300])
def test_forwarded_host_that_is_none_is_not_taken(value: str):
    """What could not be a host leaves the Host header as it is."""
    context = asked({**BEHIND, "forwarded_host": True}, ("x-forwarded-host", value))
    assert context.headers[b"host"] == b"localhost"


def test_forwarded_host_is_ignored_unless_asked_for():
    """No trust in a proxy is trust in its X-Forwarded-Host, and prefixes are read from no header at all."""
    headers = (
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-prefix", "/evil"),
        ("x-forwarded-port", "1"),
    )
    context = asked(BEHIND, *headers)
    assert context.scope is not None
    assert (context.headers[b"host"], context.scope["root_path"]) == (b"localhost", "")
    line = "for=198.51.100.7;host=evil.example, for=10.2.2.2;host=api.example.com"
    told = asked({**BEHIND, "header": "Forwarded", "forwarded_host": True}, ("forwarded", line))
    assert (
        told.headers[b"host"] == b"evil.example"
    )  # the outermost trusted proxy's word: its caller asked for it
    own = asked({**BEHIND, "header": "Forwarded", "forwarded_host": True}, *headers)
    assert own.headers[b"host"] == b"localhost"


# ------------------------------------------------------------------------------------- servers and proxies unnamed


@pytest.mark.process
def test_server_that_rewrites_with_a_port_is_noticed(caplog: pytest.LogCaptureFixture):
    """uvicorn takes the port along where a proxy wrote one, so its port 0 is no sure sign: the header is."""
    app = served(Proxies(trusted_proxies=["127.0.0.0/8", "198.51.100.0/24"]))
    with caplog.at_level(logging.WARNING, "prodkit"), serving(app, proxy_headers=True) as server:
        answers = [server.get("/", "X-Forwarded-For: 203.0.113.5, 198.51.100.7:5050") for _ in range(2)]
    assert all(b'"ip":"198.51.100.7"' in answer and b'"trusted":false' in answer for answer in answers)
    assert len(warnings_in(caplog)) == 1


@pytest.mark.parametrize(
    ("peer", "line"),
    [
        (("10.0.0.9", 5050), "203.0.113.5, 10.0.0.9:5050"),
        (("2001:db8:f::9", 5050), "203.0.113.5, [2001:db8:f::9]:5050"),
    ],
)
@pytest.mark.parametrize("header", ["X-Forwarded-For", "CF-Connecting-IP"])
def test_address_that_the_server_took_is_not_resolved_again(peer: tuple[str, int], line: str, header: str):
    """A trusted address that was itself taken from the header, wherever in it, vouches for nobody."""
    doubts = Doubts()
    headers = [(b"x-forwarded-for", line.encode()), (b"cf-connecting-ip", b"6.6.6.6")]
    context = resolved(http_scope("/", headers=headers, client=peer), doubts=doubts, header=header, **BEHIND)
    assert (str(context.client_ip), context.peer_trusted) == (peer[0], False)
    assert doubts.counts["server", "bypassed"] == 1


@pytest.mark.parametrize("trust", [BEHIND, {"trusted_hops": 1}])
def test_caller_cannot_make_it_look_like_the_work_of_the_server(trust: dict[str, Any]):
    """Whoever writes down the proxy with every port there is, is still found by what the proxy wrote."""
    guesses = ", ".join(f"{PROXY}:{port}" for port in range(4700, 4720))
    context = asked(trust, ("x-forwarded-for", f"{guesses}, 198.51.100.7"), peer=(PROXY, 4711))
    assert (str(context.client_ip), context.peer_trusted) == ("198.51.100.7", True)


@pytest.mark.parametrize(
    ("trust", "found"),
    [
        (BEHIND, "198.51.100.7"),
        ({"trusted_hops": 1}, "198.51.100.7"),
        (BEHIND | {"header": "CF-Connecting-IP"}, "203.0.113.8"),
        (BEHIND | {"header": "X-Real-IP"}, None),
    ],
)
def test_port_that_was_guessed_at_the_left_end_makes_nobody_the_proxy(
    trust: dict[str, Any], found: str | None
):
    """Where the peer stands leftmost nothing is vouched for, and the caller is who the header names or nobody."""
    doubts = Doubts()
    headers = [
        (b"x-forwarded-for", f"{PROXY}:4711, 198.51.100.7".encode()),
        (b"cf-connecting-ip", b"203.0.113.8"),
        (b"x-forwarded-proto", b"https"),
    ]
    scope = http_scope("/", headers=headers, client=(PROXY, 4711))
    context = resolved(scope, doubts=doubts, **trust)
    assert context.client_text == found
    assert (None if context.client_ip is None else str(context.client_ip)) == found
    assert scope["client"] == (None if found is None else (found, 0))
    assert (context.scheme, context.peer_trusted) == ("http", False)
    assert doubts.counts["server", "bypassed"] == 1


def test_proxy_that_was_not_named_is_told_of_once(caplog: pytest.LogCaptureFixture):
    """A private peer with forwarding headers is most likely a proxy: one warning names it, and nobody is believed."""
    with caplog.at_level(logging.WARNING, "prodkit"):
        client = TestClient(served(Proxies()), client=("172.17.0.1", 1))
        for _ in range(2):
            answer = client.get("/", headers={"X-Forwarded-For": "198.51.100.1"}).json()
        public = TestClient(served(Proxies()), client=("8.8.8.8", 1))
        public.get("/", headers={"X-Forwarded-For": "198.51.100.1"})
    assert (answer["ip"], answer["trusted"]) == ("172.17.0.1", False)
    (warning,) = warnings_in(caplog)
    assert "172.17.0.1" in warning
    assert "PRODKIT_PROXIES__TRUSTED_PROXIES" in warning


def test_hardened_application_inside_another_resolves_nothing_twice(caplog: pytest.LogCaptureFixture):
    """What the outer application wrote into the scope is not taken for the work of the server."""
    inner = served(Proxies(trusted_proxies=["198.51.100.0/24"]))
    outer = FastAPI()
    outer.mount("/inner", inner)
    install(outer, Proxies(trusted_proxies=["10.0.0.0/8"]))
    with caplog.at_level(logging.WARNING, "prodkit"):
        client = TestClient(outer, client=(PROXY, 1))
        answer = client.get("/inner/", headers={"X-Forwarded-For": "6.6.6.6, 198.51.100.7"}).json()
    assert answer["ip"] == "198.51.100.7"
    assert warnings_in(caplog) == []


def test_doubts_are_counted():
    """What could not be used of a trusted proxy's header is a metric, by reason."""
    doubts = Doubts()
    line = [(b"x-forwarded-for", b"garbage")]
    resolved(http_scope("/", headers=line, client=(PROXY, 1)), doubts=doubts, **BEHIND)
    resolved(http_scope("/", client=(PROXY, 1)), doubts=doubts, **BEHIND)
    resolved(http_scope("/", headers=line, client=("8.8.8.8", 1)), doubts=doubts, trusted_hops=1)
    resolved(http_scope("/", client=("1.2.3.4", 0)), doubts=doubts, **BEHIND)
    counts = {tuple(sample.labels.values()): sample.value for sample in doubts.samples()}
    assert counts == {("header", "degraded"): 1, ("hops", "denied"): 1, ("server", "bypassed"): 1}
    app = FastAPI()
    kit = harden(app, Proxies.from_settings(ProxiesSettings(trusted_hops=1)))
    assert any(isinstance(part, Doubts) for part in kit.all(Doubts))


@pytest.mark.parametrize(
    ("entry", "said"), [("*", "would trust everybody"), ("nginx", "names of hosts are not looked up")]
)
def test_entry_that_is_no_network_is_told_what_to_write(entry: str, said: str):
    """Whoever comes from uvicorn writes a star, and from docker compose a name."""
    with pytest.raises(SettingsError, match=said):
        Proxies(trusted_proxies=[entry])


def test_peer_that_was_doubted_outside_is_no_unix_socket():
    """An application mounted in another one believes nobody whom that one has just refused to believe."""
    headers = [(b"x-forwarded-for", f"{PROXY}:4711, garbage".encode()), (b"x-forwarded-proto", b"https")]
    scope = http_scope("/", headers=headers, client=(PROXY, 4711))
    resolved(scope, **BEHIND)
    assert scope["client"] is None
    inner = resolved(scope, trust_unix_socket=True)
    assert (inner.client_ip, inner.scheme, inner.peer_trusted) == (None, "http", False)
