"""jwt.jwks against a real provider on a real socket, with real tokens."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, get_args

import pytest

from prodkit.core.clock import FakeClock
from prodkit.jwt.claims import VerifiedToken
from prodkit.jwt.fetching import Fetched, StandardFetch
from prodkit.jwt.jwks import JWKS
from prodkit.jwt.keys import KeysUnavailableError
from prodkit.jwt.parsing import InvalidTokenError
from prodkit.jwt.verifier import JWTVerifier
from prodkit.testing.identity_provider import Behaviour, LocalIdentityProvider
from prodkit.testing.tokens import SigningKey

METADATA, KEYS = "/.well-known/openid-configuration", "/jwks.json"
ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
)
BAD = sorted(set(get_args(Behaviour)) - {"well"})


@pytest.fixture
def provider():
    with LocalIdentityProvider() as running:
        running.delay_seconds = 5
        yield running


def verifier_of(jwks: JWKS) -> JWTVerifier:
    return JWTVerifier(issuer=jwks.issuer, audience="api", algorithms=ALGORITHMS, keys=jwks)


async def subject(verifier: JWTVerifier, token: str) -> object:
    found = verifier.verify(token)
    verified = found if isinstance(found, VerifiedToken) else await found
    return verified.claims["sub"]


async def names(jwks: JWKS, kid: str | None, algorithm: str = "ES256") -> list[str | None]:
    found = jwks.keys_for(kid, algorithm)
    return [key.kid for key in (await found if isinstance(found, Awaitable) else found)]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_token_of_each_algorithm_is_verified_by_what_is_published(algorithm: str) -> None:
    """From the address of the issuer alone: discovery, keys, signature, claims."""
    with LocalIdentityProvider(algorithm=algorithm) as provider:
        assert await subject(verifier_of(JWKS(provider.issuer)), provider.token(sub="bob")) == "bob"


async def test_first_requests_make_one_discovery_and_one_fetch(provider: LocalIdentityProvider) -> None:
    """200 tokens at once in a new process."""
    verifier = verifier_of(JWKS(provider.issuer))
    found = await asyncio.gather(*(subject(verifier, provider.token(sub=f"u{n}")) for n in range(200)))
    assert found == [f"u{n}" for n in range(200)]
    assert provider.requests == {METADATA: 1, KEYS: 1}


async def test_rotation_is_seen_by_the_first_token_of_the_new_key(provider: LocalIdentityProvider) -> None:
    """Old and new tokens are good at once; when the old key is withdrawn, its tokens end with the next refresh."""
    clock = FakeClock()
    jwks = JWKS(provider.issuer, clock=clock)
    verifier = verifier_of(jwks)
    old = provider.token()
    assert await subject(verifier, old) == "alice"
    provider.rotate("RS256")
    new = provider.token()
    assert await asyncio.gather(*(subject(verifier, token) for token in [new] * 20)) == ["alice"] * 20
    assert provider.requests[KEYS] == 2
    assert await subject(verifier, old) == "alice"
    provider.remove("key-1")
    clock.advance(31)
    await jwks.refresh()
    with pytest.raises(InvalidTokenError):
        await subject(verifier, old)
    assert await subject(verifier, new) == "alice"


async def test_flood_of_unknown_keys_reaches_the_provider_once(provider: LocalIdentityProvider) -> None:
    """2000 tokens that name invented keys, one after the other and at once: three fetches beside the first."""
    jwks = JWKS(provider.issuer)
    assert await names(jwks, "key-1") == ["key-1"]
    for number in range(3):
        assert await names(jwks, f"invented-{number}") == []
    for number in range(3, 1000):
        with pytest.raises(KeysUnavailableError):
            await names(jwks, f"invented-{number}")
    await asyncio.gather(*(names(jwks, f"more-{number}") for number in range(1000)), return_exceptions=True)
    assert provider.requests[KEYS] == 4


async def test_provider_is_killed_and_comes_back(provider: LocalIdentityProvider) -> None:
    """Known keys go on, new keys and new processes are undecided and not refused; then everything is as before."""
    clock = FakeClock()
    jwks = JWKS(provider.issuer, clock=clock)
    verifier = verifier_of(jwks)
    known = provider.token()
    assert await subject(verifier, known) == "alice"
    provider.stop()
    fresh = JWKS(provider.issuer, clock=clock)
    clock.advance(601)
    for _ in range(20):
        assert await subject(verifier, known) == "alice"
    provider.rotate()
    with pytest.raises(KeysUnavailableError):
        await subject(verifier, provider.token())
    with pytest.raises(KeysUnavailableError):
        await subject(verifier_of(fresh), known)
    provider.start()
    clock.advance(61)
    assert await subject(verifier, provider.token()) == "alice"
    assert await subject(verifier_of(fresh), known) == "alice"


@pytest.mark.parametrize("on", ["keys", "metadata"])
@pytest.mark.parametrize("behaviour", BAD)
async def test_misbehaviour_costs_known_keys_nothing(
    provider: LocalIdentityProvider, behaviour: Behaviour, on
) -> None:
    """Whatever it does: no waiting for known keys, 503 and no exception else for who knows none, one thread at most."""
    clock = FakeClock()
    jwks = JWKS(provider.issuer, clock=clock, timeout_seconds=0.3)
    await jwks.refresh()
    provider.behave(behaviour, on=on)
    clock.advance(700)
    began = time.monotonic()
    for _ in range(10):
        assert not isinstance(jwks.keys_for("key-1", "ES256"), Awaitable)
        await asyncio.sleep(0)
    fresh = JWKS(provider.issuer, clock=clock, timeout_seconds=0.3)
    # Each of these says nothing about keys where it is done to metadata, or the other way round.
    harmless = {("many", "metadata"), ("stranger", "keys")}
    if (behaviour, on) in harmless:
        assert await names(fresh, "key-1") == ["key-1"]
    else:
        with pytest.raises(KeysUnavailableError):
            await names(fresh, "key-1")
    assert time.monotonic() - began < 3
    assert await names(jwks, "key-1") == ["key-1"]
    await jwks.aclose()


async def longest_pause(work: Callable[[], Coroutine[Any, Any, object]]) -> float:
    """The longest time the event loop was held up during *work*, in seconds."""
    longest, ended = 0.0, False

    async def tick() -> None:
        nonlocal longest
        last = time.perf_counter()
        while not ended:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            longest, last = max(longest, now - last), now

    ticking = asyncio.create_task(tick())
    await asyncio.sleep(0.005)
    await work()
    await asyncio.sleep(0.005)
    ended = True
    await ticking
    return longest


def largest_set() -> bytes:
    """What is allowed at most: 64 keys of different kinds within 512 KiB, filled with a chain of certificates."""
    kinds = [SigningKey.generate(algorithm) for algorithm in ("RS256", "PS256", "ES256", "EdDSA")]
    entries = [kinds[n % 4].public_jwk() | {"kid": f"k{n}", "x5c": ["A" * 1900] * 4} for n in range(64)]
    body = json.dumps({"keys": entries}).encode()
    assert 480_000 < len(body) <= 512 * 1024
    return body


@pytest.mark.parametrize(
    "case",
    [
        "largest",
        "deep",
        "brackets",
        "unclosed",
        "strings",
        "escapes",
        "members",
        "integer",
        "fraction",
        "text",
    ],
)
async def test_loop_is_never_held_up(case: str) -> None:
    """The worst documents that are allowed to arrive are read without the loop standing still for 50 ms."""
    bodies = {
        "largest": largest_set(),
        "deep": b'{"keys":' + b"[" * 250_000 + b"]" * 250_000 + b"}",
        "brackets": b'{"keys":[' + b"[]," * 170_000 + b"[]]}",
        "unclosed": b"[{" * 250_000,
        "strings": b'""' * 250_000,
        "escapes": b'{"keys":"' + b"\\ud83d\\ude00" * 42_000 + b'"}',
        "members": b"{" + b",".join(b'"%d":1' % n for n in range(45_000)) + b"}",
        "integer": b'{"keys":' + b"9" * 500_000 + b"}",
        "fraction": b'{"keys":0.' + b"9" * 500_000 + b"}",
        "text": b'{"keys":"' + "\U0001f600".encode() * 125_000 + b'"}',
    }

    async def fetch(url: str) -> Fetched:
        return Fetched(200, bodies[case])

    async def work() -> None:
        await JWKS("https://idp.example", "https://idp.example/keys", fetch=fetch).refresh()

    # Other programs hold this machine up too: what we do ourselves is the least of several tries.
    assert min([await longest_pause(work) for _ in range(5)]) < 0.05


async def test_loop_is_not_held_up_by_the_network(provider: LocalIdentityProvider) -> None:
    """Nor by a provider that drips, hangs, or sends megabytes."""
    for behaviour in ("drip", "slow", "huge"):
        provider.behave(behaviour)

        async def work() -> None:
            fetch = StandardFetch(timeout_seconds=0.1)
            await JWKS(provider.issuer, provider.jwks_uri, fetch=fetch).refresh()

        assert min([await longest_pause(work) for _ in range(3)]) < 0.05
