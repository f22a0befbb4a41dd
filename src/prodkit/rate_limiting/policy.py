"""A rate limit as a value: what is counted, for whom, by which algorithm, and what happens when it cannot be known."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date  # noqa: TC003 - pydantic resolves the annotations of Policy
from typing import Final, Literal, TypeAlias, get_args

from prodkit.core.context import RequestContext
from prodkit.rate_limiting.functions import is_async
from prodkit.rate_limiting.rates import ALGORITHMS, Algorithm, parse_rate, rule_of
from prodkit.stores import Permit, Rule

__all__ = ["By", "Cost", "OnStoreError", "Policy", "Stage", "parse_rate", "require_written"]

By: TypeAlias = Literal["address", "principal", "tenant", "global"] | Callable[[RequestContext], str | None]
"""Whose requests share a bucket.

`address`: the client's address. `principal`: the authenticated caller, else the address. `tenant`: the caller's
tenant, else as `principal`. `global`: everybody shares one. A function: the text it returns, and the policy does not apply where
that is None. Where it fails the request is answered with 500: nothing else could be known of it, and nobody is let through.
"""

Cost: TypeAlias = int | Callable[[RequestContext], int]
"""How much of the bucket one request takes; a function is asked for each request, must not block, and says a
whole number of at least 0; where it fails the request is answered with 500."""

OnStoreError: TypeAlias = Literal["local", "open", "closed"]
"""What happens while the store does not answer: each worker limits for itself, nobody is limited, everybody gets 503."""

Stage: TypeAlias = Literal["address", "admission", "handler", "message"]
"""When it is decided: before authentication, after it, when a handler reserves, for each message of a WebSocket."""

# It becomes a metric label, a part of a store's key and a quoted string in a header; no character here needs escaping
# in any of them.
_NAME: Final = re.compile(r"[A-Za-z0-9._\-]{1,64}")
_NAMED: Final = ("address", "principal", "tenant", "global")
# Stands in the place of the id that each request makes anew.
_NO_ID: Final = "-"
_LONGEST_QUEUE: Final = 1000
_WHOSE: Final = frozenset({"address", "principal", "tenant", "global"})
_FUNCTIONS: Final = ("rate_for", "exempt", "count_if")


def require_written(entry: int, fields: Mapping[str, object]) -> None:
    """Return if *fields* are of a policy that can be written down, with no function in it.

    Args:
        entry: where it stands in the list.
        fields: as read from JSON.

    Raises:
        ValueError: names the entry and the field, never a value; says what to write, after a bar.
    """
    by, cost = fields.get("by", "principal"), fields.get("cost", 1)
    if not callable(by) and by not in _WHOSE:
        message = f"by of entry {entry} is unknown | Write address, principal, tenant or global; a function is given in code."
        raise ValueError(message)
    if not callable(cost) and (isinstance(cost, bool) or not isinstance(cost, int)):
        message = f"cost of entry {entry} is no whole number | Write one of at least 0; a function is given in code."
        raise ValueError(message)  # noqa: TRY004 - a wrong type in a text is a wrong value
    for name in _FUNCTIONS:
        if fields.get(name) is not None and not callable(fields[name]):
            message = f"{name} of entry {entry} would be a function | Drop it: declare this policy in code."
            raise ValueError(message)


@dataclass(frozen=True, slots=True)
class Policy:
    """One limit: a rate, or with `concurrent` a number of requests under way at the same time.

    Attributes:
        name: 1 to 64 characters of `[A-Za-z0-9._-]`, shown to clients and in metrics; two workers with the same name share
            a bucket.
        rate: `100/minute`; see `parse_rate`. Empty where `concurrent` is set.
        by: whose requests share a bucket.
        burst: of `gcra`: how many may come at once; 0, the default, for as many as the rate's number.
        cost: how much one request takes; 0 looks without taking.
        layer: `address` decides before authentication, `admission` after it, `handler` only when a handler reserves (see
            `limits_of`), `message` for each message that a WebSocket receives.
        enforce: False only counts what would have been refused, to try a limit out before it hurts.
        algorithm: `gcra`, the default: a bucket that holds `burst` and refills evenly. Over any stretch of time at most
            burst + rate x time is admitted: in the worst trailing window of `100/minute` these are 200, a full bucket and its
            refill. `sliding-window`: two counts; less than twice the limit in any trailing window, with even traffic exactly
            the limit. `moving-window`: exactly the limit in any trailing window; remembers each unit, up to 10 000.
            `fixed-window`: a count that begins anew at each multiple of the window since 1970; around that moment twice the
            limit may pass. `calendar`: a quota of each hour, day, week, month or year of a time zone.
        time_zone: of `calendar`: IANA name of the zone whose days are meant.
        anchor: of `calendar`: the first day of some window, e.g. of a billing period.
        concurrent: how many requests may be under way at the same time; 0 for a limit by rate. A stream or a WebSocket is
            under way until it ends.
        queue: how many may wait for one of these places, at most 1000: each is a connection, and asks again and again.
        queue_seconds: how long they may wait. Who leaves meanwhile gives up its turn (unless its body comes in several messages,
            or it is a WebSocket); while the process drains, those who wait go on waiting, as requests under way do.
        lease_seconds: after which time the places of a worker that died are free again. Living ones renew theirs.
        plans: other rates, by the plan of the principal. But for `gcra`, of the same window: it is one bucket.
        tenants: other rates, by the tenant of the principal; they go before those of plans.
        rate_for: a function that tells the rate for a request, or None for what the fields above say. It must not block.
            Where it fails, `rate` holds, and the failure is counted.
        exempt: a function that tells whom the policy does not apply to. Where it fails, it applies.
        count_if: a function that is asked when the request is over, its status known: what it says False to costs nothing.
            The cost is taken at admission and given back then, so that attempts at the same time cannot slip through.
        count_denied: whether what is refused takes its cost all the same, so that who goes on knocking stays out. For guards
            against guessing.
        on_store_error: what happens while the store does not answer; None for what the feature says.
        lease: how many units a worker may fetch at once from a store behind a socket, and give out by itself; 0, the default,
            is exact. See `prodkit.stores.leases` for what is admitted beyond the limit.
        atomic: asks for certainty that it is decided together with the others of its stage, all or nothing, on every store.
        refill: derived: the rule as a store takes it.
        plan_rules, tenant_rules: derived: the rules of `plans` and `tenants`.

    Raises:
        ValueError: a field is impossible, or does not go with another, e.g. a principal before authentication, or a cost that
            never fits.
    """

    name: str
    rate: str = ""
    by: By = "principal"
    burst: int = 0
    cost: Cost = 1
    layer: Stage = "admission"
    enforce: bool = True
    algorithm: Algorithm = field(default="gcra", kw_only=True)
    time_zone: str = field(default="UTC", kw_only=True)
    anchor: date | None = field(default=None, kw_only=True)
    concurrent: int = field(default=0, kw_only=True)
    queue: int = field(default=0, kw_only=True)
    queue_seconds: float = field(default=0.0, kw_only=True)
    lease_seconds: float = field(default=60.0, kw_only=True)
    plans: Mapping[str, str] = field(default_factory=dict, hash=False, kw_only=True)
    tenants: Mapping[str, str] = field(default_factory=dict, hash=False, kw_only=True)
    rate_for: Callable[[RequestContext], str | None] | None = field(default=None, kw_only=True)
    exempt: Callable[[RequestContext], bool] | None = field(default=None, kw_only=True)
    count_if: Callable[[RequestContext], bool] | None = field(default=None, kw_only=True)
    count_denied: bool = field(default=False, kw_only=True)
    on_store_error: OnStoreError | None = field(default=None, kw_only=True)
    lease: int = field(default=0, kw_only=True)
    atomic: bool = field(default=False, kw_only=True)
    refill: Rule = field(init=False, repr=False, compare=False)
    plan_rules: Mapping[str, Rule] = field(init=False, repr=False, compare=False)
    tenant_rules: Mapping[str, Rule] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Refuse what cannot be, and read the rates."""
        if _NAME.fullmatch(self.name) is None:
            message = "a policy's name is 1 to 64 characters of [A-Za-z0-9._-] | Shorten it, or use dashes."
            raise ValueError(message)
        if bool(self.rate) == bool(self.concurrent):
            fault = "has either a rate or a number of concurrent requests"
            raise self._impossible(fault, "Set one of them")
        for matters, fault, cure in self._contradictions():
            if matters:
                raise self._impossible(fault, cure)
        rule = self._permit() if self.concurrent else self.rule(self.rate)
        object.__setattr__(self, "refill", rule)
        object.__setattr__(
            self, "plan_rules", {name: self.variant(text) for name, text in self.plans.items()}
        )
        object.__setattr__(
            self, "tenant_rules", {name: self.variant(text) for name, text in self.tenants.items()}
        )
        most = min(other.most for other in (rule, *self.plan_rules.values(), *self.tenant_rules.values()))
        if not 0 <= self.lease <= most:
            fault = f"has a lease outside 0 to {most}"
            raise self._impossible(fault, "Lower it, to at most a tenth of the limit")
        if not callable(self.cost) and not 0 <= self.cost <= most:
            fault = f"has a cost outside 0 to {most}, its burst"
            raise self._impossible(fault, "Raise the burst or lower the cost")

    def rule(self, rate: str) -> Rule:
        """The rule that *rate* is under this policy.

        Raises:
            ValueError: it is no rate; says what to write, after a bar.
        """
        return rule_of(
            rate,
            self.algorithm,
            burst=self.burst,
            counts_denied=self.count_denied,
            is_binding=self.enforce,
            lease=self.lease,
            zone=self.time_zone,
            anchor=self.anchor,
        )

    def variant(self, rate: str) -> Rule:
        """The rule that *rate* is under this policy, for a bucket that others may draw from by the policy's own.

        Raises:
            ValueError: it is no rate; or its window is another one, at each change of which a count would begin anew.
        """
        rule = self.rule(rate)
        if self.algorithm != "gcra" and rule.window_seconds != self.refill.window_seconds:
            fault = f"has the rates {self.rate} and {rate}, whose windows differ, for one bucket"
            raise self._impossible(fault, "Give all of them one window, or set algorithm to gcra")
        return rule

    def permit(self, permit_id: str) -> Permit:
        """A place of a policy with `concurrent`, for one request; on trial nobody waits for it."""
        return Permit(
            self.concurrent,
            permit_id,
            self.lease_seconds,
            self.queue if self.enforce else 0,
            self.queue_seconds,
            is_binding=self.enforce,
        )

    def _permit(self) -> Permit:
        try:
            return self.permit(_NO_ID)
        except ValueError as error:
            fault = f"is no number of concurrent requests: {error}"
            raise self._impossible(fault, "Correct it") from None

    def _impossible(self, fault: str, cure: str) -> ValueError:
        return ValueError(f"policy {self.name} {fault} | {cure}.")

    def _contradictions(self) -> tuple[tuple[bool, str, str], ...]:
        is_early, is_many = self.layer == "address", bool(self.concurrent)
        functions = (self.by, self.cost, self.rate_for, self.exempt, self.count_if)
        by_other = callable(self.by) or self.by == "global"
        is_dynamic = bool(self.plans or self.tenants)
        return (
            (
                self.layer not in get_args(Stage),
                f"has no such layer: {self.layer}",
                f"Choose {', '.join(get_args(Stage))}",
            ),
            (
                isinstance(self.by, str) and self.by not in _NAMED,
                f"has no such by: {self.by}",
                f"Choose {', '.join(_NAMED)}, or give a function",
            ),
            (
                self.algorithm not in ALGORITHMS,
                f"has no such algorithm: {self.algorithm}",
                f"Choose {', '.join(ALGORITHMS)}",
            ),
            (
                any(is_async(function) for function in functions if callable(function)),
                "has an async function: by, cost, rate_for, exempt and count_if are not awaited",
                "Make it a plain function that does not block",
            ),
            (
                is_early and self.by in ("principal", "tenant"),
                "is decided before anybody is identified",
                "Set layer to admission, or by to address",
            ),
            (
                is_early and is_dynamic,
                "has rates for plans or tenants, and is decided before anybody is identified",
                "Set layer to admission",
            ),
            (
                is_dynamic and self.by in ("address", "global"),
                "has rates for plans or tenants, and a bucket that callers of several share",
                "Set by to principal or tenant",
            ),
            (
                self.layer == "handler" and self.cost != 1,
                "has a cost, and is charged what the handler reserves",
                "Drop cost",
            ),
            (
                self.burst != 0 and self.algorithm != "gcra",
                "has a burst, which only gcra knows",
                "Drop burst, or set algorithm to gcra",
            ),
            (
                self.algorithm != "calendar" and (self.time_zone != "UTC" or self.anchor is not None),
                "has a time zone or an anchor, which only the calendar knows",
                "Set algorithm to calendar",
            ),
            (
                not is_many and bool(self.queue or self.queue_seconds),
                "has a queue, and a rate",
                "Set concurrent in place of rate, or drop queue and queue_seconds",
            ),
            (
                self.queue > _LONGEST_QUEUE,
                f"has a queue of more than {_LONGEST_QUEUE}, and each who waits asks the store again and again",
                "Lower queue",
            ),
            (
                is_many and self.layer not in ("address", "admission"),
                "counts what is under way, and nothing begins and ends there",
                "Set layer to admission",
            ),
            (
                is_many
                and (
                    is_dynamic or self.rate_for is not None or self.count_if is not None or self.count_denied
                ),
                "counts what is under way, and has fields of a rate",
                "Drop plans, tenants, rate_for, count_if and count_denied",
            ),
            (
                is_many and (bool(self.burst or self.lease) or self.cost != 1 or self.algorithm != "gcra"),
                "counts what is under way, and each request is one",
                "Drop burst, cost, lease and algorithm",
            ),
            (
                self.count_if is not None and self.layer in ("handler", "message"),
                "is asked in the midst of a request, and no status tells whether that counts",
                "Drop count_if, and settle what is reserved",
            ),
            (
                self.lease > 0 and self.count_denied,
                "counts what is denied, and a worker that has leased units does not ask for each request",
                "Drop lease or count_denied",
            ),
            (
                self.atomic and (by_other or (self.by == "address" and self.layer == "admission")),
                "cannot be decided together with the others of its stage on every store, being of no one caller",
                "Drop atomic, or set by to what the stage is about",
            ),
            (
                self.on_store_error not in (None, "local", "open", "closed"),
                f"has no such on_store_error: {self.on_store_error}",
                "Choose local, open or closed",
            ),
        )
