"""Of several declarations on the way to a route, the one nearest to it holds: for every limit, declared or chunked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import pytest
from fastapi import APIRouter, FastAPI, Request

from prodkit.request_limits import RequestLimits, body_limit, content_types, form_limits, json_limits
from tests.support.hardening import assert_problem, hardened

if TYPE_CHECKING:
    from fastapi.testclient import TestClient

MULTIPART = {"Content-Type": "multipart/form-data; boundary=B"}
PART = b'--B\r\nContent-Disposition: form-data; name="a"; filename="f"\r\n\r\nx\r\n'


async def size(request: Request) -> int:
    return len(await request.body())


def client_of(outer: list[Any], inner: list[Any], **options: Any) -> TestClient:
    """One route `/in/` below a router below another; *outer* stands on the outer router, *inner* on the route."""
    app, router, included = FastAPI(), APIRouter(dependencies=outer), APIRouter()
    included.post("/", dependencies=inner)(size)
    router.include_router(included)
    app.include_router(router, prefix="/in")
    return hardened(app, RequestLimits(**options))[0]


def both(body: bytes) -> list[Any]:
    """*body* with its size declared, and in pieces."""
    return [body, iter([body[:7], body[7:]])]


def documented(client: TestClient, status: str) -> str:
    answers = client.get("/openapi.json").json()["paths"]["/in/"]["post"]["responses"]
    description: str = answers[status]["description"]
    return description


@pytest.mark.parametrize(("outer", "inner", "most"), [(100, 10, 10), (10, 100, 100), (100, 10_000, 10_000)])
def test_body_limit(outer: int, inner: int, most: int):
    """Larger or smaller than the router's: the route's own is in force, in the refusal, and in the document."""
    client = client_of([body_limit(outer)], [body_limit(inner)], max_body_bytes=1000)
    for content in both(b"x" * most):
        assert client.post("/in/", content=content).json() == most
    for content in both(b"x" * (most + 1)):
        answer = assert_problem(client.post("/in/", content=content), 413)
        assert answer["max_body_bytes"] == most
        assert answer["detail"] == f"The request body is larger than {most} bytes."
    assert documented(client, "413") == f"The request body is larger than {most} bytes."


def test_content_types():
    """The route's own alone, also where the application has some."""
    client = client_of(
        [content_types("application/json")], [content_types("text/plain")], content_types=["image/png"]
    )
    for content in both(b"hello, hello"):
        assert client.post("/in/", content=content, headers={"Content-Type": "text/plain"}).json() == 12
    for media_type in ("application/json", "image/png"):
        for content in both(b"[1, 2, 3, 4]"):
            answer = client.post("/in/", content=content, headers={"Content-Type": media_type})
            assert assert_problem(answer, 415)["detail"] == "A body has to be one of: text/plain."
            assert answer.headers["accept"] == "text/plain"
    assert documented(client, "415") == "The media type of the body is none of: text/plain."


@pytest.mark.parametrize(("outer", "inner"), [(2, 5), (5, 2)])
def test_json_limits(outer: int, inner: int):
    """What the route's own leaves out is the application's, not the router's."""
    client = client_of([json_limits(max_depth=outer, max_elements=1)], [json_limits(max_depth=inner)])
    headers = {"Content-Type": "application/json"}
    most = b"[" * inner + b"1,2" + b"]" * inner
    for content in both(most):
        assert client.post("/in/", content=content, headers=headers).json() == len(most)
    for content in both(b"[" + most + b"]"):
        answer = client.post("/in/", content=content, headers=headers)
        assert assert_problem(answer, 400)["max_json_depth"] == inner


@pytest.mark.parametrize(("outer", "inner"), [(1, 3), (3, 1)])
def test_form_limits(outer: int, inner: int):
    """Files as the route says."""
    client = client_of([form_limits(max_files=outer)], [form_limits(max_files=inner)])
    for content in both(PART * inner + b"--B--"):
        assert client.post("/in/", content=content, headers=MULTIPART).status_code == 200
    for content in both(PART * (inner + 1) + b"--B--"):
        answer = client.post("/in/", content=content, headers=MULTIPART)
        assert assert_problem(answer, 413)["max_form_files"] == inner


@pytest.mark.parametrize("reverse", [False, True])
def test_limits_of_forms_and_of_json_on_one_route(reverse: bool):
    """Each holds for bodies of its own kind, in whichever order they stand."""
    rules = [form_limits(max_files=3), json_limits(max_elements=150_000), body_limit(10_000_000)]
    client = client_of([], rules[::-1] if reverse else rules)
    headers = {"Content-Type": "application/json"}
    for count, status in ((150_000, 200), (150_001, 413)):
        for content in both(b"[" + b",".join([b"1"] * count) + b"]"):
            answer = client.post("/in/", content=content, headers=headers)
            assert answer.status_code == status
    assert assert_problem(answer, 413)["max_json_elements"] == 150_000
    for count, status in ((3, 200), (4, 413)):
        for content in both(PART * count + b"\0--B--"):
            answer = client.post("/in/", content=content, headers=MULTIPART)
            assert answer.status_code == status
    assert assert_problem(answer, 413)["max_form_files"] == 3


def test_a_parameter_is_nearer_than_the_decorator():
    """Of a route's own declarations the one in its signature holds."""
    app = FastAPI()

    @app.post("/", dependencies=[body_limit(10)])
    async def own(request: Request, _: Annotated[None, body_limit(20)]) -> int:
        return len(await request.body())

    client, _ = hardened(app, RequestLimits())
    for content in both(b"x" * 20):
        assert client.post("/", content=content).json() == 20
    for content in both(b"x" * 21):
        assert assert_problem(client.post("/", content=content), 413)["max_body_bytes"] == 20


def test_route_of_a_mounted_application():
    """Its own limit holds in place of both applications'."""
    inner, outer = FastAPI(), FastAPI()
    inner.post("/", dependencies=[json_limits(max_depth=100)])(size)
    hardened(inner, RequestLimits(max_json_depth=5))
    outer.mount("/inner", inner)
    client, _ = hardened(outer, RequestLimits(max_json_depth=10))
    headers = {"Content-Type": "application/json"}
    for content in both(b"[" * 100 + b"]" * 100):
        assert client.post("/inner/", content=content, headers=headers).json() == 200
    for content in both(b"[" * 101 + b"]" * 101):
        answer = client.post("/inner/", content=content, headers=headers)
        assert assert_problem(answer, 400)["max_json_depth"] == 100
