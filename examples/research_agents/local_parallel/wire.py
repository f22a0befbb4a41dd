"""The bodies of Parallel's Search and Extract, as far as this server understands them.

Request models refuse unknown fields, as Parallel does, so that a misspelt option fails here too. The bodies of task runs
stand in `task_wire`, those of chat completions in `chat_wire`.
Source: the types of parallel-web 1.3.7, which is the client these are tested with.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["ExtractRequest", "SearchMode", "SearchRequest", "SourcePolicy", "StrictModel"]

SearchMode = Literal["turbo", "fast", "basic", "advanced"]
_Query = Annotated[str, Field(min_length=1, max_length=1000)]


class StrictModel(BaseModel):
    """A body in which an unknown field is an error."""

    model_config = ConfigDict(extra="forbid")


class ExcerptSettings(StrictModel):
    """How long excerpts may be."""

    max_chars_per_result: int | None = Field(None, ge=1)


class FetchPolicy(StrictModel):
    """Accepted and without effect: nothing is fetched here."""

    max_age_seconds: int | None = Field(None, ge=600)
    timeout_seconds: float | None = Field(None, gt=0)
    disable_cache_fallback: bool | None = None


class SourcePolicy(StrictModel):
    """Which sources may answer. A domain is the part of our URLs before the colon: `pydoc`, `docs`, `package`.

    `after_date` has no effect: nothing here says when it was published.
    """

    include_domains: list[str] | None = Field(None, max_length=200)
    exclude_domains: list[str] | None = Field(None, max_length=200)
    after_date: str | None = None


class AdvancedSearch(StrictModel):
    """`advanced_settings` of a search."""

    max_results: int | None = Field(None, ge=1, le=40)
    excerpt_settings: ExcerptSettings | None = None
    source_policy: SourcePolicy | None = None
    fetch_policy: FetchPolicy | None = None
    location: str | None = None


class SearchRequest(StrictModel):
    """Body of `POST /v1/search`."""

    search_queries: list[_Query] = Field(min_length=1, max_length=10)
    objective: str | None = Field(None, max_length=5000)
    mode: SearchMode = "advanced"
    max_chars_total: int | None = Field(None, ge=1)
    session_id: str | None = Field(None, max_length=1000)
    client_model: str | None = None
    advanced_settings: AdvancedSearch | None = None


class FullContent(StrictModel):
    """Bounds of `full_content`."""

    max_chars_per_result: int | None = Field(None, ge=1)


class AdvancedExtract(StrictModel):
    """`advanced_settings` of an extraction."""

    excerpt_settings: ExcerptSettings | None = None
    fetch_policy: FetchPolicy | None = None
    full_content: bool | FullContent | None = None


class ExtractRequest(StrictModel):
    """Body of `POST /v1/extract`."""

    urls: list[str] = Field(min_length=1, max_length=20)
    objective: str | None = Field(None, max_length=5000)
    search_queries: list[_Query] | None = Field(None, max_length=10)
    max_chars_total: int | None = Field(None, ge=1)
    session_id: str | None = Field(None, max_length=1000)
    client_model: str | None = None
    advanced_settings: AdvancedExtract | None = None
