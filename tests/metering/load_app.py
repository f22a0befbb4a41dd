"""An application for `prodkit serve` that spends: metered routes that buy one thing each of `tests.metering.load_provider`."""

from __future__ import annotations

import os

import httpx
from fastapi import FastAPI

from prodkit import Problem, harden
from prodkit.metering import CurrentEnvelope, metered

PRICE_NANO = 1_000_000

app = FastAPI()
provider = httpx.AsyncClient(base_url=os.environ["LOAD_PROVIDER"], timeout=10, trust_env=False)


@app.post("/sound", dependencies=[metered("0.001", agent="sound")])
@app.post("/faulty", dependencies=[metered("0.001", agent="faulty")])
async def buy(envelope: CurrentEnvelope) -> int:
    """The process that served it."""
    call = await envelope.call(PRICE_NANO, attributes={"provider": "load", "sku": "run"})
    goods = envelope.attributes["agent"]
    try:
        answer = await provider.post(f"/{goods}", headers={"x-reference": call.id})
    except httpx.ConnectError as error:
        await call.settle_nothing()  # it has not left
        raise Problem(502) from error
    except httpx.HTTPError as error:
        raise Problem(502) from error  # nobody knows: presumed
    if answer.status_code == 429:
        await call.settle_nothing()
    if answer.status_code != 200:
        raise Problem(502)
    for _ in range(2):  # some answers come twice
        await call.settle(answer.json()["cost_nano"], units={"runs": 1})
    return os.getpid()


harden(app)
