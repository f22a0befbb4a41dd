"""Whether a store can decide a policy at all, asked before requests come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.stores import ParticularStore

if TYPE_CHECKING:
    from prodkit.rate_limiting.policy import Policy
    from prodkit.stores import RateLimitStore

__all__ = ["require_fit"]


def require_fit(store: RateLimitStore, policy: Policy) -> None:
    """Return if *store* can decide *policy*, as all do that are not particular about it.

    Raises:
        SettingsError: it cannot; names the policy and what to do.
    """
    if not isinstance(store, ParticularStore):
        return
    settles = policy.count_if is not None or policy.layer == "handler"
    try:
        for rule in (policy.refill, *policy.plan_rules.values(), *policy.tenant_rules.values()):
            store.require(rule, settles=settles)
    except ValueError as error:
        message, _, cure = str(error).partition(" | ")
        raise SettingsError([SettingsFault(f"policy {policy.name}", f"{message}.", cure)]) from None
