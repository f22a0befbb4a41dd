"""Fetch metadata: requests that pages of other origins cause and nothing allows are refused (a resource isolation policy).

Browsers tell with each request who caused it (`Sec-Fetch-Site`), by which means (`-Mode`) and for what (`-Dest`). With these a
forged form, an embedded image and a probe for what the user may see are told from a link that was followed. Whoever is no browser
sends none of these headers and is let through, and what CORS allows is allowed. A browser that does not send them, which is one
from before 2023 or one that speaks plain HTTP to another machine, is held against its `Origin` where it acts as the signed-in
user.

Off until it is told what to do, because two kinds of legitimate requests look like forged ones: sign-in and payment providers
that post a form back, and pages allowed by a CORS middleware inside the application.

Source: W3C Fetch Metadata Request Headers; W3C Post-Spectre Web Development, 1.1; Go's http.CrossOriginProtection, for which
neighbours of the same site are strangers too; OWASP ASVS 5.0, 3.5.3 and 3.5.8.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, Literal

from pydantic import Field, field_validator

from prodkit.core.ambient import has_ambient_credentials
from prodkit.core.asgi import invalid_header
from prodkit.core.features import FeatureSettings, Layer, Parts, Sample
from prodkit.core.origins import CrossOriginPolicy, is_own_origin, sole_line
from prodkit.core.paths import PathMap, application_path, path_fault
from prodkit.core.problems import Problem, ProblemType, register

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from prodkit.core.context import RequestContext
    from prodkit.core.features import Kit

__all__ = ["CROSS_ORIGIN_REQUEST", "FetchMetadata", "FetchMetadataSettings", "Isolation"]

Mode = Literal["off", "report", "enforce"]

CROSS_ORIGIN_REQUEST: Final = register(
    ProblemType(
        "cross-origin-request",
        403,
        "Cross-Origin Request",
        "A page of another origin made the browser send this, and nothing allows that. Links to this service may be followed from "
        "anywhere; whoever needs more asks the operator to allow the origin of the page.",
    )
)

_POLICIES: Final = ("navigation", "request", "embedding", "websocket", "origin")
_OUTCOMES: Final = ("allowed", "denied", "degraded", "bypassed")
# RFC 9110, 9.2.1, and QUERY (draft-ietf-httpbis-safe-method-w-body), which no form can send. TRACE is refused elsewhere.
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS", "QUERY"})
# What a page of others embeds by them runs or renders in it, although the browser calls it a navigation.
_EMBEDDED: Final = frozenset({b"embed", b"object"})


class FetchMetadataSettings(FeatureSettings):
    """Settings of `FetchMetadata`; environment prefix `PRODKIT_FETCH_METADATA__`."""

    mode: Annotated[
        Mode,
        Field(
            description="`enforce` refuses what pages of other origins cause and nothing allows; `report` lets it through and counts "
            "it as `degraded`; `off` (default) looks at nothing: forms that sign-in and payment providers post back would be "
            "refused where they are not exempt.",
        ),
    ] = "off"
    allow_same_site: Annotated[
        bool,
        Field(
            description="Whether pages of neighbours under the same registered name (`www.example.com` for `api.example.com`) count "
            "as our own. Default off: one forgotten name there would be enough to act as your users. CORS can allow single ones.",
        ),
    ] = False
    exempt_paths: Annotated[
        tuple[str, ...],
        Field(
            description='Prefixes that everybody may use in every way, e.g. `["/login/callback", "/badges"]`; a segment may be a '
            "parameter: `/teams/{team}/logo`. Default: none.",
        ),
    ] = ()
    ambient_headers: Annotated[
        tuple[str, ...],
        Field(
            description="Further request headers by which a proxy before us tells what the browser attached, e.g. "
            '`["X-Forwarded-Client-Cert"]`: a request with one acts as a user. Cookie, Basic, Digest, NTLM and Negotiate in '
            "Authorization, and TLS client certificates that the server tells of count always. Default: none.",
        ),
    ] = ()

    @property
    def is_on(self) -> bool:
        """Whether anything is looked at."""
        return self.mode != "off"

    @field_validator("exempt_paths")
    @classmethod
    def _paths_are_prefixes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for position, prefix in enumerate(value, start=1):
            fault = path_fault(prefix)
            if fault is not None:
                message = f"entry {position} {fault}"
                raise ValueError(message)
        return value

    @field_validator("ambient_headers")
    @classmethod
    def _headers_are_tokens(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for position, name in enumerate(value, start=1):
            if invalid_header(name.encode(), b"") is not None:
                message = f"entry {position} is not the name of a header | Names are such as X-Forwarded-Client-Cert."
                raise ValueError(message)
        return value


class Isolation:
    """Decides whether a page of another origin may cause a request.

    Args:
        settings: see `FetchMetadataSettings`.
    """

    def __init__(self, settings: FetchMetadataSettings) -> None:
        self._refuses = settings.mode == "enforce"
        own: set[bytes] = {b"same-origin", b"none"}  # none: typed, or from a bookmark
        self._own_sites = frozenset(own | {b"same-site"} if settings.allow_same_site else own)
        self._exempt = PathMap(dict.fromkeys(settings.exempt_paths, True))
        self._ambient = frozenset(name.lower().encode("ascii") for name in settings.ambient_headers)
        self._allowed_by: tuple[CrossOriginPolicy, ...] = ()
        self._decisions = {(policy, outcome): 0 for policy in _POLICIES for outcome in _OUTCOMES}

    def join(self, kit: Kit) -> None:
        """Learn who else allows pages of other origins something."""
        self._allowed_by = kit.all(CrossOriginPolicy)  # type: ignore[type-abstract] # a protocol, as `all` says

    def guard(self, context: RequestContext) -> None:
        """Let requests of our own pages, of people and of programs go on; judge those of other origins.

        Raises:
            Problem: 403.
        """
        headers = context.headers
        if b"sec-fetch-site" in headers:
            # Of several lines none is a browser's.
            if context.has_repeated_headers or headers[b"sec-fetch-site"] not in self._own_sites:
                self._judge(context)
        elif b"origin" in headers:
            self._judge_origin(context)

    def samples(self) -> Iterable[Sample]:
        """Requests that pages of other origins caused, by kind and decision; all others are not counted."""
        return [
            Sample(
                "prodkit_fetch_metadata_decisions_total",
                {"policy": policy, "outcome": outcome},
                count,
                "counter",
                "Requests caused by pages of other origins, by kind and decision; degraded: would have been refused.",
            )
            for (policy, outcome), count in self._decisions.items()
        ]

    def _judge(self, context: RequestContext) -> None:
        """By what the browser says. A word that is not known yet is one of strangers."""
        scope = context.scope
        if scope is None or sole_line(context, b"sec-fetch-site") in self._own_sites:
            return
        if scope["type"] == "websocket":
            self._settle(context, "websocket", is_allowed=self._is_permitted(context))
            return
        mode = sole_line(context, b"sec-fetch-mode")
        is_reading = scope["method"] in _SAFE
        if mode == b"navigate" and scope["method"] in {"GET", "HEAD"}:
            is_allowed = sole_line(context, b"sec-fetch-dest") not in _EMBEDDED
            self._settle(context, "navigation", is_allowed=is_allowed or self._is_permitted(context))
        elif is_reading and mode != b"cors":
            self._settle(context, "embedding", is_allowed=self._is_permitted(context))
        else:
            # What is public may be asked by everybody as nobody: a form, which asks as the user, is none of these.
            self._settle(context, "request", is_allowed=self._is_permitted(context, as_user=not is_reading))

    def _judge_origin(self, context: RequestContext) -> None:
        """Without metadata: what a browser does as the signed-in user has to come from a page that is allowed to."""
        scope = context.scope
        if scope is None or not self._acts_as_user(context):
            return
        if scope["type"] == "http" and scope["method"] in _SAFE:
            return
        if not is_own_origin(context, sole_line(context, b"origin")):
            self._settle(context, "origin", is_allowed=self._is_permitted(context, as_user=True))

    def _is_permitted(self, context: RequestContext, *, as_user: bool = True) -> bool:
        """Whether CORS allows the page, and what the browser attached with it."""
        with_credentials = as_user and self._acts_as_user(context)
        origin = sole_line(context, b"origin")
        return any(
            policy.permits_origin(context, origin, with_credentials=with_credentials)
            for policy in self._allowed_by
        )

    def _acts_as_user(self, context: RequestContext) -> bool:
        """Whether something came along that a browser attaches without being asked."""
        return has_ambient_credentials(context) or not self._ambient.isdisjoint(context.headers)

    def _settle(self, context: RequestContext, policy: str, *, is_allowed: bool) -> None:
        if is_allowed:
            outcome = "allowed"
        elif self._is_exempt(context):
            outcome = "bypassed"
        else:
            outcome = "denied" if self._refuses else "degraded"
        self._decisions[policy, outcome] += 1
        if outcome == "denied":
            raise Problem(CROSS_ORIGIN_REQUEST, "A page of another origin may not cause this request.")

    def _is_exempt(self, context: RequestContext) -> bool:
        if context.scope is None:
            return False
        return self._exempt.find_surely(application_path(context.scope), default=False, unsure=False)


class FetchMetadata:
    """The feature `fetch_metadata`; given in code it enforces, unless it is told otherwise."""

    name = "fetch_metadata"

    def __init__(
        self,
        *,
        mode: Mode = "enforce",
        allow_same_site: bool = False,
        exempt_paths: Sequence[str] = (),
        ambient_headers: Sequence[str] = (),
    ) -> None:
        self.settings = FetchMetadataSettings.of(
            "FetchMetadata",
            mode=mode,
            allow_same_site=allow_same_site,
            exempt_paths=exempt_paths,
            ambient_headers=ambient_headers,
        )
        self._isolation = Isolation(self.settings)
        self.provides: Sequence[object] = (self._isolation,) if self.settings.is_on else ()

    @classmethod
    def from_settings(cls, section: FetchMetadataSettings) -> FetchMetadata:
        """Build it from its section of `Settings`."""
        return cls(**dict(section))

    def parts(self, kit: Kit) -> Parts:
        """A guard in EDGE, or nothing."""
        if not self.settings.is_on:
            return Parts()
        self._isolation.join(kit)
        verb = "refuses" if self.settings.mode == "enforce" else "counts"
        return Parts(
            guards=[(Layer.EDGE, self._isolation.guard)],
            order={Layer.EDGE: f"{verb} what pages of other origins cause and nothing allows"},
        )
