"""Keys of every family and tokens signed with them, also such as nobody honest would make."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from prodkit.core.clock import FakeClock
from prodkit.jwt import JWTVerifier, StaticKeySource, key_from_pem, key_from_secret

ISSUER = "https://id.example"
AUDIENCE = "https://api.example"
SECRET = "kP3v-9sXcQ7m2ZtR8wLhF5yNbJ4dGaUe6oTiVqHxYzSrWnBpMfKjDlCgEuAO01.!"
OTHER_SECRET = SECRET[::-1]
NOW = FakeClock().wall()
ASYMMETRIC = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "Ed25519",
)
HASHES = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
CURVES = {"256": ec.SECP256R1(), "384": ec.SECP384R1(), "512": ec.SECP521R1()}


@cache
def private_key(algorithm: str) -> Any:
    """The one private key of this test run for *algorithm*; RSA ones share theirs."""
    if algorithm[:2] in {"RS", "PS"}:
        return private_key("rsa")
    if algorithm == "rsa":
        return rsa.generate_private_key(65537, 2048)
    if algorithm[:2] == "ES":
        return ec.generate_private_key(CURVES[algorithm[2:]])
    if algorithm == "EdDSA":
        return ed25519.Ed25519PrivateKey.generate()
    return private_key("EdDSA") if algorithm == "Ed25519" else SECRET.encode()


def public_pem(algorithm: str) -> str:
    key = private_key(algorithm).public_key()
    return key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def b64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def raw_signature(algorithm: str, data: bytes, key: Any = None) -> bytes:
    """The signature of *data*, with the key of this run unless another is given."""
    key = private_key(algorithm) if key is None else key
    bits = algorithm[2:]
    if algorithm.startswith("HS"):
        return hmac.digest(key, data, getattr(hashlib, f"sha{bits}"))
    if algorithm.startswith("RS"):
        return key.sign(data, padding.PKCS1v15(), HASHES[bits])
    if algorithm.startswith("PS"):
        scheme = padding.PSS(padding.MGF1(HASHES[bits]), HASHES[bits].digest_size)
        return key.sign(data, scheme, HASHES[bits])
    if algorithm.startswith("ES"):
        size = (key.curve.key_size + 7) // 8
        pair = decode_dss_signature(key.sign(data, ec.ECDSA(HASHES[bits])))
        return b"".join(number.to_bytes(size, "big") for number in pair)
    return key.sign(data)


def as_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()


def compact(header: Any, payload: Any, *, algorithm: str = "HS256", key: Any = None) -> str:
    """A token of any header and payload, objects or bytes, signed by *algorithm* whatever the header says."""
    signing_input = f"{b64(as_bytes(header))}.{b64(as_bytes(payload))}"
    return f"{signing_input}.{b64(raw_signature(algorithm, signing_input.encode(), key))}"


def claims(**changes: Any) -> dict[str, Any]:
    """Good claims, with *changes*; a claim that is `...` is left out."""
    found = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "user-1",
        "exp": int(NOW) + 600,
        "iat": int(NOW),
    } | changes
    return {name: value for name, value in found.items() if value is not ...}


def token(*, algorithm: str = "HS256", header: Any = None, key: Any = None, **changes: Any) -> str:
    """A good token, with *changes* of claims and *header*'s changes of the header."""
    members = {"alg": algorithm, "typ": "JWT"} | (header or {})
    members = {name: value for name, value in members.items() if value is not ...}
    return compact(members, claims(**changes), algorithm=algorithm, key=key)


@cache
def static_keys(*, symmetric: bool = True) -> StaticKeySource:
    if symmetric:
        return StaticKeySource([key_from_secret(SECRET)])
    return StaticKeySource(
        key_from_pem(public_pem(name)) for name in ("RS256", "ES256", "ES384", "ES512", "EdDSA")
    )


def verifier(**options: Any) -> JWTVerifier:
    """A verifier of HMAC by default; `algorithms` of key pairs choose the other keys."""
    algorithms = options.pop("algorithms", ("HS256", "HS384", "HS512"))
    symmetric = all(name.startswith("HS") for name in algorithms)
    given = {
        "issuer": ISSUER,
        "audience": AUDIENCE,
        "keys": static_keys(symmetric=symmetric),
        "clock": FakeClock(),
    }
    return JWTVerifier(algorithms=algorithms, **(given | options))


def verified(text: Any, **options: Any) -> dict[str, Any]:
    """The claims of a token whose keys are known."""
    found: Any = verifier(**options).verify(text)
    return dict(found.claims)
