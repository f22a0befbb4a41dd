"""Whose data and money something is."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from prodkit.core.identity import Principal
from prodkit.core.owners import (
    LONGEST_OWNER,
    attributes_of,
    bounded,
    identity_of,
    is_cut,
    owner_of,
    principal_in,
    principal_of,
)

NAMES = st.text(min_size=1, max_size=300)


def of(ident: str, tenant: str | None = None, **more) -> Principal:
    return Principal(id=ident, kind="api_key", tenant=tenant, **more)


def test_a_tenant_owns_what_its_callers_keep() -> None:
    """All of them together; who has no tenant keeps it for itself."""
    assert owner_of(of("ada", "acme")) == owner_of(of("bob", "acme")) == "acme"
    assert owner_of(of("ada")) == "@api_key:ada"


@given(NAMES, NAMES)
@example("acme", "acme")
@example("acme", "@acme")
@example("@acme", "@@acme")
def test_nobody_becomes_a_tenant_by_its_name(ident: str, tenant: str) -> None:
    """Whatever an id and a tenant are called, a caller without one never shares anything with it."""
    assert owner_of(of(ident)) != owner_of(of("somebody", tenant))


@given(NAMES, NAMES)
def test_two_never_become_one(one: str, other: str) -> None:
    """Shortened or not, different names stay different, and fit."""
    assert (owner_of(of("x", one)) == owner_of(of("x", other))) is (one == other)
    assert (owner_of(of(one)) == owner_of(of(other))) is (one == other)
    assert len(owner_of(of(one))) <= LONGEST_OWNER


@given(NAMES)
def test_a_digest_cannot_be_chosen(name: str) -> None:
    """What looks like a shortened name is shortened again."""
    long = bounded(name * 200)
    assert bounded(long) != long


@pytest.mark.parametrize(("value", "cut"), [("ada", False), ("a~b", False), ("", False), ("x" * 200, True)])
def test_what_was_cut_is_known(value: str, cut: bool) -> None:
    """It names somebody, and is nobody's name."""
    assert is_cut(bounded(value)) is cut


def test_spending_is_recorded_under_who_spent() -> None:
    """The tenant, the caller, and the key where it was one."""
    assert attributes_of(of("ada", "acme")) == {"tenant": "acme", "principal": "ada", "key": "ada"}
    person = Principal(id="ada", kind="user", tenant=None)
    assert attributes_of(person) == {"tenant": "@user:ada", "principal": "ada"}


@given(NAMES, NAMES, NAMES, NAMES)
@example("bob", "a@b", "bob@a", "b")
@example("b!a", "x", "b@", "x")
@example("@api_key:bob", "x", "bob", "y")
def test_principals_of_all_tenants_are_told_apart(one: str, its: str, other: str, others: str) -> None:
    """One value for each, from which the tenant's own administrator gets the name back, and nobody else's does."""
    first, second = attributes_of(of(one, its)), attributes_of(of(other, others))
    same = (first["tenant"], first["principal"]) == (second["tenant"], second["principal"])
    assert (principal_of(first) == principal_of(second)) is same
    assert principal_of(first) != principal_of(attributes_of(of(one)))
    assert principal_in(principal_of(first), first["tenant"]) == first["principal"]
    if first["tenant"] != second["tenant"]:
        assert principal_in(principal_of(first), second["tenant"]) is None
    assert (identity_of(of(one, its)) == identity_of(of(other, others))) is ((one, its) == (other, others))
