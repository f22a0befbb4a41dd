"""Tokens in requests and on sockets: what a client sees of good and bad ones."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from prodkit.authentication import Authentication, StaticKeys
from prodkit.core.clock import FakeClock
from prodkit.installation import install
from prodkit.jwt import TrustedIssuer
from tests.jwt.secured import application, bearer, counts, feature, secured
from tests.jwt.tokens import NOW, OTHER_SECRET, as_bytes, b64, compact, token
from tests.support.logs import logged, text_of

BAD = {
    "expired": token(exp=NOW - 30),
    "issuer": token(iss="https://evil.example"),
    "audience": token(aud="https://other.example"),
    "signature": token(key=OTHER_SECRET.encode()),
    "algorithm": token(header={"alg": "none"}),
    "type": token(header={"typ": "id+jwt"}),
    "critical_header": token(header={"crit": ["exp"]}),
    "key_id": token(header={"kid": 5}),
    "missing_claim": token(exp=...),
    "claim": token(exp="soon"),
    "payload": compact({"alg": "HS256", "typ": "JWT"}, b"[" * 2000),
    "header": f"{b64(b'[' * 700)}.e30.AA",
    "malformed": f"{b64(as_bytes({'alg': 'HS256'}))}.e30.\xff",
    "encoding": token() + "=",
    "too_long": token(x="y" * 9000),
}


class TestRefusals:
    @pytest.mark.parametrize("reason", list(BAD))
    def test_every_bad_token_gets_the_same_401(self, reason, caplog):
        """Whatever is wrong with it, the answer says nothing; log and metrics say which, and hold nothing of the token."""
        client, kit = secured()
        plain = client.get("/me", headers=bearer("a.b.c"))
        with caplog.at_level(logging.INFO, "prodkit.jwt"):
            response = client.get("/me", headers=bearer(BAD[reason].encode("latin-1")))
        assert response.status_code == plain.status_code == 401
        assert response.headers["www-authenticate"] == 'Bearer realm="api", error="invalid_token"'
        drop = {"correlation_id", "instance"}
        assert {k: v for k, v in response.json().items() if k not in drop} == {
            k: v for k, v in plain.json().items() if k not in drop
        }
        expected = {"malformed": "encoding"}.get(reason, reason)
        assert caplog.records[-1].__dict__["reason"] == expected
        assert counts(kit)["jwt", expected] >= 1
        assert counts(kit)["jwt", "denied"] == 2
        for part in BAD[reason].split("."):
            assert len(part) < 6 or part not in caplog.text

    @pytest.mark.parametrize(
        "value",
        [
            b"",
            b"Bearer",
            b"Bearer ",
            b"Basic YTpi",
            b"Bearer key_without_dots",
            b"Bearer a.b",
            b"Bearer a.b.c.d",
        ],
    )
    def test_other_credentials_are_somebody_elses(self, value):
        """Only what looks like a token is one: an API key is left to whoever knows it."""
        jwt = feature()
        client, kit = secured(jwt)
        assert client.get("/me", headers={"Authorization": value}).status_code == 401
        assert counts(kit) == {}

    @pytest.mark.parametrize("first", [True, False])
    def test_keys_and_tokens_beside_one_another(self, first):
        """Each authenticator takes its own, in either order."""
        made = StaticKeys.generate()
        keys = Authentication(StaticKeys({"ci": {"sha256": made.sha256}}))
        app = application()
        install(app, *((feature(), keys) if first else (keys, feature())), clock=FakeClock())
        client = TestClient(app)
        assert client.get("/me", headers=bearer(made.key)).json()["kind"] == "api_key"
        assert client.get("/me", headers=bearer(token())).json()["kind"] == "jwt"
        assert client.get("/me", headers=bearer(made.key[:-1])).status_code == 401
        assert client.get("/me", headers=bearer(token(exp=1))).status_code == 401

    def test_a_token_reaches_neither_log_nor_answer(self):
        """Good and bad ones, with everything logged; the search finds what is there."""
        app = application()
        client, logs = logged(app, Authentication(), feature(), level="DEBUG")
        texts = [
            token(jti="canary-1"),
            token(jti="canary-2", exp=NOW - 100),
            token(header={"kid": "canary-3"}, key=b"x" * 32),
        ]
        with client:
            bodies = "".join(client.get("/nowhere", headers=bearer(text)).text for text in texts)
        found = text_of(logs)
        assert "token_refused" in found
        assert "expired" in found
        for text in texts:
            for part in text.split(".")[1:]:
                assert part not in found + bodies
        assert "canary" not in found + bodies

    def test_a_fault_of_ours_is_401_and_counted(self, caplog):
        """Never a 500, and never silent."""
        jwt = feature()
        issuer: Any = jwt.authenticator._only
        issuer.verifier.keys.keys_for = lambda kid, algorithm: 1 / 0
        client, kit = secured(jwt)
        assert client.get("/me", headers=bearer(token())).status_code == 401
        assert counts(kit) == {("jwt", "error"): 1, ("jwt", "internal_error"): 1}
        assert "token_verification_failed" in caplog.text

    def test_a_fault_beside_the_verifier_is_401_too(self, monkeypatch):
        """The same for what is made of the claims."""
        client, kit = secured()
        monkeypatch.setattr(TrustedIssuer, "principal", lambda self, found: 1 / 0)
        assert client.get("/me", headers=bearer(token())).status_code == 401
        assert counts(kit)["jwt", "error"] == 1


class TestSockets:
    def test_a_socket_brings_its_token_in_the_header(self):
        """As any other request."""
        client, _ = secured()
        with client.websocket_connect("/ws", headers=bearer(token())) as socket:
            assert socket.receive_text() == "user-1"

    def test_a_browser_may_bring_it_as_a_subprotocol_where_that_is_on(self):
        """`bearer, TOKEN`, of which only `bearer` is told back."""
        client, _ = secured(feature(accept_subprotocol=True))
        with client.websocket_connect("/ws", subprotocols=["bearer", token()]) as socket:
            accepted: Any = socket.accepted_subprotocol  # typed as what it is before the handshake
            assert accepted == "bearer"
            assert socket.receive_text() == "user-1"

    def test_by_default_a_subprotocol_is_no_credential(self):
        """It has to be turned on."""
        client, _ = secured()
        with (
            pytest.raises(WebSocketDisconnect),
            client.websocket_connect("/ws", subprotocols=["bearer", token()]),
        ):
            pass

    @pytest.mark.parametrize(
        ("protocols", "headers"),
        [
            (["bearer"], {}),
            ([token()], {}),
            ([token(), "bearer"], {}),
            (["bearer", token(), "chat"], {}),
            (["bearer", token(exp=NOW - 100)], {}),
            (["bearer", token()], bearer(token(jti="2"))),
            (["chat"], {}),
        ],
    )
    def test_anything_else_in_that_header_is_no_credential(self, protocols, headers):
        """Another order, more of them, an expired token, or a second credential beside it."""
        client, _ = secured(feature(accept_subprotocol=True))
        with (
            pytest.raises(WebSocketDisconnect),
            client.websocket_connect("/ws", subprotocols=protocols, headers=headers),
        ):
            pass

    def test_it_says_that_it_reads_that_header(self):
        """So that whoever guards against two credentials knows where they may be."""
        assert feature(accept_subprotocol=True).authenticator.reads_subprotocol is True
        assert feature().authenticator.reads_subprotocol is False

    def test_it_changes_nothing_for_requests(self):
        """HTTP has no subprotocols; a header of that name is not looked at."""
        client, _ = secured(feature(accept_subprotocol=True))
        assert client.get("/me", headers=bearer(token())).status_code == 200
        assert client.get("/me", headers={"Sec-WebSocket-Protocol": f"bearer, {token()}"}).status_code == 401
        with client.websocket_connect("/ws", headers=bearer(token()), subprotocols=["chat"]) as socket:
            assert socket.receive_text() == "user-1"

    def test_a_socket_without_one_is_refused(self):
        """Where authentication is on, sockets are not forgotten."""
        client, _ = secured()
        with pytest.raises(WebSocketDisconnect), client.websocket_connect("/ws"):
            pass
