"""The primitives: key objects of python-jose where it has them, subclasses of its `Key` where it has not.

python-jose chooses its back end when it is imported and falls back to pure Python silently, finds classes through a
registry anybody may write to, and tries every key it is given. None of that is used: the classes over `cryptography` are
named here, and given key objects that were parsed and judged before.

Used on demand, by `prodkit.jwt.keys`: it needs the extra `jwt`.

Source: RFC 7518, 3.3 to 3.5; RFC 8037, 3.1.
"""

from __future__ import annotations

import hashlib
import hmac
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from prodkit.core.exceptions import InstallationError
from prodkit.jwt.algorithms import ALGORITHMS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

# Without the extra the module can be imported, and nothing in it be used: `require_jose` says what to install.
if TYPE_CHECKING or (find_spec("jose") and find_spec("cryptography")):
    import jose.backends
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
    from jose.backends import cryptography_backend as backend
    from jose.backends.base import Key

    _HASHES: Final[Mapping[int, hashes.HashAlgorithm]] = {
        32: hashes.SHA256(),
        48: hashes.SHA384(),
        64: hashes.SHA512(),
    }
else:  # pragma: no cover - seen by the job that imports every module without extras
    Key = object

__all__ = ["Ed25519Key", "RSAPSSKey", "check_backend", "checker", "thumbprint_of"]

# Of 128 bits: nobody makes a second key of it.
_THUMBPRINT_DIGITS: Final = 32


class RSAPSSKey(Key):
    """RSASSA-PSS with MGF1 over the same hash, and a salt of exactly the hash's length (RFC 7518, 3.5)."""

    def __init__(self, key: RSAPublicKey, algorithm: str) -> None:
        super().__init__(key, algorithm)
        self._key = key
        self._hash = _HASHES[ALGORITHMS[algorithm].hash_bytes]
        self._padding = padding.PSS(mgf=padding.MGF1(self._hash), salt_length=self._hash.digest_size)

    def verify(self, msg: bytes, sig: bytes) -> bool:
        """Whether *sig* is the key's signature of *msg*."""
        try:
            self._key.verify(sig, msg, self._padding, self._hash)
        except InvalidSignature:
            return False
        return True


class Ed25519Key(Key):
    """EdDSA on Curve25519 (RFC 8032)."""

    def __init__(self, key: Ed25519PublicKey, algorithm: str) -> None:
        super().__init__(key, algorithm)
        self._key = key

    def verify(self, msg: bytes, sig: bytes) -> bool:
        """Whether *sig* is the key's signature of *msg*."""
        try:
            self._key.verify(sig, msg)
        except InvalidSignature:
            return False
        return True


def check_backend() -> None:
    """See that python-jose itself runs on `cryptography` in this process.

    We name its classes and do not depend on that. But where it fell back, something is wrong with the installation, and
    whatever else uses it does so with code whose timing is known to leak (CVE-2024-23342).

    Raises:
        InstallationError: it fell back to another back end.
    """
    chosen = (jose.backends.RSAKey, jose.backends.ECKey, jose.backends.HMACKey)
    wanted = (backend.CryptographyRSAKey, backend.CryptographyECKey, backend.CryptographyHMACKey)
    if chosen != wanted:
        message = "python-jose does not use cryptography: pip install 'fastapi-prodkit[jwt]' again"
        raise InstallationError(message)


def checker(algorithm: str, key: Any) -> Callable[[bytes, bytes], bool]:
    """What tells whether a signature, its second argument, is that of a message by *key*.

    Args:
        algorithm: a name in `ALGORITHMS`.
        key: a secret, or a public key of `cryptography`; judged, and of the algorithm's family and curve. Any: which
            of them it is depends on *algorithm*.
    """
    kind: type[Key]
    if algorithm.startswith("RS"):
        kind = backend.CryptographyRSAKey
    elif algorithm.startswith("PS"):
        kind = RSAPSSKey
    elif algorithm.startswith("ES"):
        kind = backend.CryptographyECKey
    elif algorithm.startswith("HS"):
        kind = backend.CryptographyHMACKey
    else:
        kind = Ed25519Key
    return kind(key, algorithm).verify


def thumbprint_of(key: Any) -> str:
    """What tells *key* from every other: 32 hexadecimal digits.

    Args:
        key: as for `checker`. Of a public key the SubjectPublicKeyInfo is digested; of a secret something is signed, which
            tells as much of it as any token does.
    """
    if isinstance(key, bytes):
        return hmac.digest(key, b"prodkit: which secret this is", "sha256").hex()[:_THUMBPRINT_DIGITS]
    encoded = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(encoded).hexdigest()[:_THUMBPRINT_DIGITS]
