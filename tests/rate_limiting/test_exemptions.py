"""Who is not limited at all, without an application around."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from prodkit.core.identity import ANONYMOUS, Principal
from prodkit.rate_limiting.exemptions import Exemptions


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.1.2.3", True),
        ("::ffff:10.1.2.3", True),
        ("11.1.2.3", False),
        ("2001:db8:1::5", True),
        ("2001:db9:1::5", False),
        (None, False),
    ],
)
def test_networks_of_both_families(address, expected):
    """An IPv4 address that is written as IPv6 is that IPv4 address; families do not meet; no address is in no network."""
    exemptions = Exemptions(["10.0.0.0/8", "2001:db8::/32"])
    assert exemptions.hold(None if address is None else ip_address(address), ANONYMOUS) is expected


def test_principals_by_tenant_and_id():
    """`a/b` is b of the tenant a, `b` is b without a tenant; further slashes belong to the id."""
    exemptions = Exemptions(principals=["a/b", "c", "d/e/f"])
    held = [("b", "a"), ("c", None), ("e/f", "d")]
    others = [("b", None), ("c", "a"), ("a/b", None), ("f", "d/e"), ("", "a")]
    for expected, pairs in ((True, held), (False, others)):
        for name, tenant in pairs:
            assert exemptions.hold(None, Principal(id=name, kind="user", tenant=tenant)) is expected


def test_nobody_is_exempt_by_default():
    """Empty is false, so that the path of every request does not even ask."""
    assert not Exemptions()
    assert Exemptions(["10.0.0.0/8"])
    assert Exemptions(principals=["a"])
