"""The body of a chat completion, as far as this server understands it.

Parallel ignores what it does not support (`tools`, `temperature`, `max_tokens`, `stream_options`), and so do these models:
a client written for OpenAI sends such fields without being asked.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

__all__ = ["ChatRequest", "Message", "ResponseFormat"]


class TextPart(BaseModel):
    """A part of a message; parts of other types are not read."""

    type: str
    text: str = ""


class Message(BaseModel):
    """One message of the conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[TextPart] | None = None

    @property
    def text(self) -> str:
        """Its text, the parts joined by newlines."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.type == "text")
        return self.content or ""


class NamedSchema(BaseModel):
    """`json_schema` of a response format."""

    name: str = "answer"
    # A JSON schema: whatever JSON can hold.
    schema_: dict[str, Any] = Field(alias="schema")


class ResponseFormat(BaseModel):
    """Text, or JSON by a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: NamedSchema | None = None


class ChatRequest(BaseModel):
    """Body of `POST /v1beta/chat/completions`."""

    model: Annotated[str, Field(min_length=1, max_length=64)]
    messages: list[Message] = Field(min_length=1, max_length=500)
    stream: bool = False
    response_format: ResponseFormat | None = None
    previous_interaction_id: str | None = Field(None, max_length=1000)
