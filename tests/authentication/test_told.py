"""What operators are told: what strangers may call, and who was refused what."""

from __future__ import annotations

import asyncio
import io
import json
import logging

from fastapi import APIRouter, FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.responses import PlainTextResponse

from prodkit.api_keys import APIKeys
from prodkit.authentication import Authentication, public, require_scopes
from prodkit.installation import install
from prodkit.logs import Logs
from prodkit.web_sessions import WebSessions
from tests.authentication.secured import BEARER, secured


def test_what_is_public_is_listed_at_start_up(caplog):
    """One line with method and full template: routers, mounts and sockets, the documentation where it is open; nothing else."""
    app, inner, router = FastAPI(), FastAPI(openapi_url=None), APIRouter(prefix="/v1")

    @router.get("/status/{name}")
    @public
    async def status(name: str) -> str:
        return name

    @router.post("/status/{name}")
    async def change(name: str) -> str:
        return name

    @inner.get("/x")
    @public
    async def x() -> str:
        return "x"

    @app.websocket("/ws")
    @public
    async def ws(socket: WebSocket) -> None:
        await socket.close()

    app.include_router(router)
    app.mount("/inner", inner)
    app.mount("/files", public(PlainTextResponse("a file")))
    app.mount("/private", PlainTextResponse("a file"))
    _, client, _ = secured(app, public_docs=True)
    with caplog.at_level(logging.INFO, "prodkit"), client:
        pass
    (line,) = [one for one in caplog.messages if one.startswith("public, ")]
    listed = set(line.partition(": ")[2].split(", "))
    assert listed - {"GET|HEAD /docs", "GET|HEAD /docs/oauth2-redirect", "GET|HEAD /redoc"} == {
        "* /files/{path}",
        "* /ws",
        "GET /inner/x",
        "GET /open",
        "GET /v1/status/{name}",
        "GET|HEAD /openapi.json",
    }


def test_a_missing_scope_leaves_a_line_with_who_and_what():
    """Of a caller that may not, the access line tells the route, the status and the principal."""
    app = FastAPI()

    @app.get("/admin", dependencies=[require_scopes("admin")])
    async def admin() -> None: ...

    logs = Logs(format="json")
    logs.sink.stream = io.StringIO()
    _, client, _ = secured(app, logs)
    with client:
        assert client.get("/admin", headers=BEARER).status_code == 403
    lines = [json.loads(line) for line in logs.sink.stream.getvalue().splitlines()]
    (line,) = [one for one in lines if one["event"] == "request"]
    assert (line["route"], line["status"], line["outcome"], line["principal"]) == (
        "/admin",
        403,
        "refused",
        "ci",
    )


def test_why_a_credential_was_refused_is_for_the_log_only(caplog):
    """A key that ended is named by its id, a request from elsewhere by what it lacked; who sent them reads neither."""
    secret = "cookies-0123456789abcdefghijklmnopqrstuvw"
    app, keys = FastAPI(), APIKeys(peppers={"1": "pepper-0123456789abcdefghijklmnopqrstuvwx"})
    install(app, keys, WebSessions(secrets={"1": secret}, secure=False), Authentication())

    @app.post("/")
    async def change() -> None: ...

    client = TestClient(app)
    with caplog.at_level(logging.INFO), client:
        issued = asyncio.run(keys.registry.issue("ann"))
        key = {"Authorization": f"Bearer {issued.secret}"}
        assert client.post("/session", headers=key).status_code == 201
        caplog.clear()
        misled = [
            client.post("/", headers=headers)
            for headers in ({"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-origin"})
        ]
        client.cookies.clear()
        asyncio.run(keys.registry.revoke(issued.record.id))
        refused = client.post("/", headers=key)
    assert [answer.status_code for answer in (*misled, refused)] == [403, 403, 401]
    told = [
        (record.message, vars(record).get("reason"), vars(record).get("key")) for record in caplog.records
    ]
    assert ("api_key_refused", "revoked", issued.record.id) in told
    reasons = [reason for message, reason, _ in told if "cookie was not accepted" in message]
    assert reasons == [
        "the request did not come from a page of this origin",
        "the token is missing or belongs to another session",
    ]
    assert "revoked" not in refused.text
    assert not any(reason in answer.text for answer in misled for reason in reasons)
