"""A body is of a kind that somebody expects."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI, Request

from prodkit.core.exceptions import SettingsError
from prodkit.request_limits import RequestLimits, content_types
from tests.support.hardening import assert_problem, hardened


def application() -> FastAPI:
    app = FastAPI()

    async def size(request: Request) -> int:
        return len(await request.body())

    app.post("/any")(size)
    app.patch("/any")(size)
    app.put("/any")(size)
    app.post("/pictures", dependencies=[content_types("image/*", "application/*+zip")])(size)

    @app.post("/unread", dependencies=[content_types("text/csv")])
    async def unread() -> str:
        return "handled"

    return app


def client_of(**options: Any) -> Any:
    return hardened(application(), RequestLimits(**options))[0]


@pytest.mark.parametrize(
    ("media_type", "status"),
    [
        ("image/png", 200),
        ("IMAGE/PNG; q=1", 200),
        ("application/x+zip", 200),
        ("application/zip", 415),
        ("image/", 415),
        ("image/png, text/html", 415),
        ("text/html", 415),
        ("", 415),
        (None, 415),
    ],
)
def test_route_takes_its_own_kinds(media_type: str | None, status: int):
    """All others, and none, are a 415 before the body is read; a request without a body is not concerned."""
    client = client_of()
    headers = {} if media_type is None else {"Content-Type": media_type}
    assert client.post("/pictures", content=b"x", headers=headers).status_code == status
    assert client.post("/pictures").json() == 0


def test_refusal_says_what_is_taken():
    """Accept for every method, Accept-Post and Accept-Patch for theirs."""
    client = client_of(content_types=["application/json", "text/csv"])
    for method, name in (("POST", "accept-post"), ("PATCH", "accept-patch"), ("PUT", "accept")):
        answer = client.request(method, "/any", content=b"x", headers={"Content-Type": "text/html"})
        assert_problem(answer, 415)
        assert answer.headers[name] == answer.headers["accept"] == "application/json, text/csv"


def test_application_and_route():
    """A route's own kinds hold in place of the application's, larger or smaller."""
    client = client_of(content_types=["application/json"])
    assert client.post("/any", json=[]).status_code == 200
    assert_problem(client.post("/any", content=b"x", headers={"Content-Type": "text/csv"}), 415)
    assert_problem(client.post("/any", content=iter([b"x"])), 415)
    assert client.post("/pictures", content=b"x", headers={"Content-Type": "image/png"}).status_code == 200
    assert_problem(client.post("/pictures", json=[]), 415)
    assert_problem(client.post("/unread", json=[]), 415)
    assert client.post("/unread", content=b"x", headers={"Content-Type": "text/csv"}).json() == "handled"
    assert client.get("/openapi.json").json()["paths"]["/unread"]["post"]["responses"]["415"]


def test_refusals_are_counted():
    """Also those of a route's own rule."""
    feature = RequestLimits()
    client, _ = hardened(application(), feature)
    client.post("/pictures", json=[])
    counts = {sample.labels["policy"]: sample.value for sample in feature._refusals.samples()}
    assert counts["content_type"] == 1


@pytest.mark.parametrize("ranges", [[], ["*/*"], ["json"], ["Text/CSV"], ["text/csv; q=1"], ["text/c*"]])
def test_impossible_kinds_do_not_start(ranges: list[str]):
    """Neither on a route nor for the application, where an empty list means all."""
    with pytest.raises(SettingsError, match="content_types") as refused:
        content_types(*ranges)
    for fault in refused.value.faults:
        assert fault.message.endswith(".")
        assert fault.cure.endswith(".")
    if ranges:
        with pytest.raises(SettingsError, match="content_types"):
            RequestLimits(content_types=ranges)
