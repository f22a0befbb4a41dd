"""`metered(...)` on a route: asked before the body is read, told in headers and at the end of a stream."""

from __future__ import annotations

import asyncio
import json

import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient

from prodkit import Problem
from prodkit.budgets import Budgets, Policy
from prodkit.core.exceptions import InstallationError
from prodkit.core.features import Layer
from prodkit.correlation import Correlation
from prodkit.installation import install
from prodkit.metering import CurrentEnvelope, Meter, Metering, UnpricedError, metered, usage_event
from tests.metering.metered import FaultyLedger, identify
from tests.support.recording import Contributes, guarding


class Shop:
    """An application with metered routes, under a budget of ten thousand nano-USD a day."""

    def __init__(self, *policies, **options):
        self.ledger = FaultyLedger()
        self.app = FastAPI()
        self.bodies: list[object] = []

        @self.app.post("/ask", dependencies=[metered("0.000004", agent="ask")])
        async def ask(request: Request, envelope: CurrentEnvelope, nano: int = 1000) -> str:
            self.bodies.append(await request.json())
            call = await envelope.call(nano, attributes={"sku": "s"})
            await call.settle(nano, units={"pages": 1})
            return envelope.attributes["agent"]

        @self.app.get("/look", dependencies=[metered("0.000004", agent="look")])
        async def look(envelope: CurrentEnvelope) -> None:
            await envelope.call(3000)

        @self.app.get("/stream", dependencies=[metered("0.000004", agent="stream")])
        async def stream(envelope: CurrentEnvelope) -> StreamingResponse:
            async def events():
                yield b"data: hello\n\n"
                await (await envelope.call(2000)).settle(1500, units={"b": 2, "a": 1})
                yield usage_event(envelope)

            return StreamingResponse(events(), media_type="text/event-stream")

        @self.app.post("/fail", dependencies=[metered("0.000004")])
        async def fail(envelope: CurrentEnvelope) -> None:
            await (await envelope.call(2000)).settle(1500)
            raise Problem(502)

        @self.app.get("/free")
        async def free() -> None:
            return None

        given = Contributes("authentication")
        given.provides = (self.ledger,)
        identity = guarding(Layer.IDENTITY, identify, "identity")
        budgets = Budgets(policies=policies or [Policy("mine", "principal", "day", "0.00001")])
        self.kit = install(self.app, given, Correlation(), identity, Metering(**options), budgets)

    def client(self, caller="ann@acme"):
        """Somebody's client."""
        return TestClient(self.app, headers={"X-Caller": caller}, raise_server_exceptions=False)

    def entries(self):
        """What was charged."""
        return asyncio.run(self.ledger.entries())

    def exposed(self, budget="mine:ann@acme"):
        """Settled and held."""
        held = sum(hold.amount_nano - hold.drawn_nano for hold in asyncio.run(self.ledger.open_holds()))
        return sum(entry.amount_nano for entry in self.entries()), held


def test_a_metered_route_spends_from_what_was_reserved_for_it():
    """The handler draws from the envelope; what it did not draw comes back when the response is over."""
    made = Shop()
    answer = made.client().post("/ask", json={"q": 1})
    assert (answer.status_code, answer.json()) == (200, "ask")
    assert made.exposed() == (1000, 0)
    (entry,) = made.entries()
    assert entry.attributes | {"request": ""} == {
        "tenant": "acme",
        "principal": "ann",
        "agent": "ask",
        "sku": "s",
        "request": "",
    }


def test_the_budget_is_asked_before_the_body_is_read():
    """A caller without money does not get a large or broken body looked at, and the refusal is a problem."""
    made = Shop(Policy("mine", "principal", "day", "0.000003"))
    answer = made.client().post("/ask", content=b"{" * 1000)
    assert answer.status_code == 422
    assert answer.json()["type"].endswith("budget-exceeds-limit")
    assert made.bodies == []


def test_the_cost_and_what_is_left_are_told_in_headers():
    """As decimal strings; of the caller's own budget, what is left after this request."""
    made = Shop()
    first = made.client().post("/ask", json={}).headers
    assert first["X-Cost-USD"] == "0.000001"
    assert "X-Cost-Estimated" not in first
    assert first["X-Budget-Scope"] == "mine"
    assert first["X-Budget-Limit-USD"] == "0.00001"
    assert first["X-Budget-Remaining-USD"] == "0.000009"
    assert first["X-Budget-Reset"].endswith("T00:00:00Z")
    assert made.client().post("/ask", json={}).headers["X-Budget-Remaining-USD"] == "0.000008"
    assert "X-Cost-USD" not in made.client().get("/free").headers


def test_the_tightest_budget_of_the_callers_own_is_told_and_no_other():
    """Of what belongs to everybody a caller learns nothing."""
    made = Shop(
        Policy("wide", "principal", "day", "0.01"),
        Policy("team", "tenant", "month", "0.00002"),
        Policy("house", "application", "day", "0.000005"),
    )
    headers = made.client().post("/ask", json={}).headers
    assert (headers["X-Budget-Scope"], headers["X-Budget-Remaining-USD"]) == ("team", "0.000019")


def test_headers_can_be_switched_off():
    """What a request costs may be nobody else's business."""
    made = Shop(response_headers=False)
    headers = made.client().post("/ask", json={}).headers
    assert not [name for name in headers if name.startswith(("x-cost", "x-budget"))]


def test_an_error_tells_its_cost_too():
    """What was spent until then is spent."""
    made = Shop()
    answer = made.client().post("/fail")
    assert (answer.status_code, answer.headers["X-Cost-USD"]) == (502, "0.0000015")


def test_a_call_that_was_left_open_is_presumed_when_the_response_is_over():
    """Nobody said how it ended."""
    made = Shop()
    assert made.client().get("/look").status_code == 200
    assert made.exposed() == (3000, 0)
    assert [entry.kind for entry in made.entries()] == ["presumed"]


def test_a_stream_tells_its_cost_in_its_last_event():
    """Its headers left before; the envelope stays open until the last byte."""
    made = Shop()
    answer = made.client().get("/stream")
    assert answer.headers["X-Cost-USD"] == "0"
    name, data = answer.text.strip().split("\n\n")[-1].split("\n")
    assert name == "event: usage"
    assert json.loads(data.removeprefix("data: ")) == {
        "cost_usd": "0.0000015",
        "estimated": False,
        "calls": 1,
        "units": {"a": 1, "b": 2},
        "saved_usd": "0",
    }
    assert made.exposed() == (1500, 0)


def test_a_spent_budget_is_a_402_and_a_reserved_one_a_429():
    """And the ledger away is a 503: three answers a client can tell apart, each in OpenAPI."""
    made = Shop(Policy("mine", "principal", "day", "0.000005"))
    client = made.client()
    assert client.post("/ask", json={}, params={"nano": 2000}).status_code == 200
    answer = client.post("/ask", json={})
    assert (answer.status_code, answer.json()["remaining_usd"]) == (402, "0.000003")
    made.ledger.down.add("reserve")
    assert client.post("/ask", json={}).status_code == 503
    responses = made.app.openapi()["paths"]["/ask"]["post"]["responses"]
    assert {"402", "429", "503"} <= responses.keys()


def test_headers_need_no_ledger():
    """When it stops answering after the run was admitted, the response is the same without what is not known."""
    made = Shop()
    made.ledger.down.add("accounts")
    answer = made.client().post("/ask", json={})
    assert (answer.status_code, answer.headers["X-Cost-USD"]) == (200, "0.000001")
    assert "X-Budget-Scope" not in answer.headers


def test_without_metering_the_start_is_refused():
    """A route would look as if it cost something and be free."""
    app = FastAPI()

    @app.get("/", dependencies=[metered("1")])
    async def root() -> None:
        return None

    install(app, Correlation())
    with pytest.raises(InstallationError, match="needs metering"), TestClient(app):
        pytest.fail("it started")


def test_an_envelope_that_nobody_opened_is_said():
    """A handler that asks for one and whose route is not metered is a mistake of its author."""
    app = FastAPI()

    @app.get("/")
    async def root(envelope: CurrentEnvelope) -> None:
        del envelope

    install(app, Correlation(), Metering())
    with pytest.raises(InstallationError, match="declare metered"):
        TestClient(app).get("/")


def test_what_a_request_costs_is_a_decimal_string():
    """Anything else is refused where it is written."""
    for wrong in ("-1", "1e3", "", "9000001"):
        with pytest.raises(ValueError, match="USD"):
            metered(wrong)


def test_the_access_to_the_meter_draws_from_the_same_envelope():
    """`meter.operation` in a metered route spends what the route reserved."""
    made = Shop()

    @made.app.get("/op", dependencies=[metered("0.000004")])
    async def op(request: Request) -> None:
        from prodkit.core.context import context_of

        context = context_of(request)
        meter = context.kit.one(Meter)
        async with meter.operation(2000, context=context) as call:
            await call.settle(1800)

    assert made.client().get("/op").headers["X-Cost-USD"] == "0.0000018"
    assert made.ledger.said.count("reserve") == 1
    assert made.exposed() == (1800, 0)


def test_what_a_handler_lets_pass_is_a_problem():
    """More than was set aside, and what has no price: 422 each, told apart, and what was spent before stays spent."""
    made = Shop()

    @made.app.get("/more", dependencies=[metered("0.000004")])
    async def more(envelope: CurrentEnvelope) -> None:
        await (await envelope.call(1000)).settle(1000)
        await envelope.call(3001)

    @made.app.get("/unpriced", dependencies=[metered("0.000004")])
    async def unpriced(envelope: CurrentEnvelope) -> None:
        del envelope
        raise UnpricedError("house", "what-nobody-sells")

    answer = made.client().get("/more")
    assert (answer.status_code, answer.headers["X-Cost-USD"]) == (422, "0.000001")
    assert answer.json()["type"].endswith("cost-exceeds-reservation")
    answer = made.client().get("/unpriced")
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (422, "cost-unknown")
    assert "what-nobody-sells" not in answer.text
    assert made.exposed() == (1000, 0)


def test_what_is_left_does_not_count_what_a_call_cost_above_its_estimate():
    """Nor what is over the limit already: a header that promises more than there is makes a caller run into a 402."""
    made = Shop()

    @made.app.get("/over", dependencies=[metered("0.000004")])
    async def over(envelope: CurrentEnvelope) -> None:
        await (await envelope.call(1000)).settle(5000)

    answer = made.client().get("/over")
    assert answer.headers["X-Budget-Remaining-USD"] == "0.000005"
    assert made.exposed() == (5000, 0)


def mounted(outer_features, inner_features):
    """A hardened application with a metered route, inside another one."""
    inner, outer = FastAPI(), FastAPI()

    @inner.get("/spend", dependencies=[metered("0.000004")])
    async def spend(envelope: CurrentEnvelope) -> None:
        await (await envelope.call(4000)).settle(4000)

    install(inner, Correlation(), *inner_features)
    install(outer, Correlation(), *outer_features)
    outer.mount("/inner", inner)
    return TestClient(outer)


def everything(limit):
    """One budget for all."""
    return Budgets(policies=[Policy("all", "application", "day", limit)])


@pytest.mark.parametrize("outer", [[], [Metering()]])
def test_the_budgets_of_a_mounted_application_hold(outer):
    """They are hard inside another hardened application too, which by default counts and limits nothing."""
    client = mounted(outer, [Metering(), everything("0.000004")])
    assert [client.get("/inner/spend").status_code for _ in range(3)] == [200, 402, 402]


def test_the_budgets_around_a_mounted_application_hold():
    """One that is mounted and has none of its own is within those of the outer one."""
    client = mounted([Metering(), everything("0.000004")], [Metering()])
    assert [client.get("/inner/spend").status_code for _ in range(3)] == [200, 402, 402]


async def test_a_request_that_ends_while_the_ledger_is_asked_holds_nothing():
    """Its question goes on by itself; the answer finds nobody, and must not stay reserved."""
    made = Shop()
    made.ledger.gates["reserve"] = asyncio.Event()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "method": "GET",
        "path": "/look",
        "query_string": b"",
        "headers": [],
        "client": ("192.0.2.1", 1),
        "server": ("testserver", 80),
    }
    never = asyncio.Event()

    async def sent(message):
        del message

    serving = asyncio.create_task(made.app(scope, never.wait, sent))
    while "reserve" not in made.ledger.said:
        await asyncio.sleep(0)
    serving.cancel()
    await asyncio.wait([serving])
    made.ledger.gates["reserve"].set()
    async with asyncio.timeout(5):
        while "release" not in made.ledger.said:
            await asyncio.sleep(0)
    assert not await made.ledger.open_holds()
    await made.kit.one(Meter).aclose()
