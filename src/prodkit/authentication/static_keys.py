"""API keys that stand in the configuration as digests: the smallest authenticator, for a handful of callers.

Source: OWASP ASVS 5.0, 6.5.2 (a plain hash will do for a secret of at least 112 bits of entropy).
"""

from __future__ import annotations

import re
from collections.abc import Mapping  # noqa: TC003 - pydantic resolves annotations
from hashlib import blake2s, sha256
from secrets import token_urlsafe
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from prodkit.core.clock import SYSTEM_CLOCK
from prodkit.core.exceptions import SettingsError, SettingsFault
from prodkit.core.identity import Principal

if TYPE_CHECKING:
    from prodkit.core.context import RequestContext

__all__ = ["GeneratedKey", "StaticKey", "StaticKeys"]

# By it a principal is known again, also where a session has kept it over a restart: the id, and a digest of what is
# configured, so that another key under the same id is another one.
_CLAIM: Final = "static_key"
_ID: Final = re.compile(r"[A-Za-z0-9._\-]{1,64}")
# Many times any key there is. A longer one is not looked at, so that nobody makes us hash what the server lets in.
_MAX_BYTES: Final = 512


class StaticKey(BaseModel):
    """One key as the configuration holds it."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    sha256: Annotated[
        str,
        Field(
            pattern=r"^[0-9a-fA-F]{64}$", repr=False, description="SHA-256 of the key, 64 hexadecimal digits."
        ),
    ]
    scopes: Annotated[frozenset[str], Field(description="What the caller may do.")] = frozenset()
    tenant: Annotated[str | None, Field(description="The organisation the caller belongs to.")] = None
    plan: Annotated[str | None, Field(description="The plan whose limits apply.")] = None
    expires_at: Annotated[
        AwareDatetime | None, Field(description="Not accepted from then on: ISO 8601 with an offset, or Z.")
    ] = None


class GeneratedKey(NamedTuple):
    """A new key: hand *key* to the caller once, put *sha256* into the configuration."""

    key: str
    sha256: str

    def __repr__(self) -> str:
        """Without the key."""
        return f"GeneratedKey(sha256={self.sha256!r})"


class StaticKeys:
    """An `Authenticator` for keys sent as `Authorization: Bearer KEY` or `X-API-Key: KEY`; never in the URL.

    The key presented is hashed and the digest looked up. That compares nothing in constant time, and need not: how
    long a look-up takes depends on the digest, and whoever could choose digests could break SHA-256. A plain hash is
    enough only for keys that cannot be guessed: give out what `generate` makes, never a word of somebody's choice.

    Args:
        keys: the caller's id to its key. The id becomes the principal's.

    Raises:
        SettingsError: an id is not 1 to 64 characters of `[A-Za-z0-9._-]`, or two callers have one key.
    """

    scheme = "apiKey"
    challenge = "Bearer"
    openapi: Mapping[str, object] = {
        "type": "http",
        "scheme": "bearer",
        "description": "An API key. `X-API-Key: KEY` does the same.",
    }

    __slots__ = ("_accepted", "_known")

    def __init__(self, keys: Mapping[str, StaticKey | Mapping[str, object]]) -> None:
        self._known: dict[bytes, Principal] = {}
        # At most one entry for each known key: what is not accepted leaves nothing behind.
        self._accepted: dict[bytes, Principal] = {}
        faults = []
        for key_id, given in keys.items():
            if _ID.fullmatch(key_id) is None:
                faults.append(
                    _fault("an id is not 1 to 64 characters of [A-Za-z0-9._-].", "Choose another id.")
                )
                continue
            key = given if isinstance(given, StaticKey) else StaticKey.model_validate(given)
            digest = bytes.fromhex(key.sha256)
            if digest in self._known:
                other = self._known[digest].id
                faults.append(_fault(f"{key_id} and {other} have the same key.", "Give each caller its own."))
            self._known[digest] = Principal(
                id=key_id,
                kind="api_key",
                scopes=key.scopes,
                tenant=key.tenant,
                plan=key.plan,
                expires_at=None if key.expires_at is None else key.expires_at.timestamp(),
                claims={_CLAIM: f"{key_id}:{blake2s(digest, digest_size=8).hexdigest()}"},
            )
        if faults:
            raise SettingsError(faults)

    def __repr__(self) -> str:
        """Only how many there are."""
        return f"StaticKeys({len(self._known)} keys)"

    @staticmethod
    def generate() -> GeneratedKey:
        """Make a key of 256 random bits, with the digest to configure."""
        key = f"pk_{token_urlsafe(32)}"
        return GeneratedKey(key, sha256(key.encode("ascii")).hexdigest())

    async def is_still_valid(self, principal: Principal) -> bool | None:
        """Whether *principal*, once identified by a key of the configuration, is what the configuration says today."""
        mark = principal.claims.get(_CLAIM)
        if mark is None:
            return None
        known = next((one for one in self._known.values() if one.claims[_CLAIM] == mark), None)
        if known is None or (known.expires_at is not None and SYSTEM_CLOCK.wall() >= known.expires_at):
            return False
        return (known.scopes, known.tenant, known.plan) == (
            principal.scopes,
            principal.tenant,
            principal.plan,
        )

    def authenticate(self, context: RequestContext) -> Principal | None:
        """The caller whose key was sent, or None: an unknown key may be another authenticator's. Never raises."""
        headers = context.headers
        if b"authorization" in headers:
            value = headers[b"authorization"]
            # The scheme's case does not matter (RFC 9110, 11.1); nearly everybody writes it like this.
            if value[:7] != b"Bearer " and value[:7].lower() != b"bearer ":
                return None
            key = value[7:]
        elif b"x-api-key" in headers:
            key = headers[b"x-api-key"]
        else:
            return None
        if len(key) > _MAX_BYTES:
            return None
        # A key that was accepted before is known again by a digest of half the price.
        tag = blake2s(key).digest()
        try:
            principal = self._accepted[tag]
        except KeyError:
            digest = sha256(key).digest()
            if digest not in self._known:
                return None
            principal = self._accepted[tag] = self._known[digest]
        expires_at = principal.expires_at
        if expires_at is not None and context.kit.clock.wall() >= expires_at:
            return None
        return principal


def _fault(message: str, cure: str) -> SettingsFault:
    return SettingsFault("PRODKIT_AUTHENTICATION__STATIC_KEYS", message, cure)
