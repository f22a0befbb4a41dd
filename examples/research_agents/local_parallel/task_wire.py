"""The bodies of Parallel's task runs, as far as this server understands them.

Source: the types of parallel-web 1.3.7; the bounds are those its documentation names.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool, StrictFloat, StrictInt, StringConstraints, model_validator

from .wire import SourcePolicy, StrictModel

__all__ = ["AutoSchema", "JsonSchema", "Object", "TaskRequest", "TaskSpec", "TextSchema"]

_LONGEST_TASK = 25_000  # characters of input and specification together
_MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=16)]
_MetadataValue = Annotated[str, StringConstraints(max_length=512)] | StrictBool | StrictInt | StrictFloat
# A JSON object from outside: its values are whatever JSON can hold.
Object = dict[str, Any]


class JsonSchema(StrictModel):
    """An output (or input) that is a JSON object."""

    type: Literal["json"]
    json_schema: Object


class TextSchema(StrictModel):
    """An output (or input) that is text."""

    type: Literal["text"]
    description: str | None = None


class AutoSchema(StrictModel):
    """Let the server choose; here: what `analyse` finds."""

    type: Literal["auto"]


class TaskSpec(StrictModel):
    """What a task should give. A bare string stands for a text schema with that description."""

    output_schema: Annotated[JsonSchema | TextSchema | AutoSchema, Field(discriminator="type")] | str
    input_schema: Annotated[JsonSchema | TextSchema, Field(discriminator="type")] | str | None = None


class DataSources(StrictModel):
    """Accepted and without effect: there are no partners here."""

    free: list[str] | None = None
    pay_per_use: list[str] | None = None


class TaskSettings(StrictModel):
    """`advanced_settings` of a task; accepted and without effect."""

    data_sources: DataSources | None = None
    location: str | None = None


class TaskRequest(StrictModel):
    """Body of `POST /v1/tasks/runs`."""

    input: Annotated[str, StringConstraints(min_length=1)] | Object
    processor: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    task_spec: TaskSpec | None = None
    metadata: dict[_MetadataKey, _MetadataValue] | None = Field(None, max_length=64)
    enable_events: bool | None = None
    previous_interaction_id: str | None = Field(None, max_length=1000)
    source_policy: SourcePolicy | None = None
    advanced_settings: TaskSettings | None = None
    mcp_servers: list[Object] | None = None
    webhook: Object | None = None
    memory_scope_key: str | None = None

    @model_validator(mode="after")
    def _is_short_and_finite(self) -> TaskRequest:
        """Parallel refuses longer ones, so this server must too; and 1e999 could not be told again as JSON."""
        json.dumps(self.model_dump(), allow_nan=False)
        asked = self.input if isinstance(self.input, str) else json.dumps(self.input, ensure_ascii=False)
        spec = self.task_spec.model_dump_json() if self.task_spec else ""
        if len(asked) + len(spec) > _LONGEST_TASK:
            message = f"input and task_spec together may have {_LONGEST_TASK} characters"
            raise ValueError(message)
        return self

    @property
    def wants_progress(self) -> bool:
        """Whether progress is recorded for the event stream; without being asked, from `pro` on."""
        if self.enable_events is not None:
            return self.enable_events
        return self.processor.startswith(("pro", "ultra"))

    @property
    def warnings(self) -> list[str]:
        """What was asked for and is not done here."""
        ignored = {
            "webhook": self.webhook,
            "mcp_servers": self.mcp_servers,
            "memory_scope_key": self.memory_scope_key,
            "previous_interaction_id": self.previous_interaction_id,
        }
        return [f"{name} has no effect on the local server." for name, value in ignored.items() if value]
