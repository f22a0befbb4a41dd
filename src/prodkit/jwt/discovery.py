"""Where an issuer's keys are: its metadata document, and which addresses may be asked at all.

Source: OpenID Connect Discovery 1.0, 4; RFC 8414, 3.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from typing import Final
from urllib.parse import SplitResult, urlsplit

from prodkit.jwt.documents import read_document
from prodkit.jwt.fetching import FetchError, Reason

__all__ = ["fault_of_url", "is_loopback", "jwks_uri_of", "metadata_urls"]

_MAX_URL: Final = 2048
# Visible ASCII without what a URL cannot hold unescaped (RFC 3986, 2): no line break gets into a request line.
_URL: Final = re.compile(r"[!#-;=?-\[\]_a-z~]+")
_HOST: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.\-]{0,252}[A-Za-z0-9])?\.?")


def fault_of_url(url: str, *, is_issuer: bool = False) -> str | None:
    """Why *url* is no address to fetch keys from; None when it is one.

    `https` anywhere, `http` on a loopback address only, where nobody is on the way.

    Args:
        url: as configured, or as a metadata document says.
        is_issuer: an issuer has neither query nor fragment (RFC 8414, 2).
    """
    parts = _parts_of(url)
    if parts is None:
        return f"it is not an https URL of at most {_MAX_URL} ASCII characters."
    if "@" in parts.netloc:
        return "it holds a user name or a password."
    if "#" in url or (is_issuer and "?" in url):
        return "it has a fragment, or a query where an issuer has none."
    if parts.scheme == "http" and not is_loopback(parts):
        return "it is http, so whoever is on the way could replace the keys."
    return None


def is_loopback(parts: SplitResult) -> bool:
    """Whether the address never leaves this machine; names other than `localhost` are not looked up to find out."""
    host = parts.hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_inside(parts: SplitResult) -> bool:
    """Whether the host is this machine, or a literal address that is not one of the public internet, however spelt."""
    host = (parts.hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            # What resolvers take for an address too: 127.1, 0x7f000001, 2130706433.
            address = ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return False
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address.sixtofour or address
    return not address.is_global or address.is_multicast


def metadata_urls(issuer: str) -> tuple[str, ...]:
    """Where the metadata of *issuer* may be: as OpenID Connect has it, then as RFC 8414 has it.

    They differ only where the issuer has a path: OpenID Connect appends to it, RFC 8414 puts its name before it.
    """
    parts = urlsplit(issuer)
    path = parts.path.rstrip("/")
    root = f"{parts.scheme}://{parts.netloc}"
    return (
        f"{root}{path}/.well-known/openid-configuration",
        f"{root}/.well-known/oauth-authorization-server{path}",
    )


def jwks_uri_of(document: bytes, issuer: str) -> str:
    """The `jwks_uri` of a metadata document.

    Another host than the issuer's is allowed: large providers keep their keys on one, and who says so is the issuer
    itself, over TLS. What it says is held to the same rules as a configured address, and an issuer on https cannot
    lead to http, nor, by an address, to this machine or a private network, unless it has such an address itself. Where a
    name leads cannot be known here: configure the address of the keys where an issuer is not to be trusted with that.

    Raises:
        FetchError: see `read_document`; or `issuer`, the document speaks for somebody else (OpenID Connect Discovery, 4.3).
    """
    metadata = read_document(document)
    # Compared as it stands: no normalisation, no slash more or less.
    if metadata.get("issuer") != issuer:
        raise FetchError(Reason.ISSUER, "the metadata is of another issuer")
    found = metadata.get("jwks_uri")
    if not isinstance(found, str) or fault_of_url(found) is not None:
        raise FetchError(Reason.MALFORMED, "the metadata has no jwks_uri that may be fetched")
    if _is_inside(urlsplit(found)) and not _is_inside(urlsplit(issuer)):
        raise FetchError(
            Reason.MALFORMED, "the jwks_uri of a remote issuer is on this machine or in a private network"
        )
    return found


def _parts_of(url: str) -> SplitResult | None:
    if len(url) > _MAX_URL or _URL.fullmatch(url) is None:
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    is_address = parts.scheme in ("https", "http") and port != 0 and _is_host(parts.hostname or "")
    return parts if is_address else None


def _is_host(host: str) -> bool:
    if ":" in host:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            return False
        return True
    return _HOST.fullmatch(host) is not None and ".." not in host
