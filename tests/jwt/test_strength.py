"""Secrets that somebody would guess, and random ones, of which none may be taken for one."""

from __future__ import annotations

import base64
import random

import pytest

from prodkit.jwt.strength import secret_fault

GUESSABLE = [
    "12345678901234567890123456789012",
    "0123456789abcdefghijklmnopqrstuv",
    "abcdefghijklmnopqrstuvwxyz123456",
    "qwertyuiopasdfghjklzxcvbnm123456",
    "404E635266556A586E3272357538782F413F4428472B4B6250645367566B5970",
    "testtesttesttesttesttesttesttest1",
    "my-jwt-signing-key-for-production",
    "abcdabcdabcdabcdefghefghefghefgh",
    "thisismyjwtsecretthisismyjwtsecre",
    "ThisIsASecretUsedForJwtSigning123",
    "please-use-a-real-secret-in-production",
    "jwt-secret-for-development-only-32b",
    "00000000000000000000000012345678",
    "aaaaaaaaaaaaaaaaaaaaaaaaabcdefgh",
    "dev-only-not-for-production-use-123",
    "correct horse battery staple and then some",
]


@pytest.mark.parametrize("secret", GUESSABLE)
def test_what_can_be_guessed_is_refused(secret: str) -> None:
    """Sequences, rows of a keyboard, repetitions, words, and keys of tutorials, however long."""
    fault = secret_fault(secret.encode())
    assert fault is not None
    assert secret[:8] not in fault


def test_random_secrets_are_never_refused() -> None:
    """2000 each, as bytes, hexadecimal digits and Base64, of the lengths people use. Seeded: it is the same every time."""
    chance = random.Random(17)
    for _ in range(2000):
        data, long = chance.randbytes(32), chance.randbytes(48)
        for secret in (
            data,
            long,
            data.hex().encode(),
            data[:16].hex().encode(),
            data.hex().upper().encode(),
            base64.b64encode(data),
            base64.b64encode(long),
            base64.urlsafe_b64encode(data).rstrip(b"="),
        ):
            assert secret_fault(secret) is None, secret
