"""What is installed in an application, in the order a request meets it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prodkit.core.features import Layer
from prodkit.hardening import WAYS_TO_IDENTIFY
from prodkit.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prodkit.core.features import Kit

__all__ = [
    "Line",
    "absent_features",
    "process_facts",
    "request_order",
    "settings_of",
    "static_headers",
    "watchers",
]


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that a request passes.

    Attributes:
        place: the layer, or what stands in for one outside the pipeline.
        feature: the name of the feature, empty for what is not ours.
        text: what it does there.
    """

    place: str
    feature: str
    text: str


def request_order(kit: Kit, application: Any) -> list[Line]:  # Any: an ASGI application of whatever make
    """From the outermost to the innermost."""
    lines = [
        Line("SERVER", "", "reads the request; forwarding headers are left to `proxies`"),
        Line("OUTERMOST", "", "Starlette's ServerErrorMiddleware: the last resort"),
    ]
    for layer in Layer:
        for name, parts in kit.parts.items():
            guards = sum(1 for place, _ in parts.guards if place is layer)
            if guards:
                undescribed = "1 guard" if guards == 1 else f"{guards} guards"
                lines.append(Line(layer.name, name, parts.order.get(layer, undescribed)))
            elif layer in parts.order:
                lines.append(Line(layer.name, name, parts.order[layer]))
        if layer is Layer.BROWSER:
            lines.extend(
                Line(layer.name, name, f"static headers: {len(parts.response_headers)}")
                for name, parts in kit.parts.items()
                if parts.response_headers
            )
            lines.append(Line("PROBLEMS", "", "refusals and errors become problem documents"))
    for name, parts in kit.parts.items():
        lines += [Line("MIDDLEWARE", name, _name(factory)) for factory in parts.middleware]
    lines += [Line("YOURS", "", _name(item.cls)) for item in getattr(application, "user_middleware", ())]
    lines.append(Line("ROUTER", "", "rules of the route, dependencies, your handler"))
    return lines


def watchers(kit: Kit) -> list[tuple[str, str]]:
    """Feature and event type of every observer, in the order they are told."""
    return [(name, event.__name__) for name, parts in kit.parts.items() for event, _ in parts.observers]


def static_headers(kit: Kit) -> dict[str, str]:
    """Headers on every response, unless the route sets its own."""
    return {name: value for parts in kit.parts.values() for name, value in parts.response_headers.items()}


def settings_of(kit: Kit) -> Settings | None:
    """The settings `harden` was called with; None after `install`."""
    found = kit.all(Settings)
    return found[0] if found else None


def absent_features(kit: Kit) -> list[str]:
    """Standard features that are off for want of a value.

    Of the ways to know callers nobody needs all: where none is on, that is said of `authentication`.
    """
    return [
        name
        for name, section in _sections()
        if name not in WAYS_TO_IDENTIFY and (name not in kit.features or _is_idle(kit, name, section))
    ]


def _is_idle(kit: Kit, name: str, section: object) -> bool:
    """Whether a feature that can be off is installed and does nothing, as authentication without an authenticator.

    Budgets and webhooks do nothing on the way of a request: others ask them for what they provide.
    """
    parts = kit.parts[name]
    is_asked = name != "authentication" and bool(kit.features[name].provides)
    return hasattr(section, "is_on") and not (parts.guards or parts.observers or parts.middleware or is_asked)


def process_facts(settings: Settings, kit: Kit) -> dict[str, str]:
    """What is true of the process, and matters as soon as there are several."""
    scheme = settings.store.partition(":")[0]
    shared = {
        "memory": "no: each worker process counts and remembers for itself",
        "sqlite": "yes, by all workers of this machine",
    }.get(scheme, "yes, by all machines")
    return {
        "environment": settings.environment,
        "store": f"{scheme}://",
        "store is shared": shared,
        "health checks": ", ".join(
            check.name for parts in kit.parts.values() for check in parts.health_checks
        )
        or "none",
        "lifespans": ", ".join(name for name, parts in kit.parts.items() if parts.lifespan is not None)
        or "none",
        "routes added": ", ".join(
            str(getattr(route, "path", route)) for parts in kit.parts.values() for route in parts.routes
        )
        or "none",
    }


def _sections() -> Iterator[tuple[str, object]]:
    for name, field in Settings.model_fields.items():
        # `problems` is a section without a feature of its own: problem documents are always on.
        if hasattr(field.annotation, "model_fields") and name != "problems":
            yield name, field.annotation


def _name(factory: object) -> str:
    return str(getattr(factory, "__name__", type(factory).__name__))
