"""jwt.discovery and jwt.published: where keys may come from, and that nobody but the issuer can move them."""

from __future__ import annotations

import asyncio
import json

import pytest

from prodkit.core.clock import FakeClock
from prodkit.jwt.discovery import fault_of_url, jwks_uri_of, metadata_urls
from prodkit.jwt.fetching import Fetched, FetchError, Reason
from prodkit.jwt.jwks import JWKS
from tests.jwt.scripted import key

ISSUER = "https://idp.example/realms/one"
OPENID = f"{ISSUER}/.well-known/openid-configuration"
OAUTH = "https://idp.example/.well-known/oauth-authorization-server/realms/one"
KEYS = "https://keys.example/jwks"


@pytest.mark.parametrize(
    "url",
    [
        "https://idp.example",
        "https://idp.example/",
        "https://idp.example:8443/realms/one",
        "https://192.0.2.1/keys",
        "https://[2001:db8::1]:8443/keys",
        "https://xn--bcher-kva.example/keys?a=b&c=%20",
        "http://localhost:9000",
        "http://127.0.0.1:9000/keys",
        "http://127.9.9.9/keys",
        "http://[::1]:9000/keys",
    ],
)
def test_address_that_may_be_fetched(url: str) -> None:
    """https anywhere, http on this machine."""
    assert fault_of_url(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "idp.example",
        "//idp.example/keys",
        "https://",
        "https:///keys",
        "https://idp.example:port/",
        "https://idp.example:0/",
        "https://idp.example:99999/",
        "https://idp..example/",
        "https://-idp.example/",
        "https://idp_example/",
        "https://[::1/",
        "https://[nonsense]/",
        "http://idp.example/keys",
        "http://localhost.example/keys",
        "http://127.0.0.1.example/keys",
        "http://0x7f000001/keys",
        "http://2130706433/keys",
        "http://0.0.0.0/keys",
        "http://10.0.0.1/keys",
        "http://[::ffff:10.0.0.1]/keys",
        "ftp://idp.example/keys",
        "file:///etc/passwd",
        "data:application/json,{}",
        "https://user@idp.example/keys",
        "https://user:password@idp.example/keys",
        "https://@idp.example/keys",
        "https://idp.example/keys#fragment",
        "https://idp.example/keys#",
        "https://idp.example/ke ys",
        "https://idp.example/keys\r\nX-Header: 1",
        "https://idp.example/keys\x00",
        " https://idp.example/keys",
        "https://idp.example/keys\n",
        "https://idp.example\\@evil.example/",
        "https://b\u00fccher.example/keys",
        "https://idp.example/" + "k" * 2048,
    ],
)
def test_address_that_may_not_be_fetched(url: str) -> None:
    """Anything else has a reason, and no input is an exception."""
    assert fault_of_url(url) is not None


def test_issuer_has_no_query() -> None:
    """An address of keys may have one, an issuer may not (RFC 8414, 2)."""
    assert fault_of_url("https://idp.example/keys?tenant=one") is None
    assert fault_of_url("https://idp.example/?tenant=one", is_issuer=True) is not None
    assert fault_of_url("https://idp.example?", is_issuer=True) is not None


@pytest.mark.parametrize(
    ("issuer", "openid", "oauth"),
    [
        (ISSUER, OPENID, OAUTH),
        (f"{ISSUER}/", OPENID, OAUTH),
        (
            "https://idp.example:8443",
            "https://idp.example:8443/.well-known/openid-configuration",
            "https://idp.example:8443/.well-known/oauth-authorization-server",
        ),
    ],
)
def test_metadata_is_where_the_standards_say(issuer: str, openid: str, oauth: str) -> None:
    """OpenID Connect Discovery 4.1 (a slash at the end is dropped), then RFC 8414, 3.1."""
    assert metadata_urls(issuer) == (openid, oauth)


def document(**members: object) -> bytes:
    return json.dumps({"issuer": ISSUER, "jwks_uri": KEYS, "authorization_endpoint": "x"} | members).encode()


def test_keys_may_be_on_another_host() -> None:
    """Large providers do that; the issuer says so over TLS."""
    assert jwks_uri_of(document(), ISSUER) == KEYS


@pytest.mark.parametrize("host", ["8.8.8.8", "[2001:4860:4860::8888]", "keys.internal", "10.example"])
def test_public_addresses_and_names_are_fetched(host: str) -> None:
    """Where a name leads is not known before it is asked for."""
    uri = f"https://{host}/keys"
    assert jwks_uri_of(document(jwks_uri=uri), ISSUER) == uri


def test_an_issuer_in_a_private_network_has_its_keys_there() -> None:
    """Whoever configured its address knows where it is."""
    body = json.dumps({"issuer": "https://10.0.0.5", "jwks_uri": "https://10.0.0.6/keys"}).encode()
    assert jwks_uri_of(body, "https://10.0.0.5") == "https://10.0.0.6/keys"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (document(issuer="https://idp.example/realms/two"), Reason.ISSUER),
        (document(issuer=f"{ISSUER}/"), Reason.ISSUER),
        (document(issuer=ISSUER.upper()), Reason.ISSUER),
        (document(issuer=None), Reason.ISSUER),
        (document(issuer=[ISSUER]), Reason.ISSUER),
        (document(jwks_uri=None), Reason.MALFORMED),
        (document(jwks_uri=[KEYS]), Reason.MALFORMED),
        (document(jwks_uri="http://keys.example/jwks"), Reason.MALFORMED),
        (document(jwks_uri="http://127.0.0.1:8500/v1/kv"), Reason.MALFORMED),
        (document(jwks_uri="https://localhost/keys"), Reason.MALFORMED),
        *(
            (document(jwks_uri=f"https://{host}/keys"), Reason.MALFORMED)
            for host in (
                "localhost.",
                "x.localhost",
                "127.0.0.1.",
                "127.1",
                "0x7f000001",
                "2130706433",
                "0.0.0.0",
                "[::]",
                "[::1]",
                "[::ffff:127.0.0.1]",
                "[2002:7f00:1::]",
                "[fe80::1]",
                "[fd00::1]",
                "169.254.169.254",
                "10.0.0.1:6443",
                "192.168.1.1",
                "100.64.0.1",
                "224.0.0.1",
            )
        ),
        (document(jwks_uri="/keys"), Reason.MALFORMED),
        (document(jwks_uri="file:///etc/passwd"), Reason.MALFORMED),
        (b"", Reason.MALFORMED),
        (b"null", Reason.MALFORMED),
        (b"<html>", Reason.MALFORMED),
        (b'{"issuer": "x", "issuer": "y"}', Reason.MALFORMED),
        (b'{"a":' * 1000, Reason.MALFORMED),
        (b'{"a":' * 10_000, Reason.TOO_LARGE),
    ],
)
def test_metadata_that_is_not_believed(body: bytes, reason: Reason) -> None:
    """Another issuer, an address that may not be fetched, this machine, or no JSON."""
    with pytest.raises(FetchError) as caught:
        jwks_uri_of(body, ISSUER)
    assert caught.value.reason is reason


# ------------------------------------------------------------------------------------------------ over time


class Site:
    """A `Fetch` that answers by URL."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes | int] = {}
        self.calls: list[str] = []
        self.hangs_at: str | None = None

    async def __call__(self, url: str) -> Fetched:
        self.calls.append(url)
        if url == self.hangs_at:
            await asyncio.Event().wait()
        page = self.pages.get(url, 404)
        return Fetched(page) if isinstance(page, int) else Fetched(200, page)


def publish(*names: str) -> bytes:
    return json.dumps({"keys": [key(name).public_jwk() for name in names]}).encode()


def jwks_of(site: Site, clock: FakeClock) -> JWKS:
    return JWKS(ISSUER, clock=clock, fetch=site, jitter=lambda: 0.0)


async def test_found_once_and_remembered_for_a_day() -> None:
    """Discovery is asked for once; the next refreshes go straight to the keys, until a day is over."""
    site, clock = Site(), FakeClock()
    site.pages = {OPENID: document(), KEYS: publish("a")}
    jwks = jwks_of(site, clock)
    await jwks.refresh()
    await jwks.refresh()
    assert site.calls == [OPENID, KEYS, KEYS]
    clock.advance(86_400)
    await jwks.refresh()
    assert site.calls[3:] == [OPENID, KEYS]


async def test_oauth_metadata_is_the_fallback() -> None:
    """Where OpenID Connect's address has nothing, RFC 8414's is asked."""
    site = Site()
    site.pages = {OAUTH: document(), KEYS: publish("a")}
    jwks = jwks_of(site, FakeClock())
    await jwks.refresh()
    assert site.calls == [OPENID, OAUTH, KEYS]
    assert len(jwks.keys_for("a", "ES256")) == 1


async def test_metadata_of_another_issuer_is_not_a_reason_to_look_elsewhere() -> None:
    """A document that is there and wrong ends the try."""
    site = Site()
    site.pages = {OPENID: document(issuer="https://evil.example"), OAUTH: document(), KEYS: publish("a")}
    await jwks_of(site, FakeClock()).refresh()
    assert site.calls == [OPENID]


async def test_moved_keys_are_found_after_a_failure() -> None:
    """When the known address fails, the next try asks where the keys are."""
    site, clock = Site(), FakeClock()
    site.pages = {OPENID: document(), KEYS: publish("a")}
    jwks = jwks_of(site, clock)
    await jwks.refresh()
    site.pages = {OPENID: document(jwks_uri=f"{KEYS}/v2"), f"{KEYS}/v2": publish("b")}
    await jwks.refresh()
    assert len(jwks.keys_for("a", "ES256")) == 1
    await jwks.refresh()
    assert site.calls == [OPENID, KEYS, KEYS, OPENID, f"{KEYS}/v2"]
    assert len(jwks.keys_for("b", "ES256")) == 1


async def test_metadata_that_hang_do_not_keep_the_keys_away() -> None:
    """After a failure discovery is repeated every other time only: the known address has its turn as well."""
    site, clock = Site(), FakeClock()
    site.pages = {OPENID: document(), KEYS: publish("a")}
    jwks = JWKS(ISSUER, clock=clock, fetch=site, jitter=lambda: 0.0, timeout_seconds=0.05)
    await jwks.refresh()
    site.pages = {OPENID: document(), KEYS: 500}
    await jwks.refresh()
    site.pages, site.hangs_at = {KEYS: publish("b")}, OPENID
    await jwks.refresh()
    await jwks.refresh()
    assert site.calls[2:] == [KEYS, OPENID, KEYS]
    assert len(jwks.keys_for("b", "ES256")) == 1


@pytest.mark.parametrize("page", [500, document(issuer="https://evil.example"), b"garbage"])
async def test_metadata_that_went_bad_does_not_take_the_keys_away(page: bytes | int) -> None:
    """The address that was good before is used on."""
    site, clock = Site(), FakeClock()
    site.pages = {OPENID: document(), KEYS: publish("a")}
    jwks = jwks_of(site, clock)
    await jwks.refresh()
    site.pages = {OPENID: page, KEYS: publish("b")}
    clock.advance(86_400)
    await jwks.refresh()
    assert site.calls[-1] == KEYS
    assert len(jwks.keys_for("b", "ES256")) == 1
