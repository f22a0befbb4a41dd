"""What a key is issued for: checked before anything is written, since a key can be used long after its mistake."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prodkit.stores import KeyRecord

__all__ = [
    "EARLIEST",
    "LATEST",
    "LONGEST_LIFETIME",
    "LONGEST_OVERLAP",
    "SHORTEST_LIFETIME",
    "IssuedKey",
    "KeyStateError",
    "KeyTerms",
    "KeyTermsError",
    "date_of",
    "networks_of",
]

LONGEST_LIFETIME: Final = timedelta(days=3650)
"""Ten years: whatever is meant to last longer is not meant to be replaced, and will be stolen first."""

LONGEST_OVERLAP: Final = timedelta(days=366)
"""A year of two good keys; who needs more has not replaced the key."""

SHORTEST_LIFETIME: Final = timedelta(minutes=1)
"""A minute: what is shorter has ended before it is where it is used."""

EARLIEST: Final = 0.0
"""1970, in unix seconds: no key is older."""

LATEST: Final = 221_845_392_000.0
"""The year 9000, in unix seconds: a lifetime later, and in every time zone, it still is a date that can be written."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_SECOND: Final = (datetime.min.replace(tzinfo=UTC) - _EPOCH).total_seconds()
_LAST_SECOND: Final = (datetime.max.replace(tzinfo=UTC, microsecond=0) - _EPOCH).total_seconds()

_MOST_SCOPES: Final = 64
_LONGEST_SCOPE: Final = 128
_MOST_NETWORKS: Final = 64
_LONGEST_TEXT: Final = 128


class KeyTermsError(ValueError):
    """What a key shall be issued for cannot be; the message says why and holds no credential."""


class KeyStateError(Exception):
    """A key cannot be replaced: it is revoked, expired, or replaced already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyTerms:
    """What a key may do, whose it is, and for how long.

    Attributes:
        owner: the principal it acts for, 1 to 128 printable characters.
        scopes: at most 64 scope tokens (RFC 6749, 3.3) of at most 128 characters.
        tenant, plan: as the owner, or None.
        expires_in: from a minute to ten years; None for what the settings say.
        not_before: not good before; with a time zone, from 1970 to the year 9000.
        networks: at most 64 networks in CIDR notation, without host bits; empty for anywhere.
        name: what people call it, at most 128 printable characters.
        created_by: the principal that issues it.

    Raises:
        KeyTermsError: one of them is something else.
    """

    owner: str
    scopes: Iterable[str] = frozenset()
    tenant: str | None = None
    plan: str | None = None
    expires_in: timedelta | None = None
    not_before: datetime | None = None
    networks: Iterable[str] = ()
    name: str = ""
    created_by: str | None = None

    def __post_init__(self) -> None:
        """Check all of it, and write networks as everybody else does."""
        if isinstance(self.scopes, str) or isinstance(self.networks, str):
            message = "scopes and networks are lists, not one text"
            raise KeyTermsError(message)
        object.__setattr__(self, "scopes", _scopes(self.scopes))
        object.__setattr__(self, "networks", tuple(map(str, networks_of(self.networks))))
        for what, text in (
            ("the owner", self.owner),
            ("the tenant", self.tenant),
            ("the plan", self.plan),
            ("the creator", self.created_by),
        ):
            if text is not None and not _is_name(text):
                message = f"{what} is not 1 to {_LONGEST_TEXT} printable characters"
                raise KeyTermsError(message)
        if self.name and not _is_name(self.name):
            message = f"the name is not printable, or longer than {_LONGEST_TEXT} characters"
            raise KeyTermsError(message)
        if self.expires_in is not None and not SHORTEST_LIFETIME <= self.expires_in <= LONGEST_LIFETIME:
            message = "a key lives from one minute to ten years"
            raise KeyTermsError(message)
        if self.not_before is not None and self.not_before.tzinfo is None:
            message = "not_before has no time zone"
            raise KeyTermsError(message)
        if self.not_before is not None and not EARLIEST <= self.not_before.timestamp() <= LATEST:
            message = "not_before is not between the years 1970 and 9000"
            raise KeyTermsError(message)


@dataclass(frozen=True, slots=True)
class IssuedKey:
    """A new key: the only moment at which all of it is known.

    Attributes:
        record: what is kept.
        secret: the key itself, to be handed over once; not in the repr.
    """

    record: KeyRecord
    secret: str = field(repr=False)


def date_of(at: float) -> datetime:
    """*at*, unix seconds, as a date in UTC; the nearest there is, so that one impossible row hides no other."""
    return _EPOCH + timedelta(seconds=min(max(_FIRST_SECOND, at), _LAST_SECOND))


def networks_of(texts: Iterable[str]) -> tuple[IPv4Network | IPv6Network, ...]:
    """The networks that *texts* name, each once.

    Raises:
        KeyTermsError: one is no network, has host bits, or there are too many.
    """
    listed = list(texts)
    if len(listed) > _MOST_NETWORKS:
        message = f"a key has at most {_MOST_NETWORKS} networks"
        raise KeyTermsError(message)
    found: dict[IPv4Network | IPv6Network, None] = {}
    for number, text in enumerate(listed, start=1):
        try:
            found[ip_network(text)] = None
        except ValueError:
            # Not repeated: what stands here by mistake may be a key.
            message = (
                f"network {number} of {len(listed)} is none; "
                "they are written like 192.0.2.0/24 or 2001:db8::/32, without host bits"
            )
            raise KeyTermsError(message) from None
    return tuple(found)


def _scopes(scopes: Iterable[str]) -> frozenset[str]:
    found = frozenset(scopes)
    if len(found) > _MOST_SCOPES:
        message = f"a key has at most {_MOST_SCOPES} scopes"
        raise KeyTermsError(message)
    for scope in found:
        # RFC 6749, 3.3: what can stand in a list that is separated by spaces, and in a challenge
        if not (
            0 < len(scope) <= _LONGEST_SCOPE
            and all("!" <= character <= "~" and character not in '"\\' for character in scope)
        ):
            message = f"a scope is 1 to {_LONGEST_SCOPE} printable ASCII characters without space, quote and backslash"
            raise KeyTermsError(message)
    return found


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _LONGEST_TEXT and text.isprintable() and text == text.strip()
