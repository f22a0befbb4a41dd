"""An identity provider on this machine: discovery, a key set, tokens, and every way to misbehave.

In tests:

    with LocalIdentityProvider() as provider:
        app = make_app(issuer=provider.issuer)
        headers = {"Authorization": f"Bearer {provider.token(scopes=['agents:run'])}"}

By hand, beside an application that trusts the printed issuer:

    python -m prodkit.testing.identity_provider --port 9000 --scopes agents:run

Anybody who can reach it can have any token: it listens on a loopback address and is for nothing but tests.
"""

from __future__ import annotations

import argparse
import json
import secrets
import signal
import socketserver
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final, Literal, Self

from prodkit.testing.tokens import PUBLISHED_ALGORITHMS, SigningKey, mint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["Behaviour", "LocalIdentityProvider"]

Behaviour = Literal[
    "well",
    "slow",
    "drip",
    "error",
    "redirect",
    "garbage",
    "empty",
    "deep",
    "huge",
    "many",
    "stranger",
    "compressed",
]
"""How it answers: well; after `delay_seconds`; a byte every 50 ms; 500; 302 to the right answer; what is no JSON; a set
or metadata of nothing; JSON nested 100 000 deep; 8 MiB; 1000 keys; as another issuer; said to be gzip."""

_METADATA: Final = "/.well-known/openid-configuration"
_KEYS: Final = "/jwks.json"
_DRIP_SECONDS: Final = 0.05
_MANY: Final = 1000
_HUGE_BYTES: Final = 8 * 1024 * 1024


class LocalIdentityProvider:
    """Answers on a loopback address while it is used as a context manager, or between `start` and `stop`.

    Args:
        algorithm: of its first key.
        audience: `aud` of its tokens.
        issuer: `iss` of its tokens and in its metadata; its own address by default.
        port: to listen on; 0 for one that is free. It stays the same when it is stopped and started again.
        key_prefix: what the names of its keys begin with; a number follows.

    Attributes:
        keys: what signs, the newest last. A change is published at once.
        requests: how often each path was asked for.
        cache_control: sent with the key set, or None.
        delay_seconds: see `Behaviour`.
    """

    def __init__(
        self,
        *,
        algorithm: str = "ES256",
        audience: str = "api",
        issuer: str | None = None,
        port: int = 0,
        key_prefix: str = "key-",
    ) -> None:
        self._key_prefix = key_prefix
        self.keys: list[SigningKey] = []
        self.requests: Counter[str] = Counter()
        self.cache_control: str | None = None
        self.delay_seconds = 0.5
        self._audience = audience
        self._issuer = issuer
        self._port = port
        self._made = 0
        self._behaviours: dict[str, Behaviour] = {}
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self.rotate(algorithm)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Its address; known as soon as it was started once, or was given a port."""
        return f"http://127.0.0.1:{self._port}"

    @property
    def issuer(self) -> str:
        """`iss` of its tokens."""
        return self._issuer if self._issuer is not None else self.url

    @property
    def jwks_uri(self) -> str:
        """Where its keys are."""
        return f"{self.url}{_KEYS}"

    def start(self) -> None:
        """Begin to answer."""
        self._stopping.clear()
        self._server = _Server(("127.0.0.1", self._port), self._handler())
        self._port = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.02,), name="local-identity-provider", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Be away: connections are refused from now on, and answers under way break off. Harmless when it is."""
        self._stopping.set()
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
        self._server = self._thread = None

    def behave(self, behaviour: Behaviour, *, on: Literal["keys", "metadata", "both"] = "both") -> None:
        """Answer in this way from now on.

        Args:
            behaviour: see there.
            on: for which of the two documents.
        """
        for path, name in ((_KEYS, "keys"), (_METADATA, "metadata")):
            if on in (name, "both"):
                self._behaviours[path] = behaviour

    def rotate(self, algorithm: str = "ES256") -> SigningKey:
        """Make a new key that signs from now on, and publish it beside the others."""
        self._made += 1
        key = SigningKey.generate(algorithm, f"{self._key_prefix}{self._made}")
        self.keys.append(key)
        return key

    def remove(self, kid: str) -> None:
        """Publish the key *kid* no longer.

        Raises:
            KeyError: there is none of this name.
        """
        kept = [key for key in self.keys if key.kid != kid]
        if len(kept) == len(self.keys):
            raise KeyError(kid)
        self.keys = kept

    def token(
        self,
        *,
        key: SigningKey | None = None,
        sub: str | None = "alice",
        scopes: Iterable[str] = (),
        audience: str | list[str] | None = None,
        expires_in: float | None = 300,
        header: Mapping[str, object] | None = None,
        **claims: object,
    ) -> str:
        """A token of this issuer; see `prodkit.testing.tokens.mint`, also for `issuer=` and `now=`.

        Args:
            key: signs it; the newest key by default.
            sub: see `mint`, as for the others.
            scopes: see above.
            audience: the provider's own by default.
            expires_in: see above.
            header: see above.
            claims: see above.
        """
        options: dict[str, object] = {"issuer": self.issuer, "audience": audience or self._audience} | claims
        mint_it: Callable[..., str] = mint
        return mint_it(
            key=key if key is not None else self.keys[-1],
            sub=sub,
            scopes=scopes,
            expires_in=expires_in,
            header=header,
            **options,
        )

    def documents(self) -> dict[str, dict[str, object]]:
        """What it publishes, by path. Secrets of HS keys are not among it."""
        published = [key.public_jwk() for key in self.keys if not key.algorithm.startswith("HS")]
        return {
            _METADATA: {"issuer": self.issuer, "jwks_uri": self.jwks_uri},
            _KEYS: {"keys": published},
        }

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            # Whoever is given up on in the middle of an answer shall not keep its thread for long.
            timeout = 10

            def do_GET(self) -> None:  # the name is the base class's
                provider.answer(self)

            def log_message(self, *args: object) -> None:  # beside the output of the tests
                del args

        return Handler

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request, as the server's threads do."""
        path = request.path.partition("?")[0]
        self.requests[path] += 1
        document = self.documents().get(path.removesuffix("/moved"))
        if document is None:
            request.send_error(404)
            return
        behaviour = self._behaviours.get(path, "well")
        headers = {"Content-Type": "application/json"}
        if self.cache_control is not None and path == _KEYS:
            headers["Cache-Control"] = self.cache_control
        status, body = _answer(behaviour, document)
        if behaviour == "redirect":
            headers["Location"] = f"{self.url}{path}/moved"
        elif behaviour == "compressed":
            headers["Content-Encoding"] = "gzip"
        elif behaviour == "slow":
            self._stopping.wait(self.delay_seconds)
        try:
            request.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body))}).items():
                request.send_header(name, value)
            request.end_headers()
            for piece in (
                [body[index : index + 1] for index in range(len(body))] if behaviour == "drip" else [body]
            ):
                if behaviour == "drip" and self._stopping.wait(_DRIP_SECONDS):
                    return
                request.wfile.write(piece)
        except OSError:
            request.close_connection = True  # the other side had enough


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def server_bind(self) -> None:
        # Not HTTPServer's, which asks the resolver for the name of the address, and may wait long for it.
        socketserver.TCPServer.server_bind(self)

    def handle_error(self, request: object, client_address: object) -> None:
        # Clients that are tested for giving up give up; what else goes wrong here is to be seen.
        if not isinstance(sys.exception(), OSError):
            sys.stderr.write(f"{client_address}: {sys.exception()!r}\n")
        del request


def _answer(behaviour: Behaviour, document: Mapping[str, object]) -> tuple[int, bytes]:
    body = json.dumps(document).encode("ascii")
    keys = document.get("keys")
    bodies: dict[Behaviour, bytes] = {
        "garbage": b"<!doctype html><title>Sign in</title>",
        "empty": b'{"keys": []}',
    }
    if behaviour == "deep":
        body = b'{"keys":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    elif behaviour == "huge":
        body = body + b" " * _HUGE_BYTES
    elif behaviour == "many" and isinstance(keys, list):
        body = json.dumps(
            {"keys": [jwk | {"kid": f"many-{n}"} for n in range(_MANY) for jwk in keys[:1]]}
        ).encode()
    elif behaviour == "stranger":
        body = json.dumps({**document, "issuer": "https://somebody-else.example"}).encode("ascii")
    status = {"error": 500, "redirect": 302}.get(behaviour, 200)
    return status, bodies.get(behaviour, body)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one until it is interrupted; prints its issuer and a token."""
    parser = argparse.ArgumentParser(
        prog="python -m prodkit.testing.identity_provider",
        description="An identity provider for trying JWT out.",
    )
    parser.add_argument(
        "--port", type=int, default=9000, help="on 127.0.0.1; 0 for a free one (default 9000)"
    )
    parser.add_argument("--issuer", help="iss of the tokens (default: its own address)")
    parser.add_argument("--audience", default="api", help="aud of the tokens (default api)")
    parser.add_argument("--algorithm", default="ES256", choices=PUBLISHED_ALGORITHMS, help="default ES256")
    parser.add_argument("--sub", default="alice", help="who the printed token is about (default alice)")
    parser.add_argument("--scopes", nargs="*", default=[], help="what that caller may do")
    parser.add_argument("--expires-in", type=float, default=3600, help="seconds (default 3600)")
    options = parser.parse_args(arguments)
    # Also where it was started in the background, whose programs are told to ignore the first.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with LocalIdentityProvider(
        algorithm=options.algorithm,
        audience=options.audience,
        issuer=options.issuer,
        port=options.port,
        # Whoever has fetched the keys of the last run must not take one of them for one of this run.
        key_prefix=f"key-{secrets.token_hex(4)}-",
    ) as provider:
        token = provider.token(sub=options.sub, scopes=options.scopes, expires_in=options.expires_in)
        sys.stdout.write(
            f"issuer    {provider.issuer}\naudience  {options.audience}\nkeys      {provider.jwks_uri}\ntoken     {token}\n"
        )
        sys.stdout.flush()
        try:
            while True:
                time.sleep(3600)
        except KeyboardInterrupt:
            sys.stdout.write("stopped\n")


if __name__ == "__main__":
    main()
