"""A meter over a ledger that can be taken away, and a small application that spends."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import FastAPI
from fastapi.testclient import TestClient

from prodkit import CurrentContext
from prodkit.core.clock import FakeClock
from prodkit.core.exceptions import StoreUnavailableError
from prodkit.core.features import Layer
from prodkit.core.identity import Principal
from prodkit.correlation import Correlation
from prodkit.installation import install
from prodkit.metering import Meter, Metering
from prodkit.stores.memory_ledger import MemoryLedger
from tests.support.recording import Contributes, guarding

WHO = {"tenant": "acme", "principal": "ann", "agent": "search"}


class FaultyLedger(MemoryLedger):
    """A ledger that fails on demand.

    `down` names verbs that do not answer; `lost` those that are done and then do not answer; `gates` hold a verb up until
    they are set.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.down: set[str] = set()
        self.lost: set[str] = set()
        self.gates: dict[str, asyncio.Event] = {}
        self.said: list[str] = []

    def __getattribute__(self, name: str) -> Any:
        verb = super().__getattribute__(name)
        if name not in {
            "reserve",
            "draw",
            "settle",
            "presume",
            "release",
            "extend",
            "reap",
            "accounts",
            "usage",
            "cached",
        }:
            return verb

        async def spoken(*arguments: Any, **options: Any) -> Any:
            self.said.append(name)
            if name in self.gates:
                await self.gates[name].wait()
            if name in self.down:
                raise StoreUnavailableError(name)
            answer = await verb(*arguments, **options)
            if name in self.lost:
                raise StoreUnavailableError(name)
            return answer

        return spoken


class Bench:
    """A meter on a `FaultyLedger` with a fake clock, and the events it tells."""

    def __init__(self, resolver: Any = None, *, ledger: FaultyLedger | None = None, **options: Any) -> None:
        self.clock = FakeClock()
        self.ledger = ledger or FaultyLedger(clock=self.clock)
        self.events: list[Any] = []
        self.failures: list[Any] = []
        self.meter = Meter(**options)
        self.meter.bind(
            self.ledger,
            self.clock,
            resolver=resolver,
            emit=self._emit,
            failed=lambda what, error: self.failures.append((what, error)),
        )

    def _emit(self, event: Any) -> None:
        self.events.append(event)
        self.meter.tally.observe(event)

    async def open(self, amount_nano: int = 10_000, name: str = "run_1", **attributes: Any) -> Any:
        return await self.meter.open(name, amount_nano=amount_nano, attributes=WHO | attributes)

    async def charged(self) -> int:
        """What all entries of the ledger add up to."""
        return sum(entry.amount_nano for entry in await self.ledger.entries(limit=10_000))

    async def is_at_rest(self) -> bool:
        return not await self.ledger.open_holds()


def identify(context: Any) -> None:
    """Stands for authentication: `name#key@tenant`, the last two optional, and scopes after a blank."""
    given = context.headers.get(b"x-caller", b"").decode()
    if given:
        who, *scopes = given.split(" ")
        named, _, tenant = who.partition("@")
        name, _, key = named.partition("#")
        context.principal = Principal(
            id=name,
            kind="test",
            tenant=tenant or None,
            scopes=frozenset(scopes),
            claims={"key": key} if key else {},
        )


class Scheme:
    """Marks an application as one that identifies its callers."""

    scheme = "test"
    openapi = {"type": "http", "scheme": "bearer"}
    challenge = "Bearer"

    def authenticate(self, context: Any) -> None:
        """Never knows anybody: `identify` does."""


class Shop:
    """An application whose `POST /buy?nano=N&hold=M` spends N of M reserved."""

    def __init__(self, *features: Any, identified: bool = False) -> None:
        self.clock = FakeClock()
        self.ledger = FaultyLedger(clock=self.clock)
        self.app = FastAPI()

        @self.app.post("/buy")
        async def buy(
            context: CurrentContext,
            nano: int = 0,
            hold: int = 1000,
            session: str = "",
            agent: str = "search",
            model: str = "",
        ) -> str:
            meter = context.kit.one(Meter)
            assert meter is not None
            attributes = {"agent": agent, "session": session, "run": f"run_{session}"}
            async with await meter.open(
                f"run_{context.correlation_id}", amount_nano=hold, attributes=attributes, context=context
            ) as envelope:
                call = await envelope.call(hold, attributes={"provider": "parallel", "sku": "search"})
                await call.settle(nano, units={"sku_search": 1}, attributes={"model": model})
            return str(envelope.charged_nano)

        given = Contributes("authentication")  # what stands for it
        given.provides = (self.ledger, *([Scheme()] if identified else []))
        identity = guarding(Layer.IDENTITY, identify, "identity")
        self.kit = install(self.app, given, Correlation(), identity, Metering(), *features, clock=self.clock)

    @property
    def meter(self) -> Meter:
        meter = self.kit.one(Meter)
        assert meter is not None
        return meter

    def client(self, caller: str = "") -> TestClient:
        headers = {"X-Caller": caller} if caller else {}
        return TestClient(self.app, headers=headers, raise_server_exceptions=False)
