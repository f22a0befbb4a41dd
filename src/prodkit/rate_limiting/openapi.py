"""The OpenAPI document says which limits hold where: the refusals, the headers of every answer, and the policies themselves.

What is the same for all operations stands once, among the components.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from prodkit.core.openapi import operations_of, problem_response
from prodkit.core.problems import MEDIA_TYPE
from prodkit.rate_limiting.limiter import RateLimiter
from prodkit.rate_limiting.rule import RESPONSES, RateLimitRule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from prodkit.core.features import Kit
    from prodkit.rate_limiting.policy import Policy

__all__ = ["EXTENSION", "description_of", "document_limits"]

EXTENSION: Final = "x-rate-limit-policies"

# Any below: JSON
_HEADERS: Final[dict[str, dict[str, Any]]] = {
    "RateLimit-Policy": {
        "description": "The limits that apply, a list of structured fields: `q` units per `w` seconds, or `q` requests at a "
        'time where `qu` is "concurrent-requests".',
        "schema": {"type": "string"},
        "example": '"default";q=100;w=60',
    },
    "RateLimit": {
        "description": "What is left of each: `r` units now, all of it in `t` seconds.",
        "schema": {"type": "string"},
        "example": '"default";r=99;t=1',
    },
    "Retry-After": {
        "description": "Seconds after which the same request is admitted if nothing else is asked; absent where waiting "
        "does not help.",
        "schema": {"type": "integer", "minimum": 1},
    },
}
_STAGES: Final = ("address", "admission")


def description_of(policy: Policy) -> dict[str, Any]:
    """*policy* as the extension tells it: what a client has to know, and no tenant's or plan's own rate."""
    told: dict[str, Any] = {
        "name": policy.name,
        "limit": policy.refill.limit,
        "window_seconds": policy.refill.window_seconds,
        "algorithm": "concurrency" if policy.concurrent else policy.algorithm,
        "by": "custom" if callable(policy.by) else policy.by,
    }
    if policy.concurrent:
        del told["window_seconds"]
        if policy.queue:
            told.update(queue=policy.queue, queue_seconds=policy.queue_seconds)
    elif policy.refill.most != policy.refill.limit:
        told["burst"] = policy.refill.most
    if policy.algorithm == "calendar":
        told["time_zone"] = policy.time_zone
    if not callable(policy.cost) and policy.cost != 1:
        told["cost"] = policy.cost
    if policy.plans or policy.tenants or policy.rate_for is not None:
        told["varies"] = True
    if not policy.enforce:
        told["enforced"] = False
    return told


def document_limits(document: dict[str, Any], kit: Kit) -> None:
    """Say of each operation which limits hold, what is refused, and which headers every answer has.

    An operation that documents a 429 or 503 of its own keeps it.
    """
    limiter = kit.one(RateLimiter)
    if limiter is None or not document.get("paths"):
        return
    shared = [limit.policy for limit in limiter.limits if limit.policy.layer in _STAGES]
    own_of_routes = _own_of_routes(document, kit, limiter)
    on_all = [policy for policy in shared if policy.name not in own_of_routes]
    is_used = False
    for item, operation in operations_of(document, kit):
        own = [rule.policy for rule in operation.rules if isinstance(rule, RateLimitRule)]
        policies = _unique([*on_all, *own])
        if policies:
            is_used = True
            _document(item, policies, limiter)
    if is_used:
        components = document.setdefault("components", {})
        components.setdefault("headers", {}).update(_HEADERS)
        components.setdefault("responses", {}).update(_responses())


def _own_of_routes(document: dict[str, Any], kit: Kit, limiter: RateLimiter) -> set[str]:
    """Names that only routes declare, those of mounted applications too: a limiter knows of them once they were met."""
    feature: Any = kit.features.get("rate_limiting")
    declared = {policy.name for policy in feature.settings.all_policies()} if feature is not None else set()
    own = {
        rule.policy.name
        for _, operation in operations_of(document, kit)
        for rule in operation.rules
        if isinstance(rule, RateLimitRule)
    }
    return (own | limiter.of_routes) - declared


def _document(item: dict[str, Any], policies: Sequence[Policy], limiter: RateLimiter) -> None:
    enforced = [policy for policy in policies if policy.enforce]
    item[EXTENSION] = [description_of(policy) for policy in policies]
    if not enforced:
        return
    responses = item.setdefault("responses", {})
    for status, response in responses.items():
        # Of FastAPI's 422 and the like too: whatever was answered, it had been counted.
        if status[:1] == "2" and "$ref" not in response:
            headers = response.setdefault("headers", {})
            for name in ("RateLimit-Policy", "RateLimit"):
                headers.setdefault(name, {"$ref": f"#/components/headers/{name}"})
    if responses.get("429") in (None, RESPONSES["429"]):
        responses["429"] = {"$ref": "#/components/responses/RateLimited"}
    if any((policy.on_store_error or limiter.on_store_error) == "closed" for policy in enforced):
        responses.setdefault("503", {"$ref": "#/components/responses/LimitsUnavailable"})


def _responses() -> dict[str, Any]:
    references = {name: {"$ref": f"#/components/headers/{name}"} for name in _HEADERS}
    refused = problem_response("A rate limit is used up; the member `violated-policies` names it.")
    refused["content"][MEDIA_TYPE.decode()]["schema"] = {
        "allOf": [
            {"$ref": "#/components/schemas/Problem"},
            {
                "type": "object",
                "required": ["violated-policies"],
                "properties": {
                    "violated-policies": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "Their names, as in `RateLimit-Policy`.",
                    }
                },
            },
        ]
    }
    return {
        "RateLimited": {**refused, "headers": references},
        "LimitsUnavailable": {
            **problem_response("The limits of this request could not be checked."),
            "headers": {"Retry-After": references["Retry-After"]},
        },
    }


def _unique(policies: Sequence[Policy]) -> list[Policy]:
    seen: dict[str, Policy] = {}
    for policy in policies:
        seen.setdefault(policy.name, policy)
    return list(seen.values())
