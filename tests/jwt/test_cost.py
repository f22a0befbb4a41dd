"""What an anonymous caller can make us compute before a signature: less than a millisecond, whatever they send.

Source: the claim of `prodkit.jwt.parsing`; measured in CPU time of this thread, as a median, so that a busy machine does not
matter.
"""

from __future__ import annotations

import gc
import statistics
import sys
import time
import tracemalloc
from typing import Any

import pytest

from prodkit.core.clock import FakeClock
from prodkit.core.context import RequestContext
from prodkit.core.features import Kit
from prodkit.core.problems import Problem
from prodkit.jwt import InvalidTokenError, JWTAuthenticator, TrustedIssuer
from tests.jwt.tokens import as_bytes, b64, claims, compact, verifier
from tests.support.asgi import http_scope

BOUND_SECONDS = 0.001
HEADER = b64(as_bytes({"alg": "HS256", "typ": "JWT"}))
SPACE = 8192 - len(HEADER) - 2


def full(payload: bytes) -> str:
    """A token of exactly 8 KiB whose payload begins like *payload*, with a signature that is too short."""
    return f"{HEADER}.{b64(payload)[: SPACE - 44]}.{'A' * 43}"


def header_of(data: bytes) -> str:
    return f"{b64(data)}.e30.AA"


HOSTILE = {
    "8 KiB of [": "[" * 8192,
    "8 KiB of dots": "." * 8192,
    "a megabyte": "." * 1_000_000,
    "8 KiB of one segment": "A" * 8190 + "..",
    "signature of 8 KiB": f"{HEADER}.e30.{'A' * (SPACE - 4)}",
    "signature of junk": f"{HEADER}.e30.{'!' * (SPACE - 4)}",
    "header of [": header_of(b"[" * 1000),
    "header of {": header_of(b'{"a":' * 200),
    "header of pairs": header_of(b"[" + b"[]," * 330 + b"[]]"),
    "header of open texts": header_of(b'"\\' * 500),
    "header of quotes": header_of(b'"' * 1001),
    "header of escapes": header_of(b'{"alg":"' + b"\\u0061" * 160 + b'"}'),
    "header of members": header_of(b'{"alg":"HS256"' + b"".join(b',"%d":1' % n for n in range(125)) + b"}"),
    "header of one number": header_of(b'{"alg":' + b"9" * 1000 + b"}"),
    "header of an exponent": header_of(b'{"alg":1e' + b"9" * 1000 + b"}"),
    "header of a long kid": header_of(b'{"alg":"HS256","kid":"' + b"k" * 980 + b'"}'),
    "payload of [": full(b"[" * 8000),
    "payload of pairs": full(b"[" + b"[]," * 2700),
    "payload of members": full(b"{" + b"".join(b'"%d":1,' % n for n in range(1000))),
    "payload of open texts": full(b'"\\' * 4000),
    "payload of quotes": full(b'"' * 8001),
    "payload of surrogates": full(b'{"iss":"' + b"\\ud800" * 1000 + b'"}'),
    "payload of digits": full(b'{"iss":' + b"9" * 6000 + b"}"),
    "payload that is long and fine": full(as_bytes({"iss": "nobody", "x": "y" * 5000})),
    "payload of many claims": compact(
        {"alg": "HS256", "typ": "JWT"},
        {"iss": "nobody"} | {f"claim{n}": n for n in range(350)},
        key=b"x" * 32,
    ),
}


def median_cpu_seconds(call: Any, *, times: int = 31) -> float:
    call()
    spent = []
    tracer = sys.gettrace()  # coverage's, which is not what is measured
    sys.settrace(None)
    try:
        for _ in range(times):
            begin = time.thread_time()
            call()
            spent.append(time.thread_time() - begin)
    finally:
        sys.settrace(tracer)
    return statistics.median(spent)


class NoKeys:
    """Knows nobody's keys: what is measured ends before a signature."""

    generation = 0

    def keys_for(self, kid: str | None, algorithm: str) -> Any:
        return ()


@pytest.mark.parametrize("name", list(HOSTILE))
def test_a_hostile_token_costs_less_than_a_millisecond(name):
    """Read by one verifier, to its refusal."""
    checked, text = verifier(keys=NoKeys()), HOSTILE[name].encode()

    def call() -> None:
        with pytest.raises(InvalidTokenError):
            checked.verify(text)

    assert median_cpu_seconds(call) < BOUND_SECONDS


@pytest.mark.parametrize("name", list(HOSTILE))
def test_a_hostile_request_costs_less_than_a_millisecond(name):
    """Also where the payload has to be looked into, because there are several issuers to choose from."""
    issuers = [
        TrustedIssuer(verifier=verifier(keys=NoKeys(), issuer=f"https://{kind}.example"), kind=kind)
        for kind in ("one", "two")
    ]
    authenticator = JWTAuthenticator(issuers)
    kit = Kit(FakeClock(), "https://problems.example/")
    lines = [(b"authorization", b"Bearer " + HOSTILE[name].encode())]
    context = RequestContext(kit, http_scope("/", headers=lines), 0.0)

    def call() -> None:
        try:
            found = authenticator.authenticate(context)
        except Problem as problem:
            assert problem.status_code == 401  # noqa: PT017 - what does not look like a token is nobody's
        else:
            assert found is None

    assert median_cpu_seconds(call) < BOUND_SECONDS


def test_strangers_leave_nothing_behind():
    """Thousands of different bad tokens later nothing is remembered, memory has not grown, and there was nothing for the
    garbage collector to find.
    """
    authenticator = JWTAuthenticator([TrustedIssuer(verifier=verifier())])
    kit = Kit(FakeClock(), "https://problems.example/")
    lines = [
        [
            (
                b"authorization",
                b"Bearer "
                + compact({"alg": "HS256", "typ": "JWT", "kid": str(n)}, claims(), key=b"x" * 32).encode(),
            )
        ]
        for n in range(2000)
    ]

    def send(line: Any) -> None:
        context = RequestContext(kit, http_scope("/", headers=line), 0.0)
        try:
            authenticator.authenticate(context)
        except Problem:
            return
        pytest.fail("a bad token was accepted")

    for line in lines[:100]:
        send(line)
    gc.collect()
    gc.disable()
    try:
        for line in lines[:100]:
            send(line)
        assert gc.collect() == 0
    finally:
        gc.enable()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    for line in lines:
        send(line)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 50_000
    assert not authenticator._cache
