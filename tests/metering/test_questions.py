"""Keys of answers: no two questions, and no two principals, have the same one."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prodkit.core.identity import ANONYMOUS, Principal
from prodkit.metering import Question, answer_key

ANN = Principal(id="ann", kind="api_key", tenant="acme")


def key(parameters=None, principal=ANN, shared_by="principal", namespace="search/1", **changes):
    asked = {"provider": "parallel", "sku": "search.fast", "parameters": parameters or {}} | changes
    return answer_key(Question(**asked), namespace=namespace, principal=principal, shared_by=shared_by)


def principal(name, tenant="acme", kind="api_key"):
    return Principal(id=name, kind=kind, tenant=tenant)


def test_the_order_of_names_says_nothing():
    """What is the same JSON is the same question, also with tuples in place of lists."""
    assert key({"a": 1, "b": {"c": [1, 2], "d": None}}) == key({"b": {"d": None, "c": (1, 2)}, "a": 1})


def test_every_part_is_in_the_key():
    """Another provider, product, namespace or parameter is another question."""
    keys = {
        key(),
        key(provider="other"),
        key(sku="search.basic"),
        key(namespace="search/2"),
        key({"q": ""}),
        key({"q": None}),
        key({"q": "None"}),
        key({"q": "null"}),
        key({"q": 0}),
        key({"q": 0.0}),
        key({"q": False}),
        key({"q": []}),
        key({"q": {}}),
        key({"q": [[]]}),
        key({"Q": ""}),
    }
    assert len(keys) == 15
    assert all(len(one) == 48 and set(one) <= set("0123456789abcdef") for one in keys)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"provider": "a", "sku": "bc"}, {"provider": "ab", "sku": "c"}),
        ({"provider": 'a","b', "sku": "c"}, {"provider": "a", "sku": 'b","c'}),
        ({"parameters": {"q": "a&mode=fast"}}, {"parameters": {"q": "a", "mode": "fast"}}),
        ({"parameters": {"q": 'a","mode":"fast'}}, {"parameters": {"q": "a", "mode": "fast"}}),
        ({"parameters": {"q": ["a,b"]}}, {"parameters": {"q": ["a", "b"]}}),
        ({"parameters": {"q": "1"}}, {"parameters": {"q": 1}}),
        ({"parameters": {"q": "a\x00b"}}, {"parameters": {"q": "a\\u0000b"}}),
        ({"parameters": {"q": "\ud800"}}, {"parameters": {"q": "?"}}),
        ({"parameters": {"q": "é"}}, {"parameters": {"q": "e\u0301"}}),
        ({"namespace": "a", "provider": "b:c"}, {"namespace": "a:b", "provider": "c"}),
    ],
)
def test_what_would_collide_when_strung_together_does_not(one, other):
    """A caller who chooses texts cleverly fills nobody else's answer."""
    assert key(**one) != key(**other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (principal("b", tenant="a"), principal("a:b", tenant=None)),
        (principal("ann", tenant="acme"), principal("ann", tenant="rivals")),
        (principal("ann", tenant=""), principal("ann", tenant=None)),
        (principal("ann", kind="jwt"), principal("ann", kind="api_key")),
        (principal('ann","acme'), principal("ann")),
        (principal("@everyone", tenant=None), principal("everyone", tenant=None)),
    ],
)
def test_principals_are_kept_apart(one, other):
    """Also those who were named to look like others; and nobody is everyone, or a tenant, by a name."""
    assert key(principal=one) != key(principal=other)
    shares = {
        key(principal=who, shared_by=shared) for who in (one, other) for shared in ("principal", "tenant")
    }
    assert key(shared_by="everyone") not in shares
    assert len(shares) >= 3


TEXTS = st.text(st.characters(codec=None), max_size=6) | st.sampled_from(["", ":", '"', "\\", "a", "b", "ab"])
WHO = st.builds(
    Principal,
    id=TEXTS,
    kind=st.sampled_from(["api_key", "jwt", "principal", "tenant"]),
    tenant=st.none() | TEXTS,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300)
@given(WHO, WHO, st.dictionaries(TEXTS, JSON, max_size=3))
def test_no_two_principals_have_a_key_in_common(one, other, parameters):
    """Whatever they are called, and whatever they ask; only the same kind, tenant and id is the same principal."""
    same = (one.kind, one.tenant, one.id) == (other.kind, other.tenant, other.id)
    assert (key(parameters, one) == key(parameters, other)) == same


@settings(max_examples=300)
@given(st.dictionaries(TEXTS, JSON, max_size=3), st.dictionaries(TEXTS, JSON, max_size=3))
def test_no_two_questions_have_a_key_in_common(one, other):
    """They have the same key exactly where they are the same JSON."""

    def text(parameters):
        return json.dumps(parameters, sort_keys=True)

    assert (key(one) == key(other)) == (text(one) == text(other))
    assert key(json.loads(text(one))) == key(one)


def test_who_is_nobody_shares_with_no_one_unless_told():
    """Callers that were not identified are not one caller."""
    assert key(principal=ANONYMOUS) is None
    assert key(principal=ANONYMOUS, shared_by="tenant") is None
    assert key(principal=ANONYMOUS, shared_by="everyone") == key(shared_by="everyone")


def test_a_tenant_shares_and_who_has_none_is_one_alone():
    """As sessions, documents and money are shared."""
    bob = principal("bob")
    assert key(shared_by="tenant") == key(principal=bob, shared_by="tenant")
    assert key() != key(principal=bob)
    alone = [principal("ann", tenant=None), principal("bob", tenant=None)]
    assert len({key(principal=who, shared_by="tenant") for who in alone}) == 2
    # A tenant named like somebody who has none.
    assert key(principal=principal("x", tenant="@api_key:ann"), shared_by="tenant") != key(
        principal=alone[0], shared_by="tenant"
    )


def nested(depth):
    value: object = 1
    for _ in range(depth):
        value = [value]
    return {"q": value}


@pytest.mark.parametrize(
    "parameters",
    [
        {1: "a"},
        {"q": {1: "a"}},
        {"q": b"bytes"},
        {"q": {"a", "b"}},
        {"q": float("nan")},
        {"q": float("inf")},
        {"q": object()},
        {None: 1},
        nested(100),
        nested(100_000),
    ],
    ids=range(10),
)
def test_what_is_no_json_is_refused(parameters):
    """Python would write some of it as another question's JSON; and the message shows nothing of it."""
    with pytest.raises(ValueError, match="must be JSON") as refused:
        key(parameters)
    assert "bytes" not in str(refused.value).replace("a bytes in", "")


def test_the_key_is_the_same_in_every_process():
    """It rests on nothing that a process chooses for itself."""
    code = (
        "from prodkit.core.identity import Principal; from prodkit.metering import Question, answer_key\n"
        "print(answer_key(Question(provider='parallel', sku='search.fast', parameters={'q': 'x', 'a': 1}),"
        "namespace='search/1', principal=Principal(id='ann', kind='api_key', tenant='acme')))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == key({"a": 1, "q": "x"})


def test_nothing_of_the_question_is_in_the_key_or_the_repr():
    """Keys stand in stores and logs."""
    question = Question(provider="parallel", sku="s", parameters={"q": "my-private-question"})
    assert "private" not in repr(question)
    assert "private" not in str(answer_key(question, namespace="n", principal=ANN))
