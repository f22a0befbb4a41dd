"""The cookie of a session, and the token that belongs to it: how they are made, found in a request, and told from forged ones.

Source: RFC 6265bis, 4.1.3.2 (`__Host-`), 5.7 (SameSite); OWASP ASVS 5.0, 3.3 (cookies), 7.2.3 (at least 128 random bits);
RFC 2104 (HMAC).
"""

from __future__ import annotations

import hmac
import re
from base64 import urlsafe_b64encode
from hashlib import sha256
from typing import TYPE_CHECKING, Final, NamedTuple

from prodkit.core.asgi import header_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from prodkit.core.context import RequestContext

__all__ = ["KEY_ID", "LONGEST", "SHORTEST_SECRET_BYTES", "Cookie", "NewSession", "Seals", "cookie_values"]

KEY_ID: Final = r"[A-Za-z0-9_\-]{1,32}"
"""How a secret may be called: its name stands in every cookie."""

SHORTEST_SECRET_BYTES: Final = 32
"""As long as what HMAC-SHA256 yields (RFC 2104, 3: a shorter key is weaker than the function)."""

_ID_BYTES: Final = 32
# Key id, 43 characters for 256 random bits, 43 for the signature, and two dots: nothing else is looked at.
LONGEST: Final = 32 + 1 + 43 + 1 + 43
"""Bytes of a cookie value."""
_SHAPE: Final = re.compile(rb"([A-Za-z0-9_\-]{1,32})\.([A-Za-z0-9_\-]{43})\.([A-Za-z0-9_\-]{43})")
_REFERENCE_BYTES: Final = 16


class NewSession(NamedTuple):
    """A session that was just thought of.

    Attributes:
        cookie: the value for the browser; goes nowhere else.
        reference: names the session everywhere else.
        token: what the page sends with each request that changes something.
    """

    cookie: str
    reference: str
    token: str

    def __repr__(self) -> str:
        """Without what opens anything."""
        return f"NewSession(reference={self.reference!r})"


class Seals:
    """Makes cookies that nobody else can make, and tells which ones it made.

    What is signed is text as it stands in the cookie, and it is compared as text. So there is exactly one cookie for each
    session, and nothing has to be decoded before the signature is known to be good.

    Args:
        secrets: name to secret; the first one signs, all of them are accepted. At least 32 bytes each.
        cookie_name: signed too, so that a cookie of another application with the same secret is worth nothing here.
        token_source: gives so many random bytes.
    """

    __slots__ = ("_keys", "_name", "_signer", "_token_source")

    def __init__(
        self, secrets: Mapping[str, bytes], cookie_name: str, token_source: Callable[[int], bytes]
    ) -> None:
        self._name = cookie_name.encode("ascii")
        # A key for each use of a secret: a token shown to the page can then never be a signature.
        self._keys = {
            name.encode("ascii"): (_derived(secret, b"cookie"), _derived(secret, b"csrf"))
            for name, secret in secrets.items()
        }
        self._signer = next(iter(self._keys))
        self._token_source = token_source

    def __repr__(self) -> str:
        """Only how many secrets there are."""
        return f"Seals({len(self._keys)} secrets)"

    def new(self) -> NewSession:
        """A session that never was, with a cookie signed by the first secret."""
        session_id = _base64url(self._token_source(_ID_BYTES))
        key_id = self._signer
        value = b"%b.%b.%b" % (key_id, session_id, self._signature(key_id, session_id))
        return NewSession(
            value.decode("ascii"), _reference(session_id), self._token(key_id, session_id).decode("ascii")
        )

    def open(self, value: bytes) -> tuple[str, bytes] | None:
        """Reference and token of the session that the cookie *value* belongs to, or None when it is not of ours.

        Costs two MACs at most, and asks nobody. Nothing longer than `LONGEST` is one.
        """
        parts = _SHAPE.fullmatch(value)
        if parts is None:
            return None
        key_id, session_id, signature = parts.groups()
        if key_id not in self._keys or not hmac.compare_digest(
            self._signature(key_id, session_id), signature
        ):
            return None
        return _reference(session_id), self._token(key_id, session_id)

    def _signature(self, key_id: bytes, session_id: bytes) -> bytes:
        # The lengths of the parts are fixed or stand in the text: none can be moved into its neighbour.
        message = b"%b\n%b.%b" % (self._name, key_id, session_id)
        return _base64url(hmac.digest(self._keys[key_id][0], message, "sha256"))

    def _token(self, key_id: bytes, session_id: bytes) -> bytes:
        return _base64url(hmac.digest(self._keys[key_id][1], session_id, "sha256"))


class Cookie:
    """How the cookie is called and sent.

    Args:
        name: without a prefix.
        secure: whether it has the prefix `__Host-` and the attribute `Secure`; False only for development.
        same_site: `strict` or `lax`.

    Attributes:
        name: as it is sent.
        pattern: finds its value in a `Cookie` header.
        cleared: the `Set-Cookie` value that removes it.
    """

    __slots__ = ("_attributes", "cleared", "name", "pattern")

    def __init__(self, name: str, *, secure: bool, same_site: str) -> None:
        self.name = f"__Host-{name}" if secure else name
        self.pattern = re.compile(rb"(?:^|;)[ \t]*%b=([^;]*)" % re.escape(self.name.encode("ascii")))
        self._attributes = (
            f"Path=/; HttpOnly; SameSite={same_site.capitalize()}{'; Secure' if secure else ''}"
        )
        self.cleared = f"{self.name}=; Max-Age=0; {self._attributes}"

    def setting(self, value: str) -> str:
        """The `Set-Cookie` value that sets it, until the browser is closed: the server knows when it ends before that."""
        return f"{self.name}={value}; {self._attributes}"


def cookie_values(context: RequestContext, pattern: re.Pattern[bytes]) -> Sequence[bytes]:
    """Every value of the request's cookie that *pattern* finds; more than one is somebody's attempt to choose among them.

    Its cost grows with the length of the header, whatever stands in it.
    """
    headers = context.headers
    if b"cookie" not in headers:
        return ()
    if not context.has_repeated_headers or context.scope is None:
        return [value.rstrip(b" \t") for value in pattern.findall(headers[b"cookie"])]
    # HTTP/2 may bring each cookie on a line of its own (RFC 9113, 8.2.3).
    lines = header_lines(context.scope["headers"], b"cookie")
    return [value.rstrip(b" \t") for line in lines for value in pattern.findall(line)]


def _derived(secret: bytes, purpose: bytes) -> bytes:
    return hmac.digest(secret, b"prodkit web session " + purpose, "sha256")


def _reference(session_id: bytes) -> str:
    # Half of the digest: whoever finds another id for a reference has guessed one of 2**128.
    return sha256(session_id).digest()[:_REFERENCE_BYTES].hex()


def _base64url(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")
