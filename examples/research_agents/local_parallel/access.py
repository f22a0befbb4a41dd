"""Who may ask, and how much: the token, in front of every path but `/health`, and the bounded reading of a body."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json
from starlette.datastructures import Headers, MutableHeaders

from .problems import WireError, error_response

if TYPE_CHECKING:
    from collections.abc import Collection

    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["TokenGate", "read_body"]

_Body = TypeVar("_Body", bound=BaseModel)
_LARGEST_BODY = 512 * 1024  # bytes; a conversation with forty quoted sources needs a third of it
_SHORTEST_TOKEN = 16  # characters
_MOST_FAULTS = 20  # faults of a body that are listed


class TokenGate:
    """Lets nobody in without the token, and says on every answer what kind of engine wrote it.

    Args:
        app: what is behind the gate.
        token: what callers must send as `x-api-key` (Parallel's SDK) or as a bearer token (OpenAI's).
        public: paths that need no token.

    Raises:
        ValueError: *token* is shorter than 16 characters. Every user of the machine can reach the port.
    """

    def __init__(self, app: ASGIApp, *, token: str, public: Collection[str]) -> None:
        if len(token) < _SHORTEST_TOKEN:
            message = f"the token of the local server must have at least {_SHORTEST_TOKEN} characters"
            raise ValueError(message)
        self._app = app
        self._token = token.encode()
        self._public = frozenset(public)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def labelled(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["X-Local-Engine"] = "extractive"
            await send(message)

        headers = Headers(scope=scope)
        sent = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
        if scope["path"] in self._public or hmac.compare_digest(sent.encode("utf-8", "replace"), self._token):
            await self._app(scope, receive, labelled)
            return
        refusal = error_response(401, "The API key is missing or wrong.")
        await refusal(scope, receive, labelled)


async def read_body(request: Request, model: type[_Body]) -> _Body:
    """The body as *model*.

    Raises:
        WireError: 413 for more than half a mebibyte; 422 for what is no JSON or not what *model* describes. The detail
            names the places and never the values.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_BODY:
            raise WireError(413, "The request body is too large.")
    try:
        # Parsed apart from validation: only here NaN, which no answer could repeat as JSON, can be refused everywhere.
        return model.model_validate(from_json(bytes(body), allow_inf_nan=False))
    except ValidationError as error:
        raise WireError(422, "The request is not valid.", {"errors": _faults(error)}) from error
    except ValueError as error:
        faults = [{"loc": [], "msg": "the body is not JSON"}]
        raise WireError(422, "The request is not valid.", {"errors": faults}) from error


def _faults(error: ValidationError) -> list[dict[str, Any]]:
    """Places and messages; values stay out, since whoever logs an error must not log a question."""
    listed = error.errors(include_input=False, include_url=False, include_context=False)[:_MOST_FAULTS]
    return [{"loc": [str(part)[:64] for part in fault["loc"]], "msg": fault["msg"]} for fault in listed]
