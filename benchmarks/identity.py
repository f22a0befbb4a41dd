"""`python -m benchmarks.identity`: what it takes to know who calls, in microseconds of processor time for one request.

Ours are asked as a request asks them: a context with headers goes through the gate and its authenticator, and ends in a
principal. The libraries beside them verify the same token with the same key, built once, and check the same claims; that is
all they do. Batches of all rows are interleaved, and the median batch of each is told, so that a slow moment of the machine
hits all alike.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import jose.jwk
import jose.jwt
import joserfc.jwk
import joserfc.jwt
import jwt as pyjwt
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from prodkit.api_keys import APIKeys, KeyRegistry
from prodkit.authentication import Authentication
from prodkit.core.assembly import assemble
from prodkit.core.context import RequestContext
from prodkit.core.features import Layer
from prodkit.jwt import JWT
from prodkit.shared_store import SharedStore
from prodkit.testing.tokens import SigningKey, mint

ISSUER, AUDIENCE = "https://idp.example", "api"
ALGORITHMS = ("HS256", "RS256", "ES256", "PS256", "EdDSA")


def context_of(kit, credential: str) -> RequestContext:
    headers = [(b"host", b"test"), (b"accept", b"*/*"), (b"authorization", f"Bearer {credential}".encode())]
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "root_path": "",
        "headers": headers,
        "client": ("192.0.2.1", 1),
    }
    return RequestContext(kit, scope, 0.0)


def gate_of(*features):
    kit = assemble([*features, Authentication(failures_per_minute=0)])
    (guard,) = [guard for layer, guard in kit.parts["authentication"].guards if layer == Layer.IDENTITY]
    return kit, guard


class Row(NamedTuple):
    """What is timed, and how often in one batch."""

    batch: Callable[[int], Awaitable[tuple[float, float]]]
    count: int


def ours(kit, guard, credentials):
    """A batch of requests that come with *credentials* in turn; contexts are made before the time is taken."""

    async def batch(count):
        contexts = [context_of(kit, credentials[number % len(credentials)]) for number in range(count)]
        started = time.process_time_ns(), time.perf_counter_ns()
        await identify(guard, contexts)
        return (time.process_time_ns() - started[0]) / count, (time.perf_counter_ns() - started[1]) / count

    return batch


def alone(verify):
    """A batch of calls of *verify*."""

    async def batch(count):
        started = time.process_time_ns(), time.perf_counter_ns()
        for _ in range(count):
            verify()
        return (time.process_time_ns() - started[0]) / count, (time.perf_counter_ns() - started[1]) / count

    return batch


async def identify(guard, contexts) -> None:
    for context in contexts:
        answer = guard(context)
        if isinstance(answer, Awaitable):
            await answer
        assert not context.principal.is_anonymous


async def key_rows(folder: Path) -> dict:
    """Keys: known, and looked up in memory and in SQLite."""
    rows = {}
    for name, url, remembered in (
        ("API key, cached", "memory://", 10_000),
        ("API key, not cached, memory", "memory://", 1),
        ("API key, not cached, SQLite", f"sqlite:///{folder / 'keys.db'}", 1),
    ):
        store = SharedStore(url)
        kit, guard = gate_of(store, APIKeys(peppers={"1": secrets.token_hex(32)}, cache_keys=remembered))
        issued = [await kit.one(KeyRegistry).issue("ann") for _ in range(3)]
        keys = [one.secret for one in issued]

        used = keys if remembered == 1 else keys[:1]
        rows[name] = Row(ours(kit, guard, used), 20_000 if remembered > 1 else 500)
    return rows


def token_rows() -> dict:
    """Tokens: known, verified each time, and verified by the libraries alone."""
    rows = {}
    for algorithm in ALGORITHMS:
        symmetric = algorithm.startswith("HS")
        key = (
            SigningKey(algorithm, None, secrets.token_hex(32).encode())
            if symmetric
            else SigningKey.known(algorithm)
        )
        token = mint(key=key, issuer=ISSUER, audience=AUDIENCE, expires_in=86_400)
        given = {"secrets": [key.secret.decode()]} if symmetric else {"public_keys": [key.public_pem()]}
        for name, size in ((f"{algorithm}, cached", 10_000), (f"{algorithm}, not cached", 0)):
            gated = gate_of(
                JWT(issuer=ISSUER, audience=AUDIENCE, algorithms=(algorithm,), cache_size=size, **given)
            )
            rows[name] = Row(ours(*gated, [token]), 20_000 if size else 500)
        for library, verify in libraries(algorithm, key, token).items():
            rows[f"{algorithm}, {library}"] = Row(alone(verify), 500)
    return rows


def libraries(algorithm: str, key: SigningKey, token: str) -> dict:
    """What others do with the token: signature, issuer, audience and dates, with a key that was built before."""
    if algorithm.startswith("HS"):
        for_pyjwt, for_joserfc = key.secret, joserfc.jwk.OctKey.import_key(key.secret)
        for_jose = jose.jwk.construct(key.secret, algorithm)
    else:
        for_pyjwt = load_pem_public_key(key.public_pem().encode())
        for_joserfc = joserfc.jwk.import_key(key.public_pem())
        for_jose = (
            None if algorithm in ("PS256", "EdDSA") else jose.jwk.construct(key.public_pem(), algorithm)
        )
    claims = joserfc.jwt.JWTClaimsRegistry(
        leeway=30,
        iss={"essential": True, "value": ISSUER},
        aud={"essential": True, "value": AUDIENCE},
        exp={"essential": True},
        sub={"essential": True},
    )
    options = {"require": ["exp", "iss", "aud", "sub"]}

    def by_pyjwt() -> None:
        pyjwt.decode(token, for_pyjwt, [algorithm], options, issuer=ISSUER, audience=AUDIENCE, leeway=30)

    def by_joserfc() -> None:
        decoded = joserfc.jwt.decode(token, for_joserfc, [algorithm])
        claims.validate(decoded.claims)

    def by_jose() -> None:
        jose.jwt.decode(token, for_jose, [algorithm], {"leeway": 30}, issuer=ISSUER, audience=AUDIENCE)

    found = {"PyJWT": by_pyjwt, "joserfc": by_joserfc}
    return found if for_jose is None else found | {"python-jose": by_jose}


async def measure(rounds: int) -> dict[str, tuple[float, float]]:
    """Row to microseconds of processor time and of wall time, the medians of *rounds* batches."""
    with tempfile.TemporaryDirectory(prefix="identity-") as folder:
        rows = await key_rows(Path(folder)) | token_rows()
        found: dict = {name: [] for name in rows}
        for number in range(rounds + 1):
            for name, row in rows.items():
                spent = await row.batch(row.count)
                if number:  # the first one fills caches
                    found[name].append(spent)
    return {
        name: tuple(statistics.median(one[kind] for one in spent) / 1000 for kind in (0, 1))
        for name, spent in found.items()
    }


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=25)
    arguments = parser.parse_args()
    print("| | µs, processor | µs, wall |\n| --- | --: | --: |")
    for name, (processor, wall) in asyncio.run(measure(arguments.rounds)).items():
        print(f"| {name} | {processor:.1f} | {wall:.1f} |")


if __name__ == "__main__":
    main()
