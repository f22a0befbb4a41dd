"""What the lists of sessions and of documents have in common: ids, pages, cursors, texts, and examples of problems."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from fastapi import Query
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError

from examples.research_agents.state import cursors
from examples.research_agents.state.records import MILLISECONDS

__all__ = ["Cursor", "Limit", "Title", "is_id", "moment", "place_of", "problem_example", "writable"]

LONGEST_TITLE: Final = 300
_ID = re.compile(r"[a-z]{3}_[0-9a-f]{32}")

Limit = Annotated[int, Query(ge=1, le=200, description="Most items to return.")]
Cursor = Annotated[
    str | None,
    Query(max_length=200, description="`next` of the page before; what was added meanwhile shifts nothing."),
]


def writable(text: str) -> str:
    """*text*, if every database can keep it.

    Raises:
        PydanticCustomError: it holds a NUL, which ends a string in many places, PostgreSQL's among them.
    """
    if "\x00" in text:
        kind, told = "string_nul", "Characters other than U+0000 are expected."
        raise PydanticCustomError(kind, told)
    return text


Title = Annotated[
    str,
    StringConstraints(strip_whitespace=True, max_length=LONGEST_TITLE),
    AfterValidator(writable),
    AfterValidator(lambda title: " ".join(title.split())),
]
"""One line of text."""


def is_id(text: str, prefix: str) -> bool:
    """Whether *text* can be an id of the kind *prefix* at all; what cannot is not looked up."""
    return text.startswith(f"{prefix}_") and _ID.fullmatch(text) is not None


def moment(milliseconds: int) -> datetime:
    """The time that a record holds, in UTC."""
    return datetime.fromtimestamp(milliseconds / MILLISECONDS, UTC)


def place_of(cursor: str | None) -> tuple[int, str] | None:
    """The place that *cursor* names, None for the beginning.

    Raises:
        RequestValidationError: it is not one of ours.
    """
    if cursor is None:
        return None
    place = cursors.decode(cursor)
    if place is None:
        fault = {
            "type": "cursor",
            "loc": ("query", "after"),
            "msg": "Take it from `next` of the page before.",
        }
        raise RequestValidationError([fault])
    return place


def problem_example(status: int, title: str, detail: str, **more: Any) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI response for a problem that this endpoint can answer with. Any: JSON of an example."""
    document = {"title": title, "status": status, "detail": detail, **more}
    return {status: {"description": title, "content": {"application/problem+json": {"example": document}}}}
