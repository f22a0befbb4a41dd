"""Who is not limited at all: networks and principals that an operator trusts."""

from __future__ import annotations

from ipaddress import ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from ipaddress import IPv4Address, IPv6Address

    from prodkit.core.identity import Principal

__all__ = ["Exemptions"]


class Exemptions:
    """Networks and principals.

    Args:
        networks: CIDR blocks. An IPv4 address written as IPv6 is that IPv4 address.
        principals: `id` of principals without a tenant, `tenant/id` of those with one.

    Raises:
        ValueError: one of *networks* is none; says what to write, after a bar.
    """

    def __init__(self, networks: Iterable[str] = (), principals: Iterable[str] = ()) -> None:
        self._networks = []
        for text in networks:
            try:
                self._networks.append(ip_network(text))
            except ValueError as error:
                message = (
                    f"{text!r} is no network: {error} | Write addresses as CIDR blocks, e.g. 10.0.0.0/8."
                )
                raise ValueError(message) from None
        pairs = (text.rpartition("/") if "/" not in text else text.partition("/") for text in principals)
        self._principals = frozenset((tenant or None, name) for tenant, _, name in pairs)

    def __bool__(self) -> bool:
        """Whether anybody is."""
        return bool(self._networks or self._principals)

    def hold(self, address: IPv4Address | IPv6Address | None, principal: Principal) -> bool:
        """Whether somebody who calls from *address* as *principal* is not limited."""
        if principal.kind != "anonymous" and (principal.tenant, principal.id) in self._principals:
            return True
        if address is None or not self._networks:
            return False
        if address.version == 6:
            address = address.ipv4_mapped or address
        return any(address in network for network in self._networks)
