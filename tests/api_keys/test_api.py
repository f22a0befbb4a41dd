"""The router for administrators: who may do what with whose keys."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prodkit.api_keys import keys_router
from prodkit.core.identity import Principal
from tests.api_keys.keyed import ALREADY, Breakable, Keyed, bearer


class Anyone:
    """An authenticator that believes what it is told, to be who a test needs."""

    scheme = "anyone"
    challenge = "Anyone"
    openapi = {"type": "apiKey", "in": "header", "name": "X-Who"}

    def authenticate(self, context):
        who = context.headers.get(b"x-who")
        if who is None:
            return None
        name, tenant, plan, *scopes = who.decode().split(",")
        return Principal(
            id=name, kind="anyone", tenant=tenant or None, plan=plan or None, scopes=frozenset(scopes)
        )


OPERATOR = {"X-Who": "ops,,,keys:admin,orders:read,orders:write"}
ACME = {"X-Who": "ann,acme,pro,keys:admin,orders:read"}
OTHER = {"X-Who": "eve,evil,free,keys:admin,orders:read"}
NOBODY = {"X-Who": "joe,acme,pro,orders:read"}


@pytest.fixture
def keyed():
    return Keyed(routers=[keys_router()], authenticators=[Anyone()])


def issue(keyed, who=OPERATOR, **wanted):
    return keyed.client.post("/v1/keys", headers=who, json={"owner": "shop"} | wanted)


def test_a_key_is_shown_once(keyed):
    """201 with the key, in an answer that nobody may keep; afterwards nobody can read it."""
    response = issue(keyed, name="checkout", scopes=["orders:read"], tenant="acme", expires_in_seconds=3600)
    body = response.json()
    assert response.status_code == 201
    assert response.headers["cache-control"] == "no-store"
    assert keyed.client.get("/me", headers=bearer(body["key"])).json()["tenant"] == "acme"
    assert body["state"] == "active"
    assert body["created_by"] == "anyone:ops"
    assert body["expires_at"] == "2025-06-15T16:06:40Z"
    shown = keyed.client.get(f"/v1/keys/{body['id']}", headers=OPERATOR)
    assert shown.json() == {name: value for name, value in body.items() if name != "key"} | {
        "last_used_at": shown.json()["last_used_at"]
    }
    listed = keyed.client.get("/v1/keys", headers=OPERATOR)
    assert body["key"] not in shown.text + listed.text
    assert body["key"][-43:] not in shown.text + listed.text


def test_only_with_the_scope(keyed):
    """403 before the body is read, 401 for strangers; also for whoever has a good key without it."""
    for who, status in (({}, 401), (NOBODY, 403)):
        assert keyed.client.post("/v1/keys", headers=who, content=b"{broken").status_code == status
        assert keyed.client.get("/v1/keys", headers=who).status_code == status
        assert keyed.client.get("/v1/keys/x", headers=who).status_code == status
        assert keyed.client.delete("/v1/keys/x", headers=who).status_code == status
        assert keyed.client.post("/v1/keys/x/rotate", headers=who).status_code == status


def test_nobody_gives_away_more_than_they_have(keyed):
    """Not by issuing, and not by replacing a key that can do more."""
    response = issue(keyed, ACME, scopes=["orders:read", "orders:write", "root"])
    assert response.status_code == 403
    assert response.json()["required_scopes"] == ["orders:write", "root"]
    strong = issue(keyed, scopes=["orders:write"], tenant="acme").json()
    response = keyed.client.post(f"/v1/keys/{strong['id']}/rotate", headers=ACME)
    assert response.status_code == 403
    assert response.json()["required_scopes"] == ["orders:write"]
    assert keyed.client.get("/me", headers=bearer(strong["key"])).status_code == 200


def test_a_tenant_has_only_its_own(keyed):
    """Others' keys are not there: not in the list, not by id, not to be replaced or revoked."""
    ours = issue(keyed, ACME).json()
    theirs = issue(keyed, OTHER).json()
    loose = issue(keyed).json()
    assert (ours["tenant"], ours["plan"], loose["tenant"]) == ("acme", "pro", None)
    listed = keyed.client.get("/v1/keys", headers=ACME).json()["keys"]
    assert [key["id"] for key in listed] == [ours["id"]]
    assert keyed.client.get("/v1/keys?tenant=evil", headers=ACME).json() == {"keys": [], "next": None}
    for stranger in (theirs, loose):
        path = f"/v1/keys/{stranger['id']}"
        answers = [
            keyed.client.get(path, headers=ACME),
            keyed.client.delete(path, headers=ACME),
            keyed.client.post(f"{path}/rotate", headers=ACME),
            keyed.client.get("/v1/keys/000000000000", headers=ACME),
        ]
        assert {answer.status_code for answer in answers} == {404}
        assert len({answer.json()["detail"] for answer in answers}) == 1
        assert keyed.client.get("/me", headers=bearer(stranger["key"])).status_code == 200
    everything = keyed.client.get("/v1/keys", headers=OPERATOR).json()["keys"]
    assert len(everything) == 3
    of_evil = keyed.client.get("/v1/keys?tenant=evil", headers=OPERATOR).json()["keys"]
    assert [key["id"] for key in of_evil] == [theirs["id"]]


@pytest.mark.parametrize("wanted", [{"tenant": "evil"}, {"plan": "enterprise"}, {"tenant": ""}])
def test_a_tenant_gives_itself_nothing_better(keyed, wanted):
    """Neither another's name nor another plan."""
    assert issue(keyed, ACME, **wanted).status_code == 403


def test_a_tenant_replaces_no_key_of_another_plan(keyed):
    """A plan that somebody without a tenant gave to one key is not copied by the tenant; who may give it may."""
    special = issue(keyed, tenant="acme", plan="enterprise").json()
    path = f"/v1/keys/{special['id']}/rotate"
    refused = keyed.client.post(path, headers=ACME)
    assert (refused.status_code, refused.headers["content-type"]) == (403, "application/problem+json")
    assert keyed.client.get("/me", headers=bearer(special["key"])).status_code == 200
    own = issue(keyed, ACME).json()
    assert keyed.client.post(f"/v1/keys/{own['id']}/rotate", headers=ACME).status_code == 201
    assert keyed.client.post(path, headers=OPERATOR).json()["plan"] == "enterprise"


@pytest.mark.parametrize("at", [-62_135_683_140.0, -1e300, 253_402_387_139.0, 1e300, float("inf")], ids=str)
def test_a_key_with_an_impossible_date_hides_no_other(keyed, at):
    """A row that an older release or an operator wrote is listed with the nearest date there is, and can be revoked."""
    made = issue(keyed).json()
    record = keyed.store._records[made["id"]]
    keyed.store._records[made["id"]] = replace(
        record, created_at=at, not_before=at, expires_at=at, last_used_at=at, deprecated_at=at
    )
    issue(keyed)
    assert len(keyed.client.get("/v1/keys", headers=OPERATOR).json()["keys"]) == 2
    assert keyed.client.get(f"/v1/keys/{made['id']}", headers=OPERATOR).status_code == 200
    assert keyed.client.get("/me", headers=bearer(made["key"])).status_code == 401
    assert keyed.client.delete(f"/v1/keys/{made['id']}", headers=OPERATOR).status_code == 204


def test_a_key_is_replaced_over_http(keyed):
    """201 with the new one; both work until the overlap is over, and a second replacement is a conflict."""
    old = issue(keyed).json()
    response = keyed.client.post(
        f"/v1/keys/{old['id']}/rotate", headers=OPERATOR, json={"overlap_seconds": 60}
    )
    new = response.json()
    assert response.status_code == 201
    assert response.headers["cache-control"] == "no-store"
    told = keyed.client.get("/me", headers=bearer(old["key"])).headers
    assert told["deprecation"] == f"@{int(ALREADY)}"
    shown = keyed.client.get(f"/v1/keys/{old['id']}", headers=OPERATOR).json()
    assert (shown["state"], shown["replaced_by"]) == ("replaced", new["id"])
    keyed.clock.advance(60)
    assert keyed.client.get("/me", headers=bearer(old["key"])).status_code == 401
    assert keyed.client.get("/me", headers=bearer(new["key"])).status_code == 200
    again = keyed.client.post(f"/v1/keys/{old['id']}/rotate", headers=OPERATOR)
    assert again.status_code == 409
    assert keyed.client.post(f"/v1/keys/{new['id']}/rotate", headers=OPERATOR).status_code == 201


def test_revoking_twice_is_as_once(keyed):
    """204 both times, effective at once; an unknown key is a 404."""
    made = issue(keyed).json()
    assert keyed.client.get("/me", headers=bearer(made["key"])).status_code == 200
    for _ in range(2):
        response = keyed.client.delete(f"/v1/keys/{made['id']}", headers=OPERATOR)
        assert (response.status_code, response.content) == (204, b"")
        assert keyed.client.get("/me", headers=bearer(made["key"])).status_code == 401
    shown = keyed.client.get(f"/v1/keys/{made['id']}", headers=OPERATOR).json()
    assert shown["state"] == "revoked"
    assert keyed.client.delete("/v1/keys/000000000000", headers=OPERATOR).status_code == 404


def test_the_list_has_pages(keyed):
    """In the order of ids, each key once."""
    made = sorted(issue(keyed).json()["id"] for _ in range(5))
    seen: list[str] = []
    after: str | None = ""
    while after is not None:
        page = keyed.client.get(f"/v1/keys?limit=2&after={after}", headers=OPERATOR).json()
        assert len(page["keys"]) <= 2
        seen += [key["id"] for key in page["keys"]]
        after = page["next"]
    assert seen == made
    for query in ("limit=0", "limit=501", f"after={'x' * 65}"):
        assert keyed.client.get(f"/v1/keys?{query}", headers=OPERATOR).status_code == 422


@pytest.mark.parametrize(
    "wanted",
    [
        {"owner": ""},
        {"owner": "a\u0000b"},
        {"owner": "\ud800"},
        {"owner": 7},
        {"scopes": "orders:read"},
        {"networks": ["10.0.0.1/8"]},
        {"expires_in_seconds": 59},
        {"expires_in_seconds": 10**12},
        {"expires_in_seconds": 1e400},
        {"not_before": "2025-06-15T15:00:00"},
        {"not_before": "9999-12-31T23:59:59Z"},
        {"not_before": "9000-01-01T00:00:01Z"},
        {"not_before": "0001-01-01T00:00:00+23:59"},
        {"not_before": "1969-12-31T23:59:59Z"},
        {"key": "of my choice"},
    ],
    ids=str,
)
def test_impossible_wishes_are_422(keyed, wanted):
    """Whatever is sent, it is a problem document and never a 500; nothing is issued."""
    import json

    body = json.dumps({"owner": "shop"} | wanted)
    response = keyed.client.post(
        "/v1/keys", headers=OPERATOR | {"Content-Type": "application/json"}, content=body
    )
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"
    assert keyed.client.get("/v1/keys", headers=OPERATOR).json()["keys"] == []


@pytest.mark.parametrize("path", ["%00", "..%2f..", "%ff", "'; DROP TABLE api_keys", "x" * 64, "é"])
def test_strange_ids_are_not_there(keyed, path):
    """404, whatever they are made of."""
    assert keyed.client.get(f"/v1/keys/{path}", headers=OPERATOR).status_code == 404


def test_a_store_that_is_away_is_a_503(keyed):
    """With `Retry-After`, for every operation; not a 500."""
    made = issue(keyed).json()
    keyed.store.is_broken = True
    path = f"/v1/keys/{made['id']}"
    for response in (
        issue(keyed),
        keyed.client.get(path, headers=OPERATOR),
        keyed.client.delete(path, headers=OPERATOR),
        keyed.client.post(f"{path}/rotate", headers=OPERATOR),
    ):
        assert response.status_code == 503
        assert response.headers["retry-after"] == "1"
        assert response.json()["type"].endswith("/store-unavailable")


def test_a_key_administers_keys():
    """The scope is one of a key like any other: what it makes can do no more than itself."""
    keyed = Keyed(Breakable(), routers=[keys_router("/keys", scope="admin")])

    async def first():
        return await keyed.keys.issue("ops", scopes=["admin", "orders:read"])

    import asyncio

    admin = bearer(asyncio.run(first()).secret)
    made = keyed.client.post("/keys", headers=admin, json={"owner": "shop", "scopes": ["orders:read"]}).json()
    assert made["created_by"] == "api_key:ops"
    assert keyed.client.get("/keys", headers=bearer(made["key"])).status_code == 403
    response = keyed.client.post("/keys", headers=admin, json={"owner": "shop", "scopes": ["root"]})
    assert response.status_code == 403


def test_openapi_tells_all_of_it(keyed):
    """Every operation has its problems and an example, and the id's secret twin is in none of the answers but two."""
    document = keyed.app.openapi()
    paths = document["paths"]
    assert set(paths["/v1/keys"]["post"]["responses"]) >= {"201", "401", "403", "422", "503"}
    assert set(paths["/v1/keys/{key_id}/rotate"]["post"]["responses"]) >= {"201", "403", "404", "409", "503"}
    assert set(paths["/v1/keys/{key_id}"]["delete"]["responses"]) >= {"204", "401", "403", "404", "503"}
    schemas = document["components"]["schemas"]
    assert "key" in schemas["NewKey"]["properties"]
    assert "key" not in schemas["Key"]["properties"]
    assert schemas["KeyRequest"]["example"]["owner"] == "shop"
