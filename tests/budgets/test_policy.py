"""Policies: whose budget something counts in, and what cannot be one."""

from __future__ import annotations

from datetime import UTC
from urllib.parse import quote, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prodkit.budgets import Policies, Policy
from prodkit.budgets.policy import parse_allowance, zone_of
from prodkit.core.clock import FakeClock
from prodkit.stores.ledger import ATTRIBUTES, BudgetAsk
from prodkit.stores.ledger_arguments import require_asks

WHO = {"tenant": "acme", "principal": "ann", "agent": "search"}

texts = st.text(st.characters(codec="utf-8"), max_size=300)


def test_a_budget_belongs_to_a_value():
    """Its id is the policy's name and the value; two values have two budgets, and the application has one."""
    assert Policy("p", "tenant").budget_of(WHO) == "p:acme"
    assert Policy("p", "agent").budget_of(WHO) == "p:search"
    assert Policy("p", "application").budget_of(WHO) == Policy("p", "application").budget_of({}) == "p:all"


@pytest.mark.parametrize("per", ["organisation", "key", "agent", "processor", "session", "tag"])
def test_a_policy_does_not_apply_to_what_has_no_value(per):
    """What has no session counts in no session's budget."""
    assert Policy("p", per).budget_of({}) is None
    assert Policy("p", per).budget_of({per: ""}) is None


@pytest.mark.parametrize("per", ["tenant", "principal"])
def test_nobody_in_particular_is_not_without_a_limit(per):
    """Work without a tenant or a principal shares one budget, whose numbers are nobody's to know."""
    policies = Policies([Policy("p", per, limit_usd="1")], UTC)
    (ask,) = policies.asks({"agent": "search"}, 0.0)
    assert (ask.budget, ask.limit_nano) == ("p:", 1_000_000_000)
    assert not policies.may_be_told("p:")


@given(st.sampled_from(["tenant", "principal", "key", "session"]), texts, texts)
def test_two_values_never_share_a_budget(per, one, other):
    """However long they are and whatever is in them; and an id stands in a path as it is, encoded or not."""
    policy = Policy("p", per)
    budgets = [policy.budget_of({per: value}) for value in (one, other)]
    if one and other:
        assert (budgets[0] == budgets[1]) is (one == other)
    for budget in filter(None, budgets):
        assert len(budget) <= 98
        assert not set(budget) & set("/\\ \n\x00")
        assert unquote(quote(budget)) == budget


def test_nobody_can_choose_to_be_somebody_elses_digest():
    """Who names itself as the shortened name of another does not get the other's budget."""
    policy = Policy("p", "principal")
    victim = policy.value_of({"principal": "v" * 200})
    assert victim is not None
    assert policy.value_of({"principal": victim}) != victim


def test_asks_are_in_the_order_of_the_policies_and_of_one_moment():
    """The first that does not fit is the one a caller hears of."""
    clock = FakeClock()
    policies = Policies(
        [
            Policy("day", "principal", "day", "5"),
            Policy("ever", "application", "total"),
            Policy("none", "session"),
        ],
        UTC,
    )
    day = int(clock.wall()) // 86_400 * 86_400
    asks = policies.asks(WHO, clock.wall())
    assert asks == (
        BudgetAsk("day:ann@acme", day, day + 86_400, 5_000_000_000, alert_percents=(50, 80, 95, 100)),
        BudgetAsk("ever:all", 0, None, None, alert_percents=(50, 80, 95, 100)),
    )
    require_asks(asks)


@given(st.dictionaries(st.sampled_from(ATTRIBUTES), texts.map(lambda text: text[:128])), st.floats(0, 4e9))
def test_whatever_is_asked_a_ledger_takes(attributes, moment):
    """No attribute makes an ask that a ledger refuses, or that two policies would share."""
    pers = (
        "application",
        "organisation",
        "tenant",
        "principal",
        "key",
        "agent",
        "processor",
        "session",
        "tag",
    )
    policies = Policies([Policy(f"of.{per}", per) for per in pers], UTC)
    require_asks(policies.asks(attributes, moment))


def test_an_id_leads_back_to_its_policy():
    """Whatever stands after the colon; without one it is no budget."""
    policies = Policies([Policy("p", "tenant")], UTC)
    for budget in ("p:acme", "p:", "p:a:b"):
        assert policies.policy_of(budget) is not None
    for budget in ("p", "q:acme", "", ":acme", "P:acme"):
        assert policies.policy_of(budget) is None


def test_only_a_callers_own_budget_is_told():
    """An agent's or the application's numbers are those of others, too."""
    policies = Policies([Policy("own", "principal"), Policy("all", "application"), Policy("a", "agent")], UTC)
    assert [policies.may_be_told(budget) for budget in ("own:ann", "all:all", "a:search", "x:y")] == [
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": ""}, "1 to 64"),
        ({"name": "a:b"}, "1 to 64"),
        ({"name": "a" * 65}, "1 to 64"),
        ({"name": "a\n"}, "1 to 64"),
        ({"per": "model"}, "unknown per"),
        ({"window": "week"}, "unknown window"),
        ({"limit_usd": 5}, "decimal string"),
        ({"limit_usd": 0.5}, "decimal string"),
        ({"limit_usd": "-1"}, "decimal string"),
        ({"limit_usd": "1e3"}, "decimal string"),
        ({"limit_usd": "٣"}, "decimal string"),
        ({"limit_usd": ""}, "decimal string"),
        ({"limit_usd": "9000001"}, "9000000"),
    ],
)
def test_what_cannot_be_is_refused(fields, words):
    """When it is made, with what to write instead."""
    with pytest.raises(ValueError, match=words):
        Policy(**{"name": "p", **fields})


def test_an_allowance_is_an_amount_and_a_window():
    """As in the setting."""
    assert parse_allowance("5.00/day") == ("5.00", "day")
    assert parse_allowance("0/total") == ("0", "total")
    for text in ("", "5", "5/", "/day", "5/week", "5/day/day", "5 /day", "x/day", "-5/day", "5/DAY"):
        with pytest.raises(ValueError, match=r"\|"):
            parse_allowance(text)


def test_a_zone_has_to_be_known():
    """A name that could lead out of the database is none."""
    assert zone_of("UTC") is UTC
    assert str(zone_of("Europe/Berlin")) == "Europe/Berlin"
    for name in ("Mars/Olympus", "../../etc/passwd", "", "/etc/localtime", "Europe"):
        with pytest.raises(ValueError, match="time zone"):
            zone_of(name)
