"""Misbehaving on purpose, so that tests can see what a client does then. Only where the server is started for it.

`POST /local/faults` arms a fault for the next calls of a path, `GET` shows what is armed, `DELETE` disarms all;
`GET /local/calls` is the provider's own log of what it accepted, to be compared with the client's.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, Literal

import anyio
from anyio.lowlevel import checkpoint
from pydantic import Field
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .access import read_body
from .problems import error_response
from .state import state_of
from .wire import StrictModel

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Fault", "Faults"]

_MOST_FAULTS = 100


class Fault(StrictModel):
    """Body of `POST /local/faults`.

    Attributes:
        path: of the calls it befalls; `*` stands for anything, as in `/v1/tasks/runs/*/result`.
        kind: `status`: refused with `status`, nothing accepted. `slow`: answered after `delay_seconds`. `cut`: accepted,
            and the connection broken after at most `after_bytes` of the body, at least one byte before its end.
            `accept_then_status`: accepted, then answered with `status`. `hang`: accepted and never answered.
            `bad_json`: accepted, and answered with 200 and a body that is no JSON.
        status: see `kind`.
        retry_after: the `Retry-After` header of such a status.
        times: calls it befalls before it is used up.
        delay_seconds: waited before anything else, whatever the kind.
        after_bytes: see `kind`.
    """

    path: Annotated[str, Field(min_length=1, max_length=200)]
    kind: Literal["status", "slow", "cut", "accept_then_status", "hang", "bad_json"]
    status: int = Field(503, ge=400, le=599)
    retry_after: str | None = Field(None, max_length=100, pattern=r"^[\x20-\x7e]*$")
    times: int = Field(1, ge=1, le=1_000_000)
    delay_seconds: float = Field(0, ge=0, le=600)
    after_bytes: int = Field(0, ge=0)


@dataclass(slots=True)
class _Armed:
    fault: Fault
    left: int


class Faults:
    """What is armed; `wrap` puts it in front of an application, `routes` lets callers arm."""

    def __init__(self) -> None:
        self._armed: list[_Armed] = []

    def wrap(self, app: ASGIApp) -> ASGIApp:
        """*app*, misbehaving as armed."""

        async def faulty(scope: Scope, receive: Receive, send: Send) -> None:
            fault = self._take(scope["path"]) if scope["type"] == "http" else None
            if fault is None:
                await app(scope, receive, send)
            else:
                await _misbehave(fault, app, scope, receive, send)

        return faulty

    def routes(self) -> list[Route]:
        """The endpoints described at the beginning of this file."""
        return [
            Route("/local/faults", self._arm, methods=["POST"]),
            Route("/local/faults", self._show, methods=["GET"]),
            Route("/local/faults", self._disarm, methods=["DELETE"]),
            Route("/local/calls", _calls, methods=["GET"]),
        ]

    def _take(self, path: str) -> Fault | None:
        """The first armed fault for *path*, counted; None for a call that is answered well."""
        if path.startswith("/local/"):
            return None
        for armed in self._armed:
            if fnmatchcase(path, armed.fault.path):
                armed.left -= 1
                if armed.left <= 0:
                    self._armed.remove(armed)
                return armed.fault
        return None

    async def _arm(self, request: Request) -> Response:
        fault = await read_body(request, Fault)
        if len(self._armed) >= _MOST_FAULTS:
            return error_response(409, "Enough faults are armed.")
        self._armed.append(_Armed(fault, fault.times))
        return await self._show(request, status_code=201)

    async def _show(self, _: Request, status_code: int = 200) -> Response:
        armed = [{**one.fault.model_dump(exclude_none=True), "times": one.left} for one in self._armed]
        return JSONResponse({"faults": armed}, status_code=status_code)

    async def _disarm(self, _: Request) -> Response:
        self._armed.clear()
        return Response(status_code=204)


async def _calls(request: Request) -> JSONResponse:
    """Every accepted call that is still known, oldest first, and how many are not; runs with their present status."""
    state = state_of(request)
    listed = list[dict[str, Any]]()
    for entry in state.calls.entries:
        run = state.runs.get(entry["run_id"]) if "run_id" in entry else None
        listed.append(entry if run is None else {**entry, "status": run.status})
    return JSONResponse({"calls": listed, "forgotten": state.calls.forgotten})


async def _misbehave(fault: Fault, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await anyio.sleep(fault.delay_seconds)
    match fault.kind:
        case "slow":
            await app(scope, receive, send)
        case "cut":
            await _cut(fault.after_bytes, app, scope, receive, send)
        case "status":
            await _drained(receive)
            await _refusal(fault)(scope, receive, send)
        case "accept_then_status":
            await app(scope, receive, _discard)
            await _refusal(fault)(scope, receive, send)
        case "bad_json":
            await app(scope, receive, _discard)
            await Response('{"results": [{"url"', media_type="application/json")(scope, receive, send)
        case "hang":
            await app(scope, receive, _discard)
            await _drained(receive, until="http.disconnect")


def _refusal(fault: Fault) -> Response:
    headers = {"Retry-After": fault.retry_after} if fault.retry_after is not None else None
    return error_response(fault.status, "This fault was ordered.", headers=headers)


async def _discard(_: Message) -> None:
    """An answer that is never sent."""


async def _drained(receive: Receive, until: str = "") -> None:
    """Read the request to its end, or until a message of the type *until*."""
    while (message := await receive())["type"] != "http.disconnect":
        if not until and not message.get("more_body", False):
            return


async def _cut(after_bytes: int, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Returning without the end of a body makes uvicorn close the connection."""
    left, held = after_bytes, b""

    async def some(message: Message) -> None:
        nonlocal left, held
        if message["type"] != "http.response.body":
            await send(message)
            return
        # One byte is always held back: whichever piece turns out to be the last, its end stays unsent.
        body: bytes = held + message.get("body", b"")
        kept, held = body[:-1][:left], body[-1:]
        left -= len(kept)
        await send({"type": "http.response.body", "body": kept, "more_body": True})
        if left <= 0 or not message.get("more_body", False):
            cancelling.cancel()
            await checkpoint()

    with anyio.CancelScope() as cancelling:
        await app(scope, receive, some)
