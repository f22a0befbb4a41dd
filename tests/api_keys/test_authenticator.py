"""Managed keys as a client meets them: one good way in, and one answer to everything else."""

from __future__ import annotations

import inspect
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from fastapi import WebSocket
from starlette.testclient import WebSocketDenialResponse

from prodkit.api_keys import keys_router
from prodkit.api_keys.format import _checksum
from prodkit.authentication import StaticKeys
from prodkit.core.identity import Principal
from prodkit.core.problems import Problem
from tests.api_keys.keyed import ALREADY, Breakable, Keyed, bearer, changed, forged


@pytest.fixture
def keyed():
    return Keyed()


async def test_a_key_becomes_its_principal(keyed):
    """Owner, tenant, plan and scopes are those it was issued with; the id of the key is a claim, and safe to log."""
    issued = await keyed.keys.issue(
        "shop", scopes={"b", "a"}, tenant="acme", plan="pro", expires_in=timedelta(hours=1)
    )
    for headers in (
        bearer(issued.secret),
        {"X-API-Key": issued.secret},
        {"Authorization": f"bEARER {issued.secret}"},
    ):
        response = keyed.client.get("/me", headers=headers)
        assert response.json() == {
            "id": "shop",
            "kind": "api_key",
            "tenant": "acme",
            "plan": "pro",
            "scopes": ["a", "b"],
            "expires_at": ALREADY + 3600,
            "claims": {"key": issued.record.id},
        }


async def refused_keys(keyed):
    """A key for each way to be no good, by the reason that the log has for it."""
    good = await keyed.keys.issue("shop")
    revoked = await keyed.keys.issue("shop")
    await keyed.keys.revoke(revoked.record.id)
    late = await keyed.keys.issue("shop", expires_in=timedelta(seconds=60))
    begins = datetime.fromtimestamp(ALREADY, UTC) + timedelta(days=2)
    early = await keyed.keys.issue("shop", not_before=begins)
    elsewhere = await keyed.keys.issue("shop", networks=["203.0.113.0/24", "2001:db8::/32"])
    keyed.clock.advance(60)
    other = forged(keyed.keys.key_format)
    grafted = other[:8] + good.record.id + other[20:-6]
    return {
        "malformed": [
            changed(good.secret, 30, "-"),
            good.secret + "x" * 60_000,
            "pk_live_",
            good.secret.lower(),
        ],
        "unknown": [other],
        "wrong secret": [grafted + _checksum(grafted.encode())],
        "revoked": [revoked.secret],
        "expired": [late.secret],
        "not valid yet": [early.secret],
        "wrong network": [elsewhere.secret],
    }


async def test_every_bad_key_gets_the_same_401(keyed, caplog):
    """The reason is in the log, with the id of the key and never the key; the answer is the same byte for byte."""
    caplog.set_level(logging.INFO, logger="prodkit.api_keys")
    answers = set()
    for reason, keys in (await refused_keys(keyed)).items():
        for key in keys:
            caplog.clear()
            for _ in range(2):  # the second time from memory
                response = keyed.client.get("/me", headers=bearer(key))
                body = response.json()
                assert response.headers["www-authenticate"] == 'Bearer realm="api", error="invalid_token"'
                answers.add((response.status_code, body["type"], body["title"], body["detail"], len(body)))
            lines = [record for record in caplog.records if record.msg == "api_key_refused"]
            assert [line.reason for line in lines] == [reason, reason]
            assert all(key not in str(vars(line)) and key[-20:] not in str(vars(line)) for line in lines)
    assert len(answers) == 1
    assert next(iter(answers))[0] == 401
    assert keyed.authenticator.denied == 20


async def test_no_key_and_somebody_elses_credential_are_not_ours(keyed):
    """What does not begin as our keys do is left to other authenticators, without a question to the store."""
    keyed.store.asked.clear()
    for value in (
        b"Basic cGs6eA==",
        b"Bearer eyJhbGciOiJub25lIn0.e30.",
        b"Bearer other_live_x",
        b"Bearer ",
        b"Bearer",
    ):
        context = keyed.context("x")
        context.headers[b"authorization"] = value
        assert keyed.authenticator.authenticate(context) is None
    del context.headers[b"authorization"]
    assert keyed.authenticator.authenticate(context) is None
    assert keyed.store.asked == []
    assert keyed.client.get("/open").status_code == 200
    assert keyed.client.get("/me?api_key=x&key=y").status_code == 401


async def test_a_key_in_the_url_is_nobody(keyed):
    """B1.5: it would be in every log on the way; there is no setting that takes it."""
    key = (await keyed.keys.issue("shop")).secret
    for name in ("api_key", "key", "access_token", "token"):
        assert keyed.client.get(f"/me?{name}={key}").status_code == 401


async def test_static_keys_work_beside_them():
    """Two kinds of keys, one gate: each is asked for its own."""
    new = StaticKeys.generate()
    keyed = Keyed(authenticators=[StaticKeys({"cron": {"sha256": new.sha256}})])
    key = (await keyed.keys.issue("shop")).secret
    assert keyed.client.get("/me", headers=bearer(new.key)).json()["id"] == "cron"
    assert keyed.client.get("/me", headers=bearer(key)).json()["id"] == "shop"
    assert keyed.client.get("/me", headers=bearer(key) | {"X-API-Key": new.key}).status_code == 400


async def test_a_websocket_needs_a_key_too(keyed):
    """B1.3: what is refused for HTTP is refused for a socket."""

    @keyed.app.websocket("/ws")
    async def socket(websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("in")
        await websocket.close()

    key = (await keyed.keys.issue("shop")).secret
    with keyed.client.websocket_connect("/ws", headers=bearer(key)) as session:
        assert session.receive_text() == "in"
    for headers in ({}, bearer(forged(keyed.keys.key_format))):
        with (
            pytest.raises(WebSocketDenialResponse) as refused,
            keyed.client.websocket_connect("/ws", headers=headers),
        ):
            pass
        assert refused.value.status_code == 401


async def test_networks(keyed):
    """A key works from its networks, by either way to write an IPv4 address, and from nowhere else."""
    key = (await keyed.keys.issue("shop", networks=["192.0.2.0/24", "2001:db8::/32"])).secret
    for address in ("192.0.2.1", "::ffff:192.0.2.200", "2001:db8::1"):
        assert await keyed.status(key, address=address) == 200
    for address in ("192.0.3.1", "::ffff:192.0.3.1", "2001:db9::1", "not an address"):
        assert await keyed.status(key, address=address) == 401
    assert await keyed.status(key, client=None) == 401


async def test_a_replaced_key_tells_its_callers(keyed):
    """B1.7: `Deprecation` and `Sunset`, not the obsolete `Warning`; the new key has nothing to tell."""
    old = await keyed.keys.issue("shop", scopes=["a"], tenant="acme", networks=["127.0.0.0/8"])
    assert "deprecation" not in keyed.client.get("/me", headers=bearer(old.secret)).headers
    keyed.clock.advance(10)
    new = await keyed.keys.rotate(old.record.id, timedelta(days=2))
    context = keyed.context(old.secret)
    found = keyed.authenticator.authenticate(context)
    assert inspect.isawaitable(found)
    await found
    told = {b"deprecation": b"@1750000010", b"sunset": b"Tue, 17 Jun 2025 15:06:50 GMT"}
    assert context.response_headers == told
    assert await keyed.status(new.secret) == 200
    context = keyed.context(new.secret)
    keyed.authenticator.authenticate(context)
    assert context.response_headers == {}
    keyed.clock.advance(2 * 86_400)
    assert await keyed.status(old.secret) == 401
    assert await keyed.status(new.secret) == 200


async def test_unknown_and_wrong_cost_the_same(keyed, monkeypatch):
    """B1.2: an id that nobody has takes the way of a wrong secret: one look-up, one HMAC, one comparison of 32 bytes."""
    import hmac

    good = await keyed.keys.issue("shop")
    compared = []

    def compare(one, other):
        compared.append((len(one), len(other)))
        return hmac.compare_digest(one, other)

    monkeypatch.setattr(
        "prodkit.api_keys.reading.hmac", type("hmac", (), {"compare_digest": staticmethod(compare)})
    )
    keys = await refused_keys(keyed)
    for key in (keys["unknown"][0], keys["wrong secret"][0], good.secret):
        keyed.store.asked.clear()
        await keyed.status(key)
        assert keyed.store.count("find") == 1
    assert compared == [(32, 32)] * 3


async def test_bytes_are_compared(keyed):
    """B1.2: what is not ASCII is a 401 and no TypeError."""
    for key in (b"pk_live_" + "ключ".encode(), b"\xff\xfe", b"pk_live_\xff" * 60, b"\x00"):
        response = keyed.client.get("/me", headers={b"Authorization": b"Bearer " + key})
        assert response.status_code == 401


async def test_a_principal_can_be_looked_at_again(keyed):
    """For sessions and sockets: true while the key is good, false after; not a word about others' principals."""
    issued = await keyed.keys.issue("shop", expires_in=timedelta(minutes=10))
    principal = await keyed.use(issued.secret)
    again = keyed.authenticator.is_still_valid
    assert await again(principal) is True
    keyed.clock.advance(40)
    assert await again(principal) is True
    assert await again(Principal(id="x", kind="api_key", claims={"key": issued.record.id})) is False
    assert await again(Principal(id="shop", kind="api_key", claims={"key": "0" * 12})) is False
    for other in ({"tenant": "acme"}, {"plan": "pro"}, {"scopes": frozenset({"a"})}, {"id": "till"}):
        assert await again(replace(principal, **other)) is False
    for stranger in (
        Principal(id="shop", kind="jwt", claims={"key": issued.record.id}),
        Principal(id="shop", kind="api_key"),
        Principal(id="shop", kind="api_key", claims={"key": "theirs"}),
        Principal(id="shop", kind="api_key", claims={"key": 7}),
    ):
        assert await again(stranger) is None
    await keyed.keys.revoke(issued.record.id)
    assert await again(principal) is False
    keyed.store.is_broken = True
    keyed.clock.advance(31)
    with pytest.raises(Problem) as raised:
        await again(principal)
    assert raised.value.status_code == 503


async def test_a_key_that_was_narrowed_is_not_what_it_was(keyed):
    """Who signed in with it had more than it has now, or was somebody else: that ends; what it still gives stays."""
    issued = await keyed.keys.issue("shop", scopes=["a", "b"], tenant="acme", plan="pro")
    principal = await keyed.use(issued.secret)
    less = replace(principal, scopes=frozenset({"a"}))
    again = keyed.authenticator.is_still_valid
    for change, holds in (
        ({}, [True, True]),
        ({"scopes": frozenset({"a", "b", "c"})}, [True, True]),
        ({"scopes": frozenset({"a"})}, [False, True]),
        ({"tenant": "other"}, [False, False]),
        ({"tenant": None}, [False, False]),
        ({"plan": "free"}, [False, False]),
        ({"owner": "till"}, [False, False]),
    ):
        await keyed.store.put(replace(issued.record, **change))
        keyed.clock.advance(1)
        assert [await again(principal), await again(less)] == holds


async def test_decisions_are_counted(keyed):
    """By outcome, for the dashboard; and failures of what nobody waits for."""
    key = (await keyed.keys.issue("shop")).secret
    for presented in (key, key, forged(keyed.keys.key_format)):
        await keyed.status(presented)
    samples = {
        (sample.name, *sample.labels.values()): sample.value for sample in keyed.authenticator.samples()
    }
    assert samples["prodkit_api_keys_decisions_total", "key", "allowed"] == 2
    assert samples["prodkit_api_keys_decisions_total", "key", "denied"] == 1
    assert samples["prodkit_api_keys_background_failures_total", "touch"] == 0


async def test_openapi_names_the_scheme():
    """The document says how a key is sent."""
    keyed = Keyed(Breakable(), None, routers=[keys_router()])
    document = keyed.app.openapi()
    assert document["components"]["securitySchemes"]["managedKey"]["scheme"] == "bearer"
    assert document["paths"]["/v1/keys"]["post"]["security"] == [{"managedKey": []}]
