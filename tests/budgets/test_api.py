"""`/v1/budgets`: what a caller sees of budgets and may change in them, and what stays hidden."""

from __future__ import annotations

import logging
from typing import Any
from urllib.parse import quote

import pytest

from prodkit.budgets import Budgets, Policy, budgets_router
from prodkit.stores.ledger import UsageQuery
from tests.metering.metered import Shop

POLICIES = (
    Policy("own", "principal", "day", "0.00001"),
    Policy("team", "tenant", "month", "0.001"),
    Policy("chat", "session", "total"),
    Policy("by-key", "key", "total", "1"),
    Policy("house", "application", "day", "5"),
    Policy("agent", "agent", "day", "5"),
)

READ, WRITE = "usage:read", "budgets:write"
# Somebody else's, nobody's, no budget's, too long for any ledger, and what a path or a database could trip over.
NOT_HERS = [
    "own:bob@acme",
    "own:mallory@umbrella",
    "team:umbrella",
    "team:ann",
    "house:all",
    "agent:search",
    "own",
    "own:",
    "team:",
    "chat:",
    "none:ann",
    "OWN:ann",
    "own:ann@acme ",
    "own:" + "x" * 129,
    "own:" + "x" * 155,
    "chat:" + "x" * 154,
    "chat:' OR 1=1 --",
    "chat:%",
    "own:\x00",
    "chat:\U0001f600",
    "chat:bobs",
]


def shop(*, identified: bool = True, **options: Any) -> Shop:
    """Ann and Bob of acme, Mallory of umbrella; each of them has spent, Bob in a session."""
    made = Shop(Budgets(policies=POLICIES), identified=identified)
    made.app.include_router(budgets_router(**options))
    for who, session in (("ann@acme", ""), ("bob@acme", "bobs"), ("mallory@umbrella", "hers")):
        bought = made.client(who).post("/buy", params={"nano": 4000, "hold": 5000, "session": session})
        assert bought.status_code == 200
    return made


def name_of(answer: Any) -> str:
    """Status and problem."""
    return f"{answer.status_code} {answer.json()['type'].rpartition('/')[2]}"


# ------------------------------------------------------------------------------------------------- reading


def test_a_caller_sees_its_own_budgets():
    """Its principal's and its tenant's, how far they are spent and when they are whole again; no one else's."""
    made = shop()
    answer = made.client(f"ann@acme {READ}").get("/v1/budgets")
    day = int(made.clock.wall()) // 86_400 * 86_400
    own, team = answer.json()["budgets"]
    assert own | {"resets_at": None} == {
        "id": "own:ann@acme",
        "policy": "own",
        "per": "principal",
        "window": "day",
        "limit_usd": "0.00001",
        "spent_usd": "0.000004",
        "held_usd": "0",
        "remaining_usd": "0.000006",
        "hard": True,
        **dict.fromkeys(("unit", "limit", "spent", "held", "remaining", "resets_at")),
    }
    assert own["resets_at"].endswith("T00:00:00Z")
    assert day < made.clock.wall() < day + 86_400
    assert (team["id"], team["spent_usd"], team["remaining_usd"]) == ("team:acme", "0.000008", "0.000992")


def test_amounts_are_decimal_strings():
    """Never a JSON number, which somebody's program would read as a binary fraction."""
    made = shop()
    answer = made.client(f"ann@acme {READ}").get("/v1/budgets")
    for shown in answer.json()["budgets"]:
        amounts = [value for name, value in shown.items() if name.endswith("_usd")]
        assert len(amounts) == 4
        assert all(isinstance(value, str) for value in amounts)


def test_one_budget_is_read_by_its_id():
    """The same that the list shows."""
    client = shop().client(f"ann@acme {READ}")
    for listed in client.get("/v1/budgets").json()["budgets"]:
        assert client.get(f"/v1/budgets/{listed['id']}").json() == listed


def test_a_key_has_a_budget_too():
    """Where the credential is a key, its budget is listed and can be read; another key of the same caller's has another."""
    made = shop()
    made.client("ann#k1@acme").post("/buy", params={"nano": 7, "hold": 7})
    for key, spent in (("k1", "0.000000007"), ("k2", "0")):
        client = made.client(f"ann#{key}@acme {READ}")
        assert client.get(f"/v1/budgets/by-key:{key}").json()["spent_usd"] == spent
        ids = [budget["id"] for budget in client.get("/v1/budgets").json()["budgets"]]
        assert ids == ["own:ann@acme", "team:acme", f"by-key:{key}"]
    assert made.client(f"bob#k3@acme {READ}").get("/v1/budgets/by-key:k1").status_code == 404


@pytest.mark.parametrize(
    ("budget", "scopes"),
    [(budget, "") for budget in NOT_HERS]
    # An administrator of the tenant may see those of its own people, and no others.
    + [(budget, " admin") for budget in NOT_HERS if budget not in {"own:bob@acme", "chat:bobs"}],
)
def test_what_is_not_hers_is_not_there(budget, scopes):
    """404 for reading and for writing, alike for what there is and what there is not: nothing can be found out."""
    made = shop()
    client = made.client(f"ann@acme {READ} {WRITE}{scopes}")
    path = f"/v1/budgets/{quote(budget, safe=':')}"
    for answer in (client.get(path), client.put(path, json={"limit_usd": "1"})):
        assert name_of(answer) == "404 not-found"
    assert made.ledger._limits == {}


def test_an_id_longer_than_any_is_refused():
    """Before anything is looked up."""
    client = shop().client(f"ann@acme {READ}")
    assert name_of(client.get(f"/v1/budgets/chat:{'x' * 157}")) == "422 unprocessable-content"


def test_nobody_learns_of_others_by_the_time_it_takes():
    """What another principal has spent is not looked for where the caller may not know it anyway."""
    made = shop()
    made.client(f"ann@acme {READ}").get("/v1/budgets/own:bob@acme")
    assert "usage" not in made.ledger.said


def test_the_history_of_others_is_not_read_for_a_name_that_was_made_up():
    """It is long, and whoever asks for sessions that there are not would have it read each time."""
    made = shop()
    read: list[dict[str, str]] = []
    usage = made.ledger.usage

    async def noted(query: UsageQuery) -> Any:
        read.append(dict(query.where))
        return await usage(query)

    made.ledger.usage = noted  # type: ignore[method-assign]
    for session in ("made-up", "hers"):  # the latter is another tenant's
        assert made.client(f"ann@acme {READ}").get(f"/v1/budgets/chat:{session}").status_code == 404
    assert read == [{"session": session, "tenant": "acme"} for session in ("made-up", "hers")]


def test_scopes_are_asked_for():
    """To read one, to write another; who may write may not for that reason read."""
    made = shop()
    for scopes, read, write in (("", 403, 403), (READ, 200, 403), (WRITE, 403, 200), ("admin", 200, 200)):
        client = made.client(f"ann@acme {scopes}".strip())
        assert client.get("/v1/budgets").status_code == read
        assert client.get("/v1/budgets/own:ann@acme").status_code == read
        assert client.put("/v1/budgets/own:ann@acme", json={"limit_usd": "0.000005"}).status_code == write


def test_without_identities_nobody_writes():
    """An application that knows no callers shows what everybody has spent together, and lets nobody change it."""
    made = shop(identified=False)
    client = made.client()
    assert {b["id"] for b in client.get("/v1/budgets").json()["budgets"]} == {
        "own:@anonymous:anonymous",
        "team:@anonymous:anonymous",
    }
    assert client.put("/v1/budgets/own:@anonymous:anonymous", json={"limit_usd": "1"}).status_code == 403


# ------------------------------------------------------------------------------------------------- writing


def test_a_limit_that_is_set_holds_from_the_next_run_on():
    """In place of the policy's, for this budget only, until it is taken back with null."""
    made = shop()
    ann, bob = made.client(f"ann@acme {READ} {WRITE}"), made.client("bob@acme")
    changed = ann.put("/v1/budgets/own:ann@acme", json={"limit_usd": "0.000005"})
    assert (changed.status_code, changed.json()["limit_usd"], changed.json()["remaining_usd"]) == (
        200,
        "0.000005",
        "0.000001",
    )
    assert name_of(ann.post("/buy", params={"hold": 1001})) == "402 budget-exhausted"
    assert bob.post("/buy", params={"hold": 1001}).status_code == 200
    below = ann.put("/v1/budgets/own:ann@acme", json={"limit_usd": "0.000001"})
    assert (below.json()["spent_usd"], below.json()["remaining_usd"]) == ("0.000004", "0")
    back = ann.put("/v1/budgets/own:ann@acme", json={"limit_usd": None})
    assert back.json()["limit_usd"] == "0.00001"
    assert ann.post("/buy", params={"hold": 1001}).status_code == 200


def test_nobody_raises_its_own_limit_above_the_policy():
    """403 with the most it may be; not even an administrator goes beyond, but who may raise what the policy says."""
    made = shop()
    ann = made.client(f"ann@acme {WRITE}")
    refused = ann.put("/v1/budgets/own:ann@acme", json={"limit_usd": "0.000010001"})
    assert (refused.status_code, refused.json()["most_usd"]) == (403, "0.00001")
    assert ann.put("/v1/budgets/own:ann@acme", json={"limit_usd": "0.00001"}).status_code == 200
    for who in ("ann@acme admin", f"ann@acme {WRITE} budgets:raise"):
        refused = made.client(who).put("/v1/budgets/own:ann@acme", json={"limit_usd": "7"})
        assert (refused.status_code, refused.json()["required_scopes"]) == (403, ["admin", "budgets:raise"])
    boss = made.client("ann@acme admin budgets:raise")
    assert boss.put("/v1/budgets/own:ann@acme", json={"limit_usd": "7"}).json()["limit_usd"] == "7"


def test_the_tenants_budget_is_an_administrators():
    """Whoever belongs to it may see it, and only who is responsible for all of it may change it."""
    made = shop()
    refused = made.client(f"ann@acme {WRITE}").put("/v1/budgets/team:acme", json={"limit_usd": "0.0001"})
    assert (refused.status_code, refused.json()["required_scopes"]) == (403, ["admin"])
    boss = made.client("ann@acme admin")
    assert boss.put("/v1/budgets/team:acme", json={"limit_usd": "0.0001"}).status_code == 200
    assert boss.put("/v1/budgets/own:bob@acme", json={"limit_usd": "0.000002"}).status_code == 200
    assert boss.get("/v1/budgets/own:bob@acme").json()["limit_usd"] == "0.000002"
    assert boss.put("/v1/budgets/own:mallory@umbrella", json={"limit_usd": "0"}).status_code == 404


def test_namesakes_of_two_tenants_have_nothing_in_common():
    """Whoever names the callers of one tenant neither spends, reads nor limits what a caller of another one may spend."""
    made = shop()
    made.client("bob@umbrella").post("/buy", params={"nano": 1, "hold": 1})
    seen = {}
    for tenant in ("acme", "umbrella"):
        boss = made.client(f"boss@{tenant} admin")
        seen[tenant] = [
            (answer.status_code, answer.json().get("spent_usd"))
            for answer in (boss.get(f"/v1/budgets/own:bob@{one}") for one in ("acme", "umbrella"))
        ]
    assert seen["umbrella"] == [(404, None), (200, "0.000000001")]
    assert seen["acme"][1] == (404, None)
    assert seen["acme"][0][0] == 200
    assert seen["acme"][0][1] != "0.000000001"


def test_a_session_is_whoever_spent_in_it():
    """Its budget is seen and limited by its owner, and by nobody beside."""
    made = shop()
    bob, ann = made.client(f"bob@acme {READ} {WRITE}"), made.client(f"ann@acme {READ} {WRITE}")
    assert bob.put("/v1/budgets/chat:bobs", json={"limit_usd": "0.000005"}).status_code == 200
    assert bob.get("/v1/budgets/chat:bobs").json()["window"] == "total"
    assert bob.post("/buy", params={"hold": 1001, "session": "bobs"}).status_code == 402
    ann.post("/buy", params={"hold": 1, "session": "bobs"})
    assert bob.get("/v1/budgets/chat:bobs").status_code == 404, "somebody else has spent in it, too"


def test_the_application_may_tell_whose_a_session_is():
    """Then it has a budget before anything was spent in it."""

    async def owns(context, per, value):
        return (per, value) == ("session", f"of-{context.principal.id}")

    made = shop(owns=owns)
    client = made.client(f"ann@acme {READ} {WRITE}")
    fresh = client.get("/v1/budgets/chat:of-ann")
    assert (fresh.json()["spent_usd"], fresh.json()["limit_usd"], fresh.json()["remaining_usd"]) == (
        "0",
        None,
        None,
    )
    assert client.put("/v1/budgets/chat:of-ann", json={"limit_usd": "1"}).status_code == 200
    assert client.get("/v1/budgets/chat:of-bob").status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        '{"limit_usd": 5}',
        '{"limit_usd": 0.5}',
        '{"limit_usd": true}',
        '{"limit_usd": ["5"]}',
        '{"limit_usd": ""}',
        '{"limit_usd": "-5"}',
        '{"limit_usd": "+5"}',
        '{"limit_usd": "5e3"}',
        '{"limit_usd": " 5"}',
        '{"limit_usd": "5\\n"}',
        '{"limit_usd": "5,00"}',
        '{"limit_usd": "NaN"}',
        '{"limit_usd": "\\u0663"}',
        '{"limit_usd": "0.0000000001"}',
        '{"limit_usd": "9000000.000000001"}',
        '{"limit_usd": "99999999"}',
        '{"limit_usd": "5", "window": "day"}',
        '{"limit": "5"}',
        "{}",
        "null",
        '"5"',
        "5",
        "{",
    ],
)
def test_what_is_no_amount_is_refused(body):
    """422, whatever it is, with where it is wrong and without what was sent; the limit stays."""
    made = shop()
    client = made.client("ann@acme admin")
    refused = client.put(
        "/v1/budgets/own:ann@acme", content=body.encode(), headers={"Content-Type": "application/json"}
    )
    assert name_of(refused) in {"422 unprocessable-content", "400 bad-request"}
    assert made.ledger._limits == {}


def test_who_changed_what_is_in_the_log(caplog):
    """Whose budget, by whom, from what to what: one line that an auditor finds."""
    made = shop()
    with caplog.at_level(logging.WARNING, "prodkit.budgets"):
        boss = made.client("ann@acme admin budgets:raise")
        boss.put("/v1/budgets/own:bob@acme", json={"limit_usd": "2.5"})
    (record,) = [record for record in caplog.records if record.message == "budget_limit_set"]
    told = {name: getattr(record, name) for name in ("budget", "by", "tenant", "old_usd", "new_usd")}
    assert told == {
        "budget": "own:bob@acme",
        "by": "ann",
        "tenant": "acme",
        "old_usd": "0.00001",
        "new_usd": "2.5",
    }


# ----------------------------------------------------------------------------------------- in between


@pytest.mark.parametrize("verb", ["accounts", "usage"])
def test_a_ledger_that_is_away_is_a_503(verb):
    """With Retry-After, and nothing is made up."""
    made = shop()
    made.ledger.down.add(verb)
    client = made.client("boss@acme admin")
    answer = client.get("/v1/budgets/own:bob@acme")
    assert name_of(answer) == "503 ledger-unavailable"
    assert answer.headers["retry-after"] == "1"


def test_an_application_without_budgets_has_an_empty_list():
    """The routes are there, and say so."""
    made = Shop(identified=True)
    made.app.include_router(budgets_router())
    client = made.client(f"ann {READ}")
    assert client.get("/v1/budgets").json() == {"budgets": []}
    assert client.get("/v1/budgets/own:ann@acme").status_code == 404


def test_the_document_describes_it():
    """Every operation has its problems and an example in OpenAPI."""
    made = shop()
    paths = made.client().get("/openapi.json").json()["paths"]
    assert set(paths["/v1/budgets/{budget}"]) == {"get", "put"}
    for path, method in (
        ("/v1/budgets", "get"),
        ("/v1/budgets/{budget}", "get"),
        ("/v1/budgets/{budget}", "put"),
    ):
        responses = set(paths[path][method]["responses"])
        assert {"200", "403", "503"} <= responses
        assert ("404" in responses) is ("{" in path)
    schemas = made.client().get("/openapi.json").json()["components"]["schemas"]
    assert all("example" in schemas[name] for name in ("Budget", "BudgetList", "BudgetLimit"))
