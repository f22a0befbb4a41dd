"""From features to a kit and a plan: collecting what is provided, asking for parts, putting guards in order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from prodkit.core.clock import SYSTEM_CLOCK, Clock
from prodkit.core.exceptions import InstallationError
from prodkit.core.features import Kit, Layer
from prodkit.core.identity import Authenticator
from prodkit.core.problems import TYPE_BASE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from prodkit.core.features import Feature, Guard, MiddlewareFactory, Parts

__all__ = ["Plan", "assemble", "plan_of"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What a pipeline runs.

    Attributes:
        guards: in the order of their layers, then of installation.
        guards_at: the same for exact paths that a feature answers, with that answer in PROBES; so that other paths pay
            nothing for them.
        inner_guards: those that run when the application is mounted inside another hardened one.
        middleware: outermost first.
        response_headers: static headers as they go on the wire.
        removed_headers: names of headers that no response carries.
    """

    guards: tuple[Guard, ...]
    guards_at: dict[str, tuple[Guard, ...]]
    inner_guards: tuple[Guard, ...]
    middleware: tuple[MiddlewareFactory, ...]
    response_headers: dict[bytes, bytes]
    removed_headers: frozenset[bytes]


def assemble(
    features: Iterable[Feature],
    *,
    clock: Clock | None = None,
    problem_type_base: str | None = None,
    standalone: bool = False,
) -> Kit:
    """Collect what *features* provide, then ask each for its parts.

    Raises:
        InstallationError: two features of one name, credentials that nobody would ask for, or, when *standalone*, parts only
            an application can take.
    """
    kit = Kit(clock or SYSTEM_CLOCK, problem_type_base or TYPE_BASE)
    for feature in features:
        if feature.name in kit.features:
            message = f"there are two features named {feature.name!r}: install one of them"
            raise InstallationError(message)
        kit.features[feature.name] = feature
        kit.provide(feature.provides)
    _refuse_unasked(kit)
    for name, feature in kit.features.items():
        parts = feature.parts(kit)
        # What only documents is not missed where there is no document.
        if standalone and (parts.routes or parts.exception_handlers or parts.lifespan):
            message = f"{name} brings routes, handlers or a lifespan: use install(app, {type(feature).__name__}(...))"
            raise InstallationError(message)
        _refuse_taken_paths(kit, name, parts)
        kit.parts[name] = parts
        kit.observe(parts.observers)
    return kit


def _refuse_unasked(kit: Kit) -> None:
    """An authenticator that is never asked protects nothing, and looks as if it did."""
    if "authentication" in kit.features:
        return
    for name, feature in kit.features.items():
        if any(isinstance(part, Authenticator) for part in feature.provides):
            message = (
                f"{name} identifies callers, and nothing asks it: everybody would be let in. Add Authentication() from "
                "prodkit.authentication, or use harden(app)"
            )
            raise InstallationError(message)


def _refuse_taken_paths(kit: Kit, name: str, parts: Parts) -> None:
    for other, theirs in kit.parts.items():
        taken = theirs.paths.keys() & parts.paths.keys()
        if taken:
            message = (
                f"{other} and {name} both answer at {', '.join(sorted(taken))}: give one of them another path"
            )
            raise InstallationError(message)


def plan_of(kit: Kit, extra_guards: Iterable[tuple[Layer, Guard]] = ()) -> Plan:
    """The parts of all features of *kit* in the order a request meets them."""
    guards: list[tuple[Layer, Guard]] = []
    middleware: list[MiddlewareFactory] = []
    headers: dict[bytes, bytes] = {}
    for parts in kit.parts.values():
        guards.extend(parts.guards)
        middleware.extend(parts.middleware)
        for name, value in parts.response_headers.items():
            headers[name.lower().encode("latin-1")] = value.encode("latin-1")
    guards.extend(extra_guards)
    guards.sort(key=lambda pair: pair[0])
    paths = {path: guard for parts in kit.parts.values() for path, guard in parts.paths.items()}
    return Plan(
        guards=tuple(guard for _, guard in guards),
        guards_at={
            path: tuple(
                guard for _, guard in sorted([*guards, (Layer.PROBES, answer)], key=lambda pair: pair[0])
            )
            for path, answer in paths.items()
        },
        inner_guards=tuple(guard for layer, guard in guards if layer > Layer.PROBES),
        middleware=tuple(middleware),
        response_headers=headers,
        removed_headers=frozenset(
            name.lower().encode("latin-1") for parts in kit.parts.values() for name in parts.removed_headers
        )
        - headers.keys(),
    )
