"""A service answers for its own hosts, over https, and for no other."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import WebSocketDenialResponse

from prodkit import Settings, harden
from prodkit.core.assembly import assemble
from prodkit.core.context import RequestContext
from prodkit.core.exceptions import SettingsError
from prodkit.core.problems import Problem
from prodkit.hosts import HostDecisions, HostGuard, Hosts, HostsSettings
from prodkit.proxies import Proxies
from tests.hosts.asking import OURS, PROXY, asked, browser, judged, served
from tests.support.asgi import websocket_scope
from tests.support.server import headers_of, serving, status_of

# ----------------------------------------------------------------------------------------------------- allowed hosts


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("api.example.com", 200),
        ("API.EXAMPLE.COM.:8000", 200),
        ("a.b.example.org", 200),
        ("[2001:DB8:0::1]:80", 200),
        ("example.org", 400),
        ("evil.example", 400),
        ("api.example.com.evil.example", 400),
        ("api.example.com@evil.example", 400),
        ("api.example.com, evil.example", 400),
        ("b\u00fccher.example.org", 400),
        ("10.1.2.3:8000", 400),
        ("", 400),
    ],
)
def test_only_own_hosts_are_answered(host: str, status: int):
    """Others are a problem that repeats nothing of what was sent."""
    answer = browser(Hosts(allowed=OURS)).get("/", headers={"Host": host.encode()})
    assert answer.status_code == status
    if status == 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"] in {
            "This service does not answer for the host named in the request.",
            "The Host header is not a host with an optional port.",
        }


def test_probes_are_answered_for_the_address_of_a_pod():
    """An orchestrator asks by address; no list of hosts, and no wish for https, keeps it from its answer."""
    client = browser(Hosts(allowed=OURS, https="redirect"))
    for path in ("/livez", "/readyz", "/startupz"):
        assert client.get(path, headers={"Host": "10.244.1.17:8000"}).status_code == 200
    assert client.get("/", headers={"Host": "10.244.1.17:8000"}).status_code == 400


def test_exempt_paths():
    """Named paths are answered for every host and without https; neighbours of them are not."""
    client = browser(
        Hosts(allowed=OURS, https="refuse", exempt_paths=["/healthz", "/.well-known/acme-challenge/"])
    )
    elsewhere = {"Host": "10.244.1.17"}
    assert client.get("/healthz", headers=elsewhere).status_code == 200
    assert client.get("/.well-known/acme-challenge/token", headers=elsewhere).status_code == 200
    assert client.get("/.well-known/acme-challenge/token").status_code == 200
    for path in ("/healthz/", "/healthzz", "/.well-known/acme-challenge", "/a/healthz"):
        assert client.get(path, headers=elsewhere).status_code == 400
    # Below a prefix, and with the prefix taken off by a proxy.
    for path in ("/api/healthz", "/healthz"):
        assert (
            judged(asked(b"x", path=path, root_path="/api"), allowed=OURS, exempt_paths=["/healthz"]) is None
        )


@pytest.mark.parametrize(
    ("hosts", "detail"),
    [
        ([], "The request names no host."),
        ([b"api.example.com", b"evil.example"], "The request names more than one host."),
        ([b"evil.example", b"api.example.com"], "The request names more than one host."),
        ([b"api.example.com", b"api.example.com"], "The request names more than one host."),
    ],
)
def test_one_host_line(hosts: list[bytes], detail: str):
    """None, as in HTTP/1.0, or several, of which each hop may read another, are refused, whatever they say."""
    refusal = judged(asked(*hosts), allowed=OURS)
    assert (refusal.status_code, refusal.detail) == (400, detail)


@pytest.mark.parametrize(
    ("target", "passes"),
    [
        (b"http://api.example.com/x", True),
        (b"http://API.example.com:80/x", True),
        (b"http://evil.example/x", False),
        (b"http://api.example.com@evil.example/x", False),
        (b"https://api.example.com/x", False),
        (b"http:///x", False),
        (b"*", True),
        (b"api.example.com:443", True),
    ],
)
def test_target_in_absolute_form_names_the_same_host(target: bytes, passes: bool):
    """What the target names would hold (RFC 9112, 3.2.2), so one that names another host than the header is refused."""
    verdict = judged(asked(b"api.example.com", path=target.decode(), raw_path=target), allowed=OURS)
    assert (verdict is None) is passes


def test_sockets_are_asked_too():
    """A handshake for another host, or in clear where https is asked for, is refused with the problem."""
    client = browser(Hosts(allowed=OURS))
    with client.websocket_connect("/socket", headers={"Host": "api.example.com"}):
        pass
    with (
        pytest.raises(WebSocketDenialResponse) as refused,
        client.websocket_connect("/socket", headers={"Host": "evil.example"}),
    ):
        pass
    assert refused.value.status_code == 400
    for https in ("redirect", "refuse"):
        clear_client = browser(Hosts(allowed=OURS, https=https))
        with (
            pytest.raises(WebSocketDenialResponse) as clear,
            clear_client.websocket_connect("/socket", headers={"Host": "api.example.com"}),
        ):
            pass
        assert clear.value.status_code == 403
        assert clear.value.json()["type"].endswith("/https-required")
    wss = browser(Hosts(allowed=OURS, https="refuse"), url="https://api.example.com")
    with wss.websocket_connect("wss://api.example.com/socket"):
        pass


def test_hosts_below_a_star_are_remembered_within_bounds():
    """Callers cannot make the process remember without end, and what is remembered is not believed on two lines."""
    guard = HostGuard(HostsSettings(allowed=OURS), HostDecisions())
    kit = assemble([])
    for number in range(1100):
        guard.guard(RequestContext(kit, asked(b"h%d.example.org" % number), 0.0))
    assert 0 < sum(map(len, guard._known.values())) <= 1024
    for scope in (
        asked(b"evil.example", b"h1099.example.org"),
        asked(b"h1099.example.org", path="http://evil.example/", raw_path=b"http://evil.example/"),
    ):
        with pytest.raises(Problem):
            guard.guard(RequestContext(kit, scope, 0.0))


NAMES = st.sampled_from(
    [b"api.example.com", b"API.example.com.:443", b"a.example.org", b"evil.example", b"[2001:db8::1]"]
)


@given(
    st.lists(st.one_of(st.binary(max_size=30), NAMES), max_size=3),
    st.one_of(st.just(b"/"), st.binary(max_size=12), NAMES.map(lambda name: b"http://" + name + b"/")),
    st.sampled_from(["off", "redirect", "refuse"]),
    st.sampled_from(["http", "https"]),
)
def test_arbitrary_hosts_and_targets(hosts: list[bytes], target: bytes, https: Any, scheme: str):
    """Nothing but a refusal is raised, and what passes or is led on has one host, and that is ours."""
    scope = asked(*hosts, path=target.decode("latin-1"), raw_path=target, scheme=scheme)
    verdict = judged(scope, allowed=OURS, https=https)
    if not isinstance(verdict, Problem):
        (host,) = hosts
        name = host.decode("ascii").lower().partition(":")[0].rstrip(".")
        assert name == "api.example.com" or name.endswith(".example.org") or host.startswith(b"[2001:")
        assert verdict is None or (https, scheme) == ("redirect", "http")


def test_forwarded_host_is_the_host_where_proxies_say_so():
    """X-Forwarded-Host decides only where `proxies` was told to take it, and then in place of Host."""
    told = {"Host": "internal", "X-Forwarded-Host": "api.example.com"}
    trusted = Proxies(trusted_proxies=["10.0.0.0/8"])
    taking = Proxies(trusted_proxies=["10.0.0.0/8"], forwarded_host=True)
    assert browser(Hosts(allowed=OURS), trusted, peer=PROXY).get("/", headers=told).status_code == 400
    assert browser(Hosts(allowed=OURS), taking, peer=PROXY).get("/", headers=told).status_code == 200
    assert browser(Hosts(allowed=OURS), taking).get("/", headers=told).status_code == 400


# ---------------------------------------------------------------------------------------------------------- a server


@pytest.mark.process
@pytest.mark.parametrize("http", ["h11", "httptools"])
def test_on_a_real_server(http: str):
    """What reaches the guard on the wire: repeated, missing and foreign hosts, absolute targets, and targets of no path."""
    with serving(served(Hosts(allowed=OURS, https="redirect")), http=http) as server:

        def ask(target: str, *lines: str, version: str = "1.1") -> bytes:
            head = [f"GET {target} HTTP/{version}", *lines, "Connection: close", "", ""]
            return server.exchange("\r\n".join(head).encode("latin-1"))

        ours = "Host: api.example.com"
        assert headers_of(ask("/a%2Fb?c=%20", ours))["location"] == "https://api.example.com/a%2Fb?c=%20"
        for refused in (
            ask("/", "Host: evil.example"),
            ask("/", ours, "Host: evil.example"),
            ask("/", "Host: evil.example", ours),
            ask("/", version="1.0"),
            ask("@evil.example/", ours),
        ):
            assert status_of(refused) in {400, 403, 404}
            assert b"evil" not in refused
        absolute = ask("http://evil.example/x", ours)
        assert b"evil" not in absolute
        assert status_of(ask("/livez", "Host: 10.0.0.7:8000")) == 200


# ---------------------------------------------------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"allowed": ["a.example", "*"]}, "entry 2 allows every host"),
        ({"allowed": ["https://a.example"]}, "entry 1 is an address of a page"),
        ({"https": "redirect"}, "https redirects to the host that a request names"),
        ({"https": "always"}, "https"),
        ({"https": "refuse", "https_port": 0}, "https_port"),
        ({"exempt_paths": ["healthz"]}, "entry 1 is not a path of its own"),
        ({"exempt_paths": ["/healthz", "/"]}, "entry 2 is not a path of its own"),
        ({"exempt_paths": ["/a/../b/"]}, "entry 1 is not a path of its own"),
        ({"exempt_paths": ["/a*"]}, "entry 1 is not a path of its own"),
        ({"exempt_paths": ["/*"]}, "entry 1 is not a path of its own"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any], fault: str):
    """What cannot be meant, or would be an open redirect, does not start."""
    with pytest.raises(SettingsError, match=fault):
        Hosts(**options)


def test_off_costs_nothing_and_is_told():
    """Without a value there is no guard; `prodkit config` shows what there is with one."""
    assert not assemble([Hosts()]).parts["hosts"].guards
    kit = harden(FastAPI(), settings=Settings(hosts={"allowed": ["api.example.com"], "https": "redirect"}))
    (line,) = kit.parts["hosts"].order.values()
    assert line == "answers for api.example.com, https or a redirect there"
    assert "hosts" not in harden(FastAPI()).features
    names = list(kit.features)
    assert names.index("hosts") < names.index("request_limits")


def test_decisions_are_counted():
    """Each decision is one of a metric, by what it was about and how it ended."""
    decisions = HostDecisions()
    options: dict[str, Any] = {"allowed": OURS, "https": "redirect", "exempt_paths": ("/x",)}
    guard = HostGuard(HostsSettings(**options), decisions)
    kit = assemble([])
    for scope in (
        asked(b"api.example.com"),
        asked(b"api.example.com", scheme="https"),
        asked(b"api.example.com", scheme="https"),
        asked(b"api.example.com", method="POST"),
        asked(b"evil.example"),
        asked(b"evil.example", path="/x"),
        asked(b"api.example.com", path="/x"),
        websocket_scope("/", scheme="wss"),
    ):
        try:
            guard.guard(RequestContext(kit, scope, 0.0))
        except Problem:
            continue
    counts = {tuple(sample.labels.values()): sample.value for sample in decisions.samples() if sample.value}
    assert counts == {
        ("host", "allowed"): 5,
        ("host", "denied"): 2,
        ("host", "bypassed"): 1,
        ("https", "allowed"): 2,
        ("https", "redirected"): 1,
        ("https", "denied"): 1,
        ("https", "bypassed"): 1,
    }


def test_star_stands_for_all_below():
    """`/x/*` means in this setting what it means in others."""
    for path, passes in (("/acme/token", True), ("/acme", False), ("/other", False)):
        verdict = judged(asked(b"evil.example", path=path), allowed=OURS, exempt_paths=["/acme/*"])
        assert (verdict is None) is passes


def test_absolute_target_is_compared_for_known_hosts_too():
    """A host that was allowed a moment ago does not open the way for a target that names another one."""
    guard = HostGuard(HostsSettings(allowed=OURS), HostDecisions())
    for raw_path, passes in ((b"/x", True), (b"http://evil.example/x", False)):
        scope = asked(b"api.example.com", path="/x", raw_path=raw_path)
        context = RequestContext(assemble([]), scope, 0.0)
        with contextlib.nullcontext() if passes else pytest.raises(Problem, match="different hosts"):
            assert guard.guard(context) is None
