"""pydantic's validation errors in the words of an operator, without any value."""

from __future__ import annotations

import re
from types import UnionType
from typing import TYPE_CHECKING, Annotated, Final, Union, get_args, get_origin

from pydantic import BaseModel

from prodkit.core.environment import closest
from prodkit.core.exceptions import SettingsFault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pydantic import ValidationError

__all__ = ["faults_of"]

# "Value error, " is pydantic's prefix for messages of our own validators.
_PREFIX = "Value error, "


def faults_of(
    error: ValidationError,
    name: Callable[[Sequence[str]], str],
    model: type[BaseModel],
    *,
    in_code: bool = False,
) -> list[SettingsFault]:
    """Every fault in *error*; *name* turns a path of field names into what the operator calls the setting.

    A validator of ours writes its message as "what is wrong | what to do"; pydantic's own get a cure by their type.
    Inputs are never shown: a value in the wrong place is often a secret in the wrong place.

    Args:
        error: of *model*.
        name: see above.
        model: what was validated, to tell which name was probably meant.
        in_code: whether the values stand in Python, where nobody writes JSON.
    """
    faults = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        path = [str(part) for part in item["loc"]]
        message, _, cure = item["msg"].removeprefix(_PREFIX).partition(" | ")
        if not cure:
            cure = _cure(item["type"], path, model, in_code=in_code)
            if in_code:
                message = _TUPLE.sub("a list", message)
        faults.append(SettingsFault(name(path), f"{message.rstrip('.')}.", cure))
    return faults


def _cure(kind: str, path: Sequence[str], model: type[BaseModel], *, in_code: bool) -> str:
    if kind == "extra_forbidden":
        meant = closest(path[-1], [field.upper() for field in _fields_at(model, path[:-1])])
        if meant is not None:
            return f"Did you mean {meant.lower()}?"
    if in_code and kind in _LISTS:
        # The last part is the name of the field, unless the value has entries.
        field = path[-1] if path and path[-1] in _fields_at(model, path[:-1]) else "values"
        return f'Write a list of {field.replace("_", " ")}, like ["a", "b"].'
    if in_code and kind in _OBJECTS:
        return 'Write a dict, like {"a": "b"}.'
    return _CURES.get(kind, "Correct the value.")


def _fields_at(kind: object, path: Sequence[str]) -> Iterator[str]:
    """The names of fields of whatever *path* leads to from the type *kind*."""
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if not path:
            yield from kind.model_fields
        elif path[0] in kind.model_fields:
            yield from _fields_at(kind.model_fields[path[0]].annotation, path[1:])
        return
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield from _fields_at(arguments[0], path)
    elif origin in {Union, UnionType}:
        for argument in arguments:
            yield from _fields_at(argument, path)
    elif path:
        # A key or a position. What is no model, such as the keys of a dict, ends here.
        for argument in arguments:
            yield from _fields_at(argument, path[1:])


_TUPLE: Final = re.compile(r"a valid (tuple|set|frozenset|list)\b")
_LIST = 'Write it as a JSON list, like ["a", "b"].'
_OBJECT = 'Write it as a JSON object, like {"a": "b"}.'
_LISTS: Final = ("tuple_type", "list_type", "set_type", "frozen_set_type")
_OBJECTS: Final = ("dict_type", "mapping_type", "model_type")

_CURES = {
    **dict.fromkeys(_LISTS, _LIST),
    **dict.fromkeys((*_OBJECTS, "is_instance_of"), _OBJECT),
    "extra_forbidden": "Remove it, or correct the name.",
    "missing": "Set it.",
    "json_invalid": "Write it as JSON.",
    "int_parsing": "Write digits, without a unit: 1048576 in place of 1MB.",
    "float_parsing": "Write a number, without a unit: 0.5 in place of 500ms.",
}
