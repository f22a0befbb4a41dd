"""How deep and how large a JSON body is, is known before it is parsed, and before it is all there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi import Body, FastAPI, Request
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st

from prodkit.core.exceptions import SettingsError
from prodkit.core.problems import Problem
from prodkit.request_limits import Refusals, RequestLimits, json_limits
from prodkit.request_limits.json_scanning import JSONExcess, JSONLimits, JSONScanner
from prodkit.request_limits.watching import JSONWatcher, SmallJSONWatcher
from tests.support.asgi import http_scope
from tests.support.hardening import assert_problem, hardened

ANY = 10**6
JSON = {"Content-Type": "application/json"}


def excess(data: bytes, sizes: list[int] | None = None, **limits: Any) -> JSONExcess | None:
    """What a scanner says of *data* in pieces of *sizes*, the last one repeated; None for one piece."""
    scanner = JSONScanner(JSONLimits(**({"depth": ANY, "elements": ANY, "number_bytes": ANY} | limits)))
    at = 0
    sizes = sizes or [len(data) or 1]
    while at < len(data):
        size = sizes.pop(0) if len(sizes) > 1 else sizes[0]
        found = scanner.feed(data[at : at + size], last=at + size >= len(data))
        if found:
            return found
        at += size
    return None


class Measured:
    """The reference: what Python's own parser finds, and how many elements there are."""

    def __init__(self, text: bytes) -> None:
        self.elements = 0
        self.depth = self._depth(json.loads(text, object_pairs_hook=list))

    def _depth(self, value: Any) -> int:
        if not isinstance(value, list):
            return 0
        self.elements += max(1, len(value))
        # The pairs of an object are tuples.
        inner = [item[1] if isinstance(item, tuple) else item for item in value]
        return 1 + max(map(self._depth, inner), default=0)


TEXTS = st.text(st.sampled_from('ab[]{},:"\\\n\u00e9\u5b00\U0001f600 0'), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TEXTS, inner, max_size=5),
    max_leaves=25,
)
SIZES = st.none() | st.lists(st.integers(1, 9), min_size=1, max_size=8)


@given(VALUES, st.booleans(), st.sampled_from([None, 2]), SIZES)
@settings(database=None, deadline=None, max_examples=200)
def test_depth_and_elements_are_those_of_a_parser(
    value: Any, ascii_only: bool, indent: int | None, sizes: list[int] | None
):
    """The limits that just hold, and just do not, are the ones a parser finds; however the text is cut into pieces."""
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    measured = Measured(text)
    just = {"depth": measured.depth, "elements": measured.elements}
    assert excess(text, list(sizes or []), **just) is None
    if measured.depth:
        assert excess(text, list(sizes or []), **just | {"depth": measured.depth - 1}) == "depth"
        assert excess(text, list(sizes or []), **just | {"elements": measured.elements - 1}) == "elements"


@given(st.lists(TEXTS, min_size=1, max_size=8), st.booleans(), SIZES)
@settings(database=None, deadline=None, max_examples=150)
def test_longest_string_is_the_one_that_is_written(
    values: list[str], ascii_only: bool, sizes: list[int] | None
):
    """A string is as long as it is written, escapes and all, wherever pieces begin."""
    written = [json.dumps(value, ensure_ascii=ascii_only).encode() for value in values]
    longest = max(len(string) - 2 for string in written)
    text = b"[" + b" , ".join(written) + b"]" + b" " * 50
    assert excess(text, list(sizes or []), string_bytes=max(longest, 1)) is None
    if longest > 1:
        assert excess(text, list(sizes or []), string_bytes=longest - 1) == "string"


@given(st.lists(st.integers(1, 60), min_size=1, max_size=6), st.integers(0, 60), SIZES)
@settings(database=None, deadline=None, max_examples=150)
def test_longest_number_is_found_outside_of_strings_only(
    lengths: list[int], in_string: int, sizes: list[int] | None
):
    """Digits in a string are no number, however many; a number is one piece wherever it was cut."""
    numbers = [b"9" * length for length in lengths]
    text = b'["' + b"1" * in_string * 5 + b'\\"' + b"1" * 99 + b'",' + b",".join(numbers) + b"]"
    longest = max(lengths)
    assert excess(text, list(sizes or []), number_bytes=longest) is None
    if longest > 1:
        assert excess(text, list(sizes or []), number_bytes=longest - 1) == "number"


@given(
    st.binary(max_size=200) | st.lists(st.sampled_from(list(b'[]{}",:\\0 a')), max_size=200).map(bytes), SIZES
)
@settings(database=None, deadline=None, max_examples=200)
def test_garbage_never_raises(data: bytes, sizes: list[int] | None):
    """Whatever the bytes are, in whatever pieces, there is an answer, and what is sure to be small passes."""
    found = excess(data, list(sizes or []), depth=5, elements=20, number_bytes=10, string_bytes=10)
    if b"\0" in data:
        return
    if data.count(b"[") + data.count(b"{") <= 5:
        assert found != "depth"


def test_closing_what_was_not_opened_hides_nothing():
    """Brackets that close too much do not make room for brackets that open."""
    assert excess(b"]" * 500 + b"[" * 65, depth=64) == "depth"
    assert excess(b"]]]" + b"[]" * 65, [7], depth=64) == "depth"
    assert excess(b"[" * 64 + b"]" * 64, [10], depth=64) is None
    assert excess((b"[" * 30 + b"]" * 30) * 9, [16], depth=30) is None
    assert excess((b"[" * 30 + b"]" * 30) * 9, [16], depth=29) == "depth"


def application() -> FastAPI:
    app = FastAPI(strict_content_type=False)

    @app.post("/any")
    async def any_value(value: Any = Body()) -> str:
        return type(value).__name__

    @app.post("/raw")
    async def raw(request: Request) -> str:
        return type(await request.json()).__name__

    @app.post("/flat", dependencies=[json_limits(max_depth=1)])
    async def flat(request: Request) -> str:
        return type(await request.json()).__name__

    @app.post("/deep", dependencies=[json_limits(max_depth=200, max_elements=500, max_string_bytes=50)])
    async def deep(request: Request) -> str:
        return type(await request.json()).__name__

    return app


def client_of(**options: Any) -> TestClient:
    return hardened(application(), RequestLimits(**options))[0]


@pytest.mark.parametrize("path", ["/any", "/raw"])
@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"":['])
def test_deep_json_is_a_400(path: str, opening: bytes):
    """30000 levels and more: not the parser's recursion error, which is a 500 where a handler reads the JSON itself."""
    answer = client_of().post(path, content=opening * 30_000, headers=JSON)
    assert assert_problem(answer, 400)["max_json_depth"] == 64


def test_depth_at_the_limit():
    """64 levels pass, 65 do not, in one piece or byte by byte."""
    client = client_of()
    for depth, status in ((64, 200), (65, 400)):
        text = b"[" * depth + b"]" * depth
        assert client.post("/any", content=text, headers=JSON).status_code == status
        pieces = (text[at : at + 1] for at in range(len(text)))
        assert client.post("/any", content=pieces, headers=JSON).status_code == status


def test_wide_json_and_long_literals_are_a_413():
    """A body within the limit on bytes can still be a hundred thousand objects, or a number no parser takes."""
    client = client_of(max_json_elements=1000, max_json_string_bytes=2000)
    cases = {
        "max_json_elements": b"[" + b"{}," * 1000 + b"0]",
        "max_json_number_bytes": b"[" + b"9" * 1001 + b"]",
        "max_json_string_bytes": b'["' + b"x" * 2001 + b'"]',
    }
    for member, text in cases.items():
        answer = assert_problem(client.post("/raw", content=text, headers=JSON), 413)
        assert member in answer
    assert client.post("/raw", content=b"[" + b"0," * 1000 + b"0]", headers=JSON).status_code == 413
    assert client.post("/raw", content=b"[" + b"0," * 999 + b"0]", headers=JSON).json() == "list"


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
def test_other_encodings_are_refused(encoding: str):
    """Python's parser would guess them, and brackets could hide from who counts bytes."""
    assert_problem(client_of().post("/raw", content=('["a"]' * 20).encode(encoding), headers=JSON), 400)


def test_byte_order_mark_hides_nothing():
    """Python's parser takes it; the rest counts as ever, also where no media type is named."""
    deep = b"\xef\xbb\xbf" + b"[" * 100
    for headers in (JSON, {}):
        assert_problem(client_of().post("/raw", content=deep, headers=headers), 400)


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json; charset=utf-8",
        "APPLICATION/JSON",
        "application/vnd.api+json",
        "application/json ;x",
    ],
)
def test_what_fastapi_takes_for_json_is_watched(media_type: str):
    """Parameters, letters and white space do not take a body past the limits."""
    headers = {"Content-Type": media_type}
    assert_problem(client_of().post("/any", content=b"[" * 100, headers=headers), 400)


async def test_white_space_of_latin_1_hides_nothing():
    """FastAPI parses a body of this type as JSON; test clients cannot send it."""
    client, _ = hardened(application(), RequestLimits())
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"[" * 65 + b"]" * 65, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json\xa0 ;x"), (b"content-length", b"130")]
    await client.app(http_scope("/any", "POST", headers), receive, send)
    assert sent[0]["status"] == 400


def sizes() -> FastAPI:
    """An application whose handler takes every body."""
    app = FastAPI()

    @app.post("/")
    async def size(request: Request) -> int:
        return len(await request.body())

    return app


def test_what_is_not_json_is_let_alone():
    """Brackets in other bodies mean nothing, nor does what follows a NUL, which no parser of JSON reads past."""
    client, _ = hardened(sizes(), RequestLimits())
    for media_type in ("text/csv", "application/octet-stream", "image/png", None):
        headers = {} if media_type is None else {"Content-Type": media_type}
        for content in (b"a\0" + b"[" * 500, b"[123\0" + b"[" * 500, b"\0\0\0\x18ftyp" + b"[" * 500):
            assert client.post("/", content=content, headers=headers).json() == len(content)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be", "utf-32-le"])
@pytest.mark.parametrize("size", [1, 2, 1000])
def test_other_encodings_without_a_type(encoding: str, size: int):
    """What begins like JSON in another encoding is refused where no type says what it is, and let alone where one does."""
    body = (" " + "[" * 100).encode(encoding)
    client, _ = hardened(sizes(), RequestLimits())

    def pieces() -> Any:
        return (body[at : at + size] for at in range(0, len(body), size))

    assert "UTF-8" in assert_problem(client.post("/", content=pieces()), 400)["detail"]
    binary = {"Content-Type": "application/octet-stream"}
    assert client.post("/", content=pieces(), headers=binary).json() == len(body)
    text = "caf\u00e9 [".encode(encoding)
    assert client.post("/", content=text).json() == len(text)


@pytest.mark.parametrize("media_type", ["text/plain", "application/octet-stream", "image/png", "*/*", ""])
@pytest.mark.parametrize("path", ["/raw", "/flat", "/deep"])
def test_another_type_hides_no_json(media_type: str, path: str):
    """`request.json()` asks for no type: what begins like JSON is measured, with the limits of the route."""
    depth = {"/raw": 64, "/flat": 1, "/deep": 200}[path]
    client, headers = client_of(), {"Content-Type": media_type}
    content = b"[" * (400 if path == "/deep" else 100_000)  # it takes 500 elements
    answer = client.post(path, content=content, headers=headers)
    assert assert_problem(answer, 400)["max_json_depth"] == depth
    inside = b"[" * depth + b"]" * depth
    assert client.post(path, content=inside, headers=headers).json() == "list"


@pytest.mark.parametrize(
    "media_type", ["multipart/form-data; boundary=b", "application/x-www-form-urlencoded"]
)
def test_form_types_hide_no_json_where_a_route_has_limits(media_type: str):
    """A route with `json_limits` reads JSON: what begins like it is measured, also where it is said to be a form."""
    client, headers = client_of(max_json_depth=10), {"Content-Type": media_type}
    answer = client.post("/flat", content=b"[" * 100_000, headers=headers)
    assert assert_problem(answer, 400)["max_json_depth"] == 1
    answer = client.post("/flat", content=("[" * 100).encode("utf-16"), headers=headers)
    assert "UTF-8" in assert_problem(answer, 400)["detail"]
    assert client.post("/flat", content=b"[1]", headers=headers).json() == "list"


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity"])
def test_names_that_are_no_numbers(constant: str):
    """Python's parser takes them, JSON has none: 400. In a string they are text, and 1e999 is a number."""
    client = client_of()
    for size in (1, 3, 1000):
        body = b'{"NaN, Infinity": ["a\\"NaN", %s]}' % constant.encode()
        pieces = [body[at : at + size] for at in range(0, len(body), size)]
        # Declared, and small enough not to be measured; and in pieces.
        for content in (b"[%s]" % constant.encode(), iter(pieces)):
            answer = client.post("/raw", content=content, headers=JSON)
            assert assert_problem(answer, 400)["detail"] == "NaN and Infinity are no JSON."
        for harmless in (b'"NaN"', b'"yIN\\"NaN"', b"1e999"):
            body = b'{"NaN, Infinity": ["a\\"NaN", %s]}' % harmless
            pieces = [body[at : at + size] for at in range(0, len(body), size)]
            assert client.post("/raw", content=iter(pieces), headers=JSON).json() == "dict"
            assert client.post("/raw", content=b"[%s]" % harmless, headers=JSON).json() == "list"
    text = {"Content-Type": "text/plain"}
    assert client.post("/raw", content=b"[%s]" % constant.encode(), headers=text).json() == "list"


def test_refusal_of_another_encoding_says_so():
    """However small the body is."""
    for text in ("[1]", "[" + "1," * 100 + "1]"):
        answer = client_of().post("/any", content=text.encode("utf-16"), headers=JSON)
        assert assert_problem(answer, 400)["detail"].startswith("The body is not UTF-8")


def test_small_body_in_pieces():
    """It is looked at as a whole, whoever reads it in whatever pieces."""
    refusals = Refusals()
    watcher = SmallJSONWatcher(refusals)
    watcher({"type": "http.request", "body": b"[Na", "more_body": True})
    with pytest.raises(Problem, match="400"):
        watcher({"type": "http.request", "body": b"N]", "more_body": False})
    assert refusals.counts["json"] == 1


def test_route_with_limits_of_its_own():
    """Smaller or larger than the application's; what is not given stays; a small body is measured too."""
    client = client_of()
    assert client.post("/flat", content=b"[1]", headers=JSON).json() == "list"
    assert_problem(client.post("/flat", content=b"[[1]]", headers=JSON), 400)
    assert client.post("/deep", content=b"[" * 200 + b"]" * 200, headers=JSON).json() == "list"
    assert_problem(client.post("/deep", content=b"[" * 201 + b"]" * 201, headers=JSON), 400)
    assert_problem(client.post("/deep", content=b'["' + b"x" * 51 + b'"]', headers=JSON), 413)
    assert_problem(client.post("/deep", content=b"[" + b"9" * 1001 + b"]", headers=JSON), 413)
    responses = client.get("/openapi.json").json()["paths"]["/flat"]["post"]["responses"]
    assert {"400", "413"} <= set(responses)


def test_route_alone_has_its_limits():
    """The rule of a route needs no feature installed."""
    client, _ = hardened(application())
    assert_problem(client.post("/flat", content=b"[[1]]", headers=JSON), 400)


def test_refusal_is_repeated_to_who_catches_it():
    """An application that catches the refusal and reads on gets it again, whatever comes; it is counted once."""
    refusals = Refusals()
    watcher = JSONWatcher(JSONLimits(2, 10, 10), refusals)
    for body in (b"[[[", b"]]]", b""):
        with pytest.raises(Problem, match="400"):
            watcher({"type": "http.request", "body": body, "more_body": True})
    assert refusals.counts["json"] == 1


@pytest.mark.parametrize(
    "limits",
    [
        {},
        {"max_depth": 0},
        {"max_elements": -1},
        {"max_depth": "1"},
        {"max_elements": 1e6},
        {"max_depth": True},
    ],
)
def test_impossible_route_limits(limits: dict[str, Any]):
    """A limit that nothing can meet, that is no whole number, or no limit at all, does not start."""
    with pytest.raises(SettingsError, match="json_limits"):
        json_limits(**limits)
