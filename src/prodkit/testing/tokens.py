"""Signed tokens for tests, without a server: keys everybody knows, and a signer that signs whatever it is told.

Nothing here is used to check a token, so it may make malformed ones. It needs the extra `jwt`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from base64 import urlsafe_b64encode
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from prodkit.core.extras import require

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["PUBLISHED_ALGORITHMS", "SigningKey", "mint", "sign"]

_CURVES: Final = {
    "ES256": ("SECP256R1", "P-256", 32),
    "ES384": ("SECP384R1", "P-384", 48),
    "ES512": ("SECP521R1", "P-521", 66),
}

_SECRETS: Final = ("HS256", "HS384", "HS512")

PUBLISHED_ALGORITHMS: Final = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *_CURVES,
    *("EdDSA", "Ed25519"),
)
"""Those of key pairs, whose public half others can be shown."""

# The factors of an RSA key of 2048 bits, made for this file. They are public, as every key of `SigningKey.known` is.
_RSA_P: Final = (
    "de9d01a93cf78fe6b5b9fe9822aadd8d2907234b3586351ddbd3974d80bc54bd"
    "6de68a37b6f2cdba650f244ab2783231eddb98a67a8c9612f61f28a6c109b3c2"
    "70724c7ebcf59e0a293383924bd4b49a89d3458c9024d1b0f6f8dae02305c6eb"
    "dc18ba9356a600ec66cd8d3cfb72465de1af544432f0a9882c12144284facc1f"
)
_RSA_Q: Final = (
    "d19759202e98e40937efb5a0d1fff180da0a95cd16c3079d41bbe0c199ad0a18"
    "8a0479f2e152f8c41b86c01d8a60d19247d591c6496e19b4252c97f6354e2f19"
    "73cb712ab97e7152e6f0dcbd65ae7f64bbc5c8dfcd580b088f3060786f3ce671"
    "2cc496915664e616891c6ba45d19fdf5b10230af7522a9817f2f239415ff03ab"
)


class SigningKey:
    """A private key and the algorithm it signs with.

    Args:
        algorithm: RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, ES512, EdDSA, Ed25519, HS256, HS384 or HS512.
        kid: its name in headers and sets; None for a key without one.
        private: a private key of `cryptography`, or the bytes of a secret.

    Attributes:
        algorithm, kid: see above.
    """

    def __init__(
        self, algorithm: str, kid: str | None, private: Any
    ) -> None:  # Any: cryptography is optional
        self.algorithm = algorithm
        self.kid = kid
        self._private = private

    def __repr__(self) -> str:
        """Without the key."""
        return f"SigningKey({self.algorithm!r}, {self.kid!r})"

    @classmethod
    def generate(cls, algorithm: str, kid: str | None = None, *, bits: int = 2048) -> SigningKey:
        """A new key.

        Args:
            algorithm: see the class.
            kid: see the class.
            bits: size of an RSA key; at least 1024, below which `cryptography` makes none.

        Raises:
            ValueError: there is no such algorithm.
        """
        _check(algorithm)
        if algorithm[:2] in ("RS", "PS"):
            return cls(algorithm, kid, _asymmetric("rsa").generate_private_key(65537, bits))
        if algorithm[:2] == "HS":
            import secrets

            return cls(algorithm, kid, secrets.token_bytes(64))
        if algorithm in ("EdDSA", "Ed25519"):
            return cls(algorithm, kid, _asymmetric("ed25519").Ed25519PrivateKey.generate())
        ec = _asymmetric("ec")
        return cls(algorithm, kid, ec.generate_private_key(getattr(ec, _CURVES[algorithm][0])()))

    @classmethod
    def known(cls, algorithm: str) -> SigningKey:
        """The key of *algorithm* that is the same in every process and known to everybody; its `kid` is `known-...`."""
        return _known(algorithm)

    @property
    def secret(self) -> bytes:
        """The secret of an HS algorithm.

        Raises:
            ValueError: the key is not a secret.
        """
        if not isinstance(self._private, bytes):
            message = f"a key of {self.algorithm} is no shared secret"
            raise ValueError(message)  # noqa: TRY004 - the caller chose the wrong key, not the wrong type
        return self._private

    def public_jwk(self) -> dict[str, str]:
        """The JSON Web Key others check with (RFC 7517); without private members.

        Raises:
            ValueError: a shared secret has no public half.
        """
        if isinstance(self._private, bytes):
            message = "a shared secret has no public half, and belongs into no set"
            raise ValueError(message)  # noqa: TRY004 - see `secret`
        jwk = {"use": "sig", "alg": self.algorithm}
        if self.kid is not None:
            jwk["kid"] = self.kid
        public = self._private.public_key()
        if self.algorithm[:2] in ("RS", "PS"):
            numbers = public.public_numbers()
            return jwk | {"kty": "RSA", "n": _integer(numbers.n), "e": _integer(numbers.e)}
        if self.algorithm in ("EdDSA", "Ed25519"):
            return jwk | {"kty": "OKP", "crv": "Ed25519", "x": _base64(public.public_bytes_raw())}
        _, name, size = _CURVES[self.algorithm]
        numbers = public.public_numbers()
        return jwk | {
            "kty": "EC",
            "crv": name,
            "x": _integer(numbers.x, size),
            "y": _integer(numbers.y, size),
        }

    def public_pem(self) -> str:
        """The public half as PEM (SubjectPublicKeyInfo), for verifiers that are given keys and no address."""
        serialization = require(
            "cryptography.hazmat.primitives.serialization", extra="jwt", purpose="A test key"
        )
        encoded: bytes = self._private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return encoded.decode("ascii")

    def sign(self, data: bytes) -> bytes:
        """The signature of *data* as JWS has it (RFC 7518, 3; RFC 8037, 3.1)."""
        name = self.algorithm
        if name in ("EdDSA", "Ed25519"):
            signature: bytes = self._private.sign(data)
            return signature
        if name[:2] == "HS":
            return hmac.digest(self._private, data, f"sha{name[2:]}")
        hashes = require("cryptography.hazmat.primitives.hashes", extra="jwt", purpose="A test key")
        digest = getattr(hashes, f"SHA{name[2:]}")()
        if name[:2] == "ES":
            ec, size = _asymmetric("ec"), _CURVES[name][2]
            r, s = _asymmetric("utils").decode_dss_signature(self._private.sign(data, ec.ECDSA(digest)))
            return bytes(r.to_bytes(size, "big") + s.to_bytes(size, "big"))
        padding = _asymmetric("padding")
        if name[:2] == "RS":
            signature = self._private.sign(data, padding.PKCS1v15(), digest)
        else:  # the salt is as long as the hash (RFC 7518, 3.5)
            filled = padding.PSS(padding.MGF1(digest), digest.digest_size)
            signature = self._private.sign(data, filled, digest)
        return signature


def mint(
    algorithm: str = "ES256",
    *,
    key: SigningKey | None = None,
    issuer: str = "https://idp.example",
    audience: str | list[str] | None = "api",
    sub: str | None = "alice",
    scopes: Iterable[str] = (),
    expires_in: float | None = 300,
    now: float | None = None,
    header: Mapping[str, object] | None = None,
    **claims: object,
) -> str:
    """A signed access token.

    Args:
        algorithm: what it is signed with, by the known key of that algorithm.
        key: signs in place of the known key; *algorithm* is the key's then.
        issuer: `iss`.
        audience: `aud`.
        sub: `sub`.
        scopes: `scope`, joined by spaces (RFC 9068, 2.2.3); left out when there are none.
        expires_in: seconds from *now* to `exp`; may be negative.
        now: unix seconds at which it is issued; the machine's clock by default.
        header: members of the header that replace the usual ones (`alg`, `kid`, `typ`: `at+jwt`).
        claims: further claims; they replace the usual ones.

    A header member or claim that is None is left out. A claim whose name is no Python name goes in as `**{"name": ...}`.
    """
    key = key if key is not None else SigningKey.known(algorithm)
    issued_at = int(time.time() if now is None else now)
    usual: dict[str, object] = {
        "iss": issuer,
        "sub": sub,
        "aud": audience,
        "iat": issued_at,
        "exp": None if expires_in is None else issued_at + int(expires_in),
        "scope": " ".join(scopes) or None,
    }
    whole = {"alg": key.algorithm, "typ": "at+jwt", "kid": key.kid} | dict(header or {})
    return sign(key, _json(whole), _json(usual | claims))


def sign(key: SigningKey, header: bytes, payload: bytes) -> str:
    """A compact JWS over exactly these bytes (RFC 7515, 7.1), whatever they are."""
    signing_input = f"{_base64(header)}.{_base64(payload)}"
    return f"{signing_input}.{_base64(key.sign(signing_input.encode('ascii')))}"


@cache
def _known(algorithm: str) -> SigningKey:
    _check(algorithm)
    kid = f"known-{algorithm.lower()}"
    seed = hashlib.sha256(b"prodkit.testing").digest()
    if algorithm[:2] == "HS":
        return SigningKey(algorithm, kid, hashlib.sha512(seed).digest())
    if algorithm in ("EdDSA", "Ed25519"):
        return SigningKey(algorithm, kid, _asymmetric("ed25519").Ed25519PrivateKey.from_private_bytes(seed))
    if algorithm[:2] == "ES":
        ec = _asymmetric("ec")
        number = int.from_bytes(seed[:-1], "big")  # below the order of each of the curves
        return SigningKey(algorithm, kid, ec.derive_private_key(number, getattr(ec, _CURVES[algorithm][0])()))
    rsa = _asymmetric("rsa")
    p, q, e = int(_RSA_P, 16), int(_RSA_Q, 16), 65537
    d = rsa.rsa_recover_private_exponent(e, p, q)
    numbers = rsa.RSAPrivateNumbers(
        p=p,
        q=q,
        d=d,
        dmp1=rsa.rsa_crt_dmp1(d, p),
        dmq1=rsa.rsa_crt_dmq1(d, q),
        iqmp=rsa.rsa_crt_iqmp(p, q),
        public_numbers=rsa.RSAPublicNumbers(e, p * q),
    )
    return SigningKey(algorithm, kid, numbers.private_key())


def _asymmetric(module: str) -> Any:  # Any: a module that may not be installed
    return require(
        f"cryptography.hazmat.primitives.asymmetric.{module}", extra="jwt", purpose="A key for test tokens"
    )


def _check(algorithm: str) -> None:
    if algorithm not in PUBLISHED_ALGORITHMS and algorithm not in _SECRETS:
        message = f"{algorithm!r} is not an algorithm to sign a token with"
        raise ValueError(message)


def _json(members: Mapping[str, object]) -> bytes:
    kept = {name: value for name, value in members.items() if value is not None}
    return json.dumps(kept, separators=(",", ":")).encode("ascii")


def _base64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _integer(number: int, size: int | None = None) -> str:
    return _base64(number.to_bytes(size or (number.bit_length() + 7) // 8, "big"))
