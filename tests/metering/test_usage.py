"""`GET /v1/usage`: what a tenant used, grouped any way, and nothing of anybody else's."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import pytest

from prodkit import CurrentContext
from prodkit.metering import usage_router
from tests.metering.metered import Shop

READ = "usage:read"
GROUPS = ("agent", "model", "principal", "key", "session", "processor", "provider", "sku", "run", "day")


def shop(**options: Any) -> Shop:
    """Two tenants that have used the same agents: six purchases of acme's, on two days, and one of umbrella's."""
    made = Shop(identified=True)
    made.app.include_router(usage_router(**options))
    buy(made, "ann#k1@acme", 1000, session="s1", agent="search", model="fast")
    buy(made, "ann#k1@acme", 2000, session="s1", agent="critic", model="fast")
    buy(made, "ann#k2@acme", 4000, session="s2", agent="search", model="deep")
    made.clock.advance(86_400)
    buy(made, "bob@acme", 8000, session="s3", agent="search", model="fast")
    buy(made, "bob@acme", 16_000, session="s3", agent="writer", model="")
    buy(made, "bob@acme", 0, session="s3", agent="writer", model="")
    buy(made, "mallory@umbrella", 500_000, session="m1", agent="search", model="fast")
    return made


def buy(made: Shop, who: str, nano: int, **options: Any) -> None:
    answer = made.client(who).post("/buy", params={"nano": nano, "hold": nano, **options})
    assert answer.status_code == 200


def used(made: Shop, who: str = f"ann@acme {READ}", **query: Any) -> Any:
    answer = made.client(who).get("/v1/usage", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def at(moment: float) -> str:
    """A moment as a query says it."""
    return datetime.fromtimestamp(moment, UTC).isoformat()


def by(report: Any, name: str) -> dict[str, str]:
    """Value of a group to its cost."""
    return {row["group"][name]: row["cost_usd"] for row in report["rows"]}


def test_the_whole_in_one_number():
    """Without groups one row: the cost, how many calls, what was delivered, and with which prices."""
    report = used(shop())
    (row,) = report["rows"]
    assert row == {
        "group": {},
        "cost_usd": "0.000031",
        "operations": 6,
        "attempts": 6,
        "estimated_usd": "0",
        "saved_usd": "0",
        "units": {"sku_search": 6},
    }
    assert (report["total_usd"], report["truncated"], report["group_by"]) == ("0.000031", False, [])
    assert report["price_book"].startswith("parallel-")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("agent", {"search": "0.000013", "writer": "0.000016", "critic": "0.000002"}),
        ("model", {"fast": "0.000011", "deep": "0.000004", "": "0.000016"}),
        ("principal", {"ann": "0.000007", "bob": "0.000024"}),
        ("key", {"k1": "0.000003", "k2": "0.000004", "": "0.000024"}),
        ("session", {"s1": "0.000003", "s2": "0.000004", "s3": "0.000024"}),
        ("run", {"run_s1": "0.000003", "run_s2": "0.000004", "run_s3": "0.000024"}),
        ("provider", {"parallel": "0.000031"}),
        ("sku", {"search": "0.000031"}),
        ("processor", {"": "0.000031"}),
    ],
)
def test_by_what_it_was_used_for(name, expected):
    """Each group with its cost, the largest first; what has no such name stands under the empty one."""
    report = used(shop(), group_by=name)
    assert by(report, name) == expected
    assert [*by(report, name)] == sorted(expected, key=lambda value: expected[value], reverse=True)


def test_by_day():
    """Days of UTC, written as dates."""
    made = shop()
    report = used(made, group_by="day")
    assert sorted(by(report, "day").values()) == ["0.000007", "0.000024"]
    assert all(len(day) == 10 for day in by(report, "day"))


@pytest.mark.parametrize("names", [GROUPS[:3], ("session", "day"), ("day", "agent", "model"), ("key",)])
def test_however_it_is_grouped_it_adds_up(names):
    """To the same total, in money, calls and units."""
    report = used(shop(), group_by=list(names))
    assert report["total_usd"] == "0.000031"
    assert sum(row["operations"] for row in report["rows"]) == 6
    assert sum(row["units"]["sku_search"] for row in report["rows"]) == 6
    assert all(tuple(row["group"]) == names for row in report["rows"])
    assert report["group_by"] == list(names)


def test_money_is_never_a_number():
    """Nothing in the answer is a float, and every amount is a text."""

    def refuse(text: str) -> Any:
        raise AssertionError(text)

    body = shop().client(f"ann@acme {READ}").get("/v1/usage", params={"group_by": "agent"}).text
    answer = json.loads(body, parse_float=refuse)
    assert all(isinstance(row[name], str) for row in answer["rows"] for name in ("cost_usd", "estimated_usd"))


def test_an_estimate_is_told_apart():
    """What nobody knows the end of is charged, and shown as an estimate."""
    made = shop()

    @made.app.post("/leave")
    async def leave(context: CurrentContext) -> None:
        async with await made.meter.open(
            "left", amount_nano=900, attributes={"agent": "search"}, context=context
        ) as envelope:
            await envelope.call(900)

    assert made.client("ann@acme").post("/leave").status_code == 200
    (row,) = used(made)["rows"]
    assert (row["cost_usd"], row["estimated_usd"], row["operations"]) == ("0.0000319", "0.0000009", 7)


# ------------------------------------------------------------------------------------------------- whose


@pytest.mark.parametrize("name", GROUPS)
def test_another_tenant_is_not_there(name):
    """Whatever is asked for: no group, no cost and no total tells that there is a Mallory."""
    made = shop()
    text = (
        made.client(f"ann@acme {READ}").get("/v1/usage", params={"group_by": name, "tenant": "umbrella"}).text
    )
    for trace in ("mallory", "m1", "umbrella", "0.0005"):
        assert trace not in text
    assert used(made, f"mallory@umbrella {READ}", group_by=name)["total_usd"] == "0.0005"
    assert used(made, f"eve {READ}", group_by=name)["rows"] == []


@pytest.mark.parametrize(("name", "value"), [("session", "s3"), ("run", "run_s3")])
def test_one_session_or_run(name, value):
    """What was used in it, also grouped; 404 for another tenant's, the same as for one that there is not."""
    made = shop()
    report = used(made, group_by="agent", **{name: value})
    assert by(report, "agent") == {"writer": "0.000016", "search": "0.000008"}
    foreign = "m1" if name == "session" else "run_m1"
    for unknown in (foreign, "nothing", "' OR 1=1 --", "x" * 128):
        answer = made.client(f"ann@acme {READ}").get("/v1/usage", params={name: unknown})
        assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (404, "not-found")
    assert used(made, f"mallory@umbrella {READ}", **{name: foreign})["total_usd"] == "0.0005"


def test_a_session_is_known_outside_the_period_too():
    """It is there though nothing was spent in it today: nothing is an answer."""
    made = shop()
    today = used(made, session="s1", **{"from": "2100-01-01"})
    assert (today["total_usd"], today["rows"]) == ("0", [])


def test_the_application_may_know_a_session():
    """One in which nothing was spent yet is empty and not unknown, for those whose it is."""

    async def is_known(context, name, value):
        return (name, value, context.principal.tenant) == ("session", "fresh", "acme")

    made = shop(is_known=is_known)
    assert used(made, session="fresh")["total_usd"] == "0"
    for who in (f"mallory@umbrella {READ}", f"eve {READ}"):
        assert made.client(who).get("/v1/usage", params={"session": "fresh"}).status_code == 404


@pytest.mark.parametrize(
    ("query", "total"),
    [
        ({"agent": "search"}, "0.000013"),
        ({"principal": "bob"}, "0.000024"),
        ({"key": "k1"}, "0.000003"),
        ({"agent": "search", "principal": "ann"}, "0.000005"),
        ({"agent": "nobody"}, "0"),
        ({"principal": "mallory"}, "0"),
    ],
)
def test_a_report_can_be_narrowed(query, total):
    """All conditions together; to nothing, where nothing fits."""
    assert used(shop(), **query)["total_usd"] == total


def test_a_scope_is_asked_for():
    """403 without it, also for an administrator of something else; with none configured, nobody is asked."""
    assert shop().client("ann@acme orders:read").get("/v1/usage").status_code == 403
    assert shop(scopes=()).client("ann@acme").get("/v1/usage").status_code == 200


# ------------------------------------------------------------------------------------------------- when


def test_the_period_is_this_month_unless_it_is_said():
    """Included at its beginning and not at its end; shown as it was understood."""
    made = shop()
    report = used(made)
    assert report["from"].endswith("-01T00:00:00Z")
    assert report["to"].endswith("-01T00:00:00Z")
    instants = sorted(entry.at for entry in made.ledger._history)
    day = 86_400
    first, second = instants[0], instants[0] + day
    assert used(made, **{"from": at(first), "to": at(second)})["total_usd"] == "0.000007"
    assert used(made, **{"from": at(second), "to": at(second + 1)})["total_usd"] == "0.000024"
    assert used(made, **{"from": at(second + 1), "to": at(second + day)})["total_usd"] == "0"


def test_a_time_may_have_an_offset():
    """Also one whose plus sign was not encoded; what is shown is UTC."""
    made = shop()
    for plus in ("%2B", "+"):
        answer = made.client(f"ann@acme {READ}").get(
            f"/v1/usage?from=2025-06-01T02:00:00{plus}02:00&to=2025-07-01"
        )
        assert (answer.json()["from"], answer.json()["to"]) == (
            "2025-06-01T00:00:00Z",
            "2025-07-01T00:00:00Z",
        )


@pytest.mark.parametrize(
    "query",
    [
        "from=yesterday",
        "from=0001-01-01",
        "from=9999-12-31",
        "from=2026-13-01",
        "from=2026-01-01&to=2026-01-01",
        "from=2026-02-01&to=2026-01-01",
        "to=1970-01-01",
        "from=-1",
        "from=0001-01-01T00:00:00%2B23:59",
        "to=9999-12-31T23:59:59-23:59",
        "from=" + "2" * 41,
        "group_by=tenant",
        "group_by=password",
        "group_by=",
        "group_by=agent&group_by=model&group_by=day&group_by=key",
        "session=",
        "session=" + "x" * 129,
        "agent=" + "x" * 129,
    ],
)
def test_what_nobody_can_answer_is_refused(query):
    """422 that says what is wrong and does not repeat it."""
    answer = shop().client(f"ann@acme {READ}").get(f"/v1/usage?{query}")
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (422, "unprocessable-content")
    assert answer.json()["errors"]


def test_a_group_named_twice_is_one():
    """And no error: who builds queries by hand is forgiven what does no harm."""
    assert used(shop(), group_by=["agent", "agent"])["group_by"] == ["agent"]


@pytest.mark.parametrize("value", ["%00", "%F0%9F%98%80", "%ED%A0%80", "%FF", quote("';--")])
def test_values_that_trip_up_databases_are_values(value):
    """Nothing is spent by them, and nothing breaks."""
    assert shop().client(f"ann@acme {READ}").get(f"/v1/usage?agent={value}").json()["total_usd"] == "0"


def test_more_groups_than_can_be_shown_are_counted_all_the_same():
    """The first thousand are shown, `truncated` says so, and the total is of all of them."""
    made = shop()
    with made.client("ann@acme") as client:
        for number in range(1005):
            client.post("/buy", params={"nano": 1, "hold": 1, "session": f"n{number}"})
    report = used(made, group_by="session")
    assert (len(report["rows"]), report["truncated"]) == (1000, True)
    assert report["total_usd"] == "0.000032005"


def test_a_ledger_that_is_away_is_a_503():
    """With Retry-After; no report is made up."""
    made = shop()
    made.ledger.down.add("usage")
    answer = made.client(f"ann@acme {READ}").get("/v1/usage")
    assert (answer.status_code, answer.json()["type"].rpartition("/")[2]) == (503, "ledger-unavailable")
    assert answer.headers["retry-after"] == "1"


def test_the_document_describes_it():
    """Its problems and an example stand in OpenAPI, and the names as they are sent."""
    document = shop().client().get("/openapi.json").json()
    operation = document["paths"]["/v1/usage"]["get"]
    assert {"200", "403", "404", "422", "503"} <= set(operation["responses"])
    assert "example" in document["components"]["schemas"]["Usage"]
    names = {parameter["name"] for parameter in operation["parameters"]}
    assert names == {"group_by", "from", "to", "timezone", "agent", "principal", "key", "session", "run"}


@pytest.mark.parametrize(
    "query", [{"run_id": "r1"}, {"groupby": "day"}, {"session": "s1", "tenant": "umbrella"}]
)
def test_a_parameter_that_there_is_not_is_refused(query: dict[str, str]):
    """Left out in silence, it would turn a question about one run into an answer about everything."""
    answer = shop().client(f"ann@acme {READ}").get("/v1/usage", params=query)
    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert error["code"] == "extra_forbidden"
    assert "session" in error["message"]
    assert "umbrella" not in answer.text
