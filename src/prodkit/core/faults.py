"""pydantic's validation errors in the words of an operator, without any value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prodkit.core.exceptions import SettingsFault

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pydantic import ValidationError

__all__ = ["faults_of"]

# "Value error, " is pydantic's prefix for messages of our own validators.
_PREFIX = "Value error, "


def faults_of(error: ValidationError, name: Callable[[Sequence[str]], str]) -> list[SettingsFault]:
    """Every fault in *error*; *name* turns a path of field names into what the operator calls the setting.

    A validator of ours writes its message as "what is wrong | what to do"; pydantic's own get a cure by their type.
    Inputs are never shown: a value in the wrong place is often a secret in the wrong place.
    """
    faults = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        path = [str(part) for part in item["loc"]]
        message, _, cure = item["msg"].removeprefix(_PREFIX).partition(" | ")
        if not cure:
            cure = _CURES.get(item["type"], "Correct the value.")
        faults.append(SettingsFault(name(path), f"{message.rstrip('.')}.", cure))
    return faults


_LIST = 'Write it as a JSON list, like ["a", "b"].'
_OBJECT = 'Write it as a JSON object, like {"a": "b"}.'

_CURES = {
    "tuple_type": _LIST,
    "list_type": _LIST,
    "set_type": _LIST,
    "frozen_set_type": _LIST,
    "dict_type": _OBJECT,
    "mapping_type": _OBJECT,
    "model_type": _OBJECT,
    "is_instance_of": _OBJECT,
    "extra_forbidden": "Remove it, or correct the name.",
    "missing": "Set it.",
    "json_invalid": "Write it as JSON.",
    "int_parsing": "Write digits, without a unit: 1048576 in place of 1MB.",
    "float_parsing": "Write a number, without a unit: 0.5 in place of 500ms.",
}
