"""Documents of a tenant, and the library that the agents search: all of them together, held in memory."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from typing import TYPE_CHECKING, Any, Literal

from sqlalchemy import delete, insert, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from examples.research_agents.retrieval.passages import Passage

from .cutting import cut
from .models import DocumentRow, LibraryRow, PassageRow
from .records import MILLISECONDS, DocumentRecord
from .shelf import Shelf

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from examples.research_agents.retrieval.library import Library
    from prodkit.core.clock import Clock

    from .database import Database

__all__ = ["LONGEST_TEXT", "DocumentLimitError", "Documents"]

LONGEST_TEXT = 200_000  # characters: a book chapter of a hundred pages
_MOST_DOCUMENTS = 200
_MOST_CHARACTERS = 2_000_000
_CUT_AT_ONCE = 2  # cutting is work for the processor, and answering needs it too

_DOCUMENT = (
    DocumentRow.id,
    DocumentRow.tenant,
    DocumentRow.principal,
    DocumentRow.title,
    DocumentRow.source_url,
    DocumentRow.characters,
    DocumentRow.passages,
    DocumentRow.created_at,
)


class DocumentLimitError(Exception):
    """The tenant cannot add this document.

    Attributes:
        unit: what is limited: `characters` (of one document), `documents` or `total_characters` (of the tenant).
        limit: the most there may be.
        used: how many there are already; None for one document.
    """

    def __init__(
        self,
        unit: Literal["characters", "documents", "total_characters"],
        limit: int,
        used: int | None = None,
    ) -> None:
        self.unit = unit
        self.limit = limit
        self.used = used
        super().__init__(f"at most {limit} {unit}")


class Documents:
    """Every method takes the tenant first, and another tenant's document is as one that does not exist.

    Args:
        database: started.
        clock: for the times recorded.
        cache_characters: text held in memory as libraries, of all tenants together; each character takes about ten
            bytes there. A library longer than that is built anew for every question.
        most_documents: per tenant.
        most_characters: per tenant.

    Every method raises `StoreUnavailableError` when the database cannot be used.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        *,
        cache_characters: int = 20_000_000,
        most_documents: int = _MOST_DOCUMENTS,
        most_characters: int = _MOST_CHARACTERS,
    ) -> None:
        self._database = database
        self._clock = clock
        self._most_documents = most_documents
        self._most_characters = most_characters
        self._shelf = Shelf(cache_characters)
        self._cutting = asyncio.Semaphore(_CUT_AT_ONCE)

    async def add(
        self, tenant: str, principal: str, title: str, text: str, source_url: str | None = None
    ) -> tuple[DocumentRecord, bool]:
        """Add a document, and whether it is new: a text that the tenant has already is not added again.

        Args:
            tenant: whose it is.
            principal: who adds it.
            title: what it is called in citations.
            text: plain text, reStructuredText or Markdown; recognised.
            source_url: where it comes from.

        Raises:
            DocumentLimitError: it is too long, or the tenant has too many.
        """
        if len(text) > LONGEST_TEXT:
            raise DocumentLimitError("characters", LONGEST_TEXT)  # noqa: EM101  a unit, no sentence
        digest = hashlib.sha256(text.encode()).hexdigest()
        async with self._database.session() as connection:
            known = await _find(connection, tenant, DocumentRow.sha256 == digest)
            if known is not None:
                return known, False
            # Before any work is done for it; decided again below, when nobody else can add one.
            self._require_room(await _counted(connection, tenant), len(text))
        document_id = f"doc_{uuid.uuid4().hex}"
        async with self._cutting:
            passages = await asyncio.to_thread(cut, document_id, title, text)
        record = DocumentRecord(
            document_id, tenant, principal, title, source_url, len(text), len(passages), self._now()
        )

        async def work(connection: AsyncConnection) -> tuple[DocumentRecord, bool]:
            known = await _find(connection, tenant, DocumentRow.sha256 == digest)
            if known is not None:
                return known, False
            self._require_room(await _counted(connection, tenant, lock=True), record.characters)
            await _change_library(connection, tenant, 1, record.characters)
            values = {name: getattr(record, name) for name in DocumentRecord.__slots__}
            await connection.execute(insert(DocumentRow).values(values | {"text": text, "sha256": digest}))
            if passages:
                await connection.execute(insert(PassageRow), _rows(document_id, passages))
            return record, True

        try:
            return await self._database.write(work)
        except IntegrityError:
            # Another worker added the same text, or the tenant's first document, at this moment; not with SQLite.
            return await self._database.write(work)

    async def get(self, tenant: str, document_id: str) -> DocumentRecord | None:
        """The document with its text, or None."""
        async with self._database.session() as connection:
            return await _find(connection, tenant, DocumentRow.id == document_id, with_text=True)

    async def list(
        self, tenant: str, *, after: tuple[int, str] | None = None, limit: int = 50
    ) -> Sequence[DocumentRecord]:
        """Documents without their text, the newest first.

        Args:
            tenant: whose.
            after: `(created_at, id)` of the last one already seen.
            limit: most to return.
        """
        query = (
            select(*_DOCUMENT)
            .where(DocumentRow.tenant == tenant)
            .order_by(DocumentRow.created_at.desc(), DocumentRow.id.desc())
            .limit(limit)
        )
        if after is not None:
            query = query.where(tuple_(DocumentRow.created_at, DocumentRow.id) < tuple_(*after))
        async with self._database.session() as connection:
            return [DocumentRecord(*row) for row in await connection.execute(query)]

    async def delete(self, tenant: str, document_id: str) -> bool:
        """Delete it, so that no question begun from now on finds it; False if there is none."""
        deleting = (
            delete(DocumentRow)
            .where(DocumentRow.tenant == tenant, DocumentRow.id == document_id)
            .returning(DocumentRow.characters)
        )

        async def work(connection: AsyncConnection) -> bool:
            characters = (await connection.execute(deleting)).scalar()
            if characters is None:
                return False
            await _change_library(connection, tenant, -1, -characters)
            return True

        return await self._database.write(work)

    async def library(self, tenant: str) -> Library:
        """All documents of *tenant*, ready to be searched; as they are now, whichever worker changed them last.

        Searching takes processor time, up to half a second in a library of the largest size: do it in a thread.
        """
        async with self._database.session() as connection:
            version = await _version(connection, tenant)
        return await self._shelf.library(tenant, version, lambda: self._read(tenant))

    async def _read(self, tenant: str) -> tuple[int, Sequence[Passage]]:
        query = (
            select(PassageRow.url, PassageRow.title, PassageRow.paragraphs, PassageRow.code, PassageRow.first)
            .join(DocumentRow, DocumentRow.id == PassageRow.document_id)
            .where(DocumentRow.tenant == tenant)
            .order_by(DocumentRow.created_at, DocumentRow.id, PassageRow.ordinal)
        )
        async with self._database.session() as connection:
            # First, so that what changes in between (not with SQLite) belongs to a version still to come.
            version = await _version(connection, tenant)
            return version, [Passage(*row) for row in await connection.execute(query)]

    def _require_room(self, counted: tuple[int, int], characters: int) -> None:
        documents, total = counted
        if documents >= self._most_documents:
            raise DocumentLimitError("documents", self._most_documents, documents)  # noqa: EM101  see above
        if total + characters > self._most_characters:
            raise DocumentLimitError("total_characters", self._most_characters, total)  # noqa: EM101  see above

    def _now(self) -> int:
        return int(self._clock.wall() * MILLISECONDS)


async def _find(
    connection: AsyncConnection,
    tenant: str,
    condition: Any,  # Any: SQLAlchemy's type of a comparison depends on the column's
    *,
    with_text: bool = False,
) -> DocumentRecord | None:
    columns: tuple[Any, ...] = (*_DOCUMENT, DocumentRow.text) if with_text else _DOCUMENT
    query = select(*columns).where(DocumentRow.tenant == tenant, condition)
    row = (await connection.execute(query)).first()
    return None if row is None else DocumentRecord(*row)


async def _version(connection: AsyncConnection, tenant: str) -> int:
    query = select(LibraryRow.version).where(LibraryRow.tenant == tenant)
    return (await connection.execute(query)).scalar() or 0


async def _counted(connection: AsyncConnection, tenant: str, *, lock: bool = False) -> tuple[int, int]:
    """Documents and characters of *tenant*; nobody else changes them until the end of a transaction that locks."""
    query = select(LibraryRow.documents, LibraryRow.characters).where(LibraryRow.tenant == tenant)
    row = (await connection.execute(query.with_for_update() if lock else query)).first()
    return (0, 0) if row is None else (row.documents, row.characters)


async def _change_library(connection: AsyncConnection, tenant: str, documents: int, characters: int) -> None:
    changed = await connection.execute(
        update(LibraryRow)
        .where(LibraryRow.tenant == tenant)
        .values(
            version=LibraryRow.version + 1,
            documents=LibraryRow.documents + documents,
            characters=LibraryRow.characters + characters,
        )
    )
    if changed.rowcount == 0:
        await connection.execute(
            insert(LibraryRow).values(tenant=tenant, version=1, documents=documents, characters=characters)
        )


def _rows(document_id: str, passages: Sequence[Passage]) -> list[dict[str, Any]]:
    return [
        {
            "document_id": document_id,
            "ordinal": ordinal,
            "url": passage.url,
            "title": passage.title,
            "paragraphs": passage.paragraphs,
            "code": passage.code,
            "first": passage.first,
        }
        for ordinal, passage in enumerate(passages, start=1)
    ]
