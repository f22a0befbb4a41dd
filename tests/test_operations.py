"""operations: who may see what operators see."""

from __future__ import annotations

import pytest

from prodkit.core.assembly import assemble
from prodkit.core.context import RequestContext
from prodkit.core.exceptions import SettingsError
from prodkit.core.operations import FORWARDING_HEADERS
from prodkit.operations import Operations, OperationsAccess

TOKEN = "an-operations-token-of-length"
KIT = assemble([])


def request(
    *headers: tuple[bytes, bytes],
    client: object = ("10.1.2.3", 4711),
    host: bytes = b"10.9.9.9",
    **scope: object,
) -> RequestContext:
    lines = [(b"host", host), *headers]
    full = {"type": "http", "method": "GET", "scheme": "http", "headers": lines, "client": client, **scope}
    return RequestContext(KIT, full, 0.0)


def access(**options: object) -> OperationsAccess:
    return Operations(**options).access


def test_nobody_is_an_operator_by_default() -> None:
    """Without a token and without networks even the loopback sees nothing."""
    assert not access().allows(request(client=("127.0.0.1", 1), host=b"localhost"))
    assert not access().allows(request((b"authorization", b"Bearer ")))


def test_token_opens() -> None:
    """The exact token does, in any case of the scheme; nothing near it does."""
    by_token = access(token=TOKEN)
    assert by_token.allows(request((b"authorization", f"Bearer {TOKEN}".encode())))
    assert by_token.allows(request((b"authorization", f"bearer  {TOKEN}".encode())))
    for given in (
        TOKEN,
        f"Basic {TOKEN}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        "Bearer",
        "Bearer \xff",
    ):
        assert not by_token.allows(request((b"authorization", given.encode("latin-1"))))


@pytest.mark.parametrize("token", ["short", "with a space in the middle", "ümlaute-sind-kein-ascii", ""])
def test_weak_token_is_refused_without_being_shown(token: str) -> None:
    """A token that could be guessed or not be sent stops the start, and is not repeated in the message."""
    with pytest.raises(SettingsError) as caught:
        Operations(token=token)
    assert "token_urlsafe" in str(caught.value)
    assert not token or token not in str(caught.value)


def test_token_is_not_in_the_settings_repr() -> None:
    """What is printed for people never holds it."""
    assert TOKEN not in repr(Operations(token=TOKEN).settings)


def test_network_of_the_peer_opens() -> None:
    """A directly connected peer of a named network, also as an IPv4-mapped address; no other."""
    by_network = access(networks=["10.0.0.0/8"])
    assert by_network.allows(request())
    assert by_network.allows(request(client=("::ffff:10.1.2.3", 4711)))
    assert by_network.allows(request(client=["10.1.2.3", 4711]))
    assert not by_network.allows(request(client=("192.0.2.1", 4711)))


@pytest.mark.parametrize(
    "client", [None, ("", 0), ("testclient", 50000), ("10.1.2.3", 0), (), "10.1.2.3", ("10.1.2.3",)]
)
def test_peer_that_is_no_address_opens_nothing(client: object) -> None:
    """Unix sockets, made-up names, and addresses a server took from a header (port 0) prove nothing."""
    assert not access(networks=["10.0.0.0/8"]).allows(request(client=client))


@pytest.mark.parametrize("name", sorted(FORWARDING_HEADERS))
def test_forwarded_request_is_not_the_peers(name: bytes) -> None:
    """Behind a proxy the peer's network would open the door to everybody the proxy serves."""
    assert not access(networks=["10.0.0.0/8"]).allows(request((name, b"198.51.100.7")))


def test_caller_in_the_place_of_the_peer_opens_nothing() -> None:
    """Where `proxies` replaced the peer by the caller it was told about, the address is hearsay."""
    assert not access(networks=["10.0.0.0/8"]).allows(request(**{"prodkit.peer": ("192.0.2.1", 1)}))


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        (b"127.0.0.1:8000", True),
        (b"localhost", True),
        (b"LOCALHOST:8000", True),
        (b"app.localhost", True),
        (b"[::1]:8000", True),
        (b"evil.example", False),
        (b"127.0.0.1.evil.example", False),
        (b"localhost.evil.example", False),
        (b"", False),
    ],
)
def test_web_page_cannot_borrow_the_loopback(host: bytes, *, allowed: bool) -> None:
    """A page whose own name points at this machine (DNS rebinding) asks for that name, and is refused."""
    by_network = access(networks=["127.0.0.0/8"])
    assert by_network.allows(request(client=("127.0.0.1", 4711), host=host)) is allowed


def test_everybody_is_not_a_network() -> None:
    """A prefix of length 0 is refused at construction."""
    with pytest.raises(SettingsError, match="everybody"):
        Operations(networks=["0.0.0.0/0"])
