"""Below `/v1/usage`: the history line by line, as a file, and run by run; and days of a time zone."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from prodkit import CurrentContext
from prodkit.metering import usage_router
from prodkit.stores.ledger import Reservation
from tests.metering.metered import Shop

READ = "usage:read"
ANN, BOB, MALLORY, EVE = (f"{who} {READ}" for who in ("ann#k1@acme", "bob@acme", "mallory@umbrella", "eve"))


def shop(**options: Any) -> Shop:
    """Five purchases of acme's in two sessions, two of umbrella's; the second one of each is a day later."""
    made = Shop(identified=True)
    made.app.include_router(usage_router(**options))
    for who, session, nano in (
        (ANN, "s1", 1000),
        (MALLORY, "m1", 500_000),
        (ANN, "s1", 2000),
        (BOB, "s2", 4000),
        (MALLORY, "m1", 600_000),
        (BOB, "s2", 8000),
        (ANN, "=s3", 16_000),
    ):
        answer = made.client(who).post("/buy", params={"nano": nano, "hold": nano, "session": session})
        assert answer.status_code == 200
        made.clock.advance(60)
    return made


def got(made: Shop, path: str, who: str = ANN, **query: Any) -> Any:
    answer = made.client(who).get(f"/v1/usage{path}", params=query)
    assert answer.status_code == 200, answer.text
    return answer


def costs(lines: list[dict[str, Any]], name: str = "cost_usd") -> Decimal:
    return sum((Decimal(line[name]) for line in lines), Decimal(0))


# ------------------------------------------------------------------------------------------------- entries


@pytest.mark.parametrize("limit", [1, 2, 5, 1000])
def test_pages_are_the_history_of_the_own_tenant(limit):
    """Each entry once and in order, until there is no next page; nothing of anybody else's between them."""
    made = shop()
    found: list[Any] = []
    after: Any = 0
    while after is not None:
        page = got(made, "/entries", limit=limit, after=after).json()
        assert len(page["entries"]) <= limit
        found += page["entries"]
        after = page["next_after"]
    assert [line["cost_usd"] for line in found] == [
        "0.000001",
        "0.000002",
        "0.000004",
        "0.000008",
        "0.000016",
    ]
    assert {line["attributes"]["tenant"] for line in found} == {"acme"}
    assert [line["sequence"] for line in found] == sorted(line["sequence"] for line in found)
    first = found[0]
    assert (first["kind"], first["units"], first["estimated"]) == ("settled", {"sku_search": 1}, False)
    assert datetime.fromisoformat(first["at"]).tzinfo is not None


def test_what_is_new_is_the_next_page():
    """Whoever keeps where it was is told only what came since."""
    made = shop()
    last = got(made, "/entries").json()["entries"][-1]["sequence"]
    assert got(made, "/entries", after=last).json() == {"entries": [], "next_after": None}
    made.client(ANN).post("/buy", params={"nano": 5, "hold": 5})
    (new,) = got(made, "/entries", after=last).json()["entries"]
    assert new["cost_usd"] == "0.000000005"


@pytest.mark.parametrize(
    "query",
    [
        {"limit": 0},
        {"limit": 1001},
        {"limit": "x"},
        {"after": -1},
        {"after": 2**60},
        {"tenant": "umbrella"},
        {"offset": 1},
    ],
)
def test_a_page_is_bounded_and_a_misspelt_parameter_refused(query):
    """422; also a tenant, which nobody can choose."""
    assert shop().client(ANN).get("/v1/usage/entries", params=query).status_code == 422


@pytest.mark.parametrize("path", ["/entries", "/export"])
def test_they_can_be_narrowed_to_the_own(path):
    """To a session of the tenant's; another's is 404 like one that there is not."""
    made = shop()
    assert "0.000004" in got(made, path, session="s2").text
    assert "0.000001," not in got(made, path, session="s2").text
    for unknown in ("m1", "nothing"):
        assert made.client(ANN).get(f"/v1/usage{path}", params={"session": unknown}).status_code == 404
    assert "mallory" not in got(made, path, principal="mallory").text


@pytest.mark.parametrize("path", ["/entries", "/export", "/runs/run_s1"])
def test_a_scope_is_asked_for(path):
    """The same as for the sums."""
    assert shop().client("ann@acme orders:read").get(f"/v1/usage{path}").status_code == 403
    assert shop(scopes=()).client("ann@acme").get(f"/v1/usage{path}").status_code == 200


@pytest.mark.parametrize("path", ["/entries", "/export"])
def test_a_ledger_that_is_away_is_a_503(path):
    """Before anything of an answer is sent, so no file is half."""
    made = shop()

    async def away(**_: Any) -> Any:
        from prodkit.core.exceptions import StoreUnavailableError

        raise StoreUnavailableError(path)

    made.ledger.entries = away  # type: ignore[method-assign] # taken away
    assert made.client(ANN).get(f"/v1/usage{path}").status_code == 503


# ------------------------------------------------------------------------------------------------- export


def test_the_export_is_the_report():
    """The same sum to the nano-dollar, one row for each entry, only of the own tenant, as a file with a name."""
    made = shop()
    answer = got(made, "/export")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"].startswith('attachment; filename="usage-')
    rows = list(csv.DictReader(io.StringIO(answer.text, newline="")))
    assert len(rows) == 5
    assert costs(rows, "BilledCost") == Decimal(got(made, "").json()["total_usd"])
    assert {row["SubAccountId"] for row in rows} == {"acme"}
    assert {row["SkuId"] for row in rows} == {"sku_search"}
    assert "mallory" not in answer.text
    assert rows[-1]["x_Session"] == "'=s3"  # no formula


def test_lines_of_json_say_the_same():
    """An object a line, amounts as texts."""
    made = shop()
    answer = got(made, "/export", format="jsonl")
    assert answer.headers["content-type"] == "application/x-ndjson"
    rows = [json.loads(line, parse_float=pytest.fail) for line in answer.text.splitlines()]
    assert costs(rows, "BilledCost") == Decimal("0.000031")
    assert rows[-1]["x_Session"] == "=s3"


def test_an_export_is_of_a_period():
    """Of this month unless it is said."""
    made = shop()
    begin = datetime.fromtimestamp(made.clock.wall() - 7 * 60, UTC)
    until = datetime.fromtimestamp(made.clock.wall() - 6 * 60 + 1, UTC)
    query = {"from": begin.isoformat(), "to": until.isoformat()}
    assert got(made, "/export", format="jsonl", **query).text.count("BilledCost") == 1
    assert got(made, "/export", format="jsonl", **{"from": "2000-01-01", "to": "2000-02-01"}).text == ""
    for wrong in ({"from": "x"}, {"format": "xml"}, {"to": "1999-01-01"}, {"group_by": "agent"}):
        assert made.client(ANN).get("/v1/usage/export", params=wrong).status_code == 422


def test_an_export_of_many_pages_is_whole():
    """Two hundred and fifty entries, read a hundred at a time."""
    made = shop()
    for _ in range(245):
        made.client(ANN).post("/buy", params={"nano": 1, "hold": 1})
    rows = got(made, "/export", format="jsonl").text.splitlines()
    assert len({json.loads(row)["x_Sequence"] for row in rows}) == len(rows) == 250


# ------------------------------------------------------------------------------------------------- runs


def test_the_calls_of_a_run_add_up_to_it():
    """The run is the sum of its envelopes, each of them the sum of its calls, whatever became of those."""
    made = shop()

    @made.app.post("/work")
    async def work(context: CurrentContext) -> None:
        attributes = {"run": "big", "agent": "deep", "provider": "parallel"}
        for name in ("one", "two"):
            async with await made.meter.open(
                name, amount_nano=100_000, attributes=attributes, context=context
            ) as envelope:
                call = await envelope.call(1000, attributes={"sku": "search", "operation": f"op-{name}"})
                await call.settle(1500, units={"search.fast": 1})
                retried = await envelope.call(1000, attributes={"sku": "search", "operation": f"op-{name}"})
                await retried.settle(700, units={"search.fast": 1})
                await envelope.call(2000)  # of unknown end
        await made.ledger.adjust("goodwill", -100, reason="r", attributes={"run": "big", "tenant": "acme"})

    assert made.client(ANN).post("/work").status_code == 200
    found = got(made, "/runs/big").json()
    usage = got(made, "", run="big").json()
    assert found["cost_usd"] == usage["total_usd"] == "0.0000083"
    assert (found["estimated_usd"], found["rest_usd"]) == ("0.000004", "0")
    assert costs(found["envelopes"]) == Decimal(found["cost_usd"])
    for envelope in found["envelopes"]:
        assert costs(envelope["calls"]) == Decimal(envelope["cost_usd"])
    by_id = {envelope["id"]: envelope for envelope in found["envelopes"]}
    assert set(by_id) == {"one", "two", None}
    assert (by_id["one"]["state"], by_id["one"]["reserved_usd"]) == ("released", "0.0001")
    assert [call["state"] for call in by_id["one"]["calls"]] == ["settled", "settled", "presumed"]
    assert [call["operation"] for call in by_id["two"]["calls"]][:2] == ["op-two", "op-two"]
    assert [call["state"] for call in by_id[None]["calls"]] == ["manual"]
    assert (found["operations"], found["attempts"]) == (
        usage["rows"][0]["operations"],
        usage["rows"][0]["attempts"],
    )
    assert found["units"] == {"search.fast": 4}


def test_a_presumed_call_that_became_known_is_one_call():
    """Its entries together, and no estimate any more."""
    made = shop()

    @made.app.post("/late")
    async def late(context: CurrentContext) -> None:
        reservation = Reservation(
            id="c",
            amount_nano=900,
            lease_seconds=60,
            attributes={"run": "late", "tenant": "acme"},
            dispatched=True,
        )
        await made.ledger.reserve(reservation)
        await made.ledger.presume("c")
        await made.ledger.settle("c", 200)

    assert made.client(ANN).post("/late").status_code == 200
    found = got(made, "/runs/late").json()
    ((call,),) = [envelope["calls"] for envelope in found["envelopes"]]
    assert (call["cost_usd"], call["state"], call["estimated"]) == ("0.0000002", "settled", False)
    assert (found["cost_usd"], found["estimated_usd"]) == ("0.0000002", "0")


def test_another_tenants_run_is_not_there():
    """404, as one that there is not; for itself it is."""
    made = shop()
    assert got(made, "/runs/run_m1", MALLORY).json()["cost_usd"] == "0.0011"
    for who, run in (
        (ANN, "run_m1"),
        (EVE, "run_s1"),
        (ANN, "nothing"),
        (ANN, "' OR 1=1 --"),
        (ANN, "x" * 128),
    ):
        assert made.client(who).get(f"/v1/usage/runs/{run}").status_code == 404
    assert made.client(ANN).get(f"/v1/usage/runs/{'x' * 129}").status_code == 422


def test_a_run_may_be_known_before_it_spends():
    """Where the application says so it is empty, and not unknown."""

    async def is_known(context: Any, name: str, value: str) -> bool:
        return (name, value, context.principal.tenant) == ("run", "fresh", "acme")

    made = shop(is_known=is_known)
    found = got(made, "/runs/fresh").json()
    assert (found["cost_usd"], found["envelopes"], found["run"]) == ("0", [], "fresh")
    assert made.client(MALLORY).get("/v1/usage/runs/fresh").status_code == 404


def test_a_run_of_many_calls_is_shown_in_part_and_counted_whole():
    """Five hundred are shown; what the others cost is told, so that it still adds up."""
    made = shop()

    @made.app.post("/many")
    async def many(context: CurrentContext) -> None:
        async with await made.meter.open(
            "many", amount_nano=1000, attributes={"run": "many"}, context=context
        ) as envelope:
            for _ in range(505):
                await (await envelope.call(1)).settle(1)

    assert made.client(ANN).post("/many").status_code == 200
    found = got(made, "/runs/many").json()
    assert len(found["envelopes"][0]["calls"]) == 500
    assert (found["cost_usd"], found["rest_usd"]) == ("0.000000505", "0.000000005")


# ------------------------------------------------------------------------------------------------- days


def test_days_are_those_of_a_time_zone():
    """Midnight there, also for dates without a time; a zone that there is not is a 422."""
    made = shop()
    tokyo = got(made, "", group_by="day", timezone="Asia/Tokyo").json()
    day = datetime.fromtimestamp(made.clock.wall(), ZoneInfo("Asia/Tokyo"))
    assert tokyo["timezone"] == "Asia/Tokyo"
    assert tokyo["from"].endswith("T15:00:00Z")
    assert tokyo["total_usd"] == "0.000031"
    assert len(tokyo["rows"]) == 1
    assert tokyo["rows"][0]["group"]["day"] == day.date().isoformat()
    for wrong in ({"timezone": "Mars/Base"}, {"timezone": ""}):
        assert made.client(ANN).get("/v1/usage", params=wrong).status_code == 422
    years = {"from": "1971-01-01", "to": "2030-01-01", "timezone": "Asia/Tokyo"}
    assert made.client(ANN).get("/v1/usage", params=years).status_code == 200
    assert made.client(ANN).get("/v1/usage", params={**years, "group_by": "day"}).status_code == 422


def test_the_document_describes_them():
    """Parameters, problems and examples, of both formats."""
    paths = shop().client(ANN).get("/openapi.json").json()["paths"]
    for path in ("/v1/usage/entries", "/v1/usage/export", "/v1/usage/runs/{run}"):
        assert {"200", "403", "404", "422", "503"} <= set(paths[path]["get"]["responses"])
    content = paths["/v1/usage/export"]["get"]["responses"]["200"]["content"]
    assert set(content) == {"text/csv", "application/x-ndjson"}
