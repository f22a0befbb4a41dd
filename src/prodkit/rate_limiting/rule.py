"""A limit of one route: declared as a dependency, enforced before the body is read, documented in OpenAPI."""

from __future__ import annotations

import sys
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from fastapi import Depends
from starlette.requests import HTTPConnection  # noqa: TC002 - FastAPI resolves the annotation of __call__

from prodkit.core.context import RequestContext, context_of
from prodkit.core.openapi import problem_response
from prodkit.rate_limiting.limiter import limiter_of
from prodkit.rate_limiting.policy import By, Cost, OnStoreError, Policy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from prodkit.core.features import Kit
    from prodkit.rate_limiting.limit import Limit
    from prodkit.rate_limiting.rates import Algorithm

__all__ = ["RateLimitRule", "rate_limit"]

_TEXT: Final = {"type": "string"}
RESPONSES: Final[Mapping[str, Mapping[str, object]]] = {
    "429": {
        **problem_response("A rate limit is used up; the member `violated-policies` names it."),
        "headers": {
            "Retry-After": {
                "description": "Seconds after which the same request is admitted if nothing else is asked.",
                "schema": {"type": "integer", "minimum": 1},
            },
            "RateLimit-Policy": {
                "description": "The limits that apply: quota `q` per `w` seconds.",
                "schema": _TEXT,
            },
            "RateLimit": {
                "description": "What is left of each: `r` units now, all of it in `t` seconds.",
                "schema": _TEXT,
            },
        },
    }
}


class RateLimitRule:
    """A `RouteRule` for one policy; made by `rate_limit`."""

    responses = RESPONSES

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self._bound: tuple[Kit, Limit] | None = None

    def __repr__(self) -> str:
        return f"rate_limit({self.policy.rate!r}, name={self.policy.name!r})"

    def enforce(self, context: RequestContext) -> Awaitable[None] | None:
        """Take one cost from the caller's bucket.

        Raises:
            Problem: 429 when it is used up.
            InstallationError: the application has no rate limiting.
        """
        bound = self._bound
        if bound is None or bound[0] is not context.kit:
            limiter = limiter_of(context)
            limiter.of_routes.add(self.policy.name)
            bound = self._bound = (context.kit, limiter.limit(self.policy))
        limit = bound[1]
        if limit.is_simple:
            return limit.guard(context)
        return limit.limiter.decide((limit,), context)

    async def __call__(self, connection: HTTPConnection) -> None:
        """Enforce it where no body was read, e.g. for GET and for WebSockets."""
        await context_of(connection).enforce(self)


def rate_limit(
    rate: str | Policy,
    *,
    by: By = "principal",
    cost: Cost = 1,
    burst: int = 0,
    name: str | None = None,
    enforce: bool = True,
    algorithm: Algorithm = "gcra",
    plans: Mapping[str, str] | None = None,
    exempt: Callable[[RequestContext], bool] | None = None,
    count_if: Callable[[RequestContext], bool] | None = None,
    count_denied: bool = False,
    on_store_error: OnStoreError | None = None,
) -> Any:  # Any: what Depends() returns is typed so by FastAPI, to stand as a parameter's default
    """A dependency that limits the routes which declare it, in addition to the application's own limits.

    ```python
    @app.post("/reports", dependencies=[rate_limit("10/minute")])
    @app.post("/exports", dependencies=[rate_limit(Policy("exports", concurrent=4, queue=20, queue_seconds=2))])
    ```

    Args:
        rate: `10/minute`; see `parse_rate`. Or a whole `Policy`, for its other fields; nothing else is given then.
        by: whose requests share a bucket; default the principal, else the address.
        cost: how much of the bucket one request takes.
        burst: how many may come at once; 0 for as many as the rate's number.
        name: shown to clients, and the same for routes that shall share a bucket. By default derived from the rate and
            the line it stands on: equal in all workers, another one when the line moves. Name what must survive a release.
        enforce: False only counts.
        algorithm: see `Policy`; so are the following.
        plans: other rates, by the plan of the principal.
        exempt: tells whom it does not apply to.
        count_if: tells when the request is over whether it counts.
        count_denied: whether what is refused takes its cost all the same.
        on_store_error: what happens while the store does not answer.

    Raises:
        ValueError: see `Policy`; or a policy that is not decided when the request is admitted.
    """
    if isinstance(rate, Policy):
        if rate.layer != "admission":
            message = f"policy {rate.name} is of the layer {rate.layer}, and a route is limited at admission | Drop layer."
            raise ValueError(message)
        others = (
            by,
            cost,
            burst,
            name,
            enforce,
            algorithm,
            plans,
            exempt,
            count_if,
            count_denied,
            on_store_error,
        )
        if others != ("principal", 1, 0, None, True, "gcra", None, None, None, False, None):
            message = f"policy {rate.name} says everything itself | Drop the other arguments, or set them in the policy."
            raise ValueError(message)
        return Depends(RateLimitRule(rate))
    if name is None:
        # The line of code is what all workers have in common; an id() or a counter would give each its own bucket.
        frame = sys._getframe(1)  # noqa: SLF001 - inspect.stack() would read every source file above us
        place = f"{frame.f_globals.get('__name__', '')}:{frame.f_lineno}:{rate}:{by if isinstance(by, str) else ''}"
        name = f"route-{blake2b(place.encode(), digest_size=4).hexdigest()}"
    policy = Policy(
        name,
        rate,
        by=by,
        burst=burst,
        cost=cost,
        enforce=enforce,
        algorithm=algorithm,
        plans=plans or {},
        exempt=exempt,
        count_if=count_if,
        count_denied=count_denied,
        on_store_error=on_store_error,
    )
    return Depends(RateLimitRule(policy))
