"""Errors in Parallel's shape: `{"type": "error", "error": {"ref_id", "message", "detail"}}`."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request

__all__ = ["EXCEPTION_HANDLERS", "WireError", "error_object", "error_response"]


class WireError(Exception):
    """Refuses a request.

    Args:
        status: of the answer.
        message: for a person.
        detail: for a program.
        headers: of the answer, such as `Retry-After`.
    """

    def __init__(
        self,
        status: int,
        message: str,
        detail: Mapping[str, Any] | None = None,  # JSON: whatever helps the caller
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.detail = detail
        self.headers = headers


def error_object(message: str, detail: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """An error with a reference id of its own, as it stands in answers, runs and events."""
    return {"ref_id": str(uuid.uuid4()), "message": message, "detail": detail}


def error_response(
    status: int,
    message: str,
    detail: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The answer for an error."""
    body = {"type": "error", "error": error_object(message, detail)}
    return JSONResponse(body, status_code=status, headers=headers)


async def _render_wire_error(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, WireError):
        raise error
    return error_response(error.status, error.message, error.detail, error.headers)


async def _render_http(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    return error_response(error.status_code, error.detail, headers=error.headers)


async def _render_fault(_: Request, __: Exception) -> JSONResponse:
    """Starlette raises the exception again once this is sent, so the server logs it."""
    return error_response(500, "The server failed.")


EXCEPTION_HANDLERS = {WireError: _render_wire_error, HTTPException: _render_http, Exception: _render_fault}
