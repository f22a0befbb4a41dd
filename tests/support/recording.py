"""A feature that keeps every event, and one that contributes whatever a test gives it."""

from __future__ import annotations

from typing import Any

from prodkit.core.events import BackgroundFailed, CallbackFailed, RequestFailed, RequestFinished
from prodkit.core.features import Kit, Layer, Parts


class Recorder:
    """Keeps every event, in order; `finished` are the ends of requests."""

    name = "recorder"
    provides = ()

    def __init__(self) -> None:
        self.events: list[Any] = []

    @property
    def finished(self) -> list[RequestFinished]:
        return [event for event in self.events if isinstance(event, RequestFinished)]

    @property
    def last(self) -> RequestFinished:
        assert self.finished, "no request has finished"
        return self.finished[-1]

    def one(self) -> tuple[str, int | None, str]:
        """Route, status and outcome of the only request there was."""
        assert len(self.finished) == 1, [(event.route, event.status) for event in self.finished]
        event = self.finished[0]
        return event.route, event.status, event.outcome

    def parts(self, kit: Kit) -> Parts:
        kinds = (RequestFinished, RequestFailed, BackgroundFailed, CallbackFailed)
        return Parts(observers=[(kind, self.events.append) for kind in kinds])


class Contributes:
    """The smallest feature: the parts it is given."""

    def __init__(self, name: str = "test", *, provides: Any = (), **parts: Any) -> None:
        self.name = name
        self.provides = provides
        self._parts = Parts(**parts)

    def parts(self, kit: Kit) -> Parts:
        return self._parts


def guarding(layer: Layer, guard: Any, name: str = "guarding") -> Contributes:
    return Contributes(name, guards=[(layer, guard)])
