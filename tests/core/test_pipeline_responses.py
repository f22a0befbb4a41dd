"""Headers of raw ASGI applications, which are not always as Starlette would make them."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from starlette.middleware.body_limit import MAX_BODY_SIZE_SCOPE_KEY

from prodkit.core.features import Layer
from tests.support.hardening import assert_problem, hardened
from tests.support.recording import guarding


def raw(headers: Any, status: int = 200, *, marked: bool = False) -> Any:
    async def application(scope: Any, receive: Any, send: Any) -> None:
        if marked:
            scope[MAX_BODY_SIZE_SCOPE_KEY] = 1
        await send({"type": "http.response.start", "status": status, "headers": headers()})
        await send({"type": "http.response.body", "body": b"raw"})

    return application


def get(application: Any, *features: Any) -> Any:
    app = FastAPI()
    app.mount("/", application)
    return hardened(app, *features)[0].get("/")


def test_any_iterable_of_headers_is_sent():
    """A generator is legal ASGI: nothing of it is lost by our looking at it first, whatever the status."""
    for status in (200, 413):
        response = get(raw(lambda: ((name, b"1") for name in (b"x-a", b"x-b")), status))
        assert (response.headers["x-a"], response.headers["x-b"]) == ("1", "1")
        assert response.headers["x-content-type-options"] == "nosniff"


def test_a_limiter_is_recognized_by_any_iterable():
    """Starlette's plain 413 becomes a problem also where its headers came as a generator."""
    text = (b"content-type", b"text/plain; charset=utf-8")
    assert_problem(get(raw(lambda: (pair for pair in [text]), 413, marked=True)), 413)


def test_names_in_capitals_are_the_same_names():
    """The application's own header wins over ours however it is spelled, and stands there once."""

    def vary(context: Any) -> None:
        context.vary_on(b"origin")

    own = [(b"X-Content-Type-Options", b"theirs"), (b"Vary", b"Accept"), (b"X-Request-Id", b"theirs-too")]
    for features in ((), (guarding(Layer.EDGE, vary),)):
        response = get(raw(lambda: own), *features)
        assert response.headers.get_list("x-content-type-options") == ["theirs"]
        assert response.headers.get_list("x-request-id") == ["theirs-too"]
        assert response.headers.get_list("vary") == (["Accept, origin"] if features else ["Accept"])
