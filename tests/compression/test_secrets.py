"""The length of an answer tells nobody what is in it, where somebody else may have caused the request (BREACH)."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import pytest
from fastapi import FastAPI, Response
from fastapi.testclient import TestClient

from prodkit.compression import compress, no_compression
from prodkit.compression.encoders import PaddedGzip
from tests.compression.world import (
    ALL,
    TEXT,
    answering,
    client_of,
    drive,
    encoding_of,
    is_whole,
    piece,
    saying,
    start,
)
from tests.support.recording import guarding

COOKIE = {"Cookie": "session=s3cret"}


def asked_with(headers: dict[str, str], app: FastAPI | None = None, **options: Any) -> str:
    """The encoding of the answer to a request with *headers*."""
    return encoding_of(client_of(app or answering(), **options).get("/", headers=headers))


@pytest.mark.parametrize(
    "headers",
    [
        COOKIE,
        {"Authorization": "Basic dTpw"},
        {"Authorization": "basic dTpw"},
        {"Authorization": "Digest username=u"},
        {"Authorization": "Negotiate abc"},
        {"Authorization": "NTLM"},
    ],
    ids=lambda headers: " ".join(headers.values()),
)
def test_what_a_browser_adds_by_itself(headers: dict[str, str]):
    """A page of somebody else's can cause such a request, so its answer keeps its length; caches are told all the same."""
    client = client_of(answering())
    answer = client.get("/", headers=headers)
    assert (encoding_of(answer), answer.content) == ("", TEXT)
    assert answer.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize(
    "headers",
    [{"Authorization": "Bearer abc"}, {"X-API-Key": "abc"}, {"Authorization": "ApiKey abc"}, {}],
    ids=lambda headers: " ".join(headers.values()) or "nothing",
)
def test_what_a_script_has_to_add(headers: dict[str, str]):
    """No foreign page can make a browser send these."""
    assert asked_with(headers) == "gzip"


async def test_a_client_certificate_is_added_by_the_browser():
    """As the server tells of it."""
    app = saying(start(), piece(TEXT, more=False))
    shown: list[dict[str, Any]] = [{"client_cert_name": "CN=ann"}, {"client_cert_chain": ["..."]}]
    for tls in shown:
        assert (await drive(app, extensions={"tls": tls})).encoding == ""
    absent: dict[str, Any] = {"client_cert_name": None, "client_cert_chain": []}
    assert (await drive(app, extensions={"tls": absent})).encoding == "gzip"


def test_headers_of_a_proxy_are_a_setting():
    """An authenticating proxy in front makes every header of its own a credential of the browser."""
    headers = {"X-Forwarded-User": "ann"}
    assert asked_with(headers) == "gzip"
    assert asked_with(headers, ambient_headers=["Cookie", "X-Forwarded-User"]) == ""
    assert asked_with(COOKIE, ambient_headers=[]) == "gzip"


@pytest.mark.parametrize(
    ("media_type", "cache_control", "encoding"),
    [
        ("text/css", None, "gzip"),
        ("text/javascript; charset=utf-8", None, "gzip"),
        ("text/css", "private", ""),
        ("text/javascript", "no-store", ""),
        ("text/html", None, ""),
        ("application/json", "max-age=60", ""),
        ("application/json", "max-age=60, Public", "gzip"),
        ("text/html", "public, private", ""),
        ("text/html", 'private="set-cookie, public"', ""),
        ("text/html", "not-public", ""),
    ],
)
def test_what_is_for_everybody_holds_no_secret(media_type: str, cache_control: str | None, encoding: str):
    """Static types unless they say otherwise, and what says that it is public."""
    headers = {} if cache_control is None else {"Cache_Control": cache_control}
    assert asked_with(COOKIE, answering(media_type=media_type, **headers)) == encoding


@pytest.mark.parametrize(
    ("site", "encoding"),
    [("same-origin", "gzip"), ("none", "gzip"), ("same-site", ""), ("cross-site", ""), (None, "")],
)
def test_pages_of_our_own_can_be_believed(site: str | None, encoding: str):
    """With `same-origin` the browser's word counts; a sibling domain and an old browser get the plain body."""
    headers = COOKIE if site is None else COOKIE | {"Sec-Fetch-Site": site}
    assert asked_with(headers, with_credentials="same-origin") == encoding
    assert asked_with(headers) == ""
    assert asked_with(headers, with_credentials="always") == "gzip"


def test_a_cookie_that_is_set():
    """Who gets a session, gets an answer of his own: set by the handler, or by a feature on its way."""
    assert asked_with({}, answering(Set_Cookie="a=b")) == ""
    assert asked_with({}, answering(Set_Cookie="a=b"), with_credentials="always") == ""

    def setting(context: Any) -> None:
        context.set_response_header("Set-Cookie", "a=b")

    client = client_of(answering(), guarding(10, setting))
    answer = client.get("/")
    assert (encoding_of(answer), answer.headers["set-cookie"]) == ("", "a=b")


def test_a_route_has_the_last_word():
    """One without secrets is compressed whoever asks; one with secrets never, whatever the credential."""
    app = FastAPI()

    @app.get("/catalogue", dependencies=[compress()])
    async def catalogue() -> Response:
        return Response(TEXT, media_type="text/plain", headers={"Set-Cookie": "seen=1"})

    @app.get("/account", dependencies=[no_compression()])
    async def account() -> Response:
        return Response(TEXT, media_type="text/css")

    @app.get("/picture", dependencies=[compress()])
    async def picture() -> Response:
        return Response(TEXT, media_type="image/png")

    client = client_of(app)
    assert encoding_of(client.get("/catalogue", headers=COOKIE)) == "gzip"
    account_answer = client.get("/account", headers={"Authorization": "Bearer x"})
    assert (encoding_of(account_answer), "vary" in account_answer.headers) == ("", False)
    assert encoding_of(client.get("/picture")) == ""


# ----------------------------------------------------------------------------------------------------------- attack


def guessing(**options: Any) -> TestClient:
    """A page that repeats what it is asked beside a secret."""
    app = FastAPI()

    @app.get("/search")
    async def search(q: str) -> Response:
        page = (
            f"<p>nothing found for {q}</p>" + "<hr>" * 300 + "<form><input name=token value=7f3a9c51></form>"
        )
        return Response(page, media_type="text/html")

    return client_of(app, **options)


def sizes(client: TestClient) -> dict[str, int]:
    """How long the answer to each guess is."""
    tokens = ["7f3a9c51", *(f"{number * 7919 + 268435456:08x}" for number in range(15))]
    return {
        token: int(
            client.get("/search", params={"q": f"token value={token}"}, headers=COOKIE).headers[
                "content-length"
            ]
        )
        for token in tokens
    }


def test_the_attack_works_where_it_is_allowed_and_only_there():
    """A proof that the rule has a reason: the right guess is the shortest; with the rule all are of one length."""
    told = sizes(guessing(with_credentials="always"))
    assert all(told["7f3a9c51"] < size for token, size in told.items() if token != "7f3a9c51")
    assert len(set(sizes(guessing()).values())) == 1


# ---------------------------------------------------------------------------------------------------------- padding


def test_padding_changes_the_length_and_nothing_else():
    """Where credentials came along: gzip, of a length that tells less; elsewhere as always."""
    client = client_of(answering(), encodings=ALL, with_credentials="always", padding_bytes=200)
    answers = [client.get("/", headers=COOKIE) for _ in range(20)]
    assert {answer.content for answer in answers} == {TEXT}
    assert {encoding_of(answer) for answer in answers} == {"gzip"}
    assert len({answer.headers["content-length"] for answer in answers}) > 5
    assert {encoding_of(client.get("/")) for _ in range(3)} == {"zstd"}
    refusing = client.get("/", headers=COOKIE | {"Accept-Encoding": "br, zstd"})
    assert (encoding_of(refusing), refusing.content) == ("", TEXT)


def test_padded_gzip_is_gzip():
    """Python's, zlib's and an empty one; in pieces and with flushes."""
    for parts in ([], [b""], [TEXT], [TEXT[:7], b"", TEXT[7:]]):
        encoder = PaddedGzip(5, 64)
        out = b"".join([encoder.feed(part, flush=True) for part in parts] + [encoder.finish()])
        assert gzip.decompress(out) == b"".join(parts)
        assert zlib.decompressobj(31).decompress(out) == b"".join(parts)
        assert is_whole("gzip", out)
