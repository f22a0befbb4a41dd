"""What this process remembers of keys, so that few requests ask the store: bounded, and without any key in it."""

from __future__ import annotations

from collections import OrderedDict
from email.utils import format_datetime
from ipaddress import ip_network
from typing import TYPE_CHECKING, Final

from prodkit.api_keys.terms import date_of
from prodkit.core.identity import Principal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Address, IPv6Address

    from prodkit.core.asgi import Headers
    from prodkit.stores import KeyRecord

__all__ = ["Entry", "KeyCache", "Refusal"]

Refusal = tuple[float, str]
"""Until when a credential is refused without asking the store again, in monotonic seconds, and why."""

_CHANCES: Final = 8


class Entry:
    """A key that was presented with the right secret. Whether it is good is asked at every use.

    Attributes:
        key_id: the public part.
        principal: whom it makes its holder.
        good_until: monotonic seconds from which the store is asked again.
        touch_at: monotonic seconds from which a use is written down.
        is_plain: whether only the expiry of `principal` has to be looked at.
        used: whether it was accepted since it last had to fear for its place.
        notice: headers that tell of its end.
    """

    __slots__ = (
        "_is_revoked",
        "_networks",
        "_not_before",
        "good_until",
        "is_plain",
        "key_id",
        "notice",
        "principal",
        "touch_at",
        "used",
    )

    def __init__(self, record: KeyRecord, good_until: float, touch_at: float) -> None:
        self.key_id = record.id
        self.principal = Principal(
            id=record.owner,
            kind="api_key",
            scopes=record.scopes,
            tenant=record.tenant,
            plan=record.plan,
            expires_at=record.expires_at,
            claims={"key": record.id},
        )
        self.good_until = good_until
        self.touch_at = touch_at
        self.used = False
        self.notice = _notice(record)
        self._not_before = record.not_before
        # It holds from when it is known, whatever this machine's clock says of the moment at which it was made.
        self._is_revoked = record.revoked_at is not None
        self._networks = tuple(ip_network(network) for network in record.networks)
        self.is_plain = (
            record.not_before is None and not self._is_revoked and not self._networks and not self.notice
        )

    def fault(self, now: float) -> str | None:
        """Why the key is not good at *now*, in unix seconds, wherever it is used from; None when it is."""
        if self._is_revoked:
            return "revoked"
        if self._not_before is not None and now < self._not_before:
            return "not valid yet"
        if self.principal.expires_at is not None and now >= self.principal.expires_at:
            return "expired"
        return None

    def stands_behind(self, principal: Principal) -> bool:
        """Whether *principal* is what the key makes its holder, or can do less."""
        own = self.principal
        return (
            (own.id, own.tenant, own.plan) == (principal.id, principal.tenant, principal.plan)
        ) and principal.scopes <= own.scopes

    def is_at_home(self, address: IPv4Address | IPv6Address | None) -> bool:
        """Whether the key may be used from *address*. Nowhere is not in any network."""
        if not self._networks:
            return True
        if address is None:
            return False
        # ::ffff:192.0.2.1 is 192.0.2.1 on a socket that takes both
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network for network in self._networks)

    @property
    def is_bound_to_networks(self) -> bool:
        """Whether the caller's address matters."""
        return bool(self._networks)


class KeyCache:
    """Entries and refusals by a digest of what was presented; the oldest go first, unless they are in use.

    Args:
        max_keys: how many entries, and how many refusals, at most. An entry takes about 1 KB.

    Attributes:
        entries: by digest; read directly on the path of every request, written only here.
        refusals: likewise.
        generation: moves with every change of a key: what was read from the store before is not kept after it.
    """

    __slots__ = ("_max_keys", "_tags", "entries", "generation", "refusals")

    def __init__(self, max_keys: int) -> None:
        self._max_keys = max_keys
        # Ordered by a linked list: a plain dict finds its first living entry by walking over all the deleted ones.
        self.entries: OrderedDict[bytes, Entry] = OrderedDict()
        self.refusals: OrderedDict[bytes, Refusal] = OrderedDict()
        self._tags: dict[str, bytes] = {}
        self.generation = 0

    def keep(self, tag: bytes, entry: Entry) -> None:
        """Remember *entry*, and make room for it."""
        earlier = self.entries.get(tag)
        if earlier is not None:
            # A use that was written down a moment ago is not written again for having asked the store.
            entry.touch_at = max(entry.touch_at, earlier.touch_at)
        elif len(self.entries) >= self._max_keys:
            self._evict()
        self.entries[tag] = entry
        self._tags[entry.key_id] = tag
        self.refusals.pop(tag, None)

    def refuse(self, tag: bytes, refusal: Refusal) -> None:
        """Remember that what *tag* stands for is no key."""
        if tag not in self.refusals and len(self.refusals) >= self._max_keys:
            self.refusals.popitem(last=False)
        self.refusals[tag] = refusal
        self.refusals.move_to_end(tag)

    def of(self, key_id: str) -> Entry | None:
        """The entry of *key_id*, however old."""
        tag = self._tags.get(key_id)
        return None if tag is None else self.entries.get(tag)

    def forget(self, key_ids: Sequence[str] | None) -> None:
        """Drop what is known of *key_ids*, or everything: those keys have changed."""
        if key_ids is not None and not key_ids:
            return
        self.generation += 1
        # It is not known which of them would no longer be refused, and they are cheap to find again.
        self.refusals.clear()
        if key_ids is None:
            self.entries.clear()
            self._tags.clear()
            return
        for key_id in key_ids:
            tag = self._tags.pop(key_id, None)
            if tag is not None:
                self.entries.pop(tag, None)

    def _evict(self) -> None:
        for chance in range(_CHANCES):
            tag, entry = self.entries.popitem(last=False)
            if entry.used and chance < _CHANCES - 1 and self.entries:
                entry.used = False
                self.entries[tag] = entry
            else:
                self._tags.pop(entry.key_id, None)
                return


def _notice(record: KeyRecord) -> Headers:
    """Headers of a key that was replaced. Source: RFC 9745 (Deprecation), RFC 8594 (Sunset)."""
    if record.deprecated_at is None:
        return []
    notice = [(b"deprecation", b"@%d" % int(date_of(record.deprecated_at).timestamp()))]
    if record.expires_at is not None:
        notice.append((b"sunset", format_datetime(date_of(record.expires_at), usegmt=True).encode("ascii")))
    return notice
