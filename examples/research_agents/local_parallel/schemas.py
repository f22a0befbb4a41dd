"""Bringing an answer into the form of a caller's JSON schema, as far as leaving out goes: nothing is made up to fit."""

from __future__ import annotations

from typing import Any

__all__ = ["UnfittingError", "allows", "fit", "items_of", "options_of", "properties_of"]

# Values of a caller's JSON schema, and of the answer to it, are whatever JSON can hold.
Json = Any
_DEEPEST = 12  # levels; a schema may refer to itself
_KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,),
    "number": (int, float),
    "integer": (int,),
    "boolean": (bool,),
    "array": (list, tuple),
    "object": (dict,),
    "null": (type(None),),
}


class UnfittingError(Exception):
    """A schema requires what is not there.

    Args:
        path: dotted, of the field.
    """

    def __init__(self, path: str) -> None:
        super().__init__(f"no source gives a value for {path!r}, and the schema does not allow null there")
        self.path = path


def properties_of(schema: dict[str, Json]) -> dict[str, Json]:
    """The properties of an object schema; empty for any other."""
    properties = schema.get("properties")
    return properties if isinstance(properties, dict) else {}


def options_of(schema: Json, root: dict[str, Json]) -> list[dict[str, Json]]:
    """The plain schemas that *schema*, a part of *root*, stands for: references followed, alternatives listed."""
    return list(_options(schema, root, _DEEPEST))


def items_of(schema: Json, root: dict[str, Json]) -> dict[str, Json]:
    """The plain schema of the items of the array *schema*; empty where it says nothing about them."""
    items: Json = next((one["items"] for one in options_of(schema, root) if "items" in one), {})
    return next(iter(options_of(items, root)), {})


def fit(content: dict[str, Json], schema: dict[str, Json]) -> dict[str, Json]:
    """*content* without the fields that *schema* does not name; nulls it neither requires nor allows are left out.

    Raises:
        UnfittingError: a required field is missing, or null where that is not allowed.
    """
    fitted: dict[str, Json] = _fit(content, schema, schema, "", _DEEPEST)
    return fitted


def _fit(value: Json, schema: Json, root: dict[str, Json], path: str, deepest: int) -> Json:
    options = list(_options(schema, root, deepest))
    if deepest == 0 or not options:
        return value
    if value is None:
        return value
    chosen = next((one for one in options if _is_of(value, one)), options[0])
    if isinstance(value, list) and isinstance(chosen.get("items"), dict):
        return [
            _fit(one, chosen["items"], root, f"{path}.{place}", deepest - 1)
            for place, one in enumerate(value)
        ]
    if isinstance(value, dict) and properties_of(chosen):
        return _fit_object(value, chosen, root, path, deepest)
    return value


def _fit_object(
    value: dict[str, Json], schema: dict[str, Json], root: dict[str, Json], path: str, deepest: int
) -> dict[str, Json]:
    wanted = properties_of(schema)
    required = schema.get("required")
    needed = required if isinstance(required, list) else []
    fitted: dict[str, Json] = {}
    for name, one in wanted.items():
        place = f"{path}.{name}".lstrip(".")
        if value.get(name) is None:
            if allows(one, None, root):
                fitted[name] = None
            elif name in needed:
                raise UnfittingError(place)
        else:
            fitted[name] = _fit(value[name], one, root, place, deepest - 1)
    return fitted


def _options(schema: Json, root: dict[str, Json], deepest: int) -> list[dict[str, Json]]:
    """The plain schemas that *schema* stands for: references followed, alternatives listed."""
    if not isinstance(schema, dict) or deepest == 0:
        return []
    reference = schema.get("$ref")
    if isinstance(reference, str):
        target: Json = root
        for part in reference.removeprefix("#/").split("/"):
            target = target.get(part) if isinstance(target, dict) else None
        return _options(target, root, deepest - 1)
    for name in ("anyOf", "oneOf"):
        if isinstance(schema.get(name), list):
            return [plain for one in schema[name] for plain in _options(one, root, deepest - 1)]
    return [schema]


def allows(schema: Json, value: Json, root: dict[str, Json]) -> bool:
    """Whether *schema*, a part of *root*, takes *value*, as far as types and enumerations say. False takes nothing."""
    options = _options(schema, root, _DEEPEST)
    return schema is not False and (not options or any(_is_of(value, one) for one in options))


def _is_of(value: Json, schema: dict[str, Json]) -> bool:
    """Whether the plain *schema* names the type of *value*, and the value where it enumerates."""
    choices = schema.get("enum")
    if isinstance(choices, list) and value not in choices:
        return False
    kinds = schema.get("type")
    named = kinds if isinstance(kinds, list) else [kinds]
    return kinds is None or any(isinstance(value, _KINDS.get(str(kind), (object,))) for kind in named)
