"""Keys that verify: each knows what it may be used for, and a source says which of them a token could mean.

Source: RFC 7517 (JWK: kty, use, key_ops, alg, kid); RFC 7518, 6; RFC 8037, 2; RFC 8725, 3.1 (one key, one algorithm).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol, runtime_checkable

from prodkit.core.exceptions import ProdkitError
from prodkit.core.extras import require
from prodkit.jwt.algorithms import ALGORITHMS, Family
from prodkit.jwt.parsing import InvalidTokenError, decode_base64url, is_key_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

__all__ = [
    "KeySource",
    "KeysUnavailableError",
    "StaticKeySource",
    "VerificationKey",
    "WeakKeyError",
    "key_from_jwk",
    "key_from_pem",
    "key_from_secret",
    "require_jose",
]

# A token without a key id is tried against each key without one; each try costs the time of a signature.
_MAX_UNNAMED: Final = 4
_MAX_STATIC: Final = 64
_MAX_TEXT: Final = 65_536

# RFC 7518, 6.2.2, 6.3.2 and 6.4.1; RFC 8037, 2.
_PRIVATE_MEMBERS: Final = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")
# RFC 7518, 6.2.1.2: coordinates have the length of the curve's field.
_CURVES: Final = {"P-256": 32, "P-384": 48, "P-521": 66}
_CURVE_NAMES: Final = {"secp256r1": "P-256", "secp384r1": "P-384", "secp521r1": "P-521"}


class KeysUnavailableError(ProdkitError):
    """Nothing is known of an issuer's keys, because it does not answer. May pass by itself: nobody's token is bad.

    Attributes:
        retry_after_seconds: when it may be worth another try.
    """

    def __init__(
        self, message: str = "the keys of the issuer are not known", *, retry_after_seconds: float = 5.0
    ) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(message)


class WeakKeyError(ProdkitError, ValueError):
    """A key is too weak to be trusted, or so strong that only an attacker gains; the message holds nothing of it."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """One key, parsed and judged.

    Attributes:
        kid: what tokens call it, or None.
        family: its `kty`.
        algorithms: what it may verify; never of two families, and of a curve or a declared `alg` only what fits.
        thumbprint: the same for the same key wherever it is read, and for no other; nothing follows from it.
    """

    kid: str | None
    family: Family
    algorithms: frozenset[str]
    _checks: Mapping[str, Callable[[bytes, bytes], bool]] = field(repr=False, compare=False)
    thumbprint: str = field(default="", repr=False)

    def verify(self, algorithm: str, signing_input: bytes, signature: bytes) -> bool:
        """Whether *signature* is this key's over *signing_input*; False too where *algorithm* is not one of its own."""
        check = self._checks.get(algorithm)
        return check is not None and check(signing_input, signature) is True


@runtime_checkable
class KeySource(Protocol):
    """Where a verifier finds keys.

    Attributes:
        generation: grows when keys were added, changed or taken away, so that whoever remembers an outcome forgets it.
    """

    generation: int

    def keys_for(
        self, kid: str | None, algorithm: str
    ) -> Sequence[VerificationKey] | Awaitable[Sequence[VerificationKey]]:
        """The keys a token with this header may have been signed with; empty when there is none of this name.

        Raises:
            KeysUnavailableError: nothing at all is known, because the provider does not answer.
        """


class StaticKeySource:
    """A `KeySource` of keys the developer has: it never waits.

    A token that names its key is verified by the key of that name, or by those without a name. One that names none is
    verified by the keys without a name too, and by a named one only if no other could be meant.

    Args:
        keys: at most 64, of which at most 4 for one algorithm have no name: each is tried, which costs time.

    Raises:
        ValueError: there are none or too many, or two of one family have the same name.
    """

    def __init__(self, keys: Iterable[VerificationKey]) -> None:
        self.generation = 0
        self._keys = tuple(keys)
        if not 1 <= len(self._keys) <= _MAX_STATIC:
            message = f"a verifier has 1 to {_MAX_STATIC} keys, not {len(self._keys)}"
            raise ValueError(message)
        names = [(key.family, key.kid) for key in self._keys if key.kid is not None]
        if len(set(names)) != len(names):
            message = "two keys have the same kid, so a token could mean either"
            raise ValueError(message)
        self._unnamed: dict[str, tuple[VerificationKey, ...]] = {}
        self._named: dict[str, tuple[VerificationKey, ...]] = {}
        for algorithm in ALGORITHMS:
            fitting = [key for key in self._keys if algorithm in key.algorithms]
            self._unnamed[algorithm] = tuple(key for key in fitting if key.kid is None)
            self._named[algorithm] = tuple(key for key in fitting if key.kid is not None)
            if len(self._unnamed[algorithm]) > _MAX_UNNAMED:
                message = f"more than {_MAX_UNNAMED} keys for {algorithm} have no kid: give them names"
                raise ValueError(message)

    def __repr__(self) -> str:
        """Only how many there are."""
        return f"StaticKeySource({len(self._keys)} keys)"

    @property
    def algorithms(self) -> frozenset[str]:
        """What at least one of the keys may verify."""
        return frozenset().union(*(key.algorithms for key in self._keys))

    def keys_for(self, kid: str | None, algorithm: str) -> Sequence[VerificationKey]:
        """See `KeySource`."""
        unnamed, named = self._unnamed.get(algorithm, ()), self._named.get(algorithm, ())
        if kid is None:
            return unnamed if unnamed or len(named) != 1 else named
        return (*(key for key in named if key.kid == kid), *unnamed)

    def is_published(self, thumbprint: str) -> bool:
        """See `WatchedKeys`: what was let in by a key that is not configured any more does not stay."""
        return any(key.thumbprint == thumbprint for key in self._keys)

    def usable_seconds(self) -> float:
        """See `WatchedKeys`."""
        return math.inf

    def newer_keys(self, kid: str | None, algorithm: str) -> None:
        """See `WatchedKeys`: there are none."""


def require_jose() -> None:
    """See that the extra `jwt` is installed, and that python-jose uses `cryptography`.

    Raises:
        MissingExtraError: something of the extra is missing.
        InstallationError: python-jose fell back to another back end.
    """
    for module in ("cryptography", "jose"):
        require(module, extra="jwt", purpose="Verifying JSON Web Tokens")
    from prodkit.jwt.signatures import check_backend  # noqa: PLC0415  needs the extra

    check_backend()


def key_from_jwk(jwk: Mapping[str, object], *, allow_secret: bool = False) -> VerificationKey | None:
    """The key in *jwk*; None when it is of a kind we do not know, or not meant for verifying signatures.

    Its `use`, `key_ops` and `alg` are obeyed. Certificates in it (x5c, x5u) are not looked at.

    Args:
        jwk: from outside unless *allow_secret*.
        allow_secret: whether it may be a secret (kty `oct`). What is published is none, so by default it is not used.

    Raises:
        WeakKeyError: it must not be trusted.
        ValueError: it is malformed, names an algorithm of another family, or holds the private part of a key pair.
    """
    require_jose()
    family, name, kid = jwk.get("kty"), jwk.get("alg"), jwk.get("kid")
    if not _may_verify(jwk) or (name is not None and (type(name) is not str or name not in ALGORITHMS)):
        return None
    if kid is not None and not is_key_id(kid):
        message = "the kid of a key is not a text of at most 256 printable characters"
        raise ValueError(message)
    if family == "oct":
        if not allow_secret:
            return None
        material: _Material = _binary(jwk, "k")
    elif family not in ("RSA", "EC", "OKP") or (family == "OKP" and jwk.get("crv") != "Ed25519"):
        return None
    elif any(member in jwk for member in _PRIVATE_MEMBERS):
        message = "a key holds its private part: whoever can read it can sign, so it is worth nothing"
        raise ValueError(message)
    elif family == "EC" and jwk.get("crv") not in tuple(_CURVES):  # compared, not hashed: it may be a list
        return None
    else:
        material = _public_key(family, jwk)
    return _judged(material, kid=kid, declared=name)  # type: ignore[arg-type] # both were checked above


def key_from_pem(text: str | bytes, *, kid: str | None = None) -> VerificationKey:
    """The public key in *text*, PEM of a public key (SubjectPublicKeyInfo or PKCS #1) or of a certificate.

    Of a certificate only the key is used: neither its chain nor its dates are looked at.

    Raises:
        WeakKeyError: it must not be trusted.
        ValueError: it is none, or it is a private key.
    """
    require_jose()
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  needs the extra
    from cryptography.hazmat.primitives.serialization import load_pem_public_key  # noqa: PLC0415  needs the extra
    from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415  needs the extra

    data = text.encode("utf-8", "replace") if isinstance(text, str) else text
    if b"PRIVATE KEY-----" in data:
        message = "a public key is a private one: whoever only verifies must not have it"
        raise ValueError(message)
    try:
        is_certificate = b"-----BEGIN CERTIFICATE-----" in data
        found = load_pem_x509_certificate(data).public_key() if is_certificate else load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        # Not what the library says: it may repeat the text.
        message = "a public key is not PEM"
        raise ValueError(message) from None
    return _judged(found, kid=kid, declared=None)


def key_from_secret(secret: str | bytes, *, kid: str | None = None) -> VerificationKey:
    """A secret for HMAC, used for the algorithms it is long enough for: HS256 from 32 bytes, HS384 48, HS512 64.

    Args:
        secret: bytes, or a text of which the UTF-8 is taken.
        kid: what tokens call it.

    Raises:
        WeakKeyError: it is too short, known to everybody, repeats itself, or is no secret but a public key.
    """
    require_jose()
    data = secret.encode("utf-8", "surrogatepass") if isinstance(secret, str) else secret
    return _judged(data, kid=kid, declared=None)


def keys_from_text(text: str) -> list[VerificationKey]:
    """The keys in *text*: PEM, a JWK or a JWK Set as JSON. Keys in a set that are not for verifying are left out.

    Raises:
        WeakKeyError: one must not be trusted.
        ValueError: it is none of these, or holds no key that verifies.
    """
    if "-----BEGIN" in text:
        return [key_from_pem(text)]
    try:
        document = json.loads(text) if len(text) <= _MAX_TEXT else None
    except (ValueError, RecursionError):
        document = None
    members = document.get("keys", [document]) if isinstance(document, dict) else []
    if not isinstance(members, list) or not all(isinstance(member, dict) for member in members):
        members = []
    found = [key for key in map(key_from_jwk, members) if key is not None]
    if not found:
        message = "a public key is neither PEM nor JSON with a key that verifies signatures"
        raise ValueError(message)
    return found


if TYPE_CHECKING:
    _Material = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey | bytes


def _may_verify(jwk: Mapping[str, object]) -> bool:
    use, operations = jwk.get("use", "sig"), jwk.get("key_ops", ["verify"])
    return use == "sig" and isinstance(operations, list) and "verify" in operations


def _binary(jwk: Mapping[str, object], name: str) -> bytes:
    value = jwk.get(name)
    if type(value) is not str or not value.isascii():
        message = f"the member {name} of a key is missing or no text"
        raise ValueError(message)
    try:
        return decode_base64url(value.encode("ascii"))
    except InvalidTokenError:
        message = f"the member {name} of a key is not base64url"
        raise ValueError(message) from None


def _public_key(family: object, jwk: Mapping[str, object]) -> _Material:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: PLC0415  needs the extra

    from prodkit.jwt.strength import rsa_fault  # noqa: PLC0415  needs the extra

    if family == "RSA":
        modulus, exponent = (int.from_bytes(_binary(jwk, name), "big") for name in ("n", "e"))
        fault = rsa_fault(modulus, exponent)
        if fault is not None:  # before the library has to compute with it
            raise WeakKeyError(fault)
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    if family == "OKP":
        return ed25519.Ed25519PublicKey.from_public_bytes(_binary(jwk, "x"))
    size = _CURVES[str(jwk["crv"])]
    x, y = _binary(jwk, "x"), _binary(jwk, "y")
    if len(x) != size or len(y) != size:
        message = f"a coordinate on {jwk['crv']} does not have {size} bytes"
        raise ValueError(message)
    curves: dict[str, ec.EllipticCurve] = {
        "P-256": ec.SECP256R1(),
        "P-384": ec.SECP384R1(),
        "P-521": ec.SECP521R1(),
    }
    # Raises when the point is not on the curve.
    return ec.EllipticCurvePublicNumbers(
        int.from_bytes(x, "big"), int.from_bytes(y, "big"), curves[str(jwk["crv"])]
    ).public_key()


def _judged(material: object, *, kid: str | None, declared: str | None) -> VerificationKey:
    """The key of *material*, with all algorithms it fits, or only the one it is *declared* for.

    Raises:
        WeakKeyError: it must not be trusted.
        ValueError: it is of no family we know, or not of the declared one.
    """
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa  # noqa: PLC0415  needs the extra

    from prodkit.jwt.signatures import checker, thumbprint_of  # noqa: PLC0415  needs the extra
    from prodkit.jwt.strength import rsa_fault, secret_fault  # noqa: PLC0415  needs the extra

    family: Family
    curve, fault, length = None, None, 64
    if isinstance(material, bytes):
        family, fault, length = "oct", secret_fault(material), len(material)
    elif isinstance(material, rsa.RSAPublicKey):
        numbers = material.public_numbers()
        family, fault = "RSA", rsa_fault(numbers.n, numbers.e)
    elif isinstance(material, ec.EllipticCurvePublicKey):
        family, curve = "EC", _CURVE_NAMES.get(material.curve.name, "")
    elif isinstance(material, ed25519.Ed25519PublicKey):
        family, curve = "OKP", "Ed25519"
    else:
        message = "a key is neither RSA, EC nor Ed25519"
        raise ValueError(message)  # noqa: TRY004 - what was read had a right type and the wrong content
    if fault is not None:
        raise WeakKeyError(fault)
    fitting = {
        name
        for name, algorithm in ALGORITHMS.items()
        if algorithm.family == family
        and algorithm.curve == curve
        and (family != "oct" or algorithm.hash_bytes <= length)
    }
    if declared is not None and declared not in fitting:
        message = (
            f"a key of type {family} is declared for {declared}, which it does not fit or is too short for"
        )
        raise WeakKeyError(message) if family == "oct" else ValueError(message)
    # The two names of Ed25519 mean the same, whichever a key is declared with.
    allowed = frozenset(fitting if declared is None or family == "OKP" else {declared})
    if not allowed:
        message = "a key is on a curve that no algorithm here uses"
        raise ValueError(message)
    checks = {name: checker(name, material) for name in allowed}
    return VerificationKey(kid, family, allowed, MappingProxyType(checks), thumbprint_of(material))
