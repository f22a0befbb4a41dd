"""The names a route declares for what it reads: what a 422 may say about a place without repeating its caller."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, Final

from pydantic.errors import PydanticUserError

__all__ = ["declared_names"]

_PARAMETERS: Final = ("path_params", "query_params", "header_params", "cookie_params", "body_params")
# Parts of a core schema that hold no fields, and can be large.
_SKIPPED: Final = frozenset({"metadata", "serialization", "default", "cls", "config"})


def declared_names(route: object) -> frozenset[str]:
    """Every parameter and every field of a model that *route*, or an effective route context, reads; aliases included.

    Models are walked however deep. What is not known, such as a route of Starlette's, has no names.
    """
    dependant = getattr(getattr(route, "starlette_route", None) or route, "dependant", None)
    return frozenset() if dependant is None else frozenset(_of_dependant(dependant))


def _of_dependant(
    dependant: Any,
) -> Iterator[str]:  # Any: fastapi.dependencies.models.Dependant is not public
    for kind in _PARAMETERS:
        for field in getattr(dependant, kind, ()):
            for name in ("name", "alias", "validation_alias"):
                yield from _texts(getattr(field, name, None))
            with suppress(PydanticUserError):  # a type that is not defined yet; nothing of it is read then
                yield from _of_schema(getattr(getattr(field, "_type_adapter", None), "core_schema", None))
    for dependency in dependant.dependencies:
        yield from _of_dependant(dependency)


def _of_schema(schema: object) -> Iterator[str]:
    """Names of the fields in pydantic's core schema: of models, dataclasses, typed dictionaries and calls."""
    rest = [schema]
    while rest:
        part = rest.pop()
        if isinstance(part, Mapping):
            fields = part.get("fields")
            if isinstance(fields, Mapping):
                yield from fields
            if str(part.get("type", "")).endswith("-field") or "schema" in part:
                yield from _texts(part.get("name"))
            yield from _texts(part.get("validation_alias"))
            rest.extend(value for key, value in part.items() if key not in _SKIPPED)
        elif isinstance(part, (list, tuple)):
            rest.extend(part)


def _texts(alias: object) -> Iterator[str]:
    """An alias is one name, or a path of names and indexes, or several such paths."""
    if isinstance(alias, str):
        yield alias
    elif isinstance(alias, (list, tuple)):
        for part in alias:
            yield from _texts(part)
