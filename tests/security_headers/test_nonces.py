"""A nonce: fresh for each request, in the policy of exactly that response, and in no cache."""

from __future__ import annotations

import base64
from typing import Annotated

import pytest
from fastapi import Depends, FastAPI, Response
from fastapi.responses import HTMLResponse
from fastapi.testclient import TestClient

from prodkit.installation import install
from prodkit.security_headers import CSPNonce, SecurityHeaders, csp_nonce, security_headers
from prodkit.security_headers.nonces import _Nonce
from tests.security_headers.pages import CSP, client_of, policy_of


def application(**headers: str) -> FastAPI:
    app = FastAPI()

    @app.get("/")
    async def page(nonce: CSPNonce, again: Annotated[str, Depends(csp_nonce)]) -> Response:
        assert nonce == again
        return HTMLResponse(f'<script nonce="{nonce}">1</script>', headers=headers)

    @app.get(
        "/ruled", dependencies=[Depends(csp_nonce), security_headers(csp="default-src 'self'; img-src *")]
    )
    async def ruled(nonce: CSPNonce) -> HTMLResponse:
        return HTMLResponse(nonce)

    return app


def nonce_in(response: Response, directive: str = "script-src", name: str = CSP) -> str:
    (found,) = [one for one in policy_of(response, name)[directive] if one.startswith("'nonce-")]
    return found.removeprefix("'nonce-").removesuffix("'")


def test_policy_carries_what_the_page_was_given():
    """For scripts and styles, of 128 bits, other ones each time."""
    client = client_of(application(), web_paths=["/"])
    seen = set()
    for _ in range(20):
        answer = client.get("/")
        nonce = nonce_in(answer)
        assert f'nonce="{nonce}"' in answer.text
        assert nonce_in(answer, "style-src") == nonce
        assert len(base64.b64decode(nonce, validate=True)) == 16
        assert policy_of(answer)["img-src"] == ["'self'", "data:"]
        seen.add(nonce)
    assert len(seen) == 20
    assert "'nonce-" not in client.get("/other").headers[CSP]


def test_policies_of_every_kind_take_it():
    """The preset for data, a route's own, one that is only reported."""
    client = client_of(application(), report_only="script-src 'self'")
    answer = client.get("/")
    assert policy_of(answer)["script-src"] == [f"'nonce-{nonce_in(answer)}'"]
    assert nonce_in(answer, name=f"{CSP}-report-only") == nonce_in(answer)
    ruled = client.get("/ruled")
    assert policy_of(ruled)["script-src"] == ["'self'", f"'nonce-{ruled.text}'"]
    assert policy_of(ruled)["img-src"] == ["*"]


def test_rule_that_comes_after_the_nonce():
    """A route that is found late puts its policy in the place of one with the nonce, and the nonce comes along."""
    app = application()
    client = client_of(app)
    client.get("/other")

    @app.get("/late", dependencies=[Depends(csp_nonce), security_headers(csp="default-src 'self'")])
    async def late(nonce: CSPNonce) -> HTMLResponse:
        return HTMLResponse(nonce)

    answer = client.get("/late")
    assert nonce_in(answer) == answer.text


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"Cache-Control": "public, max-age=60"},
        {"CACHE-CONTROL": "max-age=9", "Expires": "Thu, 01 Jan 2099 00:00:00 GMT"},
    ],
    ids=["nothing", "public", "any case"],
)
def test_page_is_kept_by_no_cache(own: dict[str, str]):
    """Whatever its route says: a copy would show a nonce that others have seen."""
    answer = client_of(application(**own)).get("/")
    assert answer.headers.get_list("cache-control") == ["no-store"]
    assert "expires" not in answer.headers


def test_policy_of_the_response_stays_as_it_is():
    """A route that writes its own policy writes its own nonce into it."""
    answer = client_of(application(**{"Content-Security-Policy": "script-src 'self'"})).get("/")
    assert answer.headers.get_list(CSP) == ["script-src 'self'"]


def test_operator_who_sends_no_policy():
    """Then there is nothing to put a nonce into, and the page works all the same."""
    answer = client_of(application(), overrides={"Content-Security-Policy": None}).get("/")
    assert answer.status_code == 200
    assert CSP not in answer.headers


def test_below_a_mount():
    """The policy that is sent is the one that carries it, whichever application it came from."""
    inner, app = application(), FastAPI()
    install(inner, SecurityHeaders(preset="web"))
    app.mount("/inner", inner)
    answer = client_of(app).get("/inner/")
    assert nonce_in(answer) in answer.text


def test_without_the_feature():
    """A nonce that nobody sends would only look like protection."""
    app = application()
    install(app)
    with pytest.raises(LookupError, match="csp_nonce needs security headers"):
        TestClient(app).get("/")


def test_nonce_is_not_printed():
    """What holds it may be logged."""
    assert "secret" not in repr(_Nonce("secret"))
