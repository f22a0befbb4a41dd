"""What an operator may say about the proxies in front.

Source: RFC 7239 (Forwarded); X-Forwarded-For, X-Forwarded-Proto and X-Forwarded-Host as proxies write them.
"""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Final, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from prodkit.core.features import FeatureSettings

__all__ = ["MAX_HOPS", "ProxiesSettings"]

MAX_HOPS: Final = 30
"""More proxies than anybody has in a row; whatever stands further left was not written by one of them."""

_HEADER_NAME: Final = r"^[A-Za-z0-9\-]{1,64}$"
_DEFAULT_HEADER: Final = "X-Forwarded-For"
# They are near at hand, and none of them holds an address.
_OTHER_HEADERS: Final = frozenset(
    {"host", "via", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix", "x-forwarded-proto"}
)


class ProxiesSettings(FeatureSettings):
    """Settings of `Proxies`; environment prefix `PRODKIT_PROXIES__`."""

    trusted_proxies: Annotated[
        tuple[str, ...],
        Field(
            description='Networks (CIDR) or addresses of the proxies in front, e.g. `["10.0.0.0/8"]`: a peer in one of them '
            "may say who is calling, and the first address from the right that is in none is the caller. Default: nobody.",
        ),
    ] = ()
    trusted_hops: Annotated[
        int | None,
        Field(
            ge=1,
            le=MAX_HOPS,
            description="In place of networks, how many proxies every request passes; the caller is that many entries from "
            "the right. Only where nobody can reach the application past them. Default: none.",
        ),
    ] = None
    header: Annotated[
        str,
        Field(
            pattern=_HEADER_NAME,
            description="The one header the proxies write: `X-Forwarded-For` (default), `Forwarded`, or one that holds a single "
            "address: `CF-Connecting-IP`, `True-Client-IP`, `Fly-Client-IP`, `Fastly-Client-IP`, `CloudFront-Viewer-Address`, "
            "`X-Azure-ClientIP`, `X-Real-IP`. They must replace what callers send there.",
        ),
    ] = _DEFAULT_HEADER
    trust_unix_socket: Annotated[
        bool,
        Field(
            description="Trust a peer without an address, as behind a Unix socket that only the proxy can open. Default off.",
        ),
    ] = False
    forwarded_host: Annotated[
        bool,
        Field(
            description="Take the host that the caller asked for from `X-Forwarded-Host` (with `Forwarded`, from its `host`) "
            "of a trusted proxy, in place of `Host`. Only where the proxy always writes it; most pass `Host` on instead. "
            "Default off.",
        ),
    ] = False

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for position, text in enumerate(value, start=1):
            try:
                network = ip_network(text)
            except ValueError:
                is_star = text.strip() == "*"
                fault = "would trust everybody" if is_star else "is not a network without host bits"
                message = (
                    f"entry {position} {fault} | Write networks as 10.0.0.0/8 or 2001:db8::/32, and single addresses as they are; "
                    "names of hosts are not looked up. Where the addresses of a proxy are not known, count hops (trusted_hops)."
                )
                raise ValueError(message) from None
            if network.prefixlen == 0:
                message = (
                    f"entry {position} trusts every address there is, so every caller could choose his own | "
                    "Name the networks of your proxies, or count them with trusted_hops."
                )
                raise ValueError(message)
        return value

    @field_validator("trusted_hops")
    @classmethod
    def _one_trust(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is not None and info.data.get("trusted_proxies"):
            message = "networks are named as well, and the two can disagree | Set trusted_proxies or trusted_hops, not both."
            raise ValueError(message)
        return value

    @field_validator("header")
    @classmethod
    def _holds_an_address(cls, value: str) -> str:
        if value.lower() in _OTHER_HEADERS:
            message = (
                "no proxy writes the caller's address there | Name the header that your proxies write it to."
            )
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _somebody_is_trusted(self) -> Self:
        meant = [
            *(["header"] if self.header.lower() != _DEFAULT_HEADER.lower() else []),
            *(["forwarded_host"] if self.forwarded_host else []),
        ]
        if meant and not self.trusts_somebody:
            message = (
                f"{' and '.join(meant)} is set, and nobody is trusted to write it, so it is never read | "
                "Name your proxies in trusted_proxies, or count them with trusted_hops."
            )
            raise ValueError(message)
        return self

    @property
    def trusts_somebody(self) -> bool:
        """Whether any peer may say who is calling."""
        return bool(self.trusted_proxies) or self.trusted_hops is not None or self.trust_unix_socket
