"""How often each limit refused a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, NoReturn, get_args

from prodkit.core.features import Sample
from prodkit.core.problems import Problem

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prodkit.core.context import RequestContext

__all__ = ["CLOSE", "Policy", "Refusals", "closing", "refusals_of"]

Policy = Literal[
    "method",
    "url",
    "headers",
    "query",
    "framing",
    "body",
    "content_type",
    "content_encoding",
    "json",
    "form",
]

CLOSE: Final[Mapping[str, str]] = {"Connection": "close"}


class Refusals:
    """How often each limit refused a request; a body that grows too large without having said so is not among them."""

    def __init__(self) -> None:
        self.counts: dict[Policy, int] = dict.fromkeys(get_args(Policy), 0)

    def refuse(
        self,
        policy: Policy,
        status: int,
        detail: str,
        headers: Mapping[str, str] | None = None,
        **extensions: object,
    ) -> NoReturn:
        """Count it and raise it.

        Raises:
            Problem: always.
        """
        self.counts[policy] += 1
        raise Problem(status, detail, headers=headers, **extensions)

    def samples(self) -> Iterable[Sample]:
        """One counter for each limit."""
        return [
            Sample(
                "prodkit_request_limits_decisions_total",
                {"policy": policy, "outcome": "denied"},
                count,
                "counter",
                "Requests refused for their size or kind, by limit.",
            )
            for policy, count in self.counts.items()
        ]


def refusals_of(context: RequestContext) -> Refusals | None:
    """Where a rule of a route counts, which knows its request only; None where the feature is not installed."""
    found = context.provided(Refusals)
    return found[0] if found else None


def closing(context: RequestContext) -> Mapping[str, str] | None:
    """The header that ends the connection after a refusal, where the protocol has one.

    What was not read of a refused body would still be received, and thrown away, for as long as its sender likes.

    Source: RFC 9112, 9.6; RFC 9110, 15.5.14. HTTP/2 has no such header (RFC 9113, 8.2.2).
    """
    version: str = (context.scope or {}).get("http_version", "")
    return CLOSE if version.startswith("1") else None
