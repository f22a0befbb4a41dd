"""Hosts: the names this service answers for, and that it is used over https.

The `Host` header is the caller's. Taken on trust it ends up in links, redirects, and keys of caches, and lets any web
page that points a name of its own at this address talk to it as its own (DNS rebinding). Probes are answered before
this: an orchestrator asks by the address of a pod, which nobody can list.

Source: RFC 9112, 3.2 (400 for a missing, repeated or invalid Host) and 3.2.2 (absolute form); ASVS 5.0, 4.1.2 and 13.4.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal, Self

from pydantic import Field, field_validator, model_validator

from prodkit.core.asgi import header_lines
from prodkit.core.features import FeatureSettings, Layer, Parts, Sample
from prodkit.core.identity import AuthenticatesByCookie
from prodkit.core.problems import Problem
from prodkit.hosts.encryption import HTTPS_REQUIRED, EncryptionRule
from prodkit.hosts.names import DEFAULT_PORTS, AllowedHosts, Authority, parse_authority, parse_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prodkit.core.asgi import Answer, Scope
    from prodkit.core.context import RequestContext
    from prodkit.core.features import Kit

__all__ = ["HTTPS_REQUIRED", "HostDecisions", "HostGuard", "Hosts", "HostsSettings"]

# Spellings of allowed hosts that are remembered: what is below `*.example.com` has no end.
_MAX_REMEMBERED: Final = 1024
_ENCRYPTED: Final = frozenset({"https", "wss"})


class HostsSettings(FeatureSettings):
    """Settings of `Hosts`; environment prefix `PRODKIT_HOSTS__`."""

    allowed: Annotated[
        tuple[str, ...],
        Field(
            description='Hosts this service answers for, e.g. `["api.example.com", "*.example.org"]`; 400 for all others. A '
            "star stands for everything below a name, not for the name itself; without a port every port is meant; IPv6 in "
            "brackets. Default none: the host is not looked at.",
        ),
    ] = ()
    https: Annotated[
        Literal["off", "redirect", "refuse"],
        Field(
            description="What becomes of requests over http: `refuse` answers 403, `redirect` sends GET and HEAD without a "
            "credential to https (308) and refuses all others. Behind a proxy it needs `PRODKIT_PROXIES__TRUSTED_PROXIES`. "
            "Default `off`: a proxy in front most often does this.",
        ),
    ] = "off"
    https_port: Annotated[
        int,
        Field(ge=1, le=65535, description="The port that redirects lead to. Default 443."),
    ] = 443
    exempt_paths: Annotated[
        tuple[str, ...],
        Field(
            description="Paths for which neither host nor https is asked, as a JSON list; one that ends in a slash, or in `/*`, "
            'stands for all below it, e.g. `["/.well-known/acme-challenge/"]`. Probes need no entry. Default none.',
        ),
    ] = ()

    @field_validator("allowed")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for position, text in enumerate(value, start=1):
            try:
                parse_pattern(text)
            except ValueError as error:
                message = f"entry {position} {error}"
                raise ValueError(message) from None
        return value

    @field_validator("exempt_paths")
    @classmethod
    def _are_paths(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        value = tuple(path.removesuffix("*") if path.endswith("/*") else path for path in value)
        for position, path in enumerate(value, start=1):
            if (
                not path.startswith("/")
                or path == "/"
                or "*" in path
                or {".", ".."}.intersection(path.split("/"))
            ):
                message = (
                    f"entry {position} is not a path of its own | Write paths from the root, such as /healthz, or "
                    "/.well-known/acme-challenge/ for all below it."
                )
                raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _redirects_lead_home(self) -> Self:
        if self.https == "redirect" and not self.allowed:
            message = (
                "https redirects to the host that a request names, and every host is allowed | "
                "Name yours in allowed, or set https=refuse."
            )
            raise ValueError(message)
        return self

    @property
    def is_on(self) -> bool:
        """Whether anything is asked."""
        return bool(self.allowed) or self.https != "off"


class HostDecisions:
    """How often requests were allowed, refused, redirected or exempt."""

    def __init__(self) -> None:
        # Added to on every request.
        self.hosts_allowed = 0
        self.https_allowed = 0
        self.counts = {
            ("host", "bypassed"): 0,
            ("host", "denied"): 0,
            ("https", "bypassed"): 0,
            ("https", "denied"): 0,
            ("https", "redirected"): 0,
        }

    def samples(self) -> Iterable[Sample]:
        """One counter for each policy and outcome."""
        return [
            Sample(
                "prodkit_hosts_decisions_total",
                {"policy": policy, "outcome": outcome},
                count,
                "counter",
                "Requests by whether their host is ours and their connection encrypted.",
            )
            for (policy, outcome), count in (
                (("host", "allowed"), self.hosts_allowed),
                (("https", "allowed"), self.https_allowed),
                *self.counts.items(),
            )
        ]


class HostGuard:
    """Refuses requests for hosts that are not ours, and those that came unencrypted.

    Args:
        settings: see `HostsSettings`.
        decisions: counts them.
        cookies: names of cookies that are credentials.
    """

    def __init__(
        self, settings: HostsSettings, decisions: HostDecisions, cookies: Iterable[str] = ()
    ) -> None:
        self._decisions = decisions
        self._counts = decisions.counts
        self._allowed = AllowedHosts(settings.allowed) if settings.allowed else None
        self._rule = (
            None if settings.https == "off" else EncryptionRule(settings.https, settings.https_port, cookies)
        )
        self._exempt = frozenset(settings.exempt_paths)
        self._exempt_below = tuple(path for path in settings.exempt_paths if path.endswith("/"))
        # By scheme, which no port stands for another one of.
        self._known: dict[str, dict[bytes, str]] = {scheme: {} for scheme in DEFAULT_PORTS}

    def guard(self, context: RequestContext) -> Answer | None:
        """Let it pass, or answer with a redirect.

        Raises:
            Problem: 400 for the host, 403 for the connection.
        """
        scope, headers, scheme = context.scope or {}, context.headers, context.scheme
        host: str | None = ""
        if self._allowed is not None:
            known = self._known[scheme] if scheme in self._known else {}  # noqa: SIM401 - get() is a call
            if (
                b"host" in headers
                and headers[b"host"] in known
                and not context.has_repeated_headers
                # Nothing but the path of a URL begins so.
                and (scope.get("raw_path") or b"/")[:1] == b"/"
                and scope["path"][:1] == "/"
            ):
                host = known[headers[b"host"]]
            else:
                host = self._judge(context, scope, self._allowed)
                if host is None:
                    return None
            self._decisions.hosts_allowed += 1
        if self._rule is None:
            return None
        if scheme in _ENCRYPTED:
            self._decisions.https_allowed += 1
            return None
        return self._unencrypted(context, scope, self._rule, host or "")

    def _judge(self, context: RequestContext, scope: Scope, allowed: AllowedHosts) -> str | None:
        """The host that is asked for; None where it does not matter."""
        lines = header_lines(scope["headers"], b"host")
        authority = parse_authority(lines[0]) if len(lines) == 1 else None
        if authority is None:
            fault = (
                "The Host header is not a host with an optional port."
                if len(lines) == 1
                else f"The request names {'more than one host' if lines else 'no host'}."
            )
        elif not _agrees(scope, authority, context.scheme):
            fault = "The request target and the Host header name different hosts."
        elif not allowed.allow(authority, context.scheme):
            fault = "This service does not answer for the host named in the request."
        else:
            known = self._known.get(context.scheme, {})
            if len(known) >= _MAX_REMEMBERED:
                known.clear()
            known[lines[0]] = authority.host
            return authority.host
        if self._is_exempt(scope):
            self._counts["host", "bypassed"] += 1
            return None
        self._counts["host", "denied"] += 1
        raise Problem(400, fault)

    def _unencrypted(
        self, context: RequestContext, scope: Scope, rule: EncryptionRule, host: str
    ) -> Answer | None:
        if self._is_exempt(scope):
            self._counts["https", "bypassed"] += 1
            return None
        try:
            answer = rule.answer(context, scope, host)
        except Problem:
            self._counts["https", "denied"] += 1
            raise
        self._counts["https", "redirected"] += 1
        return answer

    def _is_exempt(self, scope: Scope) -> bool:
        path: str = scope["path"]
        root_path: str = scope["root_path"]
        if root_path and path.startswith(f"{root_path}/"):
            path = path[len(root_path) :]
        return path in self._exempt or path.startswith(self._exempt_below)


def _agrees(scope: Scope, authority: Authority, scheme: str) -> bool:
    """Whether a request target in absolute form names the same host; most servers leave only its path.

    The target would hold (RFC 9112, 3.2.2), and what everything here looks at is the header.
    """
    target: bytes = scope.get("raw_path") or scope["path"].encode("utf-8", "replace")
    if target.startswith(b"/"):
        return True
    own_scheme, separator, rest = target.partition(b"://")
    if not separator:
        return True
    named = parse_authority(rest.partition(b"/")[0])
    default = DEFAULT_PORTS.get(own_scheme.decode("latin-1").lower())
    return named is not None and (named.host, named.port or default) == (
        authority.host,
        authority.port or DEFAULT_PORTS.get(scheme),
    )


class Hosts:
    """The feature `hosts`; off, and free of cost, while no host is named and http is allowed."""

    name = "hosts"

    def __init__(
        self,
        *,
        allowed: Sequence[str] = (),
        https: Literal["off", "redirect", "refuse"] = "off",
        https_port: int = 443,
        exempt_paths: Sequence[str] = (),
    ) -> None:
        self.settings = HostsSettings.of(
            "Hosts", allowed=allowed, https=https, https_port=https_port, exempt_paths=exempt_paths
        )
        self._decisions = HostDecisions()
        self.provides: Sequence[object] = (self._decisions,) if self.settings.is_on else ()

    @classmethod
    def from_settings(cls, section: HostsSettings) -> Hosts:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """A guard in EDGE, or nothing."""
        settings = self.settings
        if not settings.is_on:
            return Parts()
        cookies = [authenticator.cookie_name for authenticator in kit.all(AuthenticatesByCookie)]  # type: ignore[type-abstract] # by protocol
        guard = HostGuard(settings, self._decisions, cookies)
        hosts = ", ".join(settings.allowed) or "every host"
        over = {"off": "", "redirect": ", https or a redirect there", "refuse": ", https only"}[
            settings.https
        ]
        return Parts(guards=[(Layer.EDGE, guard.guard)], order={Layer.EDGE: f"answers for {hosts}{over}"})
