"""Whatever strangers write, nobody is believed for whom no trusted proxy vouched."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.proxies.asking import BEHIND, PROXY, asked, caller, resolved
from tests.support.asgi import http_scope

OURS = [ip_network(text) for text in BEHIND["trusted_proxies"]]
SPELLING = re.compile(r"\[([^\[\]]*)\](?::\d{1,5})?|([^:\[\]]*)(?::\d{1,5})?|([^\[\]]*:[^\[\]]*:[^\[\]]*)")


def reading(entry: str) -> Any:
    """The address in *entry*, found in another way than the library's: one pattern for all spellings."""
    found = SPELLING.fullmatch(entry.strip(" \t"))
    if found is None or len(entry.strip(" \t")) > 72:
        return None
    inner, plain, bare = found.groups()
    text = next(part for part in (inner, plain, bare) if part is not None)
    try:
        address = ip_address(re.sub("%.*", "", text, flags=re.DOTALL) if ":" in text else text)
    except ValueError:
        return None
    if address.version == 4:
        return None if inner is not None else address
    return address.ipv4_mapped or address


def reference(lines: list[bytes], hops: int | None) -> Any:
    """The caller behind `PROXY`: the furthest entry to which a chain of trusted proxies leads; None for the peer."""
    entries = [reading(entry) for entry in b",".join(lines).decode("latin-1").split(",")] if lines else []
    caller, believed = None, True
    for number, address in enumerate(entries[::-1][:30], start=1):
        believed = believed and address is not None
        if believed:
            caller = address
        is_proxy = address is not None and any(address in network for network in OURS)
        if hops is None:
            believed = believed and is_proxy
        elif number == hops or not believed:
            return caller
    return caller if hops is None else None


ADDRESSES = st.one_of(
    st.ip_addresses(), st.ip_addresses(network="10.0.0.0/8"), st.ip_addresses(network="2001:db8:f::/48")
)


def spelled(address: Any) -> st.SearchStrategy[str]:
    text = str(address)
    if address.version == 4:
        return st.sampled_from([text, f"{text}:443", f" {text}\t", f"::ffff:{text}", f"[::ffff:{text}]:1"])
    return st.sampled_from(
        [text, f"[{text}]", f"[{text}]:65535", f"{text}%eth0" if "%" not in text else text]
    )


ENTRIES = st.one_of(
    ADDRESSES.flatmap(spelled),
    st.sampled_from(["", "unknown", "_hidden", "10.0.0.1.", "10.0.0.1:", "%", "[::1", "01.2.3.4", "10.1", "::1:80x"]),
    st.text(st.characters(max_codepoint=255), max_size=8),
)  # fmt: skip
LINES = st.lists(
    st.one_of(
        st.binary(max_size=60), st.lists(ENTRIES, max_size=35).map(lambda e: ", ".join(e).encode("latin-1"))
    ),
    max_size=4,
)


@given(LINES, st.sampled_from([None, 1, 2, 3]))
def test_walk_is_the_reference(lines: list[bytes], hops: int | None):
    """For arbitrary lines the caller is the one found by a second implementation, which shares no code with the first."""
    scope = http_scope("/", headers=[(b"x-forwarded-for", line) for line in lines], client=(PROXY, 1))
    trust: Any = BEHIND if hops is None else {"trusted_hops": hops}
    context = resolved(scope, **trust)
    expected = reference(lines, hops)
    assert context.client_ip == (expected or ip_address(PROXY))
    assert context.peer_trusted is (hops is None or expected is not None)
    assert context.client_text == str(context.client_ip)


@given(
    LINES,
    st.sampled_from(["X-Forwarded-For", "Forwarded", "X-Real-IP", "CloudFront-Viewer-Address"]),
    st.one_of(st.none(), st.just(("", 0)), st.tuples(st.text(max_size=80), st.integers(0, 65535))),
)
def test_arbitrary_bytes_and_peers_never_raise(lines: list[bytes], header: str, peer: Any):
    """Any header from any peer, or from none, comes to an address or to nothing."""
    headers = [
        *((header.lower().encode(), line) for line in lines),
        *((name, line) for line in lines[:2] for name in (b"x-forwarded-proto", b"x-forwarded-host")),
    ]
    for trust in (BEHIND, {"trusted_hops": 2}, {**BEHIND, "trust_unix_socket": True}):
        scope = http_scope("/", headers=headers, client=peer)
        context = resolved(scope, header=header, forwarded_host=True, **trust)
        assert context.client_ip is None or context.client_text == str(context.client_ip)
        assert context.scheme in {"http", "https"}
        assert len([name for name, _ in scope["headers"] if name == b"host"]) == 1


@given(
    st.lists(ENTRIES, max_size=40), st.ip_addresses().filter(lambda ip: ip not in ip_network("10.0.0.0/8"))
)
def test_nothing_left_of_a_stranger_counts(claimed: list[str], stranger: Any):
    """Whatever a stranger writes into the header, his proxy's word on his own address is what is taken."""
    real = str(getattr(stranger, "ipv4_mapped", None) or stranger)
    if any(ip_address(real) in network for network in OURS):
        return
    line = ", ".join([*claimed, str(stranger), "10.7.7.7"]).encode("utf-8").decode("latin-1")
    assert caller(line) == real


@given(st.lists(ENTRIES, max_size=5), st.ip_addresses().filter(lambda ip: ip not in ip_network("10.0.0.0/8")))
def test_stranger_is_his_own_address(claimed: list[str], stranger: Any):
    """A peer outside of the named networks is never anybody else, whatever headers it sends."""
    if any(stranger in network for network in OURS) or getattr(stranger, "ipv4_mapped", None):
        return
    lines = [("x-forwarded-for", claim.encode().decode("latin-1")) for claim in claimed]
    lines += [("forwarded", "for=1.1.1.1;host=h;proto=https"), ("x-forwarded-host", "evil.example")]
    context = asked({**BEHIND, "forwarded_host": True}, *lines, peer=(str(stranger), 1))
    assert context.client_ip == stranger
    assert not context.peer_trusted
    assert (context.scheme, context.headers[b"host"]) == ("http", b"localhost")


@given(
    st.lists(st.tuples(ADDRESSES, st.sampled_from(["http", "https", None])), min_size=1, max_size=8),
    st.text(st.characters(max_codepoint=255, blacklist_characters=","), max_size=30),
)
def test_elements_of_forwarded_belong_together(chain: list[tuple[Any, str | None]], claim: str):
    """The scheme is that of the element that names the caller: the hop before the proxies, not the one between them."""
    elements = [
        f'for="{f"[{address}]" if address.version == 6 else address}"' + (f";proto={proto}" if proto else "")
        for address, proto in chain
        if "%" not in str(address)
    ]
    plain = [(getattr(a, "ipv4_mapped", None) or a, p) for a, p in chain if "%" not in str(a)]
    expected: tuple[Any, str | None] = (None, None)
    for address, proto in reversed(plain):
        expected = (address, proto)
        if not any(address in network for network in OURS):
            break
    else:
        claim = ""  # all are ours, so what is further left would be believed, had it been written there
    line = ", ".join([*([claim] if claim else []), *elements])
    context = asked({**BEHIND, "header": "Forwarded"}, ("forwarded", line))
    assert context.client_ip == (expected[0] or ip_address(PROXY))
    assert context.scheme == (expected[1] or "http")


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
def test_hostile_lengths_take_no_time(header: str):
    """What is long or has many blanks is read once from end to end: a pattern that tries again would never return."""
    for piece in (
        "; " * 20_000,
        " " * 60_000,
        "a" * 60_000,
        'a="' + "b" * 60_000,
        "," * 60_000,
        "a=b ; " * 9_000,
    ):
        line = (header.lower(), f"{piece}\x00")
        assert str(asked({**BEHIND, "header": header}, line).client_ip) == PROXY
        assert str(asked({**BEHIND, "header": header}, line, *([line] * 20)).client_ip) == PROXY
