"""Problem documents: their members, and what never gets into them."""

from __future__ import annotations

import json
import math
from typing import Annotated, Any

import pytest
from fastapi import Body, FastAPI, HTTPException, Query
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from pydantic import UUID4, BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from prodkit.core.handlers import validation_problem
from prodkit.core.problems import (
    PROBLEM_TYPES,
    TYPE_BASE,
    Problem,
    ProblemType,
    problem_answer,
    problem_of,
    register,
)
from prodkit.correlation import Correlation
from prodkit.installation import install

CANARY = "hunter2-canary"


class TestProblem:
    def test_status_or_type(self):
        """A problem is raised with a status or with a type of its own."""
        own = ProblemType("out-of-paper", 507, "Out Of Paper", "No paper.")
        assert Problem(404).problem_type.name == "not-found"
        assert Problem(own, "Tray 2.").status_code == 507
        assert str(Problem(own, "Tray 2.")) == "507 out-of-paper: Tray 2."

    @pytest.mark.parametrize("status", [499, 520, 599])
    def test_statuses_unknown_to_http(self, status):
        """Statuses outside the registry are problems too."""
        document = json.loads(problem_answer(Problem(status)).body)
        assert document["status"] == status
        assert document["type"].startswith(TYPE_BASE)

    @pytest.mark.parametrize("status", [200, 302, 600])
    def test_other_statuses_are_refused(self, status):
        """What is not an error cannot be a problem."""
        with pytest.raises(ValueError, match="from 400 to 599"):
            Problem(status)

    def test_reserved_members_are_refused(self):
        """An extension cannot take the place of a member of the standard."""
        with pytest.raises(ValueError, match="instance, type"):
            Problem(400, instance="x", type="y")

    def test_two_types_of_one_name(self):
        """Names are unique, because they are addresses in the documentation."""
        register(PROBLEM_TYPES["not-found"])
        with pytest.raises(ValueError, match="not-found"):
            register(ProblemType("not-found", 404, "Other", ""))

    def test_registered_types_keep_their_uri(self):
        """Types of IANA's registry are sent under their registered URI."""
        document = json.loads(problem_answer(Problem(PROBLEM_TYPES["quota-exceeded"])).body)
        assert document["type"] == "https://iana.org/assignments/http-problem-types#quota-exceeded"

    def test_detail_that_is_no_text(self):
        """A structured detail goes into a member of its own, since `detail` is text."""
        assert problem_of(HTTPException(400, [1, 2])).extensions == {"errors": [1, 2]}
        assert problem_of(HTTPException(400, {"a": 1})).extensions == {"context": {"a": 1}}

    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.floats()
            | st.text()
            | st.binary()
            | st.complex_numbers()
            | st.integers(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.sets(st.integers()),
        )
    )
    def test_rendering_never_fails(self, value):
        """Whatever an extension holds, the document is valid JSON."""
        document = json.loads(
            problem_answer(Problem(400, "\ud800", extra=value)).body, parse_constant=pytest.fail
        )
        assert document["detail"] == "\ud800"

    def test_deep_and_strange_values(self):
        """Depth is bounded; NaN is null; objects are named by their type only."""
        deep: Any = []
        for _ in range(100):
            deep = [deep]
        document = json.loads(problem_answer(Problem(400, deep=deep, nan=math.nan, thing=object())).body)
        assert document["nan"] is None
        assert document["thing"] == "<object>"

    def test_headers(self):
        """Headers of the exception are sent; content headers are ours."""
        answer = problem_answer(
            Problem(401, headers={"WWW-Authenticate": "Bearer", "Content-Type": "text/html"})
        )
        assert (b"www-authenticate", b"Bearer") in answer.headers
        assert [value for name, value in answer.headers if name == b"content-type"] == [
            b"application/problem+json"
        ]

    def test_headers_that_cannot_be_sent_are_left_out(self):
        """A line break in a header would let its value add headers of its own."""
        headers = {"X-A": "a\r\nSet-Cookie: b=c", "X B": "1", "X-C": "c", "Cache-Control": "a\nb"}
        answer = problem_answer(Problem(400, headers=headers))
        assert answer.headers[1:] == [(b"cache-control", b"no-store"), (b"x-c", b"c")]

    def test_numbers_python_does_not_write(self):
        """An integer of more than 4300 digits, as a value or as a key, is named by its type."""
        document = json.loads(problem_answer(Problem(400, value=10**5000, keys={10**5000: -(10**300)})).body)
        assert document["value"] == "<int>"
        assert document["keys"] == {"<int>": -(10**300)}

    def test_every_type_is_described(self):
        """Each type has what its page in the documentation needs."""
        for name, kind in PROBLEM_TYPES.items():
            assert name == kind.name
            assert kind.title
            assert kind.description.endswith(".")


class Account(BaseModel):
    model_config = ConfigDict(extra="forbid")

    number: int
    token: UUID4
    colour: Annotated[str, Field(pattern="^(red|blue)$")]
    nested: dict[str, int] = {}
    chosen: str = ""

    @field_validator("chosen")
    @classmethod
    def _chosen(cls, value: str) -> str:
        if value:
            message = f"{value} cannot be chosen"
            raise ValueError(message)
        return value


class Pair(BaseModel):
    secret: str
    again: str

    @field_validator("again")
    @classmethod
    def _same(cls, value: str, info: ValidationInfo) -> str:
        message = f"differs from {info.data['secret']}"
        raise ValueError(message)


@pytest.fixture(scope="module")
def client() -> TestClient:
    app = FastAPI()

    @app.post("/accounts/{account}")
    async def create(account: int, body: Account, limit: int = Query(1, le=5)) -> None: ...

    @app.post("/bytes")
    async def take_bytes(body: Annotated[bytes, Body()]) -> None: ...

    install(app, Correlation())
    return TestClient(app)


def shown(errors: Any) -> Any:
    return validation_problem(errors).extensions["errors"]


class TestValidation:
    @pytest.mark.parametrize(
        "sent",
        [
            {"number": CANARY, "token": CANARY, "colour": CANARY, "nested": {"a": CANARY}, "chosen": CANARY},
            {CANARY: 1},
            {"nested": {CANARY + " with spaces": "x"}},
            [CANARY],
            CANARY,
        ],
    )
    def test_input_is_never_repeated(self, client, sent):
        """Neither values nor unknown names of the caller come back, in the body or in the path."""
        response = client.post(f"/accounts/{CANARY}?limit={CANARY}", json=sent)
        assert response.status_code == 422
        assert "hunter2" not in response.text

    def test_broken_json_is_not_repeated(self, client):
        """A body that is not JSON is a 422 without its text."""
        response = client.post(
            "/accounts/1", content=f'{{"{CANARY}', headers={"content-type": "application/json"}
        )
        assert (response.status_code, response.json()["errors"][0]["code"]) == (422, "json_invalid")
        assert "hunter2" not in response.text

    def test_errors_say_where_and_why(self, client):
        """Each error has its place as a JSON pointer, a code for programs and a sentence for people."""
        response = client.post("/accounts/1?limit=9", json={"number": "x", "colour": "red"})
        errors = {error["pointer"]: error for error in response.json()["errors"]}
        assert errors["#/number"]["in"] == "body"
        assert errors["#/number"]["code"] == "int_parsing"
        assert errors["#/number"]["message"].startswith("Input should be a valid integer")
        assert errors["#/token"]["code"] == "missing"
        assert errors["#/limit"]["in"] == "query"
        assert response.json()["detail"] == "3 parts of the request did not validate."

    @pytest.mark.parametrize(
        "error",
        [
            {"type": "value_error", "msg": "Value error, must be odd", "ctx": {"error": ValueError()}},
            {"type": "assertion_error", "msg": "Assertion failed, 7 is not odd", "ctx": {"error": None}},
            {"type": "value_error", "msg": "Value error, differs from q7"},
            {"type": "own", "msg": "The other one is q7", "ctx": {"other": "q7"}},
            {"type": "own", "msg": "You sent 4000", "input": "4000"},
        ],
    )
    def test_messages_that_may_quote_are_not_shown(self, error):
        """The text of an exception, or a template that was filled in, may hold any field, in pieces of any length."""
        assert shown([{"loc": ("body", "a"), "input": 4} | error])[0]["message"] == "The value is not valid."

    def test_a_literal_message_is_shown(self):
        """A PydanticCustomError without a context is a sentence its author wrote before the request came."""
        error = {"type": "own", "loc": ("body", "a"), "msg": "Must be odd.", "input": 4}
        assert shown([error])[0] == {"in": "body", "pointer": "#/*", "code": "own", "message": "Must be odd."}

    def test_keys_of_a_mapping_are_not_places(self, client):
        """A key is the caller's text, also where it looks like a name of ours; declared names are shown."""
        body = {"number": 1, "nested": {"hunter2": "x"}}
        errors = client.post("/accounts/1", json=body).json()["errors"]
        assert [error["pointer"] for error in errors] == ["#/token", "#/colour", "#/nested/*"]
        error = {"type": "missing", "loc": ("hunter2", "a/b~c", 3, "hunter2"), "msg": "Field required"}
        place = validation_problem([error], frozenset({"a/b~c"})).extensions["errors"]
        assert place == [
            {"in": "request", "pointer": "#/a~1b~0c/3/*", "code": "missing", "message": "Field required"}
        ]

    def test_another_field_is_not_quoted(self):
        """A validator that names another field's value does not tell it to the client."""
        app = FastAPI()

        @app.post("/")
        async def take(pair: Pair) -> None: ...

        install(app, Correlation())
        response = TestClient(app).post("/", json={"secret": "q7", "again": "z"})
        assert response.json()["errors"][0]["pointer"] == "#/again"
        assert "q7" not in response.json()["errors"][0]["message"]

    def test_at_most_fifty(self):
        """A thousand errors are counted and fifty of them shown."""
        error = {"type": "missing", "loc": ("body", "a"), "msg": "Field required", "input": {}}
        problem = validation_problem([error] * 1000)
        assert len(shown([error] * 1000)) == 50
        assert problem.detail.startswith("1000 parts")

    @pytest.mark.parametrize(
        "content", [b"\xff\xfe", b"\x00" * 10, b'"\\ud800"', b"[" * 50_000, b"1e999", b"NaN"]
    )
    def test_hostile_bodies_are_client_errors(self, client, content):
        """Bytes, lone surrogates, depth and infinities are the client's problem, never a 500."""
        for path in ("/accounts/1", "/bytes"):
            response = client.post(path, content=content, headers={"content-type": "application/json"})
            assert 400 <= response.status_code < 500
            assert response.headers["content-type"] == "application/problem+json"
