"""Headers that tell an attacker what software runs here, and everybody else nothing.

Source: OWASP Secure Headers Project, `headers_remove.json` of 2024-07-19; OWASP ASVS 5.0, 13.4.6.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["LEAKING", "leaking"]

LEAKING: Final = frozenset(
    {
        "$wsep",
        "host-header",
        "k-proxy-request",
        "liferay-portal",
        "oraclecommercecloud-version",
        "pega-host",
        "powered-by",
        "product",
        "server",
        "sourcemap",
        "x-aspnet-version",
        "x-aspnetmvc-version",
        "x-atmosphere-error",
        "x-atmosphere-first-request",
        "x-atmosphere-tracking-id",
        "x-b3-parentspanid",
        "x-b3-sampled",
        "x-b3-spanid",
        "x-b3-traceid",
        "x-beserver",
        "x-calculatedbetarget",
        "x-cf-powered-by",
        "x-cms",
        "x-cocoon-version",
        "x-content-encoded-by",
        "x-diaginfo",
        "x-dtagentid",
        "x-dthealthcheck",
        "x-dtinjectedservlet",
        "x-envoy-attempt-count",
        "x-envoy-external-address",
        "x-envoy-internal",
        "x-envoy-original-dst-host",
        "x-envoy-upstream-service-time",
        "x-feserver",
        "x-framework",
        "x-generated-by",
        "x-generator",
        "x-jitsi-release",
        "x-kubernetes-pf-flowschema-ui",
        "x-kubernetes-pf-prioritylevel-uid",
        "x-litespeed-cache",
        "x-litespeed-cache-control",
        "x-litespeed-purge",
        "x-litespeed-tag",
        "x-litespeed-vary",
        "x-mod-pagespeed",
        "x-nextjs-cache",
        "x-nextjs-matched-path",
        "x-nextjs-page",
        "x-nextjs-redirect",
        "x-old-content-length",
        "x-oneagent-js-injection",
        "x-owa-version",
        "x-page-speed",
        "x-php-version",
        "x-powered-by",
        "x-powered-by-plesk",
        "x-powered-cms",
        "x-redirect-by",
        "x-ruxit-js-agent",
        "x-server-powered-by",
        "x-sourcefiles",
        "x-sourcemap",
        "x-turbo-charged-by",
        "x-umbraco-version",
        "x-varnish-backend",
        "x-varnish-server",
    }
)
"""Their names, in lower case."""


def leaking(kept: Iterable[str]) -> frozenset[str]:
    """The names that are removed where those of *kept* are not; none where that is `*`."""
    names = {name.lower() for name in kept}
    return frozenset() if "*" in names else LEAKING - names
