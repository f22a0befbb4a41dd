"""A JSON Web Key Set becomes keys to verify with: what is no use in it is passed over, what is dangerous is refused.

Source: RFC 7517, 5 (a set; unknown members and keys are ignored); RFC 8725, 3.5 (weak keys).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from prodkit.jwt.documents import read_document
from prodkit.jwt.fetching import FetchError, Reason
from prodkit.jwt.keys import key_from_jwk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from prodkit.jwt.keys import VerificationKey

__all__ = ["MAX_KEYS", "NO_KEYS", "REFUSALS", "KeySet", "read_key_set"]

MAX_KEYS: Final = 64
"""Large providers publish fewer than ten. A set of more is refused whole: which of them to take would be a guess."""

REFUSALS: Final = ("unsupported", "unfit", "shared_secret", "duplicate")
"""Why an entry is passed over: of a kind we do not know or not for signatures; weak or malformed; a secret, which a
published set cannot hold; the name of an earlier key of its family."""


@dataclass(frozen=True, slots=True)
class KeySet:
    """The keys of one provider at one moment.

    Attributes:
        candidates: by key id and algorithm, the keys to try. Without a key id only where one key alone fits.
        key_ids: every key id there is.
        thumbprints: of all keys; see `VerificationKey`.
        size: how many keys there are.
        fingerprint: equal for sets of equal keys, in any order.
        refused: how many entries were passed over, by reason.
    """

    candidates: Mapping[tuple[str | None, str], Sequence[VerificationKey]] = field(default_factory=dict)
    key_ids: frozenset[str] = frozenset()
    thumbprints: frozenset[str] = frozenset()
    size: int = 0
    fingerprint: bytes = b""
    refused: Mapping[str, int] = field(default_factory=lambda: dict.fromkeys(REFUSALS, 0))


NO_KEYS: Final = KeySet()


def read_key_set(body: bytes) -> KeySet:
    """The keys in *body*.

    Takes up to some 20 ms for what is allowed at most, so it is called in a thread.

    Raises:
        FetchError: `malformed` it is no key set, `too_large` it holds too much or more than 64 keys, `unusable` it holds none that
            may verify a signature.
    """
    entries = read_document(body).get("keys")
    if not isinstance(entries, list):
        raise FetchError(Reason.MALFORMED, "the key set has no list of keys")
    if len(entries) > MAX_KEYS:
        raise FetchError(Reason.TOO_LARGE, f"the key set holds {len(entries)} keys, more than {MAX_KEYS}")
    refused = dict.fromkeys(REFUSALS, 0)
    keys: list[VerificationKey] = []
    texts: list[bytes] = []
    named: set[tuple[str, str]] = set()
    for entry in entries:
        key = _read(entry, refused)
        if key is None:
            continue
        if key.kid is not None:
            # The earlier one stays: a provider that publishes a key twice shall not lock its users out.
            if (key.kid, key.family) in named:
                refused["duplicate"] += 1
                continue
            named.add((key.kid, key.family))
        keys.append(key)
        texts.append(json.dumps(entry, sort_keys=True).encode("ascii"))
    if not keys:
        raise FetchError(Reason.UNUSABLE, f"none of the {len(entries)} keys may verify a signature")
    return KeySet(
        candidates=_candidates(keys),
        key_ids=frozenset(kid for kid, _ in named),
        thumbprints=frozenset(key.thumbprint for key in keys),
        size=len(keys),
        fingerprint=hashlib.sha256(b"\n".join(sorted(texts))).digest(),
        refused=refused,
    )


def _read(entry: object, refused: dict[str, int]) -> VerificationKey | None:
    if not isinstance(entry, dict):
        refused["unfit"] += 1
        return None
    if entry.get("kty") == "oct":
        # Whatever verifier it came to: whoever reads the set could sign with it.
        refused["shared_secret"] += 1
        return None
    try:
        key = key_from_jwk(entry)
    except Exception:  # noqa: BLE001 - whatever an entry does to the libraries below, the others are still good
        refused["unfit"] += 1
        return None
    if key is None:
        refused["unsupported"] += 1
    return key


def _candidates(keys: Sequence[VerificationKey]) -> dict[tuple[str | None, str], tuple[VerificationKey, ...]]:
    found: dict[tuple[str | None, str], tuple[VerificationKey, ...]] = {}
    fitting: dict[str, list[VerificationKey]] = {}
    for key in keys:
        for algorithm in key.algorithms:
            fitting.setdefault(algorithm, []).append(key)
            if key.kid is not None:
                found[key.kid, algorithm] = (key,)
    # A token that names no key is for the one that fits, and for none where that is not clear (RFC 7515, 4.1.4).
    found.update({(None, algorithm): tuple(fit) for algorithm, fit in fitting.items() if len(fit) == 1})
    return found
