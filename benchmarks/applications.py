"""The applications under comparison, and the request each of them is sent.

All are the same FastAPI application; what differs is what stands around it. Everything is imported in the builders,
because each application runs in a process of its own: one of them lives in an environment in which `prodkit` is
another package, and two configure logging for the whole process.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI
from fastapi.params import Depends
from starlette.types import ASGIApp, Receive, Scope, Send

__all__ = ["KEY", "VARIANTS", "Variant", "bare", "go_straight", "only", "path_at"]

KEY: Final = "benchmark-key-0123456789abcdefghijklmnopqrstuvwxyz"
# Never reached, because what is measured is a request that is let through; and yet so slow to refill that a bucket is
# in use between two requests, as a busy caller's is, and is not swept away and made anew for each of them.
RATE: Final = "6000000/hour"
ONE_STAGE: Final[dict[str, str | None]] = {"address": None, "default": RATE}
ORIGIN: Final = "https://app.example.com"

Header = tuple[bytes, bytes]

COMMON: Final[tuple[Header, ...]] = (
    (b"host", b"api.example.com"),
    (b"user-agent", b"benchmark/1.0"),
    (b"accept", b"application/json"),
    (b"accept-encoding", b"identity"),
)
WITH_KEY: Final = (*COMMON, (b"x-api-key", KEY.encode()))
PROXIED: Final = (*WITH_KEY, (b"x-forwarded-for", b"203.0.113.7"), (b"x-forwarded-proto", b"https"))
FROM_BROWSER: Final = (*PROXIED, (b"origin", ORIGIN.encode()))


@dataclass(frozen=True, slots=True)
class Variant:
    """One application to measure.

    Attributes:
        name: for the command line and the data files.
        title: for tables.
        build: makes the application with that many routes.
        headers: of the request, which the bare application it is compared with gets as well.
        own_environment: runs where another package is installed under our import name.
        needs_server: asks another process for each request, so nothing but load says what that costs.
    """

    name: str
    title: str
    build: Callable[[int], ASGIApp]
    headers: tuple[Header, ...]
    own_environment: bool = False
    needs_server: bool = False


def path_at(routes: int) -> str:
    """The path that is asked for: that of the last route, so that a router has gone past all the others."""
    return f"/resource{routes}/42"


def bare(routes: int = 1, dependencies: Sequence[Depends] = ()) -> FastAPI:
    """A plain application of *routes* routes, each with a path parameter and a small JSON answer."""
    app = FastAPI(dependencies=dependencies)
    for number in range(1, routes + 1):
        # No response model: the answer goes through FastAPI's general encoder. With one, a bare request makes a sixth
        # fewer calls, and the same addition is a little more in percent.
        @app.get(f"/resource{number}/{{item_id}}", response_model=None)
        async def read(item_id: int) -> dict[str, int | str]:
            return {"item_id": item_id, "name": "a small thing", "state": "ready"}

    return app


def go_straight(app: FastAPI) -> None:
    """Let *app*'s router ask its last route alone, so that of 500 routes only what stands around the router is left to count.

    A router that goes past 500 routes takes ten times the instructions of a whole request, and 2 % more or fewer of them
    depending on where things happen to lie in memory: more than what is looked for.
    """
    (*_, last) = app.routes

    async def straight(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await app.router.app(scope, receive, send)
            return
        scope["router"] = app.router
        _, found = last.matches(scope)
        scope["route"] = last
        scope.update(found)
        await last.handle(scope, receive, send)

    app.router.middleware_stack = straight


def core(routes: int) -> ASGIApp:
    """`harden()` with a key and nothing else set, on the memory store."""
    app = bare(routes)
    _harden(app, "memory://")
    return app


def everything_on_memory(routes: int) -> ASGIApp:
    """All features on, memory store."""
    app = bare(routes)
    _harden(app, "memory://", everything=True)
    return app


def everything_on_sqlite(routes: int) -> ASGIApp:
    """All features on, SQLite store in a directory of its own."""
    app = bare(routes)
    # Not removed here: the application uses it until its process ends, and build/ may be deleted at any time.
    folder = Path(os.environ.get("BENCHMARK_FOLDER") or tempfile.mkdtemp(prefix="benchmark-"))
    _harden(app, f"sqlite:///{folder / f'{os.getpid()}.db'}", everything=True)
    return app


def one_stage_on_memory(routes: int) -> ASGIApp:
    """Core set with one limit, by principal, on the memory store."""
    app = bare(routes)
    _harden(app, "memory://", limits=ONE_STAGE)
    return app


def one_stage_on_sqlite(routes: int) -> ASGIApp:
    """The same on SQLite."""
    app = bare(routes)
    folder = Path(os.environ.get("BENCHMARK_FOLDER") or tempfile.mkdtemp(prefix="benchmark-"))
    _harden(app, f"sqlite:///{folder / f'one-{os.getpid()}.db'}", limits=ONE_STAGE)
    return app


def one_stage_on_redis(routes: int) -> ASGIApp:
    """The same on a Valkey beside the client, on the other processor."""
    from benchmarks import redis_server

    processors = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    others = [number for number in range(os.cpu_count() or 1) if number not in processors]
    app = bare(routes)
    _harden(app, redis_server.start(str(others[-1]) if others else "-"), limits=ONE_STAGE)
    return app


def _harden(
    app: FastAPI, store: str, *, everything: bool = False, limits: dict[str, str | None] | None = None
) -> None:
    from prodkit.hardening import harden
    from prodkit.settings import Settings

    values: dict[str, Any] = {
        "rate_limiting": limits or {"address": RATE},
        "authentication": {
            "mode": "keys",
            "static_keys": {"benchmark": {"sha256": sha256(KEY.encode()).hexdigest()}},
        },
    }
    if everything:
        values["rate_limiting"] = {"address": RATE, "default": RATE}
        values["proxies"] = {"trusted_proxies": ["127.0.0.1/32"]}
        values["cors"] = {"origins": [ORIGIN], "allow_credentials": True}
    harden(app, settings=Settings(_env_file=None, store=store, **values))


def only(names: str) -> Callable[[int], ASGIApp]:
    """A builder of an application with the features of the modules *names* (joined by `+`) alone, in their defaults."""

    def build(routes: int) -> ASGIApp:
        from importlib import import_module

        from prodkit.installation import install

        features = []
        for name in filter(None, names.split("+")):
            module = import_module(f"prodkit.{name}")
            kinds = {kind.__name__.lower(): kind for kind in vars(module).values() if isinstance(kind, type)}
            features.append(kinds[name.replace("_", "")]())
        app = bare(routes)
        install(app, *features)
        return app

    return build


def glue(routes: int) -> ASGIApp:
    """See benchmarks/glue.py."""
    from benchmarks.glue import glued, require_key

    return glued(bare(routes, [Depends(require_key)]))


def other_package(routes: int) -> ASGIApp:
    """The unrelated package that is called `prodkit` on the public index, with what comes closest to our core set."""
    from prodkit import Production  # type: ignore[attr-defined]  # not ours: see Variant.own_environment

    app = bare(routes)
    Production(app, rate_limit={"default": RATE}, metrics=True, compression=False)
    return app


VARIANTS: Final = {
    variant.name: variant
    for variant in (
        Variant("core", "`harden()`, core set, memory", core, WITH_KEY),
        Variant("all-memory", "everything on, memory", everything_on_memory, PROXIED),
        Variant(
            "all-memory-origin",
            "everything on, memory, request with `Origin`",
            everything_on_memory,
            FROM_BROWSER,
        ),
        Variant("all-sqlite", "everything on, SQLite", everything_on_sqlite, PROXIED),
        Variant("limit-memory", "core set, one limit by principal, memory", one_stage_on_memory, WITH_KEY),
        Variant("limit-sqlite", "core set, one limit by principal, SQLite", one_stage_on_sqlite, WITH_KEY),
        Variant(
            "limit-redis",
            "core set, one limit by principal, Redis",
            one_stage_on_redis,
            WITH_KEY,
            needs_server=True,
        ),
        Variant("glue", "the usual glue", glue, WITH_KEY),
        Variant(
            "glue-origin",
            "the usual glue, request with `Origin`",
            glue,
            (*WITH_KEY, (b"origin", ORIGIN.encode())),
        ),
        Variant("other", "PyPI `prodkit` 0.4.0 (not ours)", other_package, COMMON, own_environment=True),
    )
}
