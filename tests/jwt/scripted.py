"""A provider without a network: what it publishes, says and does is set by the test, and each question is recorded."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Sequence

from prodkit.core.clock import FakeClock
from prodkit.jwt.fetching import Fetched
from prodkit.jwt.jwks import JWKS
from prodkit.jwt.keys import KeysUnavailableError, VerificationKey
from prodkit.testing.tokens import SigningKey

ISSUER = "https://idp.example"
KEYS_URL = f"{ISSUER}/keys"


class Scripted:
    """A `Fetch`. Publishes *keys* until told otherwise."""

    def __init__(self, *keys: SigningKey) -> None:
        self.entries: list[object] = [key.public_jwk() for key in keys]
        self.calls: list[str] = []
        self.cache_control: str | None = None
        self.fault: BaseException | None = None
        self.body: bytes | None = None
        self.status = 200
        self.gate = asyncio.Event()
        self.gate.set()

    def publish(self, *keys: SigningKey) -> None:
        self.entries = [key.public_jwk() for key in keys]

    async def __call__(self, url: str) -> Fetched:
        self.calls.append(url)
        # Decided when asked, as a server does, whatever happens until the answer arrives.
        body = self.body if self.body is not None else json.dumps({"keys": self.entries}).encode()
        await self.gate.wait()
        if self.fault is not None:
            raise self.fault
        return Fetched(self.status, body, self.cache_control)


class World:
    """A `JWKS`, its provider and its clock."""

    def __init__(self, *keys: SigningKey, **options: object) -> None:
        self.clock = FakeClock()
        self.provider = Scripted(*keys)
        options = {"clock": self.clock, "fetch": self.provider, "jitter": lambda: 0.0} | options
        self.jwks = JWKS(ISSUER, KEYS_URL, **options)

    @property
    def fetches(self) -> int:
        return len(self.provider.calls)

    async def ask(self, kid: str | None, algorithm: str = "ES256") -> list[str | None]:
        """Names of the keys for a token, after waiting if need be, and after what runs behind has run."""
        found = self.jwks.keys_for(kid, algorithm)
        keys = await found if isinstance(found, Awaitable) else found
        await self.settle()
        return [key.kid for key in keys]

    async def try_to_ask(self, kid: str | None, algorithm: str = "ES256") -> list[str | None] | None:
        """The same, or None where it cannot be known now."""
        try:
            return await self.ask(kid, algorithm)
        except KeysUnavailableError:
            return None

    def ask_now(self, kid: str | None, algorithm: str = "ES256") -> list[str | None]:
        """The same for those who must not have to wait."""
        return [key.kid for key in self.keys_now(kid, algorithm)]

    def keys_now(self, kid: str | None, algorithm: str = "ES256") -> Sequence[VerificationKey]:
        """The keys themselves."""
        found = self.jwks.keys_for(kid, algorithm)
        assert not isinstance(found, Awaitable), "somebody has to wait for a key that is known"
        return found

    async def settle(self) -> None:
        """Let a fetch that is under way end, unless the provider holds it back."""
        flight = self.jwks._flights.current()
        if flight is not None and flight.task is not None and self.provider.gate.is_set():
            await asyncio.wait([flight.task])

    def sample(self, name: str, **labels: str) -> float:
        (value,) = [
            sample.value
            for sample in self.jwks.samples()
            if sample.name == name and labels.items() <= dict(sample.labels).items()
        ]
        return value


def key(kid: str | None, algorithm: str = "ES256") -> SigningKey:
    return SigningKey.generate(algorithm, kid)
