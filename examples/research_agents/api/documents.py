"""Documents: texts that a tenant has the agents search. Another tenant's does not exist, and is not searched."""

# No `from __future__ import annotations`: FastAPI has to resolve the annotations of functions made in here.

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Body, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from examples.research_agents.state.cursors import encode
from examples.research_agents.state.dependencies import CurrentDocuments
from examples.research_agents.state.documents import LONGEST_TEXT, DocumentLimitError
from examples.research_agents.state.records import DocumentRecord
from prodkit import CurrentPrincipal, Problem
from prodkit.authentication import require_scopes
from prodkit.core.owners import bounded
from prodkit.metering import owner_of

from .listing import Cursor, Limit, Title, is_id, moment, place_of, problem_example, writable

__all__ = ["documents_router"]


def _says_something(text: str) -> str:
    if not text.strip():
        kind, told = "string_blank", "More than white space is expected."
        raise PydanticCustomError(kind, told)
    return text


_Title = Annotated[Title, AfterValidator(_says_something)]
_Text = Annotated[
    str,
    StringConstraints(max_length=LONGEST_TEXT),
    AfterValidator(writable),
    AfterValidator(_says_something),
]
# It becomes a link on somebody's page, so it must lead out to a site and nowhere else.
_Url = Annotated[str, StringConstraints(max_length=2000, pattern=r"""^https?://[^\s<>"'\\\x00]+$""")]


class NewDocument(BaseModel):
    """A text to add."""

    model_config = ConfigDict(extra="forbid")

    title: _Title = Field(description="What it is called in citations; at most 300 characters.")
    text: _Text = Field(
        description="Plain text, reStructuredText or Markdown, at most 200,000 characters. HTML is read as plain text."
    )
    source_url: _Url | None = Field(None, description="Where it comes from, http or https.")


class DocumentDescription(BaseModel):
    """A document without its text."""

    id: str = Field(description="Citations of it begin with `document:` and this id.")
    title: str
    source_url: str | None
    characters: int
    passages: int = Field(description="Into how many pieces it was cut; each can be cited.")
    created_at: datetime


class DocumentWithText(DocumentDescription):
    """A document."""

    text: str


class DocumentPage(BaseModel):
    """Documents, the newest first."""

    documents: list[DocumentDescription]
    next: str | None = Field(description="Send it as `after` for more; null at the end.")


_TEXT = "Velkor Dynamics was founded in 1987. It employs 340 people in Oslo."
_NEW = {"title": "About Velkor Dynamics", "text": _TEXT, "source_url": "https://velkor.example/about"}
_DOCUMENT = {
    "id": "doc_6512bd43d9caa6e02c990b0a82652dca",
    "title": _NEW["title"],
    "source_url": _NEW["source_url"],
    "characters": len(_TEXT),
    "passages": 1,
    "created_at": "2026-11-22T12:00:00Z",
}
_CURSOR = encode(1_795_348_800_000, "doc_6512bd43d9caa6e02c990b0a82652dca")
_UNKNOWN = problem_example(404, "Not Found", "There is no such document.")
_FULL = problem_example(
    409,
    "Conflict",
    "There may be at most 200 documents; delete some first.",
    unit="documents",
    limit=200,
    used=200,
)
_INVALID = problem_example(
    422,
    "Unprocessable Content",
    "1 part of the request did not validate.",
    errors=[
        {
            "in": "body",
            "pointer": "#/text",
            "code": "string_too_long",
            "message": "String should have at most 200000 characters",
        }
    ],
)
_UNAVAILABLE = problem_example(
    503, "Store Unavailable", "Sessions and documents cannot be reached at the moment."
)
_UNITS = {
    "documents": "There may be at most {limit} documents; delete some first.",
    "total_characters": "All documents together may have at most {limit} characters; delete some first.",
    "characters": "A document may have at most {limit} characters.",
}


def _content(example: object, description: str = "Successful Response") -> dict[str, Any]:
    # Any: FastAPI's own type
    return {"description": description, "content": {"application/json": {"example": example}}}


def documents_router() -> APIRouter:
    """`/v1/documents` and what is below it; needs the scope `agents:run`."""
    router = APIRouter(
        prefix="/v1/documents", tags=["Documents"], dependencies=[require_scopes("agents:run")]
    )
    examples: Any = {  # FastAPI's own type is a union of OpenAPI 3.0 and 3.1 examples
        "about": {"summary": "A text with its source", "value": _NEW},
        "markdown": {
            "summary": "Markdown",
            "value": {
                "title": "Plants",
                "text": "# Output\n\n| Plant | Output |\n|---|---|\n| Morvik | 12 MW |\n",
            },
        },
    }

    @router.post(
        "",
        status_code=201,
        summary="Add a document",
        description="The agents search it from the next question on. A text that is there already is not added again: the "
        "answer is 200 and describes the one that is there.",
        responses={
            201: _content(_DOCUMENT),
            200: {**_content(_DOCUMENT, "The text was there already."), "model": DocumentDescription},
            **_FULL,
            **_INVALID,
            **_UNAVAILABLE,
        },
    )
    async def add_document(
        response: Response,
        principal: CurrentPrincipal,
        documents: CurrentDocuments,
        new: Annotated[NewDocument, Body(openapi_examples=examples)],
    ) -> DocumentDescription:
        try:
            record, added = await documents.add(
                owner_of(principal), bounded(principal.id), new.title, new.text, new.source_url
            )
        except DocumentLimitError as full:
            status = 422 if full.unit == "characters" else 409
            detail = _UNITS[full.unit].format(limit=full.limit)
            raise Problem(status, detail, unit=full.unit, limit=full.limit, used=full.used) from full
        response.status_code = 201 if added else 200
        response.headers["Location"] = f"/v1/documents/{record.id}"
        return DocumentDescription.model_validate(_described(record))

    @router.get(
        "",
        summary="List documents",
        description="Those of the caller's tenant, the newest first.",
        responses={
            200: _content({"documents": [_DOCUMENT], "next": _CURSOR}),
            **_INVALID,
            **_UNAVAILABLE,
        },
    )
    async def list_documents(
        principal: CurrentPrincipal, documents: CurrentDocuments, limit: Limit = 50, after: Cursor = None
    ) -> DocumentPage:
        records = await documents.list(owner_of(principal), after=place_of(after), limit=limit + 1)
        shown = records[:limit]
        more = encode(shown[-1].created_at, shown[-1].id) if len(records) > limit else None
        described = [DocumentDescription.model_validate(_described(record)) for record in shown]
        return DocumentPage(documents=described, next=more)

    @router.get(
        "/{document_id}",
        summary="Read a document",
        responses={200: _content({**_DOCUMENT, "text": _TEXT}), **_UNKNOWN, **_UNAVAILABLE},
    )
    async def get_document(
        principal: CurrentPrincipal, documents: CurrentDocuments, document_id: str
    ) -> DocumentWithText:
        record = None
        if is_id(document_id, "doc"):
            record = await documents.get(owner_of(principal), document_id)
        if record is None:
            raise _unknown()
        return DocumentWithText.model_validate({**_described(record), "text": record.text})

    @router.delete(
        "/{document_id}",
        status_code=204,
        summary="Delete a document",
        description="No question that begins from now on finds it; answers that cite it stay.",
        responses={**_UNKNOWN, **_UNAVAILABLE},
    )
    async def delete_document(
        principal: CurrentPrincipal, documents: CurrentDocuments, document_id: str
    ) -> None:
        if not is_id(document_id, "doc") or not await documents.delete(owner_of(principal), document_id):
            raise _unknown()

    return router


def _unknown() -> Problem:
    """The same whether there is none or it is another tenant's."""
    return Problem(404, "There is no such document.")


def _described(record: DocumentRecord) -> dict[str, Any]:  # Any: what pydantic validates next
    return {
        "id": record.id,
        "title": record.title,
        "source_url": record.source_url,
        "characters": record.characters,
        "passages": record.passages,
        "created_at": moment(record.created_at),
    }
