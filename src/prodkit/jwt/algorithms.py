"""Signature algorithms, the kind of key each of them needs, and the rule that families are never mixed.

Source: RFC 7518, 3.1 (HS, RS, ES, PS); RFC 8037, 3.1 (EdDSA); RFC 9864, 2.2 (Ed25519 by its own name).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

__all__ = ["ALGORITHMS", "SYMMETRIC", "Algorithm", "Family", "checked_algorithms"]

Family = Literal["RSA", "EC", "OKP", "oct"]


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One signature algorithm.

    Attributes:
        name: as in `alg`.
        family: the `kty` of its keys.
        hash_bytes: how long a digest of its hash is; of a secret, the least that is allowed (RFC 7518, 3.2).
        curve: the only `crv` it may be used with, or None where keys have no curve.
    """

    name: str
    family: Family
    hash_bytes: int
    curve: str | None = None


ALGORITHMS: Final[Mapping[str, Algorithm]] = MappingProxyType(
    {
        algorithm.name: algorithm
        for algorithm in (
            *(Algorithm(f"HS{bits}", "oct", bits // 8) for bits in (256, 384, 512)),
            *(
                Algorithm(f"{name}{bits}", "RSA", bits // 8)
                for name in ("RS", "PS")
                for bits in (256, 384, 512)
            ),
            Algorithm("ES256", "EC", 32, "P-256"),
            Algorithm("ES384", "EC", 48, "P-384"),
            Algorithm("ES512", "EC", 64, "P-521"),
            # The same algorithm by its general name, and by the one that says which curve.
            Algorithm("EdDSA", "OKP", 64, "Ed25519"),
            Algorithm("Ed25519", "OKP", 64, "Ed25519"),
        )
    }
)
"""Every algorithm there is for us. `none` is not among them, and nothing adds one."""

SYMMETRIC: Final = frozenset(name for name, algorithm in ALGORITHMS.items() if algorithm.family == "oct")


def checked_algorithms(names: Collection[str]) -> frozenset[str]:
    """*names* as a set that one verifier may accept.

    Raises:
        TypeError: a single text, of which every part would be "in" it.
        ValueError: none, an unknown one, or secrets and key pairs together: whoever knows the public key could then
            sign with it as a secret.
    """
    if isinstance(names, str | bytes) or not isinstance(names, Collection):
        message = f"algorithms is a collection of names, not one text: write ({names!r},)"
        raise TypeError(message)
    found = frozenset(names)
    unknown = sorted(str(name)[:32] for name in found if name not in ALGORITHMS)
    if unknown or not found:
        message = f"algorithms holds at least one of {', '.join(ALGORITHMS)}" + (
            f" and not {', '.join(unknown)}" if unknown else ""
        )
        raise ValueError(message)
    if found & SYMMETRIC and found - SYMMETRIC:
        message = "algorithms mixes HMAC with those of key pairs: a public key could then be used as a secret"
        raise ValueError(message)
    return found
